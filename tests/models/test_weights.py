"""Weights and cards: both ways, and every way in which they can be wrong."""

import dataclasses
import json
import re

import pytest
import torch
from torch import nn

from reidentify.errors import InputError, WeightsError
from reidentify.models.weights import Card, Preprocessing, load_state, read_state, save_weights, without_classifier

CARD = Card("toy", {"architecture": "osnet"}, Preprocessing(64, 32, channels="bgr"), 4, "toys", "none", cameras=[3, 5])


def net(classes: int = 3, width: int = 4) -> nn.Module:
    return nn.ModuleDict({"body": nn.Linear(2, width), "classifier": nn.Linear(width, classes)})


def test_both_ways(tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    state = net().state_dict()
    card = save_weights(state, CARD, path)
    assert Card.read(tmp_path / "weights.json") == card
    assert len(card.sha256) == 64
    for name, value in read_state(path, card).items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_half_precision_is_read_back_in_full(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights({"x": torch.tensor([1.0, 1 / 3]), "n": torch.tensor(5)}, CARD, path, half=True)
    back = read_state(path)
    assert back["x"].dtype == torch.float32
    assert float(back["x"][1]) == pytest.approx(1 / 3, abs=1e-3)
    assert int(back["n"]) == 5


def test_a_file_that_is_not_the_cards_is_refused(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    card = save_weights(net().state_dict(), CARD, path)
    save_weights(net(5).state_dict(), CARD, tmp_path / "other.safetensors")
    path.write_bytes((tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="not the one its card describes"):
        read_state(path, card)


def test_no_card_no_file_no_safetensors(tmp_path) -> None:
    with pytest.raises(WeightsError, match="card is missing"):
        Card.read(tmp_path / "w.json")
    (tmp_path / "w.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(WeightsError, match="not a card"):
        Card.read(tmp_path / "w.json")
    with pytest.raises(WeightsError, match="no such file"):
        read_state(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"pickle" * 10)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_state(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("preprocessing", [1], "settings by name"),
        ("preprocessing.height", -5, "a whole number above 0"),
        ("preprocessing.width", "128", "a whole number above 0"),
        ("preprocessing.mean", [0.5, 0.5], "a list of 3, each a number"),
        ("preprocessing.mean", [0.5, 0.5, float("nan")], "a list of 3, each a number"),
        ("preprocessing.std", [0.2, 0, 0.2], "a list of 3, each a number above 0"),
        ("preprocessing.scale", 0, "a number above 0"),
        ("preprocessing.channels", "grb", "rgb or bgr"),
        ("preprocessing.interpolation", "area", "nearest or bilinear or bicubic or lanczos"),
        ("architecture", "osnet", "settings by name"),
        ("architecture.width", "wide", "a number above 0"),
        ("architecture.embedding_dim", -1, "null or a whole number above 0"),
        ("architecture.pooling", "mean", "gap or gem or max"),
        ("embedding_dim", 4.5, "a whole number above 0"),
        ("cameras", ["3"], "a list, each a whole number"),
        ("scores", {}, "a list, each settings by name"),
        ("flip", "yes", "true or false"),
        ("name", None, "text"),
    ],
)
def test_a_card_with_a_senseless_value(tmp_path, key: str, value: object, expected: str) -> None:
    path = tmp_path / "w.json"
    save_weights(net().state_dict(), CARD, tmp_path / "w.safetensors")
    raw = json.loads(path.read_text())
    *parents, last = key.split(".")
    (raw[parents[0]] if parents else raw)[last] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(WeightsError, match=re.escape(f"{path}: {key}: expected {expected}, got ")) as caught:
        Card.read(path)
    assert "\n" not in str(caught.value)


def test_preprocessing_with_a_senseless_value() -> None:
    with pytest.raises(InputError, match=r"preprocessing.scale: expected a number above 0, got 0"):
        Preprocessing(scale=0)


def test_another_number_of_identities_is_said_once_and_the_rest_loads() -> None:
    source, target = net(7), net(3)
    kept = target["classifier"].weight.clone()
    with pytest.warns(UserWarning, match="classifies 7 identities and this network 3") as said:
        load_state(target, source.state_dict(), "theirs")
    assert len(said) == 1
    torch.testing.assert_close(target["body"].weight, source["body"].weight)
    torch.testing.assert_close(target["classifier"].weight, kept)


def test_another_architecture_is_named() -> None:
    with pytest.raises(WeightsError, match=r"theirs are weights of another architecture: body.weight is 5 x 2 there"):
        load_state(net(), net(width=5).state_dict(), "theirs")
    with pytest.raises(WeightsError, match=r"body.bias is missing \(1 missing, 1 unknown\)"):
        load_state(net(), {"body.weight": torch.zeros(4, 2), "x": torch.zeros(1)}, "theirs")
    with pytest.raises(WeightsError, match="no parameter has the name"):
        load_state(net(), {"x": torch.zeros(1)}, "theirs", strict=False)
    load_state(net(), {"body.weight": torch.zeros(4, 2)}, "theirs", strict=False)


def test_classifiers_are_left_out_of_files() -> None:
    state = {"neck.classifier.weight": 1, "neck.norm.weight": 2, "heads.0.classifier.bias": 3}
    assert without_classifier(state) == {"neck.norm.weight": 2}


def test_preprocessing_by_hand() -> None:
    pixels = torch.tensor([255, 0, 51], dtype=torch.uint8).reshape(3, 1, 1)
    rgb = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.1)).apply(pixels).flatten()
    torch.testing.assert_close(rgb, torch.tensor([1.0, -2.0, -3.0]))
    bgr = Preprocessing(mean=(5, 0, 1), std=(1, 1, 1), scale=1.0, channels="bgr").apply(pixels).flatten()
    torch.testing.assert_close(bgr, torch.tensor([50.0, 0.0, 250.0]))
    floats = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), scale=1.0).apply(pixels.float() / 255).flatten()
    torch.testing.assert_close(floats, torch.tensor([255.0, 0.0, 51.0]))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ([{"name": "coat", "values": ["dark", "light"]}], "attributes: one lacks identity"),
        ([{"name": "coat", "values": "dark", "identity": True}], r"attributes\.values: expected a list, each text"),
    ],
)
def test_a_card_with_senseless_attributes(attributes, message) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(CARD, attributes=attributes)


def test_a_card_of_images_that_asks_for_clips() -> None:
    with pytest.raises(InputError, match="clip: a network of architecture osnet sees one image"):
        dataclasses.replace(CARD, clip=4)
