"""A recurrent vocoder as one self-contained streaming ONNX graph of the contract in ``docs/models.md``.

The magnitude network runs over all frames of a call at once; the phase step is the body of a Scan over frames.
Fourier transforms are matrix products with tables that the graph itself computes, so the file holds the weights and
little else.
"""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnx.checker
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from audio_avif.export.exporter import quiet_torch
from audio_avif.export.recurrent.magnitude import LOG_CEILING
from audio_avif.export.recurrent.phase import Frames
from audio_avif.export.recurrent.vocoder import SILENT_LOG, SILENT_LOG10_MEL, Vocoder, spectrum
from audio_avif.vocoders.onnx_model import NEXT_PREFIX, STATE_PREFIX, ModelInfo

OPSET = 20
_FOLD_FROM = 1024  # weights of fewer values stay in single precision


class MagnitudeStream(nn.Module):
    """The magnitude network with its past as explicit state; with lookahead, what comes out is a frame late.

    The frame before a stream's first is silent: ``heard`` is 0 until a frame has been heard. NaN counts as silence, for
    it would never leave the state again.
    """

    def __init__(self, vocoder: Vocoder) -> None:
        super().__init__()
        self.net = vocoder.magnitude

    def forward(self, log_mel: Tensor, heard: Tensor, prior: Tensor, *pasts: Tensor) -> tuple[Tensor, ...]:
        frames = log_mel.transpose(1, 2)
        frames = torch.where(frames.isnan(), torch.full_like(frames, SILENT_LOG10_MEL), frames)
        whole_prior = self.net.prior(frames)
        correction, hidden, next_pasts = self.net.stream(frames, whole_prior, list(pasts))
        before = heard * prior + (1 - heard) * self.net.silent_prior
        priors = torch.cat([before, self.net.at_bins(whole_prior)], dim=1)
        flags = torch.cat([heard, torch.ones_like(frames[:, :, :1])], dim=1)
        present = self.net.present(flags)
        now = (self.net.present(priors) + correction).clamp(max=LOG_CEILING)
        levels = torch.stack([present * (now - SILENT_LOG), priors[:, :-1], priors[:, 1:]], dim=2)[..., :-1]
        return levels, hidden, present, flags[:, -1:], priors[:, -1:], *next_pasts


class MatrixFrames(Frames):
    """``Frames`` with matrix products for Fourier transforms, halved by symmetry about the centre of the window.

    ``cosine`` and ``sine`` are ``[window // 2, window // 2]`` tables of ``2 pi bin offset / window``. The window's
    first sample, whose partner lies outside, is zero.
    """

    scale: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__(window_samples, hop_samples)
        self.middle = self.length // 2
        scale = torch.full((self.middle,), 2.0 / self.length)
        scale[0] /= 2
        self.register_buffer("scale", scale)

    def use(self, cosine: Tensor, sine: Tensor) -> None:
        """Take the tables from the graph."""
        self._cosine, self._sine = cosine, sine

    def analyse(self, windows: Tensor) -> Tensor:
        """``[rows, window]`` -> ``[rows, 2, bins]``."""
        windowed = windows * self.window
        right = windowed[:, self.middle :]
        left = torch.cat([windowed[:, :1], windowed[:, 1 : self.middle].flip(1)], dim=1)
        parts = [(right + left) @ self._cosine, (left - right) @ self._sine]
        return torch.cat(parts, dim=1).reshape(-1, 2, self.middle)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """``[rows, 2, bins]`` -> ``[rows, window]``, ready to be added up."""
        scaled = spectrum * self.scale
        even, odd = scaled[:, 0] @ self._cosine, scaled[:, 1] @ self._sine
        left = (even + odd).flip(1)
        return torch.cat([torch.zeros_like(left[:, :1]), left[:, :-1], even - odd], dim=1) * self.synthesis


class FrameStep(nn.Module):
    """One frame of the recursion. Wanted levels are counted from silence, so that zero state is silence."""

    def __init__(self, vocoder: Vocoder) -> None:
        super().__init__()
        self.step = vocoder.phase
        self.hop = vocoder.frames.hop
        self.frames = MatrixFrames(vocoder.frames.length, self.hop)

    def forward(
        self,
        past: Tensor,
        before: Tensor,
        level_before: Tensor,
        levels: Tensor,
        hidden: Tensor,
        present: Tensor,
        cosine: Tensor,
        sine: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        whole = torch.cat([past, torch.zeros_like(past[:, : self.hop])], dim=1)
        self.frames.use(cosine, sine)
        level = levels[:, 0]
        wanted = torch.stack([level, level_before], dim=1) + SILENT_LOG
        result = self.step(self.frames, whole, before, torch.cat([wanted, levels[:, 1:]], dim=1), hidden)
        now = spectrum(*result) * present.unsqueeze(-1)
        whole = whole + self.frames.synthesise(now)
        return whole[:, self.hop :], now, level, whole[:, : self.hop].clamp(-1.0, 1.0)


def fourier_tables(length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine as ``MatrixFrames`` wants them."""
    steps = torch.arange(length // 2, dtype=torch.float64)
    angle = torch.remainder(steps[:, None] * steps, length) * (2 * torch.pi / length)
    return angle.cos().float(), angle.sin().float()


def build_graph(vocoder: Vocoder, name: str, *, half: bool = True) -> onnx.ModelProto:
    """The streaming graph, its weights stored in half precision or not."""
    vocoder = vocoder.eval().float()
    outer = _export_magnitudes(vocoder)
    body = _export_step(vocoder)
    _lift_weights(body, outer)
    _add_fourier_tables(outer, vocoder.config.window_samples)
    _add_scan(outer, body)
    if half:
        _store_in_half(outer)
    info = ModelInfo(name=name, mel=vocoder.config.mel, latency_samples=vocoder.config.latency_samples)
    model = helper.make_model(outer, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="audio-avif")
    model.ir_version = 9
    helper.set_model_props(model, info.to_metadata())
    onnx.checker.check_model(model)
    return model


def _to_onnx(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: list[str],
    outputs: list[str],
    open_axes: dict[str, dict[int, str]],
) -> onnx.GraphProto:
    file = io.BytesIO()
    with quiet_torch():
        torch.onnx.export(
            module,
            inputs,
            file,  # type: ignore[arg-type]
            input_names=names,
            output_names=outputs,
            dynamic_axes=open_axes,
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_model_from_string(file.getvalue()).graph


def _export_magnitudes(vocoder: Vocoder) -> onnx.GraphProto:
    pasts = vocoder.magnitude.zero_state(1)
    past_names = [f"magnitude{number}" for number in range(len(pasts))]
    states = ["heard", "prior", *past_names]
    inputs = (
        torch.zeros(1, vocoder.config.mel.n_mels, 5),
        torch.zeros(1, 1, 1),
        torch.zeros(1, 1, vocoder.config.bins),
        *pasts,
    )
    names = ["log_mel", *(STATE_PREFIX + state for state in states)]
    per_frame = list(_STEP_INPUTS)
    outputs = per_frame + [NEXT_PREFIX + state for state in states]
    open_axes = {name: {0: "batch"} for name in [*names, *outputs]}
    open_axes["log_mel"][2] = "frames"
    for name in per_frame:
        open_axes[name][1] = "frames"
    return _to_onnx(MagnitudeStream(vocoder), inputs, names, outputs, open_axes)


_STEP_STATES = ("past", "before", "level_before")
_STEP_INPUTS = ("levels", "hidden", "present")


def _export_step(vocoder: Vocoder) -> onnx.GraphProto:
    window = vocoder.config.window_samples
    bins = window // 2
    cosine, sine = fourier_tables(window)
    inputs = (
        torch.zeros(1, window - vocoder.config.mel.hop_samples),
        torch.zeros(1, 2, bins),
        torch.zeros(1, bins),
        torch.zeros(1, 3, bins),
        torch.zeros(1, vocoder.magnitude.config.channels),
        torch.zeros(1, 1),
        cosine,
        sine,
    )
    names = [f"step.{name}" for name in (*_STEP_STATES, *_STEP_INPUTS)]
    outputs = [f"step.next.{name}" for name in _STEP_STATES] + ["step.samples"]
    open_axes = {name: {0: "batch"} for name in [*names, *outputs]}
    body = _to_onnx(FrameStep(vocoder), inputs, [*names, "cosine", "sine"], outputs, open_axes)
    for table in ("cosine", "sine"):  # the body takes them from the graph around it
        body.input.remove(next(value for value in body.input if value.name == table))
    _prefix_names(body, {*names, *outputs, "cosine", "sine"})
    return body


def _prefix_names(graph: onnx.GraphProto, kept: set[str]) -> None:
    """Make the inner names of a graph differ from those of the graph around it."""

    def renamed(name: str) -> str:
        return name if not name or name in kept else f"step.{name}"

    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for initializer in graph.initializer:
        initializer.name = renamed(initializer.name)
    del graph.value_info[:]


def _lift_weights(inner: onnx.GraphProto, outer: onnx.GraphProto) -> None:
    """Keep the weights of both graphs once, in the outer one, where they are prepared when the model loads."""
    outer.initializer.extend(inner.initializer)
    del inner.initializer[:]
    known: dict[tuple[bytes, tuple[int, ...]], str] = {}
    for graph in (outer, inner):
        replaced = {}
        for node in [node for node in graph.node if node.op_type == "Constant"]:
            value = node.attribute[0].t
            if np.prod(value.dims) < _FOLD_FROM:
                continue
            key = (numpy_helper.to_array(value).tobytes(), tuple(value.dims))
            if key not in known:
                known[key] = f"constant.{len(known)}"
                value.name = known[key]
                outer.initializer.append(value)
            replaced[node.output[0]] = known[key]
            graph.node.remove(node)
        for node in graph.node:
            node.input[:] = [replaced.get(name, name) for name in node.input]


def _add_fourier_tables(graph: onnx.GraphProto, length: int) -> None:
    """Nodes that compute ``cosine`` and ``sine`` from counting; runtimes fold them into constants when they load."""
    half = length // 2

    def constant(name: str, value: object, kind: type) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, kind), f"table.{name}"))
        return f"table.{name}"

    count = constant("half", half, np.int64)
    nodes = [
        helper.make_node(
            "Range", [constant("zero", 0, np.int64), count, constant("one", 1, np.int64)], ["table.steps"]
        ),
        helper.make_node("Unsqueeze", ["table.steps", constant("axis", [1], np.int64)], ["table.column"]),
        helper.make_node("Mul", ["table.column", "table.steps"], ["table.product"]),
        helper.make_node("Mod", ["table.product", constant("length", length, np.int64)], ["table.turns"]),
        helper.make_node("Cast", ["table.turns"], ["table.real_turns"], to=TensorProto.FLOAT),
        helper.make_node(
            "Mul", ["table.real_turns", constant("step", 2 * np.pi / length, np.float32)], ["table.angle"]
        ),
        helper.make_node("Cos", ["table.angle"], ["cosine"]),
        helper.make_node("Sin", ["table.angle"], ["sine"]),
    ]
    _prepend(graph, nodes)


def _prepend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _add_scan(graph: onnx.GraphProto, body: onnx.GraphProto) -> None:
    """Run the body over the frames of ``levels``, ``hidden`` and ``present``, and join its hops to ``samples``."""
    for name, inner in zip(_STEP_STATES, list(body.input), strict=False):
        shape = ["batch", *(size.dim_value for size in inner.type.tensor_type.shape.dim[1:])]
        graph.input.append(helper.make_tensor_value_info(STATE_PREFIX + name, TensorProto.FLOAT, shape))
        graph.output.append(helper.make_tensor_value_info(NEXT_PREFIX + name, TensorProto.FLOAT, shape))
    scan = helper.make_node(
        "Scan",
        [*(STATE_PREFIX + name for name in _STEP_STATES), *_STEP_INPUTS],
        [*(NEXT_PREFIX + name for name in _STEP_STATES), "hops"],
        num_scan_inputs=len(_STEP_INPUTS),
        scan_input_axes=[1] * len(_STEP_INPUTS),
        scan_output_axes=[1],
        body=body,
    )
    graph.initializer.append(numpy_helper.from_array(np.array([0, -1], np.int64), "flat"))
    graph.node.extend([scan, helper.make_node("Reshape", ["hops", "flat"], ["samples"])])
    for name in _STEP_INPUTS:
        graph.output.remove(next(value for value in graph.output if value.name == name))
    graph.output.insert(0, helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "samples"]))


def _store_in_half(graph: onnx.GraphProto) -> None:
    """Store large weights as float16, cast back when the model loads; arithmetic stays in float32."""
    casts = []
    for initializer in graph.initializer:
        if initializer.data_type != TensorProto.FLOAT or np.prod(initializer.dims) < _FOLD_FROM:
            continue
        name = initializer.name
        values = numpy_helper.to_array(initializer).astype(np.float16)
        initializer.CopyFrom(numpy_helper.from_array(values, f"half.{name}"))
        casts.append(helper.make_node("Cast", [f"half.{name}"], [name], to=TensorProto.FLOAT))
    _prepend(graph, casts)
