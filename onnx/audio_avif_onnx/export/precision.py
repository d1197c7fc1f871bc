"""Compute in the precision of the arguments, even under autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def without_autocast(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorator: disable autocast on CPU and CUDA while ``function`` runs.

    ``torch.autocast`` as a decorator is untyped: a function that it decorates loses its signature.
    """
    for device in ("cuda", "cpu"):
        function = torch.autocast(device, enabled=False)(function)
    return function
