"""Calibrate, verify, space-time, re-ranking and comparing, as a user calls them, on drawn people with clocks."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_person

import reidentify
from reidentify import Embeddings, InputError, Sightings, cli, zoo
from reidentify.calibrate import set_aside, unseen, verify
from reidentify.errors import ReidentifyWarning
from reidentify.models.weights import Card, card_path
from reidentify.ranking import fusion

WEIGHTS = "osnet-x0.25-msmt17"


def command(*arguments: object) -> None:
    assert cli.main([str(a) for a in arguments]) == 0


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """70 people, 10 of them to find, who walk past two cameras that stand a minute apart; two pictures at each."""
    folder, rng = tmp_path_factory.mktemp("walkers"), np.random.default_rng(0)
    lines = ["path,pid,camid,time,split"]
    for pid in range(1, 71):
        start = rng.uniform(0, 5000)
        for camera in (1, 2):
            for i in (0, 1):
                path = folder / f"{pid}_{camera}_{i}.png"
                draw_person(pid, 10 * camera + i).save(path)
                split = "train" if pid <= 60 else "query" if (camera, i) == (1, 0) else "gallery"
                lines.append(f"{path.name},{pid},{camera},{start + 60 * (camera - 1) + 2 * i:.1f},{split}")
    (folder / "walkers.csv").write_text("\n".join(lines) + "\n")
    return folder / "walkers.csv"


@pytest.fixture(scope="module")
def network(table: Path, tmp_path_factory) -> Path:
    """Shipped weights in a folder of their own, calibrated on the walkers."""
    folder = tmp_path_factory.mktemp("network")
    shipped = zoo.path(WEIGHTS)
    assert shipped is not None
    shutil.copy(shipped, folder / "weights.safetensors")
    shutil.copy(card_path(shipped), folder / "weights.json")
    command("calibrate", folder, "--data", table, "--picture", folder / "reliability.png")
    return folder


def test_a_calibration_lands_in_the_card_and_verify_uses_it(network: Path, table: Path, capsys) -> None:
    calibration = Card.read(network / "weights.json").calibration
    # Every pair across the two cameras of the 60 training people: 2 x 2 of each person, the rest of two.
    assert (calibration["identities"], calibration["pairs_same"]) == (60, 60 * 4)
    assert calibration["pairs_different"] == 120 * 120 - 60 * 4
    assert (network / "reliability.png").read_bytes().startswith(b"\x89PNG")
    same = [table.parent / f"61_1_{i}.png" for i in (0, 1)]
    command("verify", network, *same)
    said = capsys.readouterr().out
    assert "60 held-out identities" in said
    assert "false positive rate of 0.001" in said
    model = reidentify.load(network)
    near, far = (
        [verify(model, table.parent / f"{p}_1_0.png", table.parent / f"{p + step}_1_1.png") for p in range(61, 70)]
        for step in (0, 1)
    )
    assert np.mean([v.probability for v in near]) > np.mean([v.probability for v in far])
    a, b = model.embed(same)
    assert near[0].similarity == pytest.approx(float(a @ b), abs=1e-6)
    assert verify(model, *same, prior=0.01).probability < near[0].probability


def test_verify_embeds_as_the_calibration_did(network: Path, table: Path, tmp_path: Path, recwarn) -> None:
    shown = [table.parent / f"61_1_{i}.png" for i in (0, 1)]
    assert {k: Card.read(network / "weights.json").calibration[k] for k in ("flip", "scales")} == {
        "flip": Card.read(network / "weights.json").flip,
        "scales": [1.0],
    }
    shutil.copytree(network, tmp_path / "views")
    command("calibrate", tmp_path / "views", "--data", table, "--flip", "true", "--scales", 1, 1.25)
    model = reidentify.load(tmp_path / "views")
    stated = model.card.calibration
    assert (stated["flip"], stated["scales"]) == (True, [1.0, 1.25])
    a, b = model.embed(shown, flip=True, scales=(1.0, 1.25))
    recwarn.clear()
    for options in ({}, {"flip": True, "scales": [1.25, 1]}):
        assert verify(model, *shown, **options).similarity == pytest.approx(float(a @ b), abs=1e-6)
    assert not recwarn.list
    said = "with mirror images at scales 1 1.25 and is used without mirror images at scales 1,"
    with pytest.warns(ReidentifyWarning, match=said):
        other = verify(model, *shown, flip=False, scales=[1.0])
    plain = model.embed(shown, flip=False)
    assert other.similarity == pytest.approx(float(plain[0] @ plain[1]), abs=1e-6)
    # A card written before these were stated: as the card embeds, at the input size.
    unstated = {k: v for k, v in stated.items() if k not in ("flip", "scales")}
    model.card = dataclasses.replace(model.card, calibration=unstated)
    a, b = model.embed(shown)
    assert verify(model, *shown).similarity == pytest.approx(float(a @ b), abs=1e-6)
    model.card = dataclasses.replace(model.card, calibration={**stated, "scales": "large"})
    with pytest.raises(InputError, match=r"scales to be a list of numbers, got True and 'large': calibrate again"):
        verify(model, *shown)


def test_verify_without_a_calibration_says_how_to_get_one(table: Path) -> None:
    shown = table.parent / "61_1_0.png"
    with pytest.raises(InputError, match=r"no calibration.*reidentify calibrate"):
        verify(reidentify.load(WEIGHTS), shown, shown)


def test_people_a_network_was_trained_on_do_not_calibrate_it(people) -> None:
    card = Card.read(card_path(zoo.path(WEIGHTS)))
    trained = {"input": {"holdout": 0.25}, "run": {"seed": 3}}
    same = dataclasses.replace(card, dataset="people", training=trained)
    rows, held = set_aside(same, people)
    assert set(held.identities) == set(people.holdout(0.25, 3)[1].sightings.identities)
    assert not set(held.identities) & set(rows.identities)
    assert len(unseen(card, people)) == len(people.train)
    for dataset in ("people+market1501", "market1501"):
        other = dataclasses.replace(same, dataset=dataset)
        for name in ("market1501@0", "market1501-500k"):
            with pytest.raises(InputError, match="whose people may be in market1501"):
                unseen(other, people.replace(name=name))
    everybody = dataclasses.replace(same, training={"input": {"holdout": 0}, "run": {"seed": 3}})
    with pytest.raises(InputError, match="trained on all identities of people"):
        unseen(everybody, people)


def test_time_and_re_ranking_from_the_command_line(network: Path, table: Path, tmp_path: Path, capsys) -> None:
    command("spacetime", "fit", network, "--data", table, "--out", tmp_path / "time")
    said = capsys.readouterr().out
    assert "camera 1" in said
    assert {"spacetime.safetensors", "spacetime.json", "clocks.json", "intervals.png", "network.png"} == {
        p.name for p in (tmp_path / "time").iterdir()
    }
    clocks = json.loads((tmp_path / "time" / "clocks.json").read_text())
    assert clocks[0]["camera"] == 1
    assert clocks[0]["seconds_ahead"] == 0
    command("spacetime", "plot", tmp_path / "time", "--out", tmp_path / "pictures")
    assert (tmp_path / "pictures" / "network.png").exists()
    runs = {
        "plain": [],
        "time": ["--spacetime", tmp_path / "time"],
        "both": ["--spacetime", tmp_path / "time", "--rerank", "k1=5", "k2=2"],
    }
    scores = {}
    for name, options in runs.items():
        out = tmp_path / name
        command("evaluate", network, "--data", table, "--out", out, *options, "--verification", "--report", "false")
        scores[name] = json.loads((out / "metrics.json").read_text())
        assert (out / "verification.json").exists()
        assert (out / "open_set.json").exists()
    assert scores["time"]["mAP"] > scores["plain"]["mAP"]
    assert scores["plain"]["ranking"] == ""
    assert scores["both"]["ranking"] == f"space and time from {tmp_path / 'time'}, k-reciprocal re-ranking k1=5 k2=2"
    assert scores["both"]["mAP"] != scores["time"]["mAP"]
    assert scores["plain"]["intervals"]["mAP"][0] <= scores["plain"]["mAP"] <= scores["plain"]["intervals"]["mAP"][1]
    capsys.readouterr()
    command("compare", tmp_path / "plain" / "metrics.json", tmp_path / "time" / "metrics.json")
    assert "mAP" in capsys.readouterr().out
    assert cli.main(["compare", str(tmp_path / "plain"), str(tmp_path / "nothing")]) == 2
    # The published fusion needs no network.
    arguments = [
        "spacetime",
        "fit",
        str(network),
        "--data",
        str(table),
        "--out",
        str(tmp_path),
        "--fusion",
        "published",
    ]
    assert cli.main(arguments) == 2
    assert "needs no weights" in capsys.readouterr().err
    command("spacetime", "fit", "--data", table, "--out", tmp_path / "published", "--fusion", "published")
    assert isinstance(fusion.load(tmp_path / "published"), fusion.LogisticFusion)


def test_mistakes_in_ranking_options(network: Path, table: Path, tmp_path: Path, capsys) -> None:
    start = ["evaluate", str(network), "--data", str(table), "--out", str(tmp_path / "x"), "--report", "false"]
    for options, said in (
        (["--protocol", "market"], "--protocol: expected one of market1501, no-cameras"),
        (["--rerank", "lambda_value=abc"], "lambda_value of the re-ranking must lie between 0 and 1, got 'abc'"),
        (["--rerank", "base=["], "--rerank: '[' is not a value of base"),
        (["--rerank", "k3=5"], r"--rerank: expected settings KEY=VALUE (k1, k2, lambda_value, base), got 'k3=5'"),
        (["--spacetime", str(tmp_path / "none")], "none.json: no such file"),
        (["--expand", "0"], "k must be at least 1"),
    ):
        capsys.readouterr()
        assert cli.main([*start, *options]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_vectors_mended_by_neighbours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for side, count in (("q", 8), ("g", 40)):
        rows = Sightings(rng.integers(1, 5, count), camids=rng.integers(1, 4, count))
        Embeddings(rng.standard_normal((count, 8)).astype(np.float32), rows).save(tmp_path / f"{side}.parquet")
    sides = ["--query-embeddings", tmp_path / "q.parquet", "--gallery-embeddings", tmp_path / "g.parquet"]
    found = {}
    for name, options in (("plain", []), ("multi", ["--multi-query"]), ("mended", ["--expand", 3, "--augment", 2])):
        command("evaluate", *sides, "--out", tmp_path / name, "--report", "false", *options)
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text())["mAP"]
    assert len(set(found.values())) == 3


def test_all_random_splits_are_averaged(tmp_path: Path, capsys) -> None:
    for camera in ("cam_a", "cam_b"):
        (tmp_path / "VIPeR" / camera).mkdir(parents=True)
        for pid in range(1, 7):
            draw_person(pid, len(camera)).save(
                tmp_path / "VIPeR" / camera / f"{pid:03d}_{45 * (camera == 'cam_b')}.bmp"
            )
    command("evaluate", WEIGHTS, "--data", "viper@all", "--root", tmp_path, "--out", tmp_path / "out")
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("viper@")]
    assert len(printed) == 10
    scores = [float(line.split("mAP ")[1]) for line in printed]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["queries"] == 10 * 3
    assert metrics["mAP"] == pytest.approx(np.mean(scores), abs=1e-4)
