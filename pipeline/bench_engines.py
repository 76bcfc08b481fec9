"""Other engines than torch that run a backbone, for ``bench backbone`` alone.

ONNX Runtime and OpenVINO are given the same ONNX file, which torch writes of the
plain float32 network into a temporary folder; both compute in float32 with as many
threads as torch. They are no dependencies: what is not installed, or fails, is
reported by name. ``pip install 'musc-edge[engines]'`` brings them.
"""

from __future__ import annotations

import importlib
import io
import tempfile
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    Extract: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]

ENGINES = {
    "onnxruntime": ("onnxruntime", "onnxscript"),
    "openvino": ("openvino", "onnxscript"),
}
"""Engines by name, and the packages that each needs; onnxscript writes the file."""


def other_engines(module: nn.Module, batch: Tensor) -> dict[str, Extract | str]:
    """Prepare every engine that is there.

    Args:
        module: From a batch to tokens and image features, in main memory.
        batch: Of the shape that the engines will be given.

    Returns:
        By name, what runs the module, or why there is none.
    """
    found: dict[str, Extract | str] = {}
    with tempfile.TemporaryDirectory(prefix="musc-edge-bench-") as folder:
        path = Path(folder) / "backbone.onnx"
        for name, packages in ENGINES.items():
            missing = [package for package in packages if find_spec(package) is None]
            if missing:
                found[name] = f"not installed ({', '.join(missing)})"
                continue
            try:
                if not path.exists():
                    _export(module, batch, path)
                found[name] = _STARTERS[name](path)
            except (RuntimeError, ValueError, OSError, ImportError) as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                found[name] = f"failed: {lines[0][:80]}"
    return found


def _export(module: nn.Module, batch: Tensor, path: Path) -> None:
    """Write the module for batches of this shape; the exporter's own talk is kept back."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (batch,),
            str(path),
            input_names=["batch"],
            output_names=["tokens", "image_features"],
            dynamo=True,
            verbose=False,
        )


def _onnxruntime(path: Path) -> Extract:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        tokens, image_features = session.run(None, {"batch": batch.numpy()})
        return torch.from_numpy(tokens), torch.from_numpy(image_features)

    return run


def _openvino(path: Path) -> Extract:
    openvino = importlib.import_module("openvino")
    settings = {
        # Without the hint it takes bfloat16 where the CPU knows it.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        result = request.infer({0: batch.numpy()}, share_inputs=True)
        # The request writes into the same memory again next time.
        return torch.from_numpy(result[0].copy()), torch.from_numpy(result[1].copy())

    return run


_STARTERS: dict[str, Callable[[Path], Extract]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
