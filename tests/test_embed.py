"""Embedding pictures: every way to hand them in gives the same vectors, and bad ones are named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import draw_person
from PIL import Image
from torch.nn import functional as F

import reidentify
from reidentify import Benchmark, ImageError, InputError, Sightings, WeightsError, zoo
from reidentify.embed import Model
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.pcb import PCB
from reidentify.models.weights import Card, Preprocessing, card_path, save_weights

SETTINGS = {"architecture": "osnet", "width": 0.25, "init": "random", "embedding_dim": 16}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    network = build(ModelSettings(**SETTINGS))
    save_weights(network.state_dict(), Card("toy", SETTINGS, Preprocessing(64, 32), 16, "nothing", "none"), path)
    return path


def test_paths_pictures_and_arrays_agree(weights: Path, tmp_path: Path) -> None:
    model = reidentify.load(weights, device="cpu")
    image = draw_person(1, 0, (40, 90))
    image.save(tmp_path / "a.png")
    array = np.asarray(image)
    expected = model.embed(tmp_path / "a.png")
    assert expected.shape == (1, 16)
    assert np.linalg.norm(expected) == pytest.approx(1, abs=1e-6)
    for given, channels in ((image, "rgb"), (array, "rgb"), (array[:, :, ::-1], "bgr")):
        np.testing.assert_allclose(model.embed([given], channels=channels), expected, atol=1e-6)
    assert np.abs(model.embed(array, channels="bgr") - expected).max() > 1e-3


def test_flip_and_scales_average_what_the_network_says(weights: Path) -> None:
    model = reidentify.load(weights, device="cpu")
    image = draw_person(2, 0)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]

    def raw(shown: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.network(model.card.preprocessing.apply(shown)).embedding

    flipped = F.normalize(raw(pixels) + raw(pixels.flip(-1)), dim=1)
    np.testing.assert_allclose(model.embed(image, flip=True), flipped.numpy(), atol=1e-5)
    np.testing.assert_allclose(model.embed(image), F.normalize(raw(pixels), dim=1).numpy(), atol=1e-5)
    large = F.interpolate(pixels.float(), (128, 64), mode="bilinear", antialias=True, align_corners=False)
    both = F.normalize(raw(pixels) + raw(large.round().to(torch.uint8)), dim=1)
    np.testing.assert_allclose(model.embed(image, scales=[1.0, 2.0]), both.numpy(), atol=1e-5)


def test_batches_do_not_matter(weights: Path, people: Benchmark) -> None:
    model = reidentify.load(weights, device="cpu")
    files = people.query.files.tolist()
    np.testing.assert_allclose(model.embed(files, batch_size=2), model.embed(files, batch_size=64), atol=1e-5)


def test_a_tracklet_is_the_mean_of_its_frames(weights: Path, people: Benchmark) -> None:
    model = reidentify.load(weights, device="cpu")
    files = people.query.files[:3]
    tracklets = Sightings([1, 2], files=files, offsets=[0, 2, 3])
    found = model.embed_sightings(tracklets, cache=False, progress=False).vectors
    frames = model.embed(files.tolist())
    mean = frames[:2].mean(0)
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean), frames[2]], atol=1e-5)


def test_bad_pictures_are_named(weights: Path, tmp_path: Path) -> None:
    model = reidentify.load(weights, device="cpu")
    with pytest.raises(ImageError, match=r"nowhere\.jpg: no such file"):
        model.embed(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="H x W x 3 uint8, got 4 x 4 uint8"):
        model.embed(np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="got 4 x 4 x 3 float64"):
        model.embed(np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="channels must be rgb or bgr"):
        model.embed(np.zeros((4, 4, 3), np.uint8), channels="gbr")
    with pytest.raises(InputError, match="a path, a PIL image or an array, got int"):
        model.embed([3])


def test_options_that_make_no_sense_are_named(weights: Path) -> None:
    model = reidentify.load(weights, device="cpu")
    with pytest.raises(InputError, match="batch_size must be at least 1, got -1"):
        model.embed(draw_person(1, 0), batch_size=-1)
    with pytest.raises(InputError, match="scales must be positive"):
        model.embed(draw_person(1, 0), scales=[0.0])
    with pytest.raises(InputError, match="device abacus"):
        reidentify.load(weights, device="abacus")


def test_sixteen_bits_are_read_as_eight(weights: Path, tmp_path: Path) -> None:
    grey = np.asarray(draw_person(3, 0).convert("L"))
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    eight, sixteen = reidentify.load(weights, device="cpu").embed([tmp_path / "8.png", tmp_path / "16.png"])
    np.testing.assert_allclose(eight, sixteen, atol=1e-6)
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ImageError, match=r"float\.tif: pixels of mode F have no stated range"):
        reidentify.load(weights, device="cpu").embed(tmp_path / "float.tif")


def test_weights_that_do_not_exist_or_fit(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothing: no such file, and no shipped weights have that name"):
        reidentify.load("nothing")
    other = tmp_path / "other.safetensors"
    wrong = {**SETTINGS, "width": 0.5}
    save_weights(build(ModelSettings(**SETTINGS)).state_dict(), Card("x", wrong, Preprocessing(), 16, "", ""), other)
    with pytest.raises(WeightsError, match="weights of another architecture: conv1"):
        reidentify.load(other)
    with pytest.raises(InputError, match="preprocessing is for foreign networks"):
        reidentify.load(weights, preprocessing=Preprocessing())
    right = build(ModelSettings(**SETTINGS))
    card = Card("x", SETTINGS, Preprocessing(), right.embedding_dim + 1, "", "")
    save_weights(right.state_dict(), card, other)
    with pytest.raises(WeightsError, match=f"embedding_dim is {right.embedding_dim + 1}, but the network's is"):
        reidentify.load(other)


@pytest.mark.parametrize("name", [n for n in zoo.names() if Card.read(card_path(zoo.path(n))).kind == "embedding"])
def test_shipped_weights_work_on_a_photograph_of_any_size(name: str) -> None:
    model = reidentify.load(name, device="cpu")
    first, second = (model.embed([draw_person(p, i, (60 + i, 150)) for p in range(1, 21)]) for i in (0, 1))
    assert first.shape == (20, model.card.embedding_dim)
    alike = first @ second.T
    assert np.diag(alike).mean() > alike.mean() + alike.std() / 2
    assert "research" in model.card.licence
    assert zoo.path(name).stat().st_size < 10e6


def test_foreign_networks_say_what_is_assumed(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "mean colour", [image], [out])
    path = tmp_path / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    red = Image.new("RGB", (4, 8), (255, 0, 0))
    with pytest.warns(UserWarning, match=r"mean\.onnx comes without a card: taking RGB, ImageNet mean .*8x4"):
        model = reidentify.load(path)
    expected = (np.array([1.0, 0, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(model.embed(red)[0], expected / np.linalg.norm(expected), atol=1e-5)
    stated = Preprocessing(8, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0, "bgr")
    np.testing.assert_allclose(reidentify.load(path, preprocessing=stated).embed(red)[0], [0, 0, 1], atol=1e-6)


def test_views_of_a_network_of_stripes_are_added_before_each_stripe_is_scaled() -> None:
    # st-ReID's test feature: the maps of image and mirror are summed, then each stripe is scaled to length one.
    class Pass(torch.nn.Module):
        num_features = 3

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images * torch.linspace(1, 2, images.shape[-1])  # the mirror image is seen otherwise

    card = Card("stripes", {}, Preprocessing(4, 2), 6, "people", "MIT")
    model = Model.of_network(PCB(Pass(), parts=2).eval(), card, torch.device("cpu"))
    pixels = torch.randint(0, 256, (3, 3, 4, 2), dtype=torch.uint8)
    ready = card.preprocessing.apply(pixels)
    maps = (ready + ready.flip(-1)) * torch.tensor([1.0, 2.0])
    stripes = [maps[:, :, rows].mean((2, 3)) for rows in (slice(0, 2), slice(2, 4))]
    expected = torch.cat([s / s.norm(dim=1, keepdim=True) for s in stripes], 1) / 2**0.5
    torch.testing.assert_close(model.describe(pixels, flip=True), expected)
