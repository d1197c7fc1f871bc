"""A trained checkpoint as one self-contained streaming ONNX graph: ``python onnx/train/export.py CHECKPOINT FILE``.

The magnitude network runs over all frames of a call at once; the phase step is the body of a Scan over frames.
Fourier transforms are matrix products with tables that the graph itself computes, so the file holds the weights and
little else.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from networks import LOG_CEILING
from onnx import TensorProto, helper, numpy_helper
from phase import Frames
from tasks import load_vocoder
from torch import Tensor, nn
from vocoder import SILENT_LOG, SILENT_LOG10_MEL, Vocoder, spectrum

from audio_avif.config import MelConfig
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.vocoders.onnx_model import NEXT_PREFIX, STATE_PREFIX, ModelInfo

OPSET = 20
_FOLD_FROM = 1024  # weights of fewer values stay in single precision


class MagnitudeStream(nn.Module):
    """The magnitude network with its past as explicit state; output frame k belongs to mel frame k - 1.

    The frame before a stream's first is silent: ``heard`` is 0 until a frame has been heard. NaN counts as silence, for
    it would never leave the state again.
    """

    def __init__(self, vocoder: Vocoder) -> None:
        super().__init__()
        self.net = vocoder.magnitude

    def forward(self, log_mel: Tensor, heard: Tensor, prior: Tensor, *pasts: Tensor) -> tuple[Tensor, ...]:
        frames = log_mel.transpose(1, 2)
        frames = torch.where(frames.isnan(), torch.full_like(frames, SILENT_LOG10_MEL), frames)
        priors = torch.cat([prior, self.net.prior(frames)], dim=1)
        correction, hidden, next_pasts = self.net.stream(frames, priors[:, 1:], list(pasts))
        flags = torch.cat([heard, torch.ones_like(frames[:, :, :1])], dim=1)
        present = flags[:, :-1]
        now = (priors[:, :-1] + correction).clamp(max=LOG_CEILING)
        levels = torch.stack([present * (now - SILENT_LOG), priors[:, :-1], priors[:, 1:]], dim=2)[..., :-1]
        return levels, hidden, present, flags[:, -1:], priors[:, -1:], *next_pasts


class MatrixFrames(Frames):
    """``Frames`` with matrix products for Fourier transforms, halved by symmetry about the centre of the window.

    ``cosine`` and ``sine`` are ``[n_fft // 2, n_fft // 2]`` tables of ``2 pi bin offset / n_fft``. The window's first
    sample, whose partner lies outside, is zero.
    """

    scale: Tensor

    def __init__(self, mel: MelConfig) -> None:
        super().__init__(mel)
        self.middle = self.length // 2
        scale = torch.full((self.middle,), 2.0 / self.length)
        scale[0] /= 2
        self.register_buffer("scale", scale)

    def use(self, cosine: Tensor, sine: Tensor) -> None:
        """Take the tables from the graph."""
        self._cosine, self._sine = cosine, sine

    def analyse(self, windows: Tensor) -> Tensor:
        """``[rows, n_fft]`` -> ``[rows, 2, bins]``."""
        windowed = windows * self.window
        right = windowed[:, self.middle :]
        left = torch.cat([windowed[:, :1], windowed[:, 1 : self.middle].flip(1)], dim=1)
        parts = [(right + left) @ self._cosine, (left - right) @ self._sine]
        return torch.cat(parts, dim=1).reshape(-1, 2, self.middle)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """``[rows, 2, bins]`` -> ``[rows, n_fft]``, ready to be added up."""
        scaled = spectrum * self.scale
        even, odd = scaled[:, 0] @ self._cosine, scaled[:, 1] @ self._sine
        left = (even + odd).flip(1)
        return torch.cat([torch.zeros_like(left[:, :1]), left[:, :-1], even - odd], dim=1) * self.synthesis


class FrameStep(nn.Module):
    """One frame of the recursion. Wanted levels are counted from silence, so that zero state is silence."""

    def __init__(self, vocoder: Vocoder, mel: MelConfig) -> None:
        super().__init__()
        self.step = vocoder.phase
        self.frames = MatrixFrames(mel)
        self.hop = vocoder.frames.hop

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


def build_graph(vocoder: Vocoder, mel: MelConfig, name: str, *, half: bool = True) -> onnx.ModelProto:
    """The streaming graph of the contract in ``docs/models.md``, weights stored in half precision on demand."""
    vocoder = vocoder.eval().float()
    outer = _export_magnitudes(vocoder, mel)
    body = _export_step(vocoder, mel)
    _lift_weights(body, outer)
    _add_fourier_tables(outer, mel.n_fft)
    _add_scan(outer, body, mel)
    if half:
        _store_in_half(outer)
    info = ModelInfo(
        name=name,
        mel=mel,
        latency_samples=vocoder.lookahead_frames * mel.hop_samples + mel.n_fft // 2,
    )
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


def _export_magnitudes(vocoder: Vocoder, mel: MelConfig) -> onnx.GraphProto:
    pasts = vocoder.magnitude.zero_state(1)
    past_names = [f"magnitude{number}" for number in range(len(pasts))]
    states = ["heard", "prior", *past_names]
    inputs = (torch.zeros(1, mel.n_mels, 5), torch.zeros(1, 1, 1), torch.zeros(1, 1, mel.n_fft // 2 + 1), *pasts)
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


def _export_step(vocoder: Vocoder, mel: MelConfig) -> onnx.GraphProto:
    bins = mel.n_fft // 2
    cosine, sine = fourier_tables(mel.n_fft)
    inputs = (
        torch.zeros(1, mel.n_fft - mel.hop_samples),
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
    body = _to_onnx(FrameStep(vocoder, mel), inputs, [*names, "cosine", "sine"], outputs, open_axes)
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


def _add_scan(graph: onnx.GraphProto, body: onnx.GraphProto, mel: MelConfig) -> None:
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


def export(checkpoint: Path, target: Path, name: str, *, half: bool = True) -> None:
    """Write a checkpoint's averaged weights as a model file. Raises ModelError or FileError where that fails."""
    mel = MelConfig()
    save_graph(build_graph(load_vocoder(checkpoint, mel), mel, name, half=half), target)


def save_graph(model: onnx.ModelProto, target: Path) -> None:
    """Write a graph whole or not at all. Raises FileError where that fails."""
    partial = target.with_suffix(".part")
    try:
        partial.write_bytes(model.SerializeToString())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FileError(f"{target} cannot be written: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0, or 1 for a failure told in one sentence."""
    parser = argparse.ArgumentParser(description="Export a trained checkpoint as a streaming ONNX model.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path, help="the .onnx file to write")
    parser.add_argument("--name", default="embedded", help="the name the model goes by")
    parser.add_argument("--float32", action="store_true", help="store weights in single precision")
    args = parser.parse_args(arguments)
    try:
        export(args.checkpoint, args.target, args.name, half=not args.float32)
    except AudioAvifError as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
