"""``python -m audio_avif.export.untrained FILE.onnx``: a SpeechT5-size HiFi-GAN with random weights, for benchmarks.

It says nothing and costs what the trained one costs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from audio_avif.config import MelConfig
from audio_avif.export.checkpoints import Checkpoint
from audio_avif.export.exporter import export_checkpoint
from audio_avif.export.hifigan import Generator, GeneratorConfig
from audio_avif.export.main import DEFAULT_CONTEXT_FRAMES, DEFAULT_LOOKAHEAD_FRAMES


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
