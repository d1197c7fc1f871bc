"""Write a SpeechT5-size HiFi-GAN with random weights, for benchmarks: with state, and without.

``python -m audio_avif_onnx.export.hifigan.untrained STREAMING.onnx REFED.onnx``

Both say nothing and cost what the trained one costs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from audio_avif.config import MelConfig
from audio_avif_onnx.export.hifigan.checkpoints import Checkpoint
from audio_avif_onnx.export.hifigan.export import export_checkpoint
from audio_avif_onnx.export.hifigan.network import Generator, GeneratorConfig

_CONTEXT_FRAMES = 8  # the default of the time when there was no graph with state


def main() -> None:
    """Write the models to the paths given."""
    torch.manual_seed(0)
    checkpoint = Checkpoint("untrained_speecht5_size", Generator(GeneratorConfig()).eval(), MelConfig())
    streaming, refed = map(Path, sys.argv[1:])
    export_checkpoint(checkpoint, streaming)
    export_checkpoint(checkpoint, refed, context_frames=_CONTEXT_FRAMES)


if __name__ == "__main__":
    main()
