"""Code that computes in the precision of its arguments, also where the network around it runs under autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def without_autocast(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorator: disable autocast, for the processor and for CUDA, while ``function`` runs.

    ``torch.autocast`` as a decorator has no types: what it decorates directly would lose its signature.
    """
    for device in ("cuda", "cpu"):
        function = torch.autocast(device, enabled=False)(function)
    return function
