"""`generate` as a user calls it, with a tiny generator of random weights."""

import itertools
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
def quiet(tmp_path: Path, monkeypatch) -> Path:
    """A generator without noise: what it draws does not depend on a picture's place among those drawn at once."""
    monkeypatch.setenv("REIDENTIFY_CACHE", str(tmp_path / "cache"))
    return saved(tmp_path / "quiet", noise=0)


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


def apart(pictures: list[np.ndarray]) -> bool:
    """Whether no two pictures are so alike that `same` would not see them change places."""
    return all(np.abs(a.astype(int) - b).max() > 5 for a, b in itertools.combinations(pictures, 2))


def same(file: Path, sheet: Image.Image) -> None:
    """The picture in a file is `sheet`, but for rounding, in the network and when drawings are enlarged."""
    found, expected = (np.asarray(picture).astype(int) for picture in (Image.open(file), sheet))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 2


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
    same(out, grid(cells, ("person", "pose", "drawn")))

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


def test_several_people_in_several_poses(quiet: Path, finder: list[str], folder: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "pose.json"
    joints = upright(SIZE)
    joints[:, :2] = np.round(joints[:, :2] + np.linspace(0, 8, 28).reshape(14, 2), 2)  # as they are printed
    other.write_text(json.dumps([{"size": SIZE, "path": "bent", "joints": joints_of(joints)}]))
    out = tmp_path / "grid.png"
    command(
        "generate", quiet, "--person", folder, "--pose", other, folder / "3.png", "-o", out, "--limit", 2, "--device",
        "cpu",
    )  # fmt: skip
    assert "drawn are the first 2 of 3 people" in capsys.readouterr().out
    straight = upright((100, 40))
    straight[:, :2] = (straight[:, :2] + 0.5) * (32 / 40, 64 / 100) - 0.5
    heads = [None, pose_picture(joints, SIZE), pose_picture(straight, SIZE)]
    rows = [
        [decode(folder / name), drawn(quiet, folder / name, joints), drawn(quiet, folder / name, straight)]
        for name in ("1.png", "2.png")
    ]
    assert apart([cell for row in rows for cell in row[1:]])
    same(out, grid([heads, *rows], ("person", "bent", "3.png")))


def test_mistakes_are_one_line(run: Path, finder: list[str], folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    out, person, pose = tmp_path / "out.png", folder / "1.png", folder / "2.png"
    both = ("--person", person, "--pose", pose, "-o", out)
    for arguments, said in (
        ((run, "--person", person, "-o", out), "generate needs --person, --pose and -o OUT.png, or --data NAME"),
        ((run, *both, "--data", "street"), "either --person, --pose and -o OUT.png, or --data"),
        ((run, *both, "--judge", "market-small"), "--judge: it goes with --data"),
        ((run, *both, "--draws", 200), "--draws: it goes with --data, which is not given"),
        ((run, *both, "--examples", 8), "--examples: it goes with --data"),
        ((run, *both, "--root", tmp_path), "--root: it goes with --data"),
        ((run, "--data", "street", "--limit", 2), "--limit: it goes with --person and --pose, not with --data"),
        ((run, "--data", "street", "--joints-by", "pose-cpu"), "--joints-by: it goes with --person and --pose"),
        ((run, "--data", "street", "--out", out, "--examples", 0), "--examples: expected at least 1, got 0"),
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
    blind, outside = tmp_path / "blind.json", upright(SIZE) + np.array([100, 0, 0])
    for joints in (np.zeros((14, 3)), outside):
        blind.write_text(json.dumps([{"path": "b.png", "size": SIZE, "joints": joints_of(joints)}]))
        assert "b.png: no joint is seen there" in only_error(
            capsys, "generate", run, "--person", person, "--pose", blind, pose, "-o", out, "--device", "cpu"
        )
    # The joints alone that no generator of 14 reads are seen: the eyes and ears of COCO's.
    eyes = [{"joint": f"left {name}", "x": 9, "y": 9, "visibility": 1} for name in ("eye", "ear")]
    blind.write_text(json.dumps([{"path": "eyes.png", "size": SIZE, "joints": eyes}]))
    assert "eyes.png: no joint is seen there" in only_error(
        capsys, "generate", run, "--person", person, "--pose", blind, "-o", out, "--device", "cpu"
    )
    assert not out.exists()
    # Other commands name this one.
    assert "`reidentify generate`" in only_error(capsys, "embed", run / GENERATOR, person, "-o", tmp_path / "x.parquet")
    assert "`reidentify generate`" in only_error(capsys, "verify", run / GENERATOR, person, pose)


def standing(file: Path) -> np.ndarray:
    """The joints in a picture of `people`."""
    pid, i = map(int, file.stem.split("_"))
    return (upright((100, 40)) + np.array([2 * pid + i - 6.5, 0, 0])).astype(np.float32)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Four people of a test split, four pictures each, with joints, as a table of one's own. Everybody stands a little
    beside the middle, in each picture elsewhere."""
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
            lines[-1]["keypoints"] = standing(file).tolist()
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "people.parquet")
    return tmp_path / "people.parquet"


def test_people_of_a_data_set_are_measured(
    quiet: Path, finder: list[str], people: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "measured"
    command("generate", quiet, "--data", people, "--out", out, "--draws", 6, "--examples", 3, "--device", "cpu")
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
    draws = pq.read_table(out / "draws.parquet").to_pylist()
    assert len(draws) == 6
    first = [next(line for line in draws if line["pid"] == pid) for pid in dict.fromkeys(d["pid"] for d in draws)][:3]
    inputs, targets = ([Path(line[name]) for line in first] for name in ("input", "target"))
    joints = [standing(file) for file in targets]
    for one in joints:
        one[:, :2] = (one[:, :2] + 0.5) * (32 / 40, 64 / 100) - 0.5
    poses = [pose_picture(one, SIZE) for one in joints]
    table = [[drawn(quiet, file, one) for one in joints] for file in inputs]
    assert apart([cell for row in table for cell in row])
    rows = [[decode(a, SIZE), poses[i], table[i][i], decode(b, SIZE)] for i, (a, b) in enumerate(zip(inputs, targets))]
    same(out / "pictures.png", grid(rows, ("input", "pose", "drawn", "real")))
    same(out / "grid.png", grid([[None, *poses], *([row[0], *cells] for row, cells in zip(rows, table))]))


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
    assert warned[0].endswith("name another judge with --judge")
    assert "99 draws were asked for; " in said.out
    (doubt,) = json.loads((out / "metrics.json").read_text())["judge"]["concerns"]
    assert "started from osnet-x0.25-msmt17" in doubt
