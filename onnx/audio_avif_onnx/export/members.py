"""Typed access to what ``nn.ModuleList`` holds."""

from __future__ import annotations

from typing import TypeVar, cast

from torch import nn

_Member = TypeVar("_Member", bound=nn.Module)


def members(modules: nn.ModuleList, kind: type[_Member]) -> list[_Member]:
    """The modules of a list, typed as ``kind``: torch annotates them as ``Module``. Nothing is checked or copied."""
    return cast(list[_Member], list(modules))
