"""SpeechT5's HiFi-GAN for the training program: with its mel, and with frames before bands."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from audio_avif.config import MelConfig
from audio_avif.errors import ModelError
from audio_avif_onnx.export.hifigan import checkpoints
from audio_avif_onnx.export.hifigan.network import Generator, GeneratorConfig


@dataclass(frozen=True)
class HifiGanConfig:
    """A HiFi-GAN generator and its mel. It is not causal: its output is aligned with the mel, without delay."""

    mel: MelConfig = field(default_factory=MelConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)

    @property
    def lookahead_frames(self) -> int:
        """Always 0: training uses whole segments, padded at the edges by the convolutions."""
        return 0

    @property
    def latency_samples(self) -> int:
        """Sample ``hop * k`` belongs to the centre of frame k."""
        return 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HifiGanConfig:
        """Inverse of ``to_dict``. Raises KeyError, TypeError or ValueError for other values."""
        return cls(MelConfig(**values["mel"]), GeneratorConfig(**values["generator"]))


class HifiGan(nn.Module):
    """A HiFi-GAN generator with the interface of the trained networks."""

    def __init__(self, config: HifiGanConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Generator(config.generator)
        if config.generator.normalised:  # about what speech has, until a checkpoint brings its own
            self.generator.mean.fill_(-3.0)
            self.generator.scale.fill_(1.5)

    def forward(self, log_mel: Tensor) -> Tensor:
        """``[batch, frames, n_mels]`` -> ``[batch, frames * hop]``."""
        result: Tensor = self.generator(log_mel.transpose(1, 2))
        return result

    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Synthesize a whole signal: ``[batch, frames, n_mels]`` -> ``[batch, frames * hop]``."""
        result: Tensor = self(log_mel)
        return result


def read_weights(source: Path, config: HifiGanConfig, prefix: str) -> dict[str, Tensor]:
    """A HiFi-GAN's weights by their names in a training task, from any layout that can be exported.

    Raises ModelError for missing or damaged weights, and for other sizes or another mel than ``config``.
    """
    found = checkpoints.load(str(source))
    if (found.generator.config, found.mel) != (config.generator, config.mel):
        raise ModelError(f"{source} holds a HiFi-GAN of other sizes or of another mel than SpeechT5's")
    return {f"{prefix}generator.{name}": value for name, value in found.generator.state_dict().items()}
