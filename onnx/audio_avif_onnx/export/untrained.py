"""Write a SpeechT5-size HiFi-GAN with random weights, for benchmarks.

``python -m audio_avif_onnx.export.untrained FILE.onnx``

It makes noise, at the cost of the trained one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from audio_avif.config import MelConfig
from audio_avif_onnx.export.checkpoints import Checkpoint
from audio_avif_onnx.export.exporter import export_checkpoint
from audio_avif_onnx.export.hifigan import Generator, GeneratorConfig
from audio_avif_onnx.export.options import DEFAULT_CONTEXT_FRAMES, DEFAULT_LOOKAHEAD_FRAMES


def main() -> None:
    """Write the model to the path given."""
    torch.manual_seed(0)
    checkpoint = Checkpoint("untrained_speecht5_size", Generator(GeneratorConfig()).eval(), MelConfig())
    path = Path(sys.argv[1])
    export_checkpoint(
        checkpoint, path, context_frames=DEFAULT_CONTEXT_FRAMES, lookahead_frames=DEFAULT_LOOKAHEAD_FRAMES
    )


if __name__ == "__main__":
    main()
