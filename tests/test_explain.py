"""`reidentify explain` and `reidentify attributes`, on drawn people and on networks whose answers are known."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import draw_person
from PIL import Image
from test_cli import only_error
from torch import Tensor, nn

from reidentify import Benchmark, cli, embed
from reidentify.commands import explain
from reidentify.data.own import read
from reidentify.embed import Model
from reidentify.models.output import Output
from reidentify.models.weights import Card, Preprocessing
from reidentify.report import attention

SCHEMA = [
    {"name": "colour", "values": ("red", "green", "blue"), "identity": True},
    {"name": "light", "values": ("dark", "bright"), "identity": False},
]


class Colours(nn.Module):
    """Tells the mean colour of a picture, or of the frames of a clip, whose brightness is its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Identity()

    def forward(self, pixels: Tensor, camids: Tensor | None = None, valid: Tensor | None = None) -> Output:
        clips = pixels if pixels.ndim == 5 else pixels[:, None]
        real = torch.ones(clips.shape[:2], dtype=torch.bool) if valid is None else valid
        maps = self.backbone(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        frames = maps.mean((3, 4)) * real[..., None]
        mean = frames.sum(1) / real.sum(1, keepdim=True)
        light = mean.mean(1)
        told = {"colour": 4 * mean, "light": torch.stack([1 - light, light], 1)}
        weights = {"frame_weights": frames.mean(2)[..., None, None]} if pixels.ndim == 5 else {}
        return Output(mean, attributes=told, maps=weights)


def model_of(clip: int = 1, schema: list[dict] = SCHEMA) -> Model:
    shown = Preprocessing(8, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    card = Card("colours", {}, shown, 3, "", "", clip=clip, attributes=schema)
    return Model.of_network(Colours().eval(), card, torch.device("cpu"))


@pytest.fixture
def use_model(monkeypatch):
    """Whatever weights are named, this model is loaded."""

    def use(model: Model) -> None:
        monkeypatch.setattr(embed, "load", lambda *_: model)
        monkeypatch.setattr(explain, "kind_of", lambda _: model.card.kind)

    return use


@pytest.fixture
def sheets(monkeypatch) -> list[tuple]:
    """What the sheets that a test draws are drawn from."""
    kept = []
    real = attention.tracklet_sheet

    def sheet(frames, maps, labels, columns):
        kept.append((frames, maps, labels, columns))
        return real(frames, maps, labels, columns)

    monkeypatch.setattr(attention, "tracklet_sheet", sheet)
    return kept


@pytest.fixture
def tracklet(tmp_path: Path) -> Path:
    """Ten plain pictures, each brighter than the one before."""
    folder = tmp_path / "tracklet"
    folder.mkdir()
    for i in range(10):
        Image.new("RGB", (4, 8), (20 * i, 20 * i, 20 * i)).save(folder / f"{i:02d}.png")
    return folder


def test_pictures_are_explained_with_shipped_weights(people: Benchmark, tmp_path: Path, capsys) -> None:
    out, files = tmp_path / "out.png", people.query.files[:3].tolist()
    command = ["explain", "osnet-x0.25-msmt17", *files, "-o", str(out), "--device", "cpu"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    alone = np.asarray(Image.open(out))
    assert alone.shape == (8 + 22 + 224 + 8 + 224 + 8 + 16, 150 + 3 * (112 + 8) + 8, 3)
    assert cli.main([*command, "--reference", files[1]]) == 0
    assert (np.asarray(Image.open(out)) != alone).any()


def test_pictures_are_one_tracklet_to_a_network_of_clips(use_model, sheets, tracklet: Path, tmp_path: Path) -> None:
    use_model(model_of(clip=4))
    assert cli.main(["explain", "any", str(tracklet), "-o", str(tmp_path / "out.png")]) == 0
    ((frames, maps, labels, columns),) = sheets
    assert frames[:, 0, 0, 0].tolist() == [20 * i for i in range(10)]  # the last clip's padding is left out
    assert labels == [f"frame {i}" for i in range(1, 11)]
    assert columns == 4
    np.testing.assert_allclose(maps["frame weights"][:, 0, 0], np.arange(10) * 20 / 255, atol=1e-6)
    assert maps["activation"].shape == (10, 8, 4)


def test_of_many_frames_some_clips_are_drawn_and_it_is_said(use_model, sheets, tracklet, tmp_path, capsys) -> None:
    use_model(model_of(clip=4))
    assert cli.main(["explain", "any", str(tracklet), "-o", str(tmp_path / "out.png"), "--frames", "8"]) == 0
    assert "6 of 10 pictures are drawn; --frames says how many may be" in capsys.readouterr().out
    ((_, _, labels, _),) = sheets
    assert labels == ["frame 1", "frame 2", "frame 3", "frame 4", "frame 9", "frame 10"]


def test_a_query_of_a_data_set_is_explained(people: Benchmark, tmp_path: Path, use_model, sheets, capsys) -> None:
    data, out = tmp_path / "data", tmp_path / "out.png"
    data.mkdir()
    for file in people.sightings.files:
        shutil.copy(file, data)
    use_model(model_of())
    assert cli.main(["explain", "any", "--data", str(data), "--row", "2", "-o", str(out)]) == 0
    queries = read(data).query
    assert sheets[0][2] == [Path(queries.files[2]).name]
    said = only_error(capsys, "explain", "any", "--data", data, "--row", len(queries), "-o", out)
    assert f"has {len(queries)} queries, from 0 to {len(queries) - 1}; choose one" in said


def test_what_cannot_be_explained_is_one_line(use_model, tracklet: Path, tmp_path: Path, capsys) -> None:
    use_model(model_of())
    out = tmp_path / "out.png"
    assert "either images or --data NAME --row N" in only_error(capsys, "explain", "any", "-o", out)
    assert "ends in .png" in only_error(capsys, "explain", "any", tracklet, "-o", tmp_path / "out.pdf")
    assert "--frames: expected at least 1" in only_error(capsys, "explain", "any", tracklet, "-o", out, "--frames", 0)
    assert "--row" in only_error(capsys, "explain", "any", tracklet, "-o", out, "--row", 1)
    assert "nowhere.jpg: no such file" in only_error(capsys, "explain", "any", tmp_path / "nowhere.jpg", "-o", out)
    (tmp_path / "empty").mkdir()
    assert "no images there" in only_error(capsys, "explain", "any", tmp_path / "empty", "-o", out)
    assert not out.exists()


def test_attributes_of_pictures(use_model, tmp_path: Path, capsys) -> None:
    """The mean colour of the picture is (1, 0, 0): softmax of 4, 0, 0 and of 2/3, 1/3."""
    use_model(model_of())
    Image.new("RGB", (4, 8), "red").save(tmp_path / "red.png")
    Image.new("RGB", (4, 8), "white").save(tmp_path / "white.png")
    assert cli.main(["attributes", "any", str(tmp_path), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["path"] == str(tmp_path / "red.png")
    assert first["attributes"]["colour"]["value"] == "red"
    assert first["attributes"]["colour"]["confidence"] == pytest.approx(np.exp(4) / (np.exp(4) + 2), abs=1e-5)
    assert first["attributes"]["light"]["value"] == "dark"
    assert first["attributes"]["light"]["confidence"] == pytest.approx(1 / (1 + np.exp(-1 / 3)), abs=1e-5)
    assert second["attributes"]["light"]["value"] == "bright"
    assert cli.main(["attributes", "any", str(tmp_path / "red.png")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tmp_path / 'red.png'}\n")
    assert "96 %" in next(line for line in printed.splitlines() if "colour" in line)


def test_attributes_of_tracklets(use_model, tracklet: Path, tmp_path: Path, capsys) -> None:
    """Grey from 0 to 180: the mean of the clips, each counted as often as it has frames."""
    use_model(model_of(clip=4))
    draw_person(1, 0).save(tmp_path / "alone.png")
    assert cli.main(["attributes", "any", str(tracklet.parent), str(tmp_path / "alone.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {(Path(one["path"]).name, one["frames"]) for one in told} == {
        ("tracklet", 10), (tmp_path.name, 1), ("alone.png", 1)
    }  # fmt: skip
    (dark,) = (one["attributes"]["light"] for one in told if one["frames"] == 10)
    probabilities = []
    for clip in (range(4), range(4, 8), range(8, 10)):
        light = np.mean([20 * i / 255 for i in clip])
        probabilities += [1 / (1 + np.exp(light - (1 - light)))] * len(clip)
    assert dark == {"value": "dark", "confidence": pytest.approx(np.mean(probabilities), abs=1e-4)}
    assert cli.main(["attributes", "any", str(tracklet)]) == 0
    assert capsys.readouterr().out.startswith(f"{tracklet}: 10 frames\n")


def test_weights_without_attributes_name_the_recipes(use_model, tracklet: Path, capsys) -> None:
    use_model(model_of(schema=[]))
    said = only_error(capsys, "attributes", "plain", tracklet)
    assert "plain tells no attributes; recipes that train such weights: aitl" in said
    assert "attributes needs images" in only_error(capsys, "attributes", "plain")
