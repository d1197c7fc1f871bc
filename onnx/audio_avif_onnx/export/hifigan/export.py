"""Writes a HiFi-GAN as a streaming graph, or as one without state that is fed context."""

from __future__ import annotations

from pathlib import Path

import onnx

from audio_avif.vocoders.onnx_model import ModelInfo
from audio_avif_onnx.export import exporter
from audio_avif_onnx.export.hifigan.checkpoints import Checkpoint
from audio_avif_onnx.export.hifigan.graph import build_graph
from audio_avif_onnx.export.hifigan.options import DEFAULT_LOOKAHEAD_FRAMES


def export_checkpoint(
    checkpoint: Checkpoint,
    path: Path,
    *,
    name: str | None = None,
    context_frames: int | None = None,
    lookahead_frames: int = DEFAULT_LOOKAHEAD_FRAMES,
) -> None:
    """Write a generator with state; with ``context_frames`` one without, that is fed so many frames before each tile.

    The file appears only if ONNX Runtime's output equals torch's. Raises ModelError where it does not, or where the
    file cannot be written.
    """
    generator = checkpoint.generator
    info = ModelInfo(
        name=name or checkpoint.name,
        mel=checkpoint.mel,
        lookahead_frames=lookahead_frames,
        context_frames=context_frames or 0,
        receptive_frames=generator.config.receptive_frames,
    )
    if context_frames is not None:
        exporter.export_module(generator, info, path, checkpoint.reference)
        return
    with exporter.whole_model(path) as partial:
        onnx.save_model(build_graph(generator, info), partial)
        exporter.compare(checkpoint.reference or generator, info, partial)
