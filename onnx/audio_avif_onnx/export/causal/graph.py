"""A causal generator as one self-contained streaming ONNX graph of the contract in ``docs/reference/models.md``."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from audio_avif.vocoders.onnx_model import NEXT_PREFIX, STATE_PREFIX, ModelInfo
from audio_avif_onnx.export.causal.generator import CausalGenerator
from audio_avif_onnx.export.graphs import lift_weights, store_in_half, to_model, to_onnx

_TRACED_FRAMES = 5


class _Stream(nn.Module):
    def __init__(self, generator: CausalGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, log_mel: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        samples, _, next_state = self.generator.stream(log_mel.transpose(1, 2), list(state))
        return samples.clamp(-1.0, 1.0), *next_state


def build_graph(generator: CausalGenerator, name: str, *, half: bool = True) -> onnx.ModelProto:
    """Build the streaming graph, with weights in half or single precision."""
    generator = generator.eval().float()
    config = generator.config
    states = list(generator.state_shapes())
    names = ["log_mel", *(STATE_PREFIX + state for state in states)]
    outputs = ["samples", *(NEXT_PREFIX + state for state in states)]
    open_axes = {each: {0: "batch"} for each in [*names, *outputs]}
    open_axes["log_mel"][2] = "frames"
    open_axes["samples"][1] = "samples"
    inputs = (torch.zeros(1, config.mel.n_mels, _TRACED_FRAMES), *generator.zero_state(1))
    graph = to_onnx(_Stream(generator), inputs, names, outputs, open_axes)
    lift_weights(graph)
    if half:
        store_in_half(graph)
    return to_model(graph, ModelInfo(name=name, mel=config.mel, latency_samples=config.latency_samples))
