"""Checkpoints of torchreid and parameters out of ONNX files: what loads, what is refused, and in which words."""

from __future__ import annotations

import pickle
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reidentify.errors import InputError, WeightsError
from reidentify.models.convert import convert, load_torchreid, osnet_of, state_from_onnx
from reidentify.models.osnet import OSNet

MSMT17 = Path("~/.cache/reidentify/data/weights/osnet_x0_25_msmt17.onnx").expanduser()


def trained(norm: str = "bn", num_classes: int = 0, feature_dim: int | None = 32) -> OSNet:
    """A network whose norms and biases are not at their initial values."""
    torch.manual_seed(0)
    network = OSNet(num_classes, 0.25, norm, feature_dim).eval()  # type: ignore[arg-type]
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.ndim == 1:
            value.normal_(0.3, 0.3)
        elif value.ndim == 2:
            value.normal_(0, 0.1)
    return network


def in_torchreid_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As torchreid's AIN network calls them: streams `conv2.T.layers.I`, transitions `pool2` and `pool3`."""
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] in ("conv2", "conv3") and parts[1] == "2":
            parts = [f"pool{parts[0][-1]}", *parts[2:]]
        elif len(parts) > 2 and parts[2] in ("conv2a", "conv2b", "conv2c", "conv2d"):
            index = [] if parts[2] == "conv2a" else [parts.pop(3)]
            parts[2:3] = ["conv2", str("abcd".index(parts[2][-1])), "layers", *(index or ["0"])]
        renamed[".".join(parts)] = value
    return renamed


def same(network: nn.Module, state: dict[str, Tensor]) -> bool:
    ours = network.state_dict()
    return ours.keys() == state.keys() and all(torch.equal(ours[k], v) for k, v in state.items())


class TestTorchreid:
    @pytest.mark.parametrize("old", [False, True], ids=["new", "before torch 1.6 and numpy 2"])
    def test_training_checkpoint(self, tmp_path: Path, old: bool) -> None:
        network = trained(num_classes=5)
        optimiser = torch.optim.Adam(network.parameters(), amsgrad=True)
        checkpoint = {
            "state_dict": {f"module.{k}": v for k, v in network.state_dict().items()},
            "epoch": 60,
            "rank1": np.float32(0.942),  # a NumPy scalar, as torchreid's evaluation returns it
            "optimizer": optimiser.state_dict(),
            "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimiser, [20, 40]).state_dict(),
        }
        path = tmp_path / "model.pth.tar-60"
        torch.save(checkpoint, path, _use_new_zipfile_serialization=not old)
        if old:
            path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
        state = load_torchreid(path)
        assert same(network, state)
        assert same(osnet_of(state, num_classes=5), network.state_dict())

    @pytest.mark.parametrize("norm", ["ibn", "ain"])
    def test_names_of_the_variants(self, tmp_path: Path, norm: str) -> None:
        network = trained(norm)
        names = in_torchreid_names(network.state_dict()) if norm == "ain" else network.state_dict()
        assert norm == "ibn" or {"conv3.1.conv2.2.layers.1.conv1.weight", "pool2.0.bn.bias"} <= names.keys()
        torch.save(names, tmp_path / "model.pth")
        assert same(osnet_of(load_torchreid(tmp_path / "model.pth")), network.state_dict())

    def test_safetensors(self, tmp_path: Path) -> None:
        network = trained(feature_dim=None)
        save_file(network.state_dict(), tmp_path / "model.safetensors")
        assert same(osnet_of(load_torchreid(tmp_path / "model.safetensors")), network.state_dict())

    def test_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> tuple[object, ...]:
                return Path.touch, (tmp_path / "ran",)

        torch.save({"state_dict": {}, "extra": Payload()}, tmp_path / "model.pth")
        with pytest.raises(WeightsError, match=r"model\.pth: holds Python objects .* \.safetensors"):
            load_torchreid(tmp_path / "model.pth")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps([1, 2], protocol=2)])
    @pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
    def test_other_files(self, tmp_path: Path, name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name}: ") as error:
            load_torchreid(tmp_path / name)
        assert "\n" not in str(error.value)

    def test_truncated(self, tmp_path: Path) -> None:
        torch.save(trained().state_dict(), tmp_path / "whole.pth")
        (tmp_path / "part.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:50_000])
        with pytest.raises(WeightsError, match=r"part\.pth: not a PyTorch checkpoint"):
            load_torchreid(tmp_path / "part.pth")

    @pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {"epoch": 3}}])
    def test_no_parameters(self, tmp_path: Path, content: object) -> None:
        torch.save(content, tmp_path / "model.pth")
        with pytest.raises(WeightsError, match="expected parameters by name"):
            load_torchreid(tmp_path / "model.pth")

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"nowhere\.pth: no such file"):
            load_torchreid(tmp_path / "nowhere.pth")


class TestOsnetOf:
    def test_class_count_mismatch_is_explained_in_one_warning(self) -> None:
        network = trained(num_classes=5)
        with pytest.warns(UserWarning, match=r"^model\.pth classifies 5 identities and this network 7") as seen:
            other = osnet_of(network.state_dict(), num_classes=7, origin="model.pth")
        assert len(seen) == 1
        assert other.classifier.out_features == 7
        assert torch.equal(other.fc[0].weight, network.fc[0].weight)

    def test_network_that_only_embeds_leaves_the_classifier_out_silently(self) -> None:
        network = trained(num_classes=5)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            other = osnet_of(network.state_dict())
        assert same(other, {k: v for k, v in network.state_dict().items() if not k.startswith("classifier")})

    def test_missing_and_unexpected_parameters_are_named(self) -> None:
        state = trained().state_dict()
        del state["conv5.conv.weight"]
        with pytest.raises(WeightsError, match=r"model\.pth .* conv5\.conv\.weight"):
            osnet_of(state, origin="model.pth")
        state = trained().state_dict() | {"extra.weight": torch.zeros(1)}
        with pytest.raises(WeightsError, match=r"model\.pth .* extra\.weight"):
            osnet_of(state, origin="model.pth")

    def test_another_architecture(self) -> None:
        with pytest.raises(WeightsError, match=r"are not the weights of an OSNet: they begin with layer1\.weight"):
            osnet_of({"layer1.weight": torch.zeros(1)})


class Embedding(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).embedding


def export(network: nn.Module, path: Path, folded: bool = True) -> Path:
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():  # the exporter that needs no further package calls itself old
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Embedding(network).eval(), (torch.rand(1, 3, 64, 32),), str(path), training=mode, dynamo=False
        )
    return path


def shuffle(path: Path) -> Path:
    """The same graph under meaningless names, its nodes in another order that is still possible."""
    import onnx

    model, rng = onnx.load(path), random.Random(0)
    graph = model.graph
    names = {i.name for i in graph.initializer} | {o for n in graph.node for o in n.output}
    names -= {o.name for o in graph.output}
    new = dict(zip(sorted(names), rng.sample([f"t{i}" for i in range(len(names))], len(names))))
    waiting = list(graph.node)
    for node in waiting:
        node.name = ""
        node.input[:] = [new.get(i, i) for i in node.input]
        node.output[:] = [new.get(o, o) for o in node.output]
    initializers = list(graph.initializer)
    for initializer in initializers:
        initializer.name = new[initializer.name]
    done, ordered = {i.name for i in initializers} | {i.name for i in graph.input} | {""}, []
    while waiting:
        node = rng.choice([n for n in waiting if set(n.input) <= done])
        waiting.remove(node)
        ordered.append(node)
        done.update(node.output)
    rng.shuffle(initializers)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(ordered)
    graph.initializer.extend(initializers)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


class TestOnnx:
    @pytest.fixture(autouse=True)
    def _needs_the_export_extra(self) -> None:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")

    @pytest.mark.parametrize("norm", ["bn", "ibn", "ain"])
    def test_folded_and_shuffled_graph_gives_the_same_embeddings(self, tmp_path: Path, norm: str) -> None:
        network = trained(norm)
        state = state_from_onnx(shuffle(export(network, tmp_path / "network.onnx")))
        read = osnet_of(state).eval()
        images = torch.rand(2, 3, 64, 32)
        with torch.no_grad():
            torch.testing.assert_close(read(images).embedding, network(images).embedding, rtol=1e-4, atol=1e-4)

    def test_batch_norms_that_were_not_folded_come_back_exactly(self, tmp_path: Path) -> None:
        network = trained(feature_dim=None)
        state = state_from_onnx(export(network, tmp_path / "network.onnx", folded=False))
        assert state.keys() == network.state_dict().keys()
        for name, value in network.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-6)

    def test_graph_that_only_looks_like_an_osnet(self, tmp_path: Path) -> None:
        import onnx

        path = export(trained(), tmp_path / "network.onnx")
        model = onnx.load(path)
        model.graph.node[-1].op_type = "Tanh"  # in place of the last ReLU: the layers are the same, the outputs not
        onnx.save(model, path)
        with pytest.raises(WeightsError, match=r"network\.onnx: its graph is not that of an OSNet"):
            state_from_onnx(path)

    def test_graph_with_another_connection(self, tmp_path: Path) -> None:
        import onnx

        path = export(trained(), tmp_path / "network.onnx")
        model = onnx.load(path)
        light = [n for n in model.graph.node if "/conv2.0/conv2d/" in n.output[0] and n.op_type == "Relu"]
        for node in model.graph.node:  # skip the last light convolution of the longest stream
            node.input[:] = [light[2].output[0] if i == light[3].output[0] else i for i in node.input]
        onnx.save(model, path)
        with pytest.raises(WeightsError, match="not that of an OSNet"):
            state_from_onnx(path)

    def test_another_network(self, tmp_path: Path) -> None:
        from onnx import TensorProto, helper, save

        value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 64, 32]) for n in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", value[:1], value[1:])
        save(helper.make_model(graph), tmp_path / "relu.onnx")
        with pytest.raises(WeightsError, match="not that of an OSNet"):
            state_from_onnx(tmp_path / "relu.onnx")

    @pytest.mark.parametrize("content", [b"", b"not a network"])
    def test_not_an_onnx_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "network.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"network\.onnx: not an ONNX file"):
            state_from_onnx(tmp_path / "network.onnx")

    @pytest.mark.real
    @pytest.mark.skipif(not MSMT17.is_file(), reason=f"{MSMT17} is absent")
    def test_osnet_x0_25_of_msmt17_gives_the_outputs_of_its_onnx(self) -> None:
        import onnxruntime

        network = osnet_of(state_from_onnx(MSMT17)).eval()
        assert sum(p.numel() for p in network.parameters()) == 201_864
        images = torch.randn(4, 3, 256, 128, generator=torch.Generator().manual_seed(1))
        session = onnxruntime.InferenceSession(str(MSMT17), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        expected = np.concatenate([session.run(None, {name: image[None].numpy()})[0] for image in images])
        with torch.no_grad():
            np.testing.assert_allclose(network(images).embedding.numpy(), expected, rtol=0, atol=1e-4)


def test_converted_weights_need_their_own_name(tmp_path):
    """A name that ends in .json would be the card's too."""
    with pytest.raises(InputError, match=r"need a name that ends in \.safetensors"):
        convert(tmp_path / "a.pth", tmp_path / "b.json")
