"""Imports run one way, the core stays free of I/O, and the stream commands start light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# As in pyproject.toml; the training scripts are run by path and import the rest as anyone would.
PACKAGES = {
    "audio_avif": ROOT / "audio_avif",
    "audio_avif_stream": ROOT / "stream",
    "audio_avif_tools": ROOT / "tools",
    "audio_avif_onnx.export": ROOT / "onnx" / "export",
    "audio_avif_onnx.models": ROOT / "onnx" / "models",
    "audio_avif.train": ROOT / "onnx" / "train",
}
SHELLS = (
    "audio_avif_stream",
    "audio_avif_tools",
    "audio_avif_onnx.export",
    "audio_avif_onnx.models",
    "audio_avif.train",
)

# A module imports only from lines above its own; a package listed here may import within itself.
LAYERS = [
    ["errors"],
    ["config", "console", "locks"],
    ["features", "tiles", "container", "concealment", "ring", "rate_control", "congestion", "time_scaling"],
    ["samples", "downmix", "sound_sections", "file_kinds"],
    ["planes", "page", "colour_maps"],
    ["images", "wire", "resampling", "sound_files", "metrics"],
    ["still_codecs"],
    ["devices"],
    ["jitter", "noise", "vocoders"],
    ["synthesis", "spectrograms"],
    ["codec", "pictures", "parts"],
    ["files"],
    [""],  # the package itself, which offers what is below
]
RANKS = {f"audio_avif.{name}".rstrip("."): rank for rank, layer in enumerate(LAYERS) for name in layer}
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


def shell_of(module: str) -> str | None:
    return next((shell for shell in SHELLS if module == shell or module.startswith(f"{shell}.")), None)


def rank_of(module: str) -> int:
    """A core module's layer."""
    name = module if module in RANKS else module.rpartition(".")[0]
    assert name in RANKS, f"{module} has no layer; give it one in {Path(__file__).name} and in the design"
    return RANKS[name]


CORE = [module for module in modules() if shell_of(module) is None]


def test_the_packages_are_all_there() -> None:
    assert {"audio_avif.codec.decoder", "audio_avif_stream.sending.sender", "audio_avif_onnx.export.command"} <= set(
        modules()
    )
    assert imports_of("audio_avif.codec.decoder") >= {
        "numpy",
        "audio_avif.codec.concealment",
        "audio_avif.link.messages",
    }


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_one_way(module: str) -> None:
    package = module.rpartition(".")[0]
    for name in imports_of(module) & set(modules()):
        within = package != "audio_avif" and (name == package or name.startswith(f"{package}."))
        assert shell_of(name) is None, f"{module} imports {name}, which is built on the core"
        assert within or rank_of(name) < rank_of(module), f"{module} imports {name}, which is not below it"


@pytest.mark.parametrize("module", CORE)
def test_the_core_has_no_io_clock_or_training_framework(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports_of(module)} & NOT_IN_THE_CORE


@pytest.mark.parametrize("module", [module for module in modules() if shell_of(module)])
def test_the_shells_never_import_each_other(module: str) -> None:
    allowed = {shell_of(module)}
    if shell_of(module) == "audio_avif.train":
        allowed.add("audio_avif_onnx.export")  # both are the workshop under onnx/
    used = {shell_of(name) for name in imports_of(module)} - {None}
    assert used <= allowed


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
    reached = reachable_from(
        "audio_avif_stream.commands.send", "audio_avif_stream.commands.recv", "audio_avif_stream.commands.relay"
    )
    assert {"audio_avif.codec.decoder", "audio_avif.still.avif", "audio_avif.vocoders.onnx_model"} <= reached
    loaded = loaded_after("\n".join(f"import {module}" for module in sorted(reached)))
    assert "numpy" in loaded
    assert not loaded & {"torch", "transformers", "librosa", "numba", "scipy", "matplotlib"}


@pytest.mark.parametrize("command", ["send", "recv", "relay"])
def test_help_loads_nothing_heavy(command: str) -> None:
    ask = f"from audio_avif_stream.{command} import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_after(ask) & {"numpy", "PIL", "onnxruntime", "sounddevice", "soxr", "websockets", "rich", "torch"}
