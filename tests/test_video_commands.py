"""A user's own tracklets and tracklets with attributes through every command, and one line for every mistake."""

import csv
import json
import re
import shutil
from pathlib import Path

import mars_layout
import numpy as np
import pytest
import torch
from drawn import draw_person
from numpy.typing import NDArray
from PIL import Image
from test_cli import only_error

import reidentify
from reidentify import Embeddings, Sightings, cli
from reidentify.values import Attribute

TINY = [
    "model.init=random", "input.height=32", "input.width=16", "clip.length=2", "sampler.identities=4",
    "sampler.instances=2", "optimiser.epochs=1", "optimiser.warmup=0", "run.accelerator=cpu", "run.precision=32-true",
]  # fmt: skip
COLUMNS = "path,pid,camid,time,split,tracklet"


def command(*arguments: object) -> None:
    assert cli.main([str(a) for a in arguments]) == 0


def walkers(folder: Path, people: range, trained: int) -> Path:
    """A table of frames: everybody passes two cameras that stand a minute apart, with two tracklets of 1 to 3 frames,
    two seconds apart, at each. Those up to number `trained` are for training; the first tracklet of all asks."""
    rng, lines = np.random.default_rng(0), [COLUMNS]
    for pid in people:
        start = int(rng.integers(5000))
        for camera in (1, 2):
            for turn in (0, 1):
                split = "train" if pid <= trained else "query" if (camera, turn) == (1, 0) else "gallery"
                for k in range(1 + (pid + camera + turn) % 3):
                    path = folder / f"{pid}_{camera}_{turn}_{k}.png"
                    draw_person(pid, 100 * camera + 10 * turn + k).save(path)
                    time = start + 60 * camera + 10 * turn + 2 * k
                    lines.append(f"{path.name},{pid},{camera},{time},{split},{pid}-{camera}-{turn}")
    (folder / "walkers.csv").write_text("\n".join(lines) + "\n")
    return folder / "walkers.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 people to train on and 10 to find again."""
    return walkers(tmp_path_factory.mktemp("walkers"), range(1, 91), 80)


@pytest.fixture(scope="module")
def network(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the tracklets of 20 people; on the other 60 it is calibrated."""
    run = tmp_path_factory.mktemp("network") / "run"
    changes = [*TINY, "input.holdout=0.75", "loss.triplet=1.0"]
    command("train", "video-pool-cpu", "--data", table, "--out", run, "--set", *changes)
    return run


@pytest.fixture(scope="module")
def sides(network: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Query and gallery as files of embeddings."""
    folder = tmp_path_factory.mktemp("sides")
    for split in ("query", "gallery"):
        command("embed", network, "--data", table, "--split", split, "-o", folder / f"{split}.parquet")
    return folder / "query.parquet", folder / "gallery.parquet"


def mean_average_precision(query: Embeddings, gallery: Embeddings, vectors: NDArray[np.float32]) -> float:
    """Of `vectors` for the query rows, in loops; the own camera does not count."""
    scores = []
    for vector, pid, camera in zip(vectors, query.sightings.pids, query.sightings.camids):
        seen = ~((gallery.sightings.pids == pid) & (gallery.sightings.camids == camera))
        near, right = (gallery.vectors @ vector)[seen], gallery.sightings.pids[seen] == pid
        # No match is as near as a wrong answer, so that rounding cannot change the score.
        assert np.abs(near[right][:, None] - near[~right]).min() > 1e-6
        places = np.flatnonzero(right[np.argsort(-near)])
        scores.append(np.mean([(i + 1) / (place + 1) for i, place in enumerate(places)]))
    return float(np.mean(scores))


def test_tracklets_are_ranked_in_every_way(
    network: Path, table: Path, sides: tuple[Path, Path], tmp_path: Path
) -> None:
    command("spacetime", "fit", network, "--data", table, "--out", tmp_path / "learned")
    ways = {
        "plain": ["--verification"],
        "multi": ["--multi-query"],
        "reranked": ["--rerank", "k1=5", "k2=2"],
        "timed": ["--spacetime", tmp_path / "learned"],
    }
    found = {}
    for name, options in ways.items():
        start = ("evaluate", network, "--data", table, "--out", tmp_path / name)
        command(*start, "--report", "false", *options)
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text())
        assert (found[name]["queries"], found[name]["valid_queries"], found[name]["gallery"]) == (10, 10, 30)
    query, gallery = (Embeddings.load(path) for path in sides)
    assert found["plain"]["mAP"] == pytest.approx(mean_average_precision(query, gallery, query.vectors), abs=1e-6)
    # Of each person camera 1 saw the query and one tracklet of the gallery: they ask together.
    mates = [
        gallery.vectors[(gallery.sightings.pids == pid) & (gallery.sightings.camids == 1)]
        for pid in query.sightings.pids
    ]
    assert {len(some) for some in mates} == {1}
    together = (query.vectors + np.concatenate(mates)) / 2
    assert found["multi"]["mAP"] == pytest.approx(mean_average_precision(query, gallery, together), abs=1e-6)
    assert found["reranked"]["ranking"] == "k-reciprocal re-ranking k1=5 k2=2"
    assert found["reranked"]["mAP"] != found["plain"]["mAP"]
    # Who comes a minute later is the same person far more often than one who looks alike to so small a network.
    assert found["timed"]["mAP"] > found["plain"]["mAP"]
    # Each query is compared with all 30, less the tracklet of its own person and camera; two of the 29 are right.
    judged = json.loads((tmp_path / "plain" / "verification.json").read_text())
    assert (judged["pairs_same"], judged["pairs_different"]) == (10 * 2, 10 * 27)
    near, right = [], []
    for vector, pid in zip(query.vectors, query.sightings.pids):
        seen = ~((gallery.sightings.pids == pid) & (gallery.sightings.camids == 1))
        near += (gallery.vectors @ vector)[seen].tolist()
        right += (gallery.sightings.pids[seen] == pid).tolist()
    same, other = np.array(near)[right], np.array(near)[~np.array(right)]
    assert judged["auc"] == pytest.approx((same[:, None] > other).mean(), abs=1e-3)
    assert (tmp_path / "plain" / "open_set.json").exists()


def test_files_of_embeddings_score_as_the_tracklets_do(
    network: Path, table: Path, sides: tuple[Path, Path], tmp_path: Path
) -> None:
    command("evaluate", network, "--data", table, "--out", tmp_path / "data", "--report", "false")
    files = ["--query-embeddings", sides[0], "--gallery-embeddings", sides[1]]
    command("evaluate", *files, "--out", tmp_path / "files", "--report", "false")
    a, b = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("data", "files"))
    assert a == b


def test_the_report_shows_tracklets_with_camera_and_time(network: Path, table: Path, tmp_path: Path) -> None:
    command("evaluate", network, "--data", table, "--out", tmp_path, "--report", "true")
    page = (tmp_path / "report.html").read_text()
    assert "10 queries, 30 gallery rows" in page
    title = r"<h3>Query (\d), person (\d+): AP [\d.]+ %, 2 matches, the first at rank \d+</h3>"
    shown = re.findall(title + r'<div class="list">(.*?)</div>', page)
    assert {(int(query), int(person)) for query, person, _ in shown} == {(q, q + 81) for q in range(10)}
    times: dict[tuple[str, str], list[int]] = {}
    for row in csv.DictReader(table.open()):
        times.setdefault((row["pid"], row["tracklet"]), []).append(int(row["time"]))
    for _, person, line in shown:
        asking, *answers = re.findall(r"<figcaption>.*?<span>camera (\d)</span><span>([\d:]+)</span>", line)
        assert len(answers) == 10
        # Minutes and seconds, below two hours, half way from the first frame to the last.
        seen = times[person, f"{person}-1-0"]
        middle = (seen[0] + seen[-1]) // 2
        minutes = f"{middle // 60 % 60:02d}" if middle >= 3600 else f"{middle // 60}"
        assert asking == ("1", f"{'1:' * (middle >= 3600)}{minutes}:{middle % 60:02d}")
    assert Image.open(tmp_path / "ranked_best.png").width > 1400  # the query and ten answers


def test_a_network_of_clips_verifies_two_pictures(network: Path, table: Path, capsys) -> None:
    pictures = [table.parent / f"85_{camera}_0_0.png" for camera in (1, 2)]
    capsys.readouterr()
    command("verify", network, *pictures)
    said = capsys.readouterr().out
    assert "60 held-out identities" in said
    # An image is a clip of one frame, and these weights were trained with mirror images in their tests.
    model, vectors = reidentify.load(network, "cpu"), []
    assert (model.card.clip, model.card.flip) == (2, True)
    for picture in pictures:
        image = np.asarray(Image.open(picture).resize((16, 32), Image.Resampling.BILINEAR), np.float32) / 255
        ready = torch.from_numpy((image - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).float().permute(2, 0, 1)
        with torch.inference_mode():
            views = model.network(torch.stack([ready, ready.flip(-1)])).embedding
        vectors.append(torch.nn.functional.normalize(views.sum(0), dim=0))
    assert float(re.search(r"similarity (-?[\d.]+)", said)[1]) == pytest.approx(
        float(vectors[0] @ vectors[1]), abs=1e-4
    )


# Attributes ----------------------------------------------------------------------------------------------------------

HEADS = "person-id,camera,tracklet,upper,lower,age,sleeve,length,bag,backpack,hat,handbag,hair,gender,type"


@pytest.fixture(scope="module")
def mars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MARS of drawn people with labels: the colour of the upper body and the gender follow from the number."""
    home = mars_layout.make(tmp_path_factory.mktemp("mars"))
    lines = [HEADS]
    for side in ("train", "test"):
        names = {
            n[:11] for n in (home / "info" / f"{side}_name.txt").read_text().split() if n[:4] not in ("00-1", "0000")
        }
        for name in sorted(names):
            pid, camera, tracklet = int(name[:4]), int(name[5]), int(name[7:11])
            lines.append(f"{pid},{camera},{tracklet},{pid % 9},0,2,0,1,0,1,0,0,1,{pid % 2},1")
    (home / "info" / "mars_attributes.csv").write_text("\n".join(lines) + "\n")
    return home


@pytest.fixture(scope="module")
def teller(mars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells attributes."""
    run = tmp_path_factory.mktemp("teller") / "run"
    command(
        "train", "aitl-cpu", "--data", "mars", "--root", mars.parent, "--out", run, "--set", *TINY, "input.holdout=0"
    )
    return run


def test_attributes_are_scored_where_the_data_has_labels(
    teller: Path, mars: Path, table: Path, tmp_path: Path, capsys
) -> None:
    rows, model = reidentify.benchmark("mars", root=mars.parent).test, reidentify.load(teller, "cpu")
    start = ("evaluate", teller, "--report", "false", "--out")
    command(*start, tmp_path / "mars", "--data", "mars", "--root", mars.parent)
    scores = json.loads((tmp_path / "mars" / "attributes.json").read_text())
    assert scores == json.loads((teller / "attributes.json").read_text())
    assert list(scores["attributes"]) == [a.name for a in model.card.schema]
    told = model.attributes_of(rows, cache=False, progress=False)
    known = rows.pids > 0  # 12 queries and 10 more of the gallery
    assert known.sum() == 22
    for name, right in (("gender", rows.pids % 2), ("upper_colour", rows.pids % 9)):
        assert scores["attributes"][name]["labelled"] == 22
        found = told[name].argmax(1) == right
        assert scores["attributes"][name]["accuracy"] == pytest.approx(found[known].mean(), abs=1e-6)
    assert "not scored" not in capsys.readouterr().out
    # The user's own tracklets have no labels: nothing is scored, and an earlier table does not stay.
    command(*start, tmp_path / "mars", "--data", table)
    assert not (tmp_path / "mars" / "attributes.json").exists()
    names = ", ".join(a.name for a in model.card.schema)
    assert f"attributes not scored: {names} (no labels in {table})\n" in capsys.readouterr().out


def test_attributes_of_a_folder_and_where_a_tracklet_is_looked_at(
    teller: Path, mars: Path, tmp_path: Path, capsys
) -> None:
    frames = sorted((mars / "bbox_test" / "0012").glob("0012C1T0001F*.jpg"))
    (tmp_path / "walk").mkdir()
    for frame in frames:
        shutil.copy(frame, tmp_path / "walk")
    capsys.readouterr()
    command("attributes", teller, tmp_path / "walk", "--json")
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["path"], told["frames"]) == (str(tmp_path / "walk"), len(frames))
    model = reidentify.load(teller, "cpu")
    rows = reidentify.benchmark("mars", root=mars.parent).test
    row = next(i for i in range(len(rows)) if rows.files[rows.offsets[i]] == str(frames[0]))
    probabilities = model.attributes_of(rows[[row]], cache=False, progress=False)
    for attribute in model.card.schema:
        found, said = probabilities[attribute.name][0], told["attributes"][attribute.name]
        assert said["value"] == attribute.values[int(found.argmax())]
        assert said["confidence"] == pytest.approx(float(found.max()), abs=1e-5)
    for name, place in (
        ("walk", [tmp_path / "walk"]),
        ("query", ["--data", "mars", "--root", mars.parent, "--row", 3]),
    ):
        command("explain", teller, *place, "-o", tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as sheet:
            assert np.asarray(sheet).std() > 10  # something is drawn on the white


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Walkers with labels in words: of the person, and of the sighting; nobody says which way at camera 2."""
    path = walkers(tmp_path_factory.mktemp("labelled"), range(1, 13), 8)
    head, *lines = path.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    ways = {"1": ["left", "right"], "2": ["", ""]}
    told = [(("blue", "red")[int(pid) % 2], ways[camera][int(name[-1])]) for _, pid, camera, _, _, name in cells]
    lines = [f"{head},attribute.coat,attribute.way", *(",".join([*row, *words]) for row, words in zip(cells, told))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_attributes_of_own_tracklets_are_learned_and_scored(labelled: Path, tmp_path: Path) -> None:
    run, out, moved = tmp_path / "run", tmp_path / "out", tmp_path / "set"
    command("train", "aitl-cpu", "--data", labelled, "--out", run, "--set", *TINY, "input.holdout=0")
    schema = reidentify.load(run, "cpu").card.schema
    assert schema == (Attribute("coat", ("blue", "red")), Attribute("way", ("left", "right"), identity=False))
    command("data", "import", labelled, "--out", moved)
    found = {}
    for data in (labelled, moved):
        command("evaluate", run, "--data", data, "--out", out, "--report", "false")
        found[data] = json.loads((out / "attributes.json").read_text())
    assert found[labelled] == found[moved]
    # Four people are tested, with two tracklets at each of two cameras.
    counts = {name: scores["labelled"] for name, scores in found[labelled]["attributes"].items()}
    assert counts == {"coat": 16, "way": 8}
    assert found[labelled]["attributes"]["coat"]["majority"] == 0.5


def test_an_own_attribute_value_that_there_is_not_is_named(labelled: Path, tmp_path: Path, capsys) -> None:
    command("data", "import", labelled, "--out", tmp_path / "set")
    path = tmp_path / "set" / "sightings.parquet"
    rows = Sightings.load(path)
    sixth = reidentify.benchmark(str(tmp_path / "set")).sightings[[5]].files[0]
    coat = rows.attributes["coat"].copy()
    coat[5] = 2
    rows.replace(attributes={**rows.attributes, "coat": coat}).save(path)
    train = ("train", "aitl-cpu", "--data", tmp_path / "set", "--out", tmp_path / "run", "--set", *TINY)
    said = f"{tmp_path / 'set'}: row 6 ({sixth}) has the value 2 of coat, which knows 0 to 1, and -1 where unlabelled"
    assert only_error(capsys, *train) == f"error: {said}"


# Mistakes ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Eight people to train on and two to find again, in a folder that a test may spoil."""
    (tmp_path / "few").mkdir()
    return walkers(tmp_path / "few", range(1, 11), 8)


def test_frames_that_cannot_be_read_are_named(few: Path, network: Path, tmp_path: Path, capsys) -> None:
    # Person 1 at camera 1, second time: 1 + (1 + 1 + 1) % 3 = 1 frame; at camera 2, first time, the same.
    # Person 9 at camera 2, second time: 1 + (9 + 2 + 1) % 3 = 1; person 10 at camera 1, first time: 3 frames.
    train = ("train", "video-pool-cpu", "--data", few, "--out", tmp_path / "run", "--set", *TINY, "input.holdout=0")
    evaluate = ("evaluate", network, "--data", few, "--out", tmp_path / "out")
    whole = [few.parent / f"10_1_0_{k}.png" for k in range(3)]
    for frame in whole:
        frame.write_bytes(frame.read_bytes()[:60])
    said = only_error(capsys, *evaluate)
    assert f"cannot read image {whole[0]}: " in said
    assert "2 more images cannot be read" in said
    said = only_error(capsys, "data", "import", few, "--out", tmp_path / "set")
    assert f"cannot read image {whole[0]}: " in said
    assert f"2 more cannot be read either (`reidentify data check {few}`); mend them or leave them out" in said
    one = few.parent / "2_2_1_1.png"  # 1 + (2 + 2 + 1) % 3 = 3 frames, of which this is the second
    one.write_bytes(b"no picture")
    said = only_error(capsys, *train)
    assert f"cannot read image {one}: " in said
    assert "more images" not in said
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        (
            2,
            "2",
            "row 3: tracklet 1-1-0 has camid 2 here and 1 in row 1; a tracklet shows one person before one camera",
        ),
        (1, "2", "row 3: tracklet 1-1-0 has pid 2 here and 1 in row 1; a tracklet shows one person before one camera"),
        (5, "", "row 3 has no tracklet"),
    ],
)
def test_rows_that_are_no_tracklet_are_named(
    few: Path, network: Path, tmp_path: Path, capsys, column: int, value: str, said: str
) -> None:
    lines = few.read_text().splitlines()
    cells = lines[3].split(",")  # 1 + (1 + 1 + 0) % 3 = 3 frames: the third row is the last of the first tracklet
    assert cells[5] == "1-1-0"
    cells[column] = value
    few.write_text("\n".join([*lines[:3], ",".join(cells), *lines[4:]]) + "\n")
    found = only_error(capsys, "evaluate", network, "--data", few, "--out", tmp_path / "out")
    assert found.startswith(f"error: {few}: {said}")


def test_an_attribute_value_that_there_is_not_is_named(mars: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(mars, tmp_path / "MARS")
    path = tmp_path / "MARS" / "info" / "mars_attributes.csv"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace(",1,0,2,", ",9,0,2,")  # of the second tracklet of person 1
    path.write_text("\n".join(lines) + "\n")
    train = ("train", "aitl-cpu", "--data", "mars", "--root", tmp_path, "--out", tmp_path / "run", "--set", *TINY)
    said = f"{path} line 3: upper_colour has the unknown value '9'; expected 0 to 8, or nothing where unlabelled"
    assert only_error(capsys, *train) == f"error: {said}"


def test_data_without_labels_cannot_teach_attributes(few: Path, tmp_path: Path, capsys) -> None:
    train = ("train", "aitl-cpu", "--data", few, "--out", tmp_path / "run", "--set", *TINY)
    advice = "put its table of attributes where docs/data.md says, take other data, or set"
    settings = "model.attributes=false loss.attributes=0 loss.aitl=0"
    said = f"error: {few} has no attributes to learn: {advice} {settings}"
    assert only_error(capsys, *train) == said
    command(*train, *settings.split())


def test_a_network_that_tells_no_attributes_says_which_recipes_make_one(network: Path, table: Path, capsys) -> None:
    said = only_error(capsys, "attributes", network, table.parent / "1_1_0_0.png")
    assert said == f"error: {network} tells no attributes; recipes that train such weights: aitl, aitl-cpu"
