"""Build streaming ONNX graphs (``docs/reference/models.md``): the functions that all networks share."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnx.checker
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from audio_avif.vocoders.onnx_model import NEXT_PREFIX, STATE_PREFIX, ModelInfo
from audio_avif_onnx.export.exporter import quiet_torch

FOLD_FROM = 1024  # weights of fewer values stay in single precision
_OPSET = 20


def to_onnx(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    names: list[str],
    outputs: list[str],
    open_axes: dict[str, dict[int, str]],
) -> onnx.GraphProto:
    """Trace a module into a graph with its weights as initializers."""
    file = io.BytesIO()
    with quiet_torch():
        torch.onnx.export(
            module,
            inputs,
            file,  # type: ignore[arg-type]
            input_names=names,
            output_names=outputs,
            dynamic_axes=open_axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    return onnx.load_model_from_string(file.getvalue()).graph


def prepend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Insert nodes before all others."""
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def lift_weights(outer: onnx.GraphProto, *inner: onnx.GraphProto, prefix: str = "") -> None:
    """Move weights and large constants of the body to the outer graph, where they are prepared once at load time."""
    known: dict[tuple[bytes, tuple[int, ...]], str] = {}
    for graph in inner:
        outer.initializer.extend(graph.initializer)
        del graph.initializer[:]
    for graph in (outer, *inner):
        replaced = {}
        for node in [node for node in graph.node if node.op_type == "Constant"]:
            value = node.attribute[0].t
            if np.prod(value.dims) < FOLD_FROM:
                continue
            key = (numpy_helper.to_array(value).tobytes(), tuple(value.dims))
            if key not in known:
                known[key] = f"{prefix}constant.{len(known)}"
                value.name = known[key]
                outer.initializer.append(value)
            replaced[node.output[0]] = known[key]
            graph.node.remove(node)
        for node in graph.node:
            node.input[:] = [replaced.get(name, name) for name in node.input]


def prefix_names(graph: onnx.GraphProto, kept: set[str], prefix: str = "step.") -> None:
    """Rename the inner values of a graph, so that they differ from those of the outer graph."""

    def renamed(name: str) -> str:
        return name if not name or name in kept else f"{prefix}{name}"

    for node in graph.node:
        node.name = renamed(node.name)
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for initializer in graph.initializer:
        initializer.name = renamed(initializer.name)
    del graph.value_info[:]


def add_scan(graph: onnx.GraphProto, body: onnx.GraphProto, states: list[str], per_step: list[str]) -> None:
    """Add a Scan that runs ``body``, one step of a recursion, along the second axis of some of the graph's outputs.

    The body takes ``states``, then ``per_step``, and returns the states and the step's samples;
    the states become inputs and outputs of the graph, the samples of all steps its first output.
    """
    for name, inner in zip(states, list(body.input), strict=False):
        shape: list[str | int | None] = ["batch", *(size.dim_value for size in inner.type.tensor_type.shape.dim[1:])]
        graph.input.append(helper.make_tensor_value_info(STATE_PREFIX + name, TensorProto.FLOAT, shape))
        graph.output.append(helper.make_tensor_value_info(NEXT_PREFIX + name, TensorProto.FLOAT, shape))
    scan = helper.make_node(
        "Scan",
        [*(STATE_PREFIX + name for name in states), *per_step],
        [*(NEXT_PREFIX + name for name in states), "hops"],
        num_scan_inputs=len(per_step),
        scan_input_axes=[1] * len(per_step),
        scan_output_axes=[1],
        body=body,
    )
    graph.initializer.append(numpy_helper.from_array(np.array([0, -1], np.int64), "flat"))
    graph.node.extend([scan, helper.make_node("Reshape", ["hops", "flat"], ["samples"])])
    for name in per_step:
        graph.output.remove(next(value for value in graph.output if value.name == name))
    graph.output.insert(0, helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "samples"]))


def append_graph(graph: onnx.GraphProto, after: onnx.GraphProto, prefix: str, per_frame: list[str]) -> None:
    """Connect a graph's outputs ``per_frame`` to another graph, whose other inputs and outputs become the graph's.

    The first output of both graphs is their samples; the appended graph's samples are the result.
    """
    given, made = after.output[0].name, f"{prefix}samples"
    for node in graph.node:  # the name of the samples is for the end of all
        node.output[:] = [made if name == "samples" else name for name in node.output]
    names = {value.name for value in [*after.input, *after.output]}
    prefix_names(after, names, prefix)
    for node in after.node:
        node.input[:] = [made if name == "samples" else name for name in node.input]
        node.output[:] = ["samples" if name == given else name for name in node.output]
    lift_weights(after, prefix=prefix)
    graph.node.extend(after.node)
    graph.initializer.extend(after.initializer)
    graph.input.extend(value for value in after.input if value.name not in per_frame)
    graph.output.extend(value for value in after.output if value.name != given)
    for name in per_frame[1:]:
        graph.output.remove(next(value for value in graph.output if value.name == name))


def store_in_half(graph: onnx.GraphProto) -> None:
    """Store large weights as float16, cast to float32 when the model loads; arithmetic stays in float32."""
    casts = []
    for initializer in graph.initializer:
        if initializer.data_type != TensorProto.FLOAT or np.prod(initializer.dims) < FOLD_FROM:
            continue
        name = initializer.name
        values = numpy_helper.to_array(initializer).astype(np.float16)
        initializer.CopyFrom(numpy_helper.from_array(values, f"half.{name}"))
        casts.append(helper.make_node("Cast", [f"half.{name}"], [name], to=TensorProto.FLOAT))
    prepend(graph, casts)


def to_model(graph: onnx.GraphProto, info: ModelInfo) -> onnx.ModelProto:
    """Make a model of a graph and check it."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="audio-avif")
    model.ir_version = 9
    has_state = any(value.name.startswith(STATE_PREFIX) for value in graph.input)
    helper.set_model_props(model, info.to_metadata(has_state=has_state))
    onnx.checker.check_model(model)
    return model
