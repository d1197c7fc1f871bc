"""Write torch modules as ONNX files (``docs/reference/models.md``), after comparing their outputs."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnxruntime
import torch
from torch import nn

from audio_avif.errors import ModelError
from audio_avif.vocoders.onnx_model import STATE_PREFIX, ModelInfo

_OPSET = 17
_TRACED_FRAMES = 16
_CHECKED_SIZES = ((1, 1), (2, 18), (1, 75))  # batch, frames
_TOLERANCE = 1e-4


def export_module(module: nn.Module, info: ModelInfo, path: Path, reference: nn.Module | None = None) -> None:
    """Export a module ``[batch, n_mels, frames]`` -> ``[batch, frames * hop_samples]`` with both sizes open.

    The file is written only if ONNX Runtime's output equals that of ``reference``, or else of the module, at several
    lengths. Raises ModelError where it does not, or where the file cannot be written.
    """
    with whole_model(path) as partial:
        _write(module, info, partial)
        compare(reference or module, info, partial)


@contextmanager
def whole_model(path: Path) -> Iterator[Path]:
    """Give a temporary path for a model; it is moved to ``path`` afterwards, or deleted after an error.

    Raises ModelError where the file cannot be written.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _write(module: nn.Module, info: ModelInfo, path: Path) -> None:
    with quiet_torch():
        # The tracing exporter: the newer one needs onnxscript besides, and gives the same graph for these modules.
        torch.onnx.export(
            module,
            (torch.zeros(1, info.mel.n_mels, _TRACED_FRAMES),),
            path,
            input_names=["log_mel"],
            output_names=["samples"],
            dynamic_axes={"log_mel": {0: "batch", 2: "frames"}, "samples": {0: "batch", 1: "samples"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load_model(path)
    onnx.helper.set_model_props(model, info.to_metadata())
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Silence the warnings of torch's tracing exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def compare(module: nn.Module, info: ModelInfo, path: Path) -> None:
    """Compare torch with ONNX Runtime on noise in the range of speech, at several lengths of whole signals.

    Raises ModelError where they differ.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for batch, frames in _CHECKED_SIZES:
        log_mel = random.uniform(-6.0, 1.0, (batch, info.mel.n_mels, frames)).astype(np.float32)
        with torch.inference_mode():
            expected = module(torch.from_numpy(log_mel)).numpy()
        states = {
            node.name: np.zeros((batch, *node.shape[1:]), np.float32)
            for node in session.get_inputs()
            if node.name.startswith(STATE_PREFIX)
        }
        (actual,) = session.run(["samples"], {"log_mel": log_mel, **states})
        if actual.shape != (batch, frames * info.mel.hop_samples) or actual.shape != expected.shape:
            raise ModelError(
                f"the exported graph gives {list(actual.shape)} for {batch} x {frames} frames; nothing was written"
            )
        error = float(np.max(np.abs(actual - expected)))
        if not error <= _TOLERANCE:  # also false for NaN
            raise ModelError(
                f"the exported graph differs from torch by {error:.2g} at {frames} frames; nothing was written"
            )
