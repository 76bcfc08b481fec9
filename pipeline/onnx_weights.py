"""From an exported ONNX graph back to the weights of a timm vision transformer.

The graph is one that PyTorch wrote from Hugging Face's DINOv2 module. Most
tensors keep their names. Three kinds do not: matrix weights (found through
the MatMul node that reads them, and stored transposed), and the position
embeddings of class token and patches (unnamed constants, known by their
shapes). Nothing of the graph is run, and nodes outside the backbone are left
aside.

Source of both layouts: ``transformers`` Dinov2Model and ``timm``
VisionTransformer; the tests hold the outputs of the one to the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no stubs shipped
from onnx import numpy_helper

Array: TypeAlias = npt.NDArray[np.float32]

_EMBEDDINGS = "backbone.embeddings"
_BLOCK = "backbone.encoder.layer.{}"
_BLOCK_OF = re.compile(r"^backbone\.encoder\.layer\.(\d+)\.")

_NAMED_IN_BLOCK = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "attn.proj.bias": "attention.output.dense.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.bias": "mlp.fc2.bias",
    "ls2.gamma": "layer_scale2.lambda1",
}
_MATRICES_IN_BLOCK = {
    "attn.proj.weight": "attention.output.dense",
    "mlp.fc1.weight": "mlp.fc1",
    "mlp.fc2.weight": "mlp.fc2",
}
_QKV = ("query", "key", "value")


def timm_tensors(model: bytes) -> dict[str, Array]:
    """Return the backbone's tensors under timm's names.

    Args:
        model: A serialized ONNX ModelProto.

    Returns:
        ``cls_token`` (1, 1, C), ``pos_embed`` (1, 1 + P, C), ``patch_embed.proj.*``,
        ``blocks.i.*`` and ``norm.*``; float32, contiguous.

    Raises:
        ValueError: Not an ONNX model, or a tensor is missing from it.
    """
    graph = _load_graph(model)
    constants = _constants(graph)
    matrices = _matrices(graph, constants)
    tensors = _embeddings(constants)
    depth = len({match[1] for name in constants if (match := _BLOCK_OF.match(name))})
    for index in range(depth):
        tensors |= {
            f"blocks.{index}.{key}": value
            for key, value in _block(_BLOCK.format(index), constants, matrices).items()
        }
    for part in ("weight", "bias"):
        tensors[f"norm.{part}"] = _pick(constants, f"backbone.layernorm.{part}")
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def _load_graph(model: bytes) -> Any:  # noqa: ANN401 - onnx ships no types for its messages
    """Parse the model; only its graph matters."""
    try:
        return onnx.load_model_from_string(model).graph
    except DecodeError as error:
        msg = f"not an ONNX model: {error}"
        raise ValueError(msg) from error


def _constants(graph: Any) -> dict[str, Array]:  # noqa: ANN401 - see _load_graph
    """Return every constant tensor by name: initializers and Constant nodes."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found |= dict.fromkeys(node.output, node.attribute[0].t)
    return {name: numpy_helper.to_array(tensor) for name, tensor in found.items()}


def _matrices(graph: Any, constants: Mapping[str, Array]) -> dict[str, Array]:  # noqa: ANN401
    """Return the (out, in) weight of each linear layer by the layer's dotted name.

    The MatMul ``/backbone/encoder/layer.0/mlp/fc1/MatMul`` computes x W, so
    its second input is the transpose of the layer's weight.
    """
    return {
        node.name.strip("/").removesuffix("/MatMul").replace("/", "."): constants[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    }


def _embeddings(constants: Mapping[str, Array]) -> dict[str, Array]:
    """Return class token, patch projection and position embeddings."""
    cls_token = _pick(constants, f"{_EMBEDDINGS}.cls_token")
    projection = f"{_EMBEDDINGS}.patch_embeddings.projection"
    return {
        "cls_token": cls_token,
        "pos_embed": _position_embeddings(constants, cls_token.shape[-1]),
        "patch_embed.proj.weight": _pick(constants, f"{projection}.weight"),
        "patch_embed.proj.bias": _pick(constants, f"{projection}.bias"),
    }


def _position_embeddings(constants: Mapping[str, Array], channels: int) -> Array:
    """Join the two unnamed constants (1, 1, C) and (1, P, C) to (1, 1 + P, C)."""
    unnamed = [
        value
        for name, value in constants.items()
        if not name.startswith("backbone.") and value.shape == (1, *value.shape[1:2], channels)
    ]
    unnamed.sort(key=lambda value: value.shape[1])
    if len(unnamed) != 2 or unnamed[0].shape[1] != 1:  # noqa: PLR2004 - class token and patches
        shapes = [value.shape for value in unnamed]
        msg = f"position embeddings not found: shapes {shapes}, must be (1, 1, C) and (1, P, C)"
        raise ValueError(msg)
    return np.concatenate(unnamed, axis=1)


def _block(
    layer: str, constants: Mapping[str, Array], matrices: Mapping[str, Array]
) -> dict[str, Array]:
    """Return one transformer block; query, key and value are stacked in this order."""
    attention = f"{layer}.attention.attention"
    tensors = {key: _pick(constants, f"{layer}.{old}") for key, old in _NAMED_IN_BLOCK.items()}
    tensors |= {key: _pick(matrices, f"{layer}.{old}") for key, old in _MATRICES_IN_BLOCK.items()}
    tensors["attn.qkv.weight"] = np.concatenate(
        [_pick(matrices, f"{attention}.{part}") for part in _QKV]
    )
    tensors["attn.qkv.bias"] = np.concatenate(
        [_pick(constants, f"{attention}.{part}.bias") for part in _QKV]
    )
    return tensors


def _pick(tensors: Mapping[str, Array], name: str) -> Array:
    """Return a tensor, or say which one the graph lacks."""
    if name not in tensors:
        msg = f"the ONNX graph has no tensor {name!r}"
        raise ValueError(msg)
    return tensors[name]
