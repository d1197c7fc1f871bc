"""Optional packages: import one, or say how to install it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from types import ModuleType

from audio_avif.errors import MissingPackage

# Where pip knows a package by another name than Python does.
_PIP_NAMES = {"nats": "nats-py", "pillow_heif": "pillow-heif"}


def absent_packages(packages: Iterable[str]) -> list[str]:
    """Return those of these packages that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def install_command(extra: str) -> str:
    """Return the command that installs an extra of audio-avif."""
    return f"pip install 'audio-avif[{extra}]'"


def missing_sentence(what: str, packages: Iterable[str], extra: str) -> str:
    """Say in one sentence that ``what`` needs these packages, and how to install them with an extra of audio-avif."""
    names = " and ".join(_PIP_NAMES.get(package, package) for package in packages)
    return f"{what} needs {names}; install with: {install_command(extra)}"


def require(what: str, packages: Iterable[str], extra: str) -> None:
    """Raise MissingPackage where ``what`` needs a package that is not installed."""
    if absent := absent_packages(packages):
        raise MissingPackage(missing_sentence(what, absent, extra))


def import_optional(module: str, what: str, extra: str) -> ModuleType:
    """Import a module that ``what`` needs. Raises MissingPackage where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(missing_sentence(what, [module.partition(".")[0]], extra)) from error
