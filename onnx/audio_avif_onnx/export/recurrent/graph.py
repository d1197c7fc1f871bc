"""A recurrent vocoder as one self-contained streaming ONNX graph of the contract in ``docs/reference/models.md``.

``FrameConditions`` runs over all frames of a call at once; ``FrameStep`` is the body of a Scan over frames. The tables
of the Fourier transforms are computed in the graph, so the file holds the weights and little else.
"""

from __future__ import annotations

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from audio_avif.vocoders.onnx_model import NEXT_PREFIX, STATE_PREFIX, ModelInfo
from audio_avif_onnx.export.graphs import (
    add_scan,
    append_graph,
    lift_weights,
    prefix_names,
    store_in_half,
    to_model,
    to_onnx,
)
from audio_avif_onnx.export.members import members
from audio_avif_onnx.export.recurrent.fourier import FourierTables, fourier_indices
from audio_avif_onnx.export.recurrent.refiner import RefinementPass, Refiner
from audio_avif_onnx.export.recurrent.streaming import KNOWN, FrameConditions, FrameStep, PhaseStream, RefinerStream
from audio_avif_onnx.export.recurrent.vocoder import Vocoder

_STEP_STATES = ("past", "turned")
_STEP_INPUTS = ("now", "others", "first", "second", "present")
_REFINER_INPUTS = ("features", "levels")
_INDICES = ("row", "sample")
_TABLES = ("coarse", "twiddle", "fine", "coarse_back", "fine_back")


class BeforeScan(nn.Module):
    """The graph before the Scan: tables, then the frames' conditions."""

    def __init__(self, vocoder: Vocoder, first: PhaseStream, second: PhaseStream) -> None:
        super().__init__()
        self.tables = FourierTables(vocoder.frames.length)
        self.conditions = FrameConditions(vocoder, first, second)

    def forward(self, row: Tensor, sample: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (*self.tables(row, sample), *self.conditions(*inputs))


class RefinerStep(nn.Module):
    """The second stage, with the tables of its transforms computed from indices."""

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        self.stream = RefinerStream(refiner)
        passes = members(refiner.passes, RefinementPass)
        self.tables = nn.ModuleList(FourierTables(each.config.window_samples) for each in passes)
        self._inputs = 3 + len(refiner.stream_state(1))

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        indices = values[self._inputs :]
        tables = [
            table
            for number, counted in enumerate(self.tables)
            for table in counted(*indices[len(_INDICES) * number : len(_INDICES) * (number + 1)])
        ]
        result: tuple[Tensor, ...] = self.stream(*values[: self._inputs], *tables)
        return result


def build_graph(vocoder: Vocoder, name: str, *, half: bool = True) -> onnx.ModelProto:
    """Build the streaming graph, with weights in half or single precision."""
    vocoder = vocoder.eval().float()
    first, second = PhaseStream(vocoder.phase.first, KNOWN), PhaseStream(vocoder.phase.second)
    outer = _export_before_scan(vocoder, first, second)
    body = _export_step(vocoder, first, second)
    lift_weights(outer, body)
    _return_kernels(body, outer)
    add_scan(outer, body, list(_STEP_STATES), list(_STEP_INPUTS))
    if vocoder.config.refiner:
        append_graph(outer, _export_refiner(vocoder), "refiner.", ["samples", *_REFINER_INPUTS])
    if half:
        store_in_half(outer)
    info = ModelInfo(name=name, mel=vocoder.config.mel, latency_samples=vocoder.config.latency_samples)
    return to_model(outer, info)


def _export_before_scan(vocoder: Vocoder, first: PhaseStream, second: PhaseStream) -> onnx.GraphProto:
    pasts = vocoder.magnitude.zero_state(1)
    states = ["heard", "prior", "level_before", *(f"magnitude{number}" for number in range(len(pasts)))]
    indices = fourier_indices(vocoder.frames.length)
    inputs = (
        *indices,
        torch.zeros(1, vocoder.config.mel.n_mels, 5),
        torch.zeros(1, 1, 1),
        torch.zeros(1, 1, vocoder.config.bins),
        torch.zeros(1, 1, first.bins),
        *pasts,
    )
    names = ["log_mel", *(STATE_PREFIX + state for state in states)]
    per_frame = [*_STEP_INPUTS, *(_REFINER_INPUTS if vocoder.config.refiner else ())]
    outputs = [*per_frame, *(NEXT_PREFIX + state for state in states)]
    open_axes = {name: {0: "batch"} for name in [*names, *outputs]}
    open_axes["log_mel"][2] = "frames"
    for name in per_frame:
        open_axes[name][1] = "frames"
    module = BeforeScan(vocoder, first, second)
    graph = to_onnx(module, inputs, [*_INDICES, *names], [*_TABLES, *outputs], open_axes)
    # counting stays in the graph: runtimes turn it and the tables into constants when they load
    del graph.input[: len(_INDICES)], graph.output[: len(_TABLES)]
    for index, name in zip(indices, _INDICES, strict=True):
        graph.initializer.append(numpy_helper.from_array(index.numpy(), name))
    return graph


def _export_refiner(vocoder: Vocoder) -> onnx.GraphProto:
    """Export the second stage, which takes the samples of the first and computes its own tables."""
    hop, traced = vocoder.config.mel.hop_samples, 5
    states = vocoder.refiner.stream_state(1)
    state_names = [f"refiner{number}" for number in range(len(states))]
    windows = [each.config.window_samples for each in members(vocoder.refiner.passes, RefinementPass)]
    indices = [values for window in windows for values in fourier_indices(window)]
    index_names = [f"{name}{number}" for number in range(len(windows)) for name in _INDICES]
    inputs = (
        torch.zeros(1, traced * hop),
        torch.zeros(1, traced, vocoder.config.magnitude.channels),
        torch.zeros(1, traced, 2, vocoder.config.bins - 1),
        *states,
        *indices,
    )
    names = ["samples", *_REFINER_INPUTS, *(STATE_PREFIX + name for name in state_names)]
    outputs = ["samples.out", *(NEXT_PREFIX + name for name in state_names)]
    open_axes = {name: {0: "batch"} for name in [*names, *outputs]}
    for name in ("samples", *_REFINER_INPUTS, "samples.out"):
        open_axes[name][1] = "frames"
    module = RefinerStep(vocoder.refiner)
    graph = to_onnx(module, inputs, [*names, *index_names], outputs, open_axes)
    del graph.input[len(names) :]
    for values, name in zip(indices, index_names, strict=True):
        graph.initializer.append(numpy_helper.from_array(values.numpy(), name))
    return graph


def _export_step(vocoder: Vocoder, first: PhaseStream, second: PhaseStream) -> onnx.GraphProto:
    window, bins = vocoder.frames.length, first.bins
    inputs = (
        torch.zeros(1, window - vocoder.frames.hop),
        torch.zeros(1, 4, bins),
        torch.zeros(1, 1, bins),
        torch.zeros(1, 3, bins),
        *(torch.zeros(1, 1, *net.place.shape) for net in (first, second)),
        torch.zeros(1, 1, 1),
        *FourierTables(window)(*fourier_indices(window)),
    )
    names = [f"step.{name}" for name in (*_STEP_STATES, *_STEP_INPUTS)]
    outputs = [f"step.next.{name}" for name in _STEP_STATES] + ["step.samples"]
    open_axes = {name: {0: "batch"} for name in [*names, *outputs]}
    body = to_onnx(FrameStep(vocoder, first, second), inputs, [*names, *_TABLES], outputs, open_axes)
    del body.input[len(names) :]  # the body takes the tables from the graph around it
    prefix_names(body, {*names, *outputs, *_TABLES})
    return body


def _return_kernels(body: onnx.GraphProto, outer: onnx.GraphProto) -> None:
    """Move convolution weights back into the body: only there ONNX Runtime uses a faster layout for them."""
    kernels = {node.input[1] for node in body.node if node.op_type == "Conv"}
    for initializer in [each for each in outer.initializer if each.name in kernels]:
        body.initializer.append(initializer)
        outer.initializer.remove(initializer)
