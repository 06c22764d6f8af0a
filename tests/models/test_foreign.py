"""ONNX and OpenVINO files: shapes, layouts, batches, which output is taken, and what is refused."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reidentify.errors import InputError
from reidentify.models.foreign import ForeignNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

Sides = Sequence[int | str]


def write(
    path: Path,
    shape: Sides = ("n", 3, 4, 2),
    outputs: dict[str, Sides] | None = None,
    dtype: str = "FLOAT",
    inputs: int = 1,
) -> Path:
    """A network of channel means. Each output holds them in its own shape, times 1, 2, 3, ..."""
    from onnx import TensorProto, helper, numpy_helper

    kind = getattr(TensorProto, dtype)
    values = np.float16 if dtype == "FLOAT16" else np.float32
    outputs = outputs or {"vectors": ("n", 3)}
    channels = list(shape).index(3) if 3 in shape else 1
    spatial = [axis for axis in range(1, len(shape)) if axis != channels]
    nodes = [helper.make_node("ReduceMean", ["images"], ["means"], axes=spatial, keepdims=0)]
    constants = []
    for factor, (name, sides) in enumerate(outputs.items(), start=1):
        constants += [
            numpy_helper.from_array(np.array(factor, values), f"{name}_factor"),
            numpy_helper.from_array(np.array([n if isinstance(n, int) else -1 for n in sides]), f"{name}_shape"),
        ]
        nodes += [
            helper.make_node("Mul", ["means", f"{name}_factor"], [f"{name}_product"]),
            helper.make_node("Reshape", [f"{name}_product", f"{name}_shape"], [name]),
        ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info(f"images{i or ''}", kind, shape) for i in range(inputs)],
        [helper.make_tensor_value_info(name, kind, sides) for name, sides in outputs.items()],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def to_openvino(path: Path) -> Path:
    """The same network as OpenVINO's intermediate representation."""
    openvino = pytest.importorskip("openvino")
    target = path.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(path), target, compress_to_fp16=False)
    return target


@pytest.fixture(params=["onnx", "openvino"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A writer of networks, as either kind of file."""

    def writer(**settings: Any) -> Path:
        path = write(tmp_path / "means.onnx", **settings)
        return path if request.param == "onnx" else to_openvino(path)

    return writer


def pictures(n: int, height: int = 4, width: int = 2) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Image i, channel c is i + c / 10 everywhere, but for two pixels that cancel."""
    means = np.arange(n)[:, None] + np.arange(3) / 10
    images = np.broadcast_to(means[:, :, None, None], (n, 3, height, width)).astype(np.float32).copy()
    images[:, :, 0, 0] += 1
    images[:, :, -1, -1] -= 1
    return images


@pytest.mark.parametrize(("batch", "layout"), [("n", "NHWC"), (1, "NCHW"), (2, "NHWC"), (5, "NCHW"), (8, "NHWC")])
def test_any_batch_and_layout(written: Any, batch: int | str, layout: str) -> None:
    shape = (batch, 3, 4, 2) if layout == "NCHW" else (batch, 4, 2, 3)
    network = ForeignNetwork(written(shape=shape, outputs={"vectors": (batch, 3)}))
    assert (network.size, network.layout) == ((4, 2), layout)
    assert network.batch == (None if batch == "n" else batch)
    vectors = network(pictures(5))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, np.arange(5)[:, None] + np.arange(3) / 10, atol=1e-6)


def test_tensor_for_tensor(written: Any) -> None:
    network = ForeignNetwork(written())
    vectors = network(torch.from_numpy(pictures(2)))
    assert isinstance(vectors, torch.Tensor)
    torch.testing.assert_close(vectors, torch.tensor([[0.0, 0.1, 0.2], [1.0, 1.1, 1.2]]))


def test_first_vector_is_taken_unless_another_is_named(written: Any) -> None:
    outputs = {"stack": (1, "n", 3), "flat": ("n", 3, 1, 1), "plain": ("n", 3)}
    path = written(outputs=outputs)
    network = ForeignNetwork(path)
    assert network.output == "flat"
    np.testing.assert_allclose(network(pictures(2)), [[0, 0.2, 0.4], [2, 2.2, 2.4]], atol=1e-6)
    np.testing.assert_allclose(ForeignNetwork(path, output="plain")(pictures(1)), [[0, 0.3, 0.6]], atol=1e-6)
    with pytest.raises(InputError, match=r"no output 'logits'; it has stack .*, flat .*, plain"):
        ForeignNetwork(path, output="logits")
    with pytest.raises(InputError, match="expected a vector for each of 2 images from stack, got 1 x 2 x 3"):
        ForeignNetwork(path, output="stack")(pictures(2))


def test_no_vector(written: Any) -> None:
    with pytest.raises(InputError, match=r"no output is one vector per image; it has stack"):
        ForeignNetwork(written(outputs={"stack": (1, "n", 3)}))


def test_open_size_must_be_given(written: Any) -> None:
    path = written(shape=("n", 3, "h", "w"))
    with pytest.raises(InputError, match="takes images of any size; give a size"):
        ForeignNetwork(path)
    network = ForeignNetwork(path, size=(6, 3))
    assert network.size == (6, 3)
    np.testing.assert_allclose(network(pictures(1, 6, 3)), [[0, 0.1, 0.2]], atol=1e-6)


def test_size_must_agree(written: Any) -> None:
    path = written()
    assert ForeignNetwork(path, size=(4, 2)).size == (4, 2)
    with pytest.raises(InputError, match=r"takes images of 4 x 2 \(height x width\), not 2 x 4"):
        ForeignNetwork(path, size=(2, 4))


def test_layout_that_the_shape_does_not_tell(written: Any) -> None:
    path = written(shape=("n", 3, 4, 3))
    with pytest.raises(InputError, match="does not tell which side is the 3 channels; give a layout"):
        ForeignNetwork(path)
    assert ForeignNetwork(path, layout="NCHW").size == (4, 3)
    with pytest.raises(InputError, match="layout: expected NCHW or NHWC"):
        ForeignNetwork(path, layout="HWC")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is not NHWC with 3 channels"):
        ForeignNetwork(written(), layout="NHWC")


def test_half_precision_network(written: Any) -> None:
    vectors = ForeignNetwork(written(dtype="FLOAT16"))(pictures(2))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0, 0.1, 0.2], [1, 1.1, 1.2]], atol=2e-3)


@pytest.mark.parametrize("settings", [{"shape": ("n", 3, 4)}, {"inputs": 2}, {"dtype": "INT32"}])
def test_other_inputs(tmp_path: Path, settings: dict[str, Any]) -> None:
    if "dtype" in settings:
        path = tmp_path / "means.onnx"
        model = onnx.load(write(path))
        cast = onnx.helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT)
        model.graph.node[0].input[0] = "floats"
        model.graph.node.insert(0, cast)
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
        onnx.save(model, path)
    else:
        path = write(tmp_path / "means.onnx", **settings)
    with pytest.raises(InputError, match=r"means\.onnx: expected one input, float images of rank 4; it has images "):
        ForeignNetwork(path)


def test_other_images(written: Any) -> None:
    network = ForeignNetwork(written())
    for shape in ((1, 3, 2, 4), (1, 1, 4, 2), (3, 4, 2), (0, 3, 4, 2)):
        got = " x ".join(map(str, shape))
        with pytest.raises(InputError, match=f"expected images of B x 3 x 4 x 2 with B at least 1, got {got}$"):
            network(np.zeros(shape, np.float32))


def test_size_that_the_graph_cannot_take(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The shape says any width, but a product inside needs 2. The runtime itself prints nothing."""
    path = tmp_path / "fixed.onnx"
    model = onnx.load(write(path, shape=("n", 3, 4, "w")))
    model.graph.node[0].input[0] = "scaled"
    row = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 2), np.float32), "row")
    model.graph.initializer.append(row)
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["images", "row"], ["scaled"]))
    onnx.save(model, path)
    np.testing.assert_allclose(ForeignNetwork(path, size=(4, 2))(pictures(1)), [[0, 0.1, 0.2]], atol=1e-6)
    with pytest.raises(InputError, match=r"fixed\.onnx: fails on images of \(4, 3\)") as error:
        ForeignNetwork(path, size=(4, 3))(pictures(1, 4, 3))
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["broken.onnx", "broken.xml"])
@pytest.mark.parametrize("content", [b"", b"no network", b"<net></net>"])
def test_broken_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: not an (ONNX|OpenVINO)") as error:
        ForeignNetwork(tmp_path / name)
    assert "\n" not in str(error.value)


def test_openvino_without_its_weights(tmp_path: Path) -> None:
    path = to_openvino(write(tmp_path / "means.onnx"))
    path.with_suffix(".bin").unlink()
    with pytest.raises(InputError, match=r"means\.xml: not an OpenVINO network, or its \.bin is missing"):
        ForeignNetwork(path)


def test_other_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.onnx: no such file"):
        ForeignNetwork(tmp_path / "nowhere.onnx")
    with pytest.raises(InputError, match=r"model\.pth: expected an ONNX \(\.onnx\) or OpenVINO \(\.xml\) file"):
        ForeignNetwork(tmp_path / "model.pth")


def test_other_devices(written: Any) -> None:
    with pytest.raises(InputError, match="'abacus'"):
        ForeignNetwork(written(), device="abacus")


@pytest.mark.parametrize(("name", "runtime"), [("means.onnx", "onnxruntime"), ("means.xml", "openvino")])
def test_missing_runtime_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, runtime: str
) -> None:
    (tmp_path / name).write_bytes(b"")
    original = builtins.__import__

    def without_runtime(module: str, *args: Any, **kwargs: Any) -> Any:
        if module == runtime:
            raise ImportError(module)
        return original(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_runtime)
    with pytest.raises(InputError, match=rf"{name}: .* needs {runtime}: pip install reidentify\[export\]"):
        ForeignNetwork(tmp_path / name)
