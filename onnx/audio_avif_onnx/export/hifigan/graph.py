"""A HiFi-GAN generator as a streaming ONNX graph of the contract in ``docs/reference/models.md``.

What a layer saw in earlier calls comes from a state. It is cut at the call's last final frame: the frames after it are
the lookahead, which the next call brings and computes again. At the end of a call, as at the end of a signal, layers
see zeros, so that one call with the zero state is whole-signal synthesis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from audio_avif.vocoders.onnx_model import NEXT_PREFIX, STATE_PREFIX, ModelInfo
from audio_avif_onnx.export.graphs import to_model
from audio_avif_onnx.export.hifigan.network import LAST_SLOPE, Generator

# [batch, channels, 1, steps]: ONNX Runtime computes two-dimensional convolutions in blocks of channels, in two thirds
# of the time that one-dimensional ones take.
_STEPS_AXIS = 3
_END = np.iinfo(np.int64).max


def build_graph(generator: Generator, info: ModelInfo) -> onnx.ModelProto:
    """The graph of a generator, in whose calls the last ``info.lookahead_frames`` frames are not final."""
    graph = _Graph(info.lookahead_frames)
    config = generator.config
    hidden = graph.add("Unsqueeze", [_scaled_input(graph, generator), graph.constant([2])])
    hidden = _edge(graph, hidden, generator.conv_pre, "pre")
    gain = 1.0  # makes the sum of branches their mean; leaky ReLUs let it pass to the next layer's weights
    for level, (upsample, blocks) in enumerate(generator.levels()):
        hidden = graph.add("LeakyRelu", [hidden], alpha=config.leaky_slope)
        hidden = _upsample(graph, hidden, upsample, f"up{level}", gain)
        chains = [block.chains() for block in blocks]
        lengths = [_past_steps(layer) for block in chains for chain in block for layer in chain]
        state = _State(graph, f"level{level}", upsample.out_channels, lengths)
        branches = []
        for block in chains:
            branch = hidden
            for chain in block:
                change = branch
                for layer in chain:
                    change = graph.add("LeakyRelu", [change], alpha=config.leaky_slope)
                    change = _convolve(graph, change, layer, state)
                branch = graph.add("Add", [change, branch])
            branches.append(branch)
        state.close()
        hidden = graph.add("Sum", branches)
        gain = 1.0 / len(branches)
    hidden = graph.add("LeakyRelu", [hidden], alpha=LAST_SLOPE)
    hidden = _edge(graph, hidden, generator.conv_post, "post", gain)
    samples = graph.add("Reshape", [graph.add("Tanh", [hidden]), graph.constant([0, -1])])
    surplus = graph.ahead_steps - info.lookahead_frames * config.hop_samples
    graph.slice(samples, 0, -surplus if surplus else _END, axis=1, output="samples")
    return graph.to_model(config.n_mels, info)


class _Graph:
    """Nodes, states and constants of a graph that is being built from its input on.

    ``ahead_steps`` counts the steps after the last final frame, at the rate of the layer reached.
    """

    def __init__(self, lookahead_frames: int) -> None:
        self.ahead_steps = lookahead_frames
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._states: dict[str, list[str | int]] = {}  # shapes

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Add a node of one output; return the output's name."""
        output = output or f"value.{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: list[int] | np.ndarray) -> str:
        """Add a constant: int64 from a list, float32 from an array. Returns its name."""
        name = f"constant.{len(self._constants)}"
        array = np.array(values, np.int64) if isinstance(values, list) else values.astype(np.float32)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def slice(self, value: str, begin: int, end: int, axis: int = _STEPS_AXIS, output: str = "") -> str:
        """Cut a value along an axis, as Python's slices do."""
        return self.add("Slice", [value, *(self.constant([number]) for number in (begin, end, axis))], output)

    def open_state(self, name: str, channels: int, lengths: list[int]) -> list[str]:
        """Add a state and split it along its steps."""
        self._states[name] = ["batch", channels, 1, sum(lengths)]
        parts = [f"past.{name}.{part}" for part in range(len(lengths))]
        inputs = [STATE_PREFIX + name, self.constant(lengths)]
        self._nodes.append(helper.make_node("Split", inputs, parts, axis=_STEPS_AXIS))
        return parts

    def to_model(self, n_mels: int, info: ModelInfo) -> onnx.ModelProto:
        """The model file, once all nodes are there."""

        def values(prefix: str) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(prefix + name, TensorProto.FLOAT, shape)
                for name, shape in self._states.items()
            ]

        log_mel = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", n_mels, "frames"])
        samples = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "samples"])
        inputs, outputs = [log_mel, *values(STATE_PREFIX)], [samples, *values(NEXT_PREFIX)]
        return to_model(helper.make_graph(self._nodes, "hifigan", inputs, outputs, self._constants), info)


class _State:
    """What layers of equal width saw before a call, side by side along the steps of one state."""

    def __init__(self, graph: _Graph, name: str, channels: int, lengths: Sequence[int]) -> None:
        """``lengths`` are the past steps of each layer, in the order of the layers; some may be zero."""
        self._graph = graph
        self._name = name
        needed = [length for length in lengths if length]
        self._pasts = iter(graph.open_state(name, channels, needed) if needed else [])
        self._kept: list[str] = []

    def join(self, value: str, length: int) -> str:
        """Put the next layer's past steps before its input, and keep those that it needs in the next call."""
        if not length:
            return value
        whole = self._graph.add("Concat", [next(self._pasts), value], axis=_STEPS_AXIS)
        ahead = self._graph.ahead_steps
        self._kept.append(self._graph.slice(whole, -length - ahead, -ahead if ahead else _END))
        return whole

    def close(self) -> None:
        """Give the state back, once all its layers are there."""
        if self._kept:
            self._graph.add("Concat", self._kept, NEXT_PREFIX + self._name, axis=_STEPS_AXIS)


def _past_steps(layer: nn.Conv1d | nn.ConvTranspose1d) -> int:
    """Input steps before an output's own that a layer sees."""
    if isinstance(layer, nn.ConvTranspose1d):
        return (layer.kernel_size[0] - 1 - int(layer.padding[0])) // layer.stride[0]
    return int(layer.padding[0])


def _scaled_input(graph: _Graph, generator: Generator) -> str:
    scaled = "log_mel"
    if generator.config.ln_floor is not None:
        scaled = graph.add("Mul", [scaled, graph.constant(np.array(math.log(10.0)))])
        scaled = graph.add("Max", [scaled, graph.constant(np.array(math.log(generator.config.ln_floor)))])
    if generator.config.normalised:
        scaled = graph.add("Sub", [scaled, graph.constant(generator.mean[:, None].numpy())])
        scaled = graph.add("Div", [scaled, graph.constant(generator.scale[:, None].numpy())])
    return scaled


def _edge(graph: _Graph, value: str, layer: nn.Conv1d, name: str, gain: float = 1.0) -> str:
    """A layer with a state of its own."""
    state = _State(graph, name, layer.in_channels, [_past_steps(layer)])
    value = _convolve(graph, value, layer, state, gain)
    state.close()
    return value


def _convolve(graph: _Graph, value: str, layer: nn.Conv1d, state: _State, gain: float = 1.0) -> str:
    reach = _past_steps(layer)
    whole = state.join(value, reach)
    dilations, pads = [1, layer.dilation[0]], [0, 0, 0, reach]
    return graph.add("Conv", [whole, *_weights(graph, layer, gain)], dilations=dilations, pads=pads)


def _upsample(graph: _Graph, value: str, layer: nn.ConvTranspose1d, name: str, gain: float) -> str:
    rate, padding, past = layer.stride[0], int(layer.padding[0]), _past_steps(layer)
    state = _State(graph, name, layer.in_channels, [past])
    whole = state.join(value, past)
    state.close()
    # What the past steps add before the call's first output is cut off together with the padding.
    pads = [0, padding + past * rate, 0, padding]
    # A kernel that exceeds its rate by an odd number makes one step more at the end.
    graph.ahead_steps = graph.ahead_steps * rate + (layer.kernel_size[0] - rate) % 2
    return graph.add("ConvTranspose", [whole, *_weights(graph, layer, gain)], strides=[1, rate], pads=pads)


def _weights(graph: _Graph, layer: nn.Conv1d | nn.ConvTranspose1d, gain: float) -> list[str]:
    bias: Tensor | None = layer.bias
    assert bias is not None
    weight = layer.weight.detach().double().numpy() * gain
    return [graph.constant(weight[:, :, None]), graph.constant(bias.detach().numpy())]
