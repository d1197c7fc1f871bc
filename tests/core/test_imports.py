"""Imports run one way, the core stays free of I/O, and the stream commands start light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from support.paths import ROOT

# As pyproject.toml has them; each lies under the folder of its name's last word.
PACKAGES = {
    "audio_avif": ROOT / "audio_avif",
    "audio_avif_stream": ROOT / "stream" / "audio_avif_stream",
    "audio_avif_tools": ROOT / "tools" / "audio_avif_tools",
    "audio_avif_onnx": ROOT / "onnx" / "audio_avif_onnx",
}
CORE_NAME, *SHELLS = PACKAGES

# A part of a package imports only from parts in lines above its own; modules of one part may import each other, but
# never in a circle.
LAYERS = {
    "audio_avif": [
        ["errors", "types", "config", "quiet", "notices"],
        ["optional"],
        ["signal", "still"],
        ["link", "vocoders"],
        ["codec", "recording"],
        ["edge"],
        ["metrics", "steps"],
        [""],  # the package itself, which offers what is below
    ],
    "audio_avif_stream": [
        ["runtime"],
        ["telemetry"],
        ["serving"],
        ["client"],
        ["relay"],
        ["sending", "receiving"],
        ["calling"],
        ["commands"],
    ],
    "audio_avif_tools": [
        ["shared"],
        ["quality", "latency", "report"],
        ["bitrate", "files", "spectrograms"],
        ["bench"],
        ["network", "compare", "analyze", "demo", "microphone"],
    ],
    "audio_avif_onnx": [["models"], ["export"], ["train"]],
}
MAX_MODULES = 15
NOT_IN_THE_CORE = {
    "argparse", "asyncio", "librosa", "selectors", "socket", "threading", "time", "torch", "transformers", "websockets",
}  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    """Every module of the repository by the name it is imported by."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [part for part in path.relative_to(folder).with_suffix("").parts if part != "__init__"]
            found[".".join([package, *parts])] = path
    return found


@cache
def imports_of(module: str) -> frozenset[str]:
    """All that a module imports anywhere in its text, within functions and for type checkers too."""
    names = set()
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & set(modules())
            if not inner <= set(modules()):
                names.add(node.module)
    return frozenset(names)


def package_of(module: str) -> str:
    return module.partition(".")[0]


def part_of(module: str) -> str:
    """The folder or single module of a package that a module belongs to; nothing for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def rank_of(module: str) -> int:
    """The layer of a module within its package."""
    layers = LAYERS[package_of(module)]
    ranks = [rank for rank, parts in enumerate(layers) if part_of(module) in parts]
    assert ranks, f"{module} has no layer; give it one in {Path(__file__).name}"
    return ranks[0]


def ours(module: str) -> set[str]:
    """Modules of this repository that a module imports; a package's name says nothing that its modules do not."""
    return {name for name in imports_of(module) if name in modules() and name not in PACKAGES}


CORE = [module for module in modules() if package_of(module) == CORE_NAME]


def test_the_packages_are_all_there() -> None:
    found = set(modules())
    assert {"audio_avif.codec.decoder", "audio_avif_stream.sending.sender", "audio_avif_onnx.export.command"} <= found
    assert imports_of("audio_avif.codec.decoder") >= {"numpy", "audio_avif.codec.concealment"}


@pytest.mark.parametrize("module", [name for name in modules() if name not in PACKAGES])
def test_imports_run_one_way(module: str) -> None:
    for name in ours(module):
        if package_of(name) == package_of(module):
            is_below = part_of(name) == part_of(module) or rank_of(name) < rank_of(module)
            assert is_below, f"{module} imports {name}, which is not below it"
        else:
            assert package_of(name) == CORE_NAME, f"{module} imports {name}: only the core is shared"


def test_no_modules_import_each_other_in_a_circle() -> None:
    waiting = {module: ours(module) - {module} for module in modules()}
    while free := {module for module, needed in waiting.items() if not needed & set(waiting)}:
        waiting = {module: needed for module, needed in waiting.items() if module not in free}
    assert not waiting, {module: sorted(needed & set(waiting)) for module, needed in waiting.items()}


@pytest.mark.parametrize("module", CORE)
def test_the_core_has_no_io_clock_or_training_framework(module: str) -> None:
    # PortAudio calls back from threads of its own, and only one of ours at a time may list, open or close devices.
    allowed = {"threading"} if part_of(module) == "edge" else set()
    assert not {name.partition(".")[0] for name in imports_of(module)} & (NOT_IN_THE_CORE - allowed)


def test_no_folder_is_crowded() -> None:
    crowded = {
        str(folder.relative_to(ROOT)): count
        for root in PACKAGES.values()
        for folder in (root, *(each for each in root.rglob("*") if each.is_dir()))
        if (count := len([file for file in folder.glob("*.py") if file.name != "__init__.py"])) > MAX_MODULES
    }
    assert not crowded


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running ``code``."""
    code += "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def reachable_from(*starts: str) -> set[str]:
    """The repository's modules that these import, at once or later, themselves or through others."""
    reached: set[str] = set()
    waiting = set(starts)
    while waiting:
        reached |= waiting
        waiting = {name for module in waiting for name in imports_of(module) & set(modules())} - reached
    return reached


def test_the_stream_commands_never_load_a_training_framework_or_librosa() -> None:
    """Not even by what they import when it is needed."""
    reached = reachable_from(*(f"audio_avif_stream.commands.{name}" for name in ("send", "recv", "relay", "call")))
    assert {"audio_avif.codec.decoder", "audio_avif.still.avif", "audio_avif.vocoders.onnx_model"} <= reached
    loaded = loaded_after("\n".join(f"import {module}" for module in sorted(reached)))
    assert "numpy" in loaded
    assert not loaded & {"torch", "transformers", "librosa", "numba", "scipy", "matplotlib"}


@pytest.mark.parametrize("command", ["send", "recv", "relay", "call"])
def test_help_loads_nothing_heavy(command: str) -> None:
    ask = f"from audio_avif_stream.commands.{command} import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_after(ask) & {"numpy", "PIL", "onnxruntime", "sounddevice", "soxr", "websockets", "rich", "torch"}
