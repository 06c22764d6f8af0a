"""Curves of several runs: grouped by what differs, averaged over seeds, and as a chart."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import only_error

from reidentify import InputError, cli
from reidentify.report.charts import LIGHT
from reidentify.report.runs import chart, curves

HEAD = "epoch,loss/total,validation/mAP\n"


def run(folder: Path, mining: str, seed: int, lines: str) -> Path:
    folder.mkdir()
    recipe = {"description": folder.name, "pairs": {"mining": mining, "batch": 64}, "run": {"seed": seed}}
    (folder / "recipe.json").write_text(json.dumps({"recipe": recipe, "data": "viper", "rows": 3}))
    (folder / "history.csv").write_text(HEAD + lines)
    return folder


def test_seeds_are_one_curve(tmp_path: Path) -> None:
    """Epoch 2 was not validated, and the third run has only come to epoch 1."""
    folders = [
        run(tmp_path / "a", "none", 0, "1,3.0,0.2\n2,2.0,\n3,1.0,0.4\n"),
        run(tmp_path / "b", "hard", 0, "1,3.0,0.1\n2,2.0,\n3,1.0,0.9\n"),
        run(tmp_path / "c", "none", 1, "1,3.0,0.4\n"),
    ]
    plain, hard = curves(folders, "validation/mAP")
    assert (plain.name, hard.name) == ("pairs.mining=none", "pairs.mining=hard")
    assert plain.epochs.tolist() == [1]
    np.testing.assert_allclose(plain.values, [[0.2], [0.4]])
    assert hard.epochs.tolist() == [1, 3]
    np.testing.assert_allclose(hard.values, [[0.1, 0.9]])
    picture = Image.open(io.BytesIO(chart([plain, hard], "validation/mAP", LIGHT)))
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0x24, 0x66, 0xC2), (0xD9, 0x77, 0x2B)} <= colours


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ({"settings": None}, {"settings": {"m": 0.25}}, ["loss.settings=null", 'loss.settings={"m": 0.25}']),
        ({"kind": "hard"}, {}, ["loss.kind=hard", "loss.kind=unstated"]),
    ],
)
def test_runs_of_other_settings_are_other_curves(tmp_path: Path, first: dict, second: dict, names: list[str]) -> None:
    folders = []
    for i, loss in enumerate((first, second)):
        folders.append(run(tmp_path / str(i), "none", i, "1,3.0,0.2\n"))
        stated = json.loads((folders[-1] / "recipe.json").read_text())
        stated["recipe"]["loss"] = loss
        (folders[-1] / "recipe.json").write_text(json.dumps(stated))
    assert [curve.name for curve in curves(folders, "validation/mAP")] == names


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing: not the folder of a training that has ended an epoch"):
        curves([tmp_path / "nothing"], "loss/total")
    one = run(tmp_path / "a", "none", 0, "1,3.0,0.2\n")
    with pytest.raises(InputError, match=r"says nothing of accuracy; it has loss/total, validation/mAP"):
        curves([one], "accuracy")
    other = run(tmp_path / "b", "none", 1, "2,3.0,0.2\n")
    with pytest.raises(InputError, match="these runs have validation/mAP of no epoch in common"):
        curves([one, other], "validation/mAP")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, out = run(tmp_path / "a", "none", 0, "1,3.0,0.2\n2,1.0,0.5\n"), tmp_path / "c.png"
    assert cli.main(["curves", str(one), "-o", str(out)]) == 0
    assert "0.500" in capsys.readouterr().out
    assert Image.open(out).width > 300
    assert "says nothing of lr" in only_error(capsys, "curves", one, "--value", "lr")
