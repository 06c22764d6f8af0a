"""Pose networks as tiny ONNX files, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def constant_graph(path: Path, outputs: dict[str, np.ndarray], size: tuple[int, int] = (32, 16)) -> Path:
    """A network that returns these values (1 x ...) for any image, plus the image's mean, times 0.

    Values whose first side is not 1 come once, as they are.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("ReduceMean", ["images"], ["means"], axes=[1, 2, 3], keepdims=1)]
    nodes += [helper.make_node("Mul", ["means", "zero"], ["nothing"])]
    constants = [numpy_helper.from_array(np.zeros(1, np.float32), "zero")]
    values = []
    for name, value in outputs.items():
        constants += [numpy_helper.from_array(value.astype(np.float32), f"{name}_value")]
        if len(value) != 1:
            nodes += [helper.make_node("Identity", [f"{name}_value"], [name])]
            values += [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)]
            continue
        constants += [numpy_helper.from_array(np.array([-1] + [1] * (value.ndim - 1)), f"{name}_shape")]
        nodes += [helper.make_node("Reshape", ["nothing", f"{name}_shape"], [f"{name}_column"])]
        nodes += [helper.make_node("Add", [f"{name}_column", f"{name}_value"], [name])]
        values += [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *value.shape[1:]])]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, *size])
    graph = helper.make_graph(nodes, "constant", [images], values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
