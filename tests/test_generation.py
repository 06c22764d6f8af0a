"""Generators in use, against the networks called by hand, on tiny pictures."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reidentify.embed import load
from reidentify.errors import ImageError, InputError, WeightsError
from reidentify.generation import GENERATOR, GeneratorModel, load_generator, read_poses, scaled_joints, to_pixels
from reidentify.joints import COCO17, MARKET14, OPENPOSE18, to_market14
from reidentify.models.catalogue import ModelSettings, build
from reidentify.models.generation.generator import Generator
from reidentify.models.generation.settings import GenerationSettings, GeneratorSettings
from reidentify.models.weights import Card, Preprocessing, save_weights
from reidentify.pairs import load_pairs
from reidentify.pose import joints_of, load_pose

SIZE = (64, 32)
ENCODER = ModelSettings(backbone="osnet", width=0.25, init="random", embedding_dim=16)


def saved(folder: Path, name: str = "tiny", **settings: object) -> Path:
    """A run's folder with a random generator and its encoder, as a training leaves them."""
    torch.manual_seed(0)
    chosen = GeneratorSettings(**{"channels": 4, "pose_features": 8, "noise": 4, **settings})  # type: ignore[arg-type]
    encoder = build(ENCODER).eval()
    generator = Generator(16, SIZE, chosen).eval()
    for module in generator.modules():  # otherwise all pictures of an untrained generator are grey
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, std=0.2)
    state = {f"encoder.{k}": v for k, v in encoder.state_dict().items()}
    state |= {f"generator.{k}": v for k, v in generator.state_dict().items()}
    state["image.of_a_discriminator"] = torch.zeros(3)
    architecture = GenerationSettings(dataclasses.asdict(ENCODER), dataclasses.asdict(chosen))
    card = Card(name, dataclasses.asdict(architecture), Preprocessing(*SIZE), 16, "drawn people", "", kind="generation")
    save_weights(state, card, folder / GENERATOR)
    of_encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
    own = dataclasses.replace(card, architecture=dataclasses.asdict(ENCODER), kind="embedding")
    save_weights(of_encoder, own, folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> GeneratorModel:
    return load_generator(saved(tmp_path_factory.mktemp("run")), "cpu")


def people(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *size, 3)).astype(np.uint8)


def poses(count: int, joints: int = 14, size: tuple[int, int] = SIZE) -> np.ndarray:
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 1, (count, joints, 2)) * (size[1] - 1, size[0] - 1)
    return np.concatenate([points, np.ones((count, joints, 1))], 2).astype(np.float32)


@torch.inference_mode()
def by_hand(model: GeneratorModel, pixels: np.ndarray, joints: np.ndarray, seed: int) -> np.ndarray:
    """The same drawing with its arithmetic written out."""
    height, width = SIZE
    noise = torch.randn(len(pixels), 4, generator=torch.Generator().manual_seed(seed))
    drawn = []
    for i, picture in enumerate(pixels):
        normal = (picture / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        features = model.encoder.features(torch.tensor(normal.transpose(2, 0, 1)[None], dtype=torch.float32))
        maps = np.zeros((1, len(joints[i]), height, width))
        for j, (x, y, visible) in enumerate(joints[i]):
            for row in range(height):
                for column in range(width):
                    away = (row - y) ** 2 + (column - x) ** 2
                    maps[0, j, row, column] = (visible > 0) * np.exp(-away / (2 * (5 * height / 256) ** 2))
        out = model.generator(features, torch.tensor(maps, dtype=torch.float32), noise[i : i + 1])
        drawn.append(np.round((out[0].numpy().transpose(1, 2, 0) + 1) * 127.5))
    return np.array(drawn)


def test_people_are_drawn_as_by_hand(model: GeneratorModel) -> None:
    pixels, joints = people(2), poses(2)
    joints[0, 3, 2] = 0
    joints[1, 4:8, 2] = 0.3  # as a pose network that is not sure says it
    drawn = model.draw(pixels, joints, seed=7)
    assert drawn.shape == (2, *SIZE, 3)
    assert drawn.dtype == np.uint8
    expected = by_hand(model, pixels, joints, 7)
    assert np.abs(drawn.astype(int) - expected).max() <= 1  # rounding of what lies between two levels
    assert expected.std() > 5
    np.testing.assert_array_equal(model.draw(pixels, joints, seed=7), drawn)
    assert (model.draw(pixels, joints, seed=8) != drawn).any()
    assert (model.draw(pixels, joints[::-1], seed=7) != drawn).any()


def test_more_people_than_fit_a_step(model: GeneratorModel, monkeypatch) -> None:
    pixels, joints = people(5), poses(5)
    whole = model.draw(pixels, joints)
    monkeypatch.setattr("reidentify.generation.BATCH", 2)
    assert np.abs(model.draw(pixels, joints).astype(int) - whole).max() <= 1


def test_pictures_of_another_size_are_resized_with_their_poses(model: GeneratorModel) -> None:
    large = people(1, (128, 96))
    small = np.asarray(Image.fromarray(large[0]).resize((32, 64), Image.Resampling.BILINEAR))
    joints = poses(1, size=(128, 96))
    wanted = joints.copy()
    wanted[..., 0], wanted[..., 1] = (joints[..., 0] + 0.5) / 3 - 0.5, (joints[..., 1] + 0.5) / 2 - 0.5
    np.testing.assert_allclose(scaled_joints(joints, (128, 96), SIZE), wanted, rtol=1e-6)
    np.testing.assert_array_equal(model.draw(large, joints), model.draw(small[None], wanted))


def test_other_sets_of_joints_are_fitted(model: GeneratorModel, tmp_path: Path) -> None:
    coco = poses(1, 17)
    np.testing.assert_array_equal(model.draw(people(1), coco), model.draw(people(1), to_market14(coco)))
    seventeen = load_generator(saved(tmp_path, joints=17), "cpu")
    assert seventeen.joints == 17
    assert seventeen.draw(people(1), coco).shape == (1, *SIZE, 3)
    with pytest.raises(InputError, match="tiny draws poses of 17 joints, got 14"):
        seventeen.draw(people(1), poses(1))


def test_without_noise_the_seed_means_nothing(tmp_path: Path) -> None:
    quiet = load_generator(saved(tmp_path, noise=0), "cpu")
    drawn = [quiet.draw(people(1), poses(1), seed=seed) for seed in (0, 1)]
    np.testing.assert_array_equal(*drawn)


def test_levels_reach_from_black_to_white() -> None:
    images = torch.tensor([-1.0, -0.5, 0.0, 1.0]).reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_pixels(images)[0, 0, :, 0].tolist() == [0, 64, 128, 255]


def test_what_cannot_be_drawn_is_said(model: GeneratorModel) -> None:
    unseen = poses(3)
    unseen[1, :, 2] = 0
    outside = poses(1)
    outside[..., 0] += 100
    for pixels, joints, said in (
        (people(1)[0], poses(1), "N x H x W x 3 uint8, got 64 x 32 x 3 uint8"),
        (people(1).astype(float), poses(1), "float64"),
        (people(2), poses(1), "poses for 2 people must be 2 x J x 3, got 1 x 14 x 3"),
        (people(1), poses(1, 15), "sets of 14, 17, 18 are known"),
        (people(3), unseen, "pose 2 of 3 has no joint that is seen"),
        (people(1), outside, "pose 1 of 1 has no joint that is seen within the picture"),
    ):
        with pytest.raises(InputError, match=said):
            model.draw(pixels, joints)


def test_weights_of_another_kind_are_refused_both_ways(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    with pytest.raises(WeightsError, match=r"an embedding network, not of a generator of people.*`reidentify embed`"):
        load_generator("market-small")
    with pytest.raises(WeightsError, match="an embedding network"):
        load_generator(folder / "weights.safetensors")
    for loader in (load, load_pairs, load_pose):
        with pytest.raises(WeightsError, match=r"a generator of people.*`reidentify generate`"):
            loader(folder / GENERATOR)
    assert load(folder, "cpu").card.kind == "embedding"  # of a run's folder the encoder
    with pytest.raises(WeightsError, match="no such file"):
        load_generator(tmp_path / "nowhere")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    card = folder / "generator.json"
    told = json.loads(card.read_text())

    def stating(**changes: object) -> None:
        card.write_text(json.dumps(told | changes))

    architecture = told["architecture"]
    stating(architecture={**architecture, "encoder": {**architecture["encoder"], "colour": 1}})
    with pytest.raises(WeightsError, match="not one of this version"):
        load_generator(folder)
    stating(architecture={**architecture, "encoder": {**architecture["encoder"], "architecture": "pcb"}})
    with pytest.raises(WeightsError, match="the encoder is of architecture pcb, not baseline"):
        load_generator(folder)
    stating(architecture={**architecture, "generator": {**architecture["generator"], "channels": 8}})
    with pytest.raises(WeightsError, match=r"\(generator\) are weights of another architecture"):
        load_generator(folder)


def test_poses_are_read_as_the_command_prints_them(tmp_path: Path) -> None:
    joints = poses(1)[0]
    path = tmp_path / "pose.json"
    path.write_text(json.dumps([{"path": "gone.png", "size": [64, 32], "joints": joints_of(joints)}]))
    (pose,) = read_poses(path)
    assert (pose.name, pose.size) == ("gone.png", (64, 32))
    np.testing.assert_allclose(pose.joints, joints, atol=0.006)  # two decimals are printed
    named = [{"joint": n, "x": i, "y": 1, "visibility": 1} for i, n in enumerate(COCO17.joints)]
    Image.new("RGB", (30, 70)).save(tmp_path / "a.png")
    path.write_text(json.dumps([{"path": str(tmp_path / "a.png"), "joints": named[::-1]}]))
    (pose,) = read_poses(path)
    assert pose.size == (70, 30)  # of the picture
    assert pose.joints[:, 0].tolist() == list(range(17))  # in the order of the set


def test_poses_are_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "pose.json"

    def read(*names: str) -> np.ndarray:
        joints = [{"joint": name, "x": i, "y": 1, "visibility": 0.5} for i, name in enumerate(names)]
        path.write_text(json.dumps([{"size": [4, 20], "joints": joints}]))
        return read_poses(path)[0].joints

    # The smallest set that has all the names; what is not named is unseen.
    for known, names in (
        (MARKET14, MARKET14.joints[1:]),
        (MARKET14, ("right knee", "left knee")),
        (COCO17, ("left ear", "right knee")),
        (OPENPOSE18, ("nose", "neck")),
    ):
        joints = read(*names)
        assert joints.shape == (len(known), 3)
        for place, name in enumerate(known.joints):
            assert joints[place].tolist() == ([names.index(name), 1, 0.5] if name in names else [0, 0, 0])
    for names, said in (
        (("head", *MARKET14.joints[1:]), "entry 1: the joints of market-14 have no head, did you mean head top?"),
        ((*COCO17.joints, "head top"), "the joints of coco-17 have no head top"),
        (("neck", "left hip", "neck"), "entry 1: the joint neck is named twice"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            read(*names)


def test_what_is_no_pose_is_said(tmp_path: Path) -> None:
    path, joints = tmp_path / "pose.json", joints_of(np.ones((14, 3)))
    for content, said in (
        ("{", "not a JSON file of joints"),
        ("{}", "expected a list of poses"),
        ("[]", "expected a list of poses"),
        ("[3]", "entry 1: not a pose"),
        (json.dumps([{"path": "a", "size": [4, 2], "joints": [{"joint": "neck"}]}]), "entry 1: not a pose"),
        (json.dumps([{"size": [4], "joints": joints}]), "entry 1: not a pose"),
        (json.dumps([{"size": [4, 0], "joints": joints}]), "4 x 0 pixels has no room"),
        (json.dumps([{"joints": joints}]), "give the height and width of the picture as size"),
        (json.dumps([{"size": [4, 2], "joints": joints}, {"joints": None}]), "entry 2: not a pose"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=said):
            read_poses(path)
    path.write_text(json.dumps([{"path": str(tmp_path / "gone.png"), "joints": joints}]))
    with pytest.raises(ImageError, match="gone"):
        read_poses(path)
    with pytest.raises(InputError, match="no such file"):
        read_poses(tmp_path / "none.json")
    assert len(joints) == len(MARKET14)
