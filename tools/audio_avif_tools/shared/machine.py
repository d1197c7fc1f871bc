"""A description of the machine that figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import onnxruntime


def machine() -> str:
    """Return the processor, its cores and the package versions that affect the figures."""
    from importlib.metadata import version

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(": ", 1)[1] for line in info.read_text().splitlines() if line.startswith("model name")), model
        )
    packages = f"numpy {np.__version__}, pillow-avif-plugin {version('pillow-avif-plugin')}"
    packages += f", onnxruntime {onnxruntime.__version__}"
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, {packages}"
