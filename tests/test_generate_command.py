"""`generate` as a user calls it, with a tiny generator of random weights."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn import draw_person
from PIL import Image
from test_cli import only_error
from test_generation import SIZE, saved

from reidentify import cli
from reidentify.data.pixels import decode
from reidentify.generation import GENERATOR, load_generator
from reidentify.pose import PoseModel, joints_of
from reidentify.report.generated import grid, pose_picture


def upright(size: tuple[int, int]) -> np.ndarray:
    x, y = size[1] / 2, size[0] * np.array([0.05, 0.2, *[0.3, 0.4, 0.5] * 2, *[0.6, 0.75, 0.9] * 2])
    return np.stack([np.full(14, x), y, np.ones(14)], 1).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("REIDENTIFY_CACHE", str(tmp_path / "cache"))
    return saved(tmp_path / "run")


@pytest.fixture
def finder(monkeypatch) -> list[str]:
    """Joints are found at the same places of any picture; the pose networks that were asked for."""
    asked: list[str] = []

    class Finder:
        name = "finder"

        def find(self, pictures: list) -> np.ndarray:
            sizes = [(decode(p) if isinstance(p, str) else p).shape[:2] for p in pictures]
            return np.stack([upright(size) for size in sizes])

    def load(weights: str, *_: object) -> Finder:
        asked.append(weights)
        return Finder()

    for place in ("pose", "generation_scores"):
        monkeypatch.setattr(f"reidentify.{place}.load_pose", load)
    return asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "crops"
    made.mkdir()
    for i in (1, 2, 3):
        draw_person(i, 0, (40, 100)).save(made / f"{i}.png")
    return made


def command(*arguments: object) -> None:
    assert cli.main([str(a) for a in arguments]) == 0


def drawn(run: Path, person: Path, joints: np.ndarray) -> np.ndarray:
    """One person as the generator draws it in a pose, whose joints are in pixels of its size."""
    return load_generator(run, "cpu").draw(decode(person, SIZE)[None], joints[None])[0]


def test_one_person_in_one_pose(run: Path, finder: list[str], folder: Path, tmp_path: Path, capsys) -> None:
    out, options = tmp_path / "out.png", ("--device", "cpu")
    person, pose = folder / "1.png", folder / "2.png"
    command("generate", run, "--person", person, "--pose", pose, "-o", out, "--joints-by", "finder", *options)
    assert capsys.readouterr().out.strip() == str(out)
    assert finder == ["finder"]
    # Of a picture of 100 x 40 in those of 64 x 32, the centre of the first pixel at 0, 0.
    joints = upright((100, 40))
    joints[:, :2] = (joints[:, :2] + 0.5) * (32 / 40, 64 / 100) - 0.5
    expected = drawn(run, person, joints)
    cells = [[decode(person), pose_picture(joints, SIZE), expected]]
    sheet = np.asarray(grid(cells, ("person", "pose", "drawn"))).astype(int)
    assert np.abs(np.asarray(Image.open(out)) - sheet).max() <= 2  # rounding, in the network and when enlarged

    stated = tmp_path / "pose.json"
    stated.write_text(json.dumps([{"path": "x", "size": SIZE, "joints": joints_of(joints)}]))
    command("generate", run / GENERATOR, "--person", person, "--pose", stated, "-o", out, "--plain", *options)
    plain = np.asarray(Image.open(out))
    assert plain.shape == (*SIZE, 3)
    assert np.abs(plain.astype(int) - expected).max() <= 1  # joints are printed with two decimals
    assert finder == ["finder"]  # nobody looked for joints


def test_what_pose_prints_can_be_drawn(run: Path, folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    found = np.stack([upright((100, 40))])
    monkeypatch.setattr(PoseModel, "find", lambda self, names: found)
    command("pose", "pose-cpu", folder / "2.png", "--json", "--device", "cpu")
    (tmp_path / "pose.json").write_text(capsys.readouterr().out)
    (folder / "2.png").unlink()
    for pose, out in ((tmp_path / "pose.json", "a.png"), (folder / "3.png", "b.png")):
        command("generate", run, "--person", folder / "1.png", "--pose", pose, "-o", tmp_path / out, "--device", "cpu")
    a, b = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("a.png", "b.png"))
    assert np.abs(a - b).mean() < 0.1


def test_several_people_in_several_poses(run: Path, finder: list[str], folder: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "pose.json"
    joints = upright(SIZE)
    joints[:, 0] += np.linspace(0, 8, 14)
    other.write_text(json.dumps([{"size": SIZE, "path": "bent", "joints": joints_of(joints)}]))
    out = tmp_path / "grid.png"
    command(
        "generate", run, "--person", folder, "--pose", other, folder / "3.png", "-o", out, "--limit", 2, "--device",
        "cpu",
    )  # fmt: skip
    assert "drawn are the first 2 of 3 people" in capsys.readouterr().out
    straight = upright((100, 40))
    straight[:, :2] = (straight[:, :2] + 0.5) * (32 / 40, 64 / 100) - 0.5
    heads = [None, pose_picture(joints, SIZE), pose_picture(straight, SIZE)]
    rows = [
        [decode(folder / name), drawn(run, folder / name, joints), drawn(run, folder / name, straight)]
        for name in ("1.png", "2.png")
    ]
    sheet = np.asarray(grid([heads, *rows], ("person", "bent", "3.png"))).astype(int)
    found = np.asarray(Image.open(out)).astype(int)
    assert found.shape == sheet.shape
    # The noise of a picture depends on its place among those that are drawn at once, and joints are rounded.
    assert np.abs(found[:, :110] - sheet[:, :110]).max() == 0
    assert np.abs(found[:284] - sheet[:284]).mean() < 0.1


def test_mistakes_are_one_line(run: Path, finder: list[str], folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    out, person, pose = tmp_path / "out.png", folder / "1.png", folder / "2.png"
    both = ("--person", person, "--pose", pose, "-o", out)
    for arguments, said in (
        ((run, "--person", person, "-o", out), "generate needs --person, --pose and -o OUT.png, or --data NAME"),
        ((run, *both, "--data", "street"), "either --person, --pose and -o OUT.png, or --data"),
        ((run, *both, "--judge", "market-small"), "--judge: it goes with --data"),
        ((run, "--data", "street"), "--out is required with --data"),
        ((run, "--data", "street", "--out", person), "is a file; give a folder"),
        ((run, *both, "--limit", 0), "--limit: expected at least 1, got 0"),
        ((run, *both[:-1], "x.jpg"), "ends in .png"),
        ((run, "--person", folder, *both[2:], "--plain"), "--plain: it writes one picture, and there are 3 people"),
        (("market-small", *both), "an embedding network, not of a generator of people"),
        ((run, "--person", tmp_path / "gone.png", *both[2:]), "gone.png"),
        ((run, "--person", person, "--pose", tmp_path / "gone.json", "-o", out), "gone.json: no such file"),
    ):
        assert said in only_error(capsys, "generate", *arguments, "--device", "cpu")
    blind = tmp_path / "blind.json"
    blind.write_text(json.dumps([{"path": "b.png", "size": SIZE, "joints": joints_of(np.zeros((14, 3)))}]))
    assert "b.png: no joint is seen there" in only_error(
        capsys, "generate", run, "--person", person, "--pose", blind, "-o", out, "--device", "cpu"
    )
    assert not out.exists()
    # Other commands name this one.
    assert "`reidentify generate`" in only_error(capsys, "embed", run / GENERATOR, person, "-o", tmp_path / "x.parquet")
    assert "`reidentify generate`" in only_error(capsys, "verify", run / GENERATOR, person, pose)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Four people of a test split, four pictures each, with joints, as a table of one's own."""
    import pyarrow as pa

    made = tmp_path / "people"
    made.mkdir()
    lines = []
    for pid in (1, 2, 3, 4):
        for i in range(4):
            file = made / f"{pid}_{i}.png"
            draw_person(pid, i, (40, 100)).save(file)
            split = "query" if i == 0 else "gallery"
            lines.append({"path": str(file), "pid": pid, "camid": 1 + i % 2, "split": split})
            lines[-1]["keypoints"] = upright((100, 40)).tolist()
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "people.parquet")
    return tmp_path / "people.parquet"


def test_people_of_a_data_set_are_measured(run: Path, finder: list[str], people: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "measured"
    command("generate", run, "--data", people, "--out", out, "--draws", 6, "--examples", 3, "--device", "cpu")
    said = capsys.readouterr()
    assert "6 draws of 4 people, recognised by market-small among 4 people" in said.out
    assert "the real target" in said.out
    assert not said.err
    told = json.loads((out / "metrics.json").read_text())
    assert told["judge"]["name"] == "market-small"
    assert told["judge"]["concerns"] == []
    assert told["scores"]["target"]["ssim"]["value"] == pytest.approx(1)
    assert told["scores"]["target"]["pck"]["value"] == 1  # joints are found where they are
    assert told["scores"]["target"]["recognised"]["value"] >= told["scores"]["generated"]["recognised"]["value"]
    assert pq.read_table(out / "draws.parquet").num_rows == 6
    width = SIZE[1] * 256 // SIZE[0]
    assert Image.open(out / "pictures.png").size == (6 + 4 * (width + 6), 28 + 3 * (256 + 6))
    assert Image.open(out / "grid.png").size == (6 + 4 * (width + 6), 6 + 4 * (256 + 6))


def test_a_judge_that_took_part_is_said(run: Path, finder: list[str], people: Path, tmp_path: Path, capsys) -> None:
    card = run / "generator.json"
    told = json.loads(card.read_text()) | {"training": {"model": {"init": "market-small"}}, "dataset": "street"}
    card.write_text(json.dumps(told))
    out = tmp_path / "measured"
    command("generate", run, "--data", people, "--out", out, "--draws", 99, "--device", "cpu")
    said = capsys.readouterr()
    warned = said.err.strip().splitlines()
    assert len(warned) == 1
    assert warned[0].startswith(
        "warning: the judge osnet-x0.25-msmt17 is not independent (the training of tiny started"
    )
    assert "99 draws were asked for; " in said.out
    (doubt,) = json.loads((out / "metrics.json").read_text())["judge"]["concerns"]
    assert "started from osnet-x0.25-msmt17" in doubt
