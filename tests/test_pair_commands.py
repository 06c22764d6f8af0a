"""`pairs`, and `evaluate`, `verify` and `explain` with pairwise weights, as a user calls them."""

import dataclasses
import json
import shutil
import warnings
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from drawn import draw_person
from PIL import Image
from test_cli import only_error
from test_pairs import by_hand, model_of

import reidentify
from reidentify import Sightings, cli, pairs, zoo
from reidentify.commands import explain, ranking, verification
from reidentify.data.benchmark import Benchmark
from reidentify.models.pairs import NormalisedCorrelation
from reidentify.models.pairs.trunk import Frame
from reidentify.models.weights import Card, Preprocessing, card_path, save_weights
from reidentify.ranking import cascade
from reidentify.ranking.calibration import Calibration, Threshold
from reidentify.ranking.logistic import Bin
from reidentify.values import Attribute

EMBEDDING = "osnet-x0.25-msmt17"


def command(*arguments: object) -> None:
    assert cli.main([str(a) for a in arguments]) == 0


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("REIDENTIFY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(people: Benchmark, tmp_path: Path) -> Path:
    """The drawn people as a table with their split."""
    rows = people.sightings
    lines = ["path,pid,camid,split"]
    for i, file in enumerate(rows.files):
        lines.append(f"{file},{rows.pids[i]},{rows.camids[i]},{rows.split[i]}")
    (tmp_path / "drawn.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "drawn.csv"


@pytest.fixture
def colours(monkeypatch):
    """The weights named "colours" are of a pairwise network, whose answers can be computed by hand."""
    model, known = model_of(pairs={"sampling": "balanced"}), verification.kind_of
    for place in (verification, ranking, explain):
        monkeypatch.setattr(place, "kind_of", lambda name: "pairs" if name == "colours" else known(name))
    monkeypatch.setattr(pairs, "load_pairs", lambda *_: model)
    return model


def expected(rows: Sightings, threshold: float = 0.5) -> tuple[int, int]:
    """Positive pairs of these rows, and how many of them are accepted."""
    found = [
        (by_hand(rows.files[a], rows.files[b]) + by_hand(rows.files[b], rows.files[a])) / 2
        for a, b in combinations(range(len(rows)), 2)
        if rows.pids[a] == rows.pids[b]
    ]
    return len(found), int((np.array(found) >= threshold).sum())


def test_pairs_by_a_pairwise_network(colours, people: Benchmark, data: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    for split, rows in (
        ("train", people.train),
        ("test", people.test),
        ("gallery", people.gallery),
        ("all", people.sightings),
    ):
        capsys.readouterr()
        command("pairs", "colours", "--data", data, "--split", split, "--out", out, "--examples", 2)
        stated = json.loads((out / "metrics.json").read_text())
        positives, accepted = expected(rows)
        assert (stated["pairs_same"], stated["pairs_different"]) == (positives, positives)
        assert stated["confusion"]["tp"] == accepted
        table = pq.read_table(out / "pairs.parquet").to_pylist()
        for one in table[:: len(table) // 7]:
            both = one["file_a"], one["file_b"]
            assert one["score"] == pytest.approx((by_hand(*both) + by_hand(*both[::-1])) / 2, abs=1e-5)
        right = np.mean([(one["score"] >= 0.5) == one["same"] for one in table])
        assert stated["accuracy"] == pytest.approx(right)
        said = capsys.readouterr().out
        assert f"{positives:,} pairs of one person, {positives:,} of two" in said
        assert f"{100 * right:.2f} %" in said
    assert Image.open(out / "pairs.png").size[1] == 12 + 4 * (160 + 60 + 12)
    assert "--positives" not in capsys.readouterr().out
    command("pairs", "colours", "--data", data, "--out", out, "--positives", 500, "--examples", 0)
    assert "--positives: of 500 that were asked for there are 36, and all are taken" in capsys.readouterr().out
    command("pairs", "colours", "--data", data, "--out", out, "--positives", 5, "--negatives", 3, "--examples", 0)
    assert "--positives" not in capsys.readouterr().out
    stated = json.loads((out / "metrics.json").read_text())
    assert (stated["pairs_same"], stated["pairs_different"]) == (5, 15)


def test_a_threshold_from_other_pairs(colours, data: Path, tmp_path: Path, capsys) -> None:
    command("pairs", "colours", "--data", data, "--split", "train", "--out", tmp_path / "a", "--examples", 0)
    table = pq.read_table(tmp_path / "a" / "pairs.parquet").to_pydict()
    scores, same = np.array(table["score"]), np.array(table["same"])
    more = ["--data", data, "--out", tmp_path / "b", "--examples", 0, "--threshold-from", tmp_path / "a"]
    command("pairs", "colours", *more)
    found = json.loads((tmp_path / "b" / "metrics.json").read_text())
    best = max(((scores >= t) == same).mean() for t in [*scores, 2.0])
    assert ((scores >= found["threshold"]) == same).mean() == best
    assert "the best accuracy on the 192 pairs of" in found["rule"]  # 16 people x 6 pairs, and as many of two
    assert "judged by other weights (colours)" in only_error(capsys, "pairs", EMBEDDING, *more)


def embedding(folder: Path, calibration: dict | None) -> Path:
    """Shipped weights in a folder of their own, with a calibration or without."""
    folder.mkdir()
    shipped = zoo.path(EMBEDDING)
    assert shipped is not None
    shutil.copy(shipped, folder / "weights.safetensors")
    card = json.loads(card_path(shipped).read_text()) | {"calibration": calibration or {}}
    (folder / "weights.json").write_text(json.dumps(card))
    return folder


def test_pairs_by_an_embedding_network(data: Path, tmp_path: Path) -> None:
    points = (Threshold(1e-2, 0.9, 0.8), Threshold(1e-3, 0.5, 0.9))
    stated = Calibration(20.0, -16.0, points, 12, 34, 56_000, "others", 0.1, 0.01, (Bin(0.5, 0.5, 1, 1),)).to_dict()
    out = tmp_path / "out"
    command("pairs", embedding(tmp_path / "calibrated", stated), "--data", data, "--out", out, "--examples", 1)
    model = reidentify.load(EMBEDDING)
    table = pq.read_table(out / "pairs.parquet").to_pylist()
    for one in table[::9]:
        a, b = model.embed([one["file_a"], one["file_b"]])
        assert one["score"] == pytest.approx(1 / (1 + np.exp(-(20 * float(a @ b) - 16))), abs=1e-3)
        assert one["accepted"] == (one["score"] >= 0.5)
    figures = json.loads((out / "metrics.json").read_text())
    assert "12 held-out identities of others" in figures["rule"]
    command("pairs", embedding(tmp_path / "plain", None), "--data", data, "--out", out, "--examples", 0)
    figures = json.loads((out / "metrics.json").read_text())
    assert "on these very pairs, which flatters" in figures["rule"]
    scores, same = (np.array(pq.read_table(out / "pairs.parquet")[name]) for name in ("score", "same"))
    assert figures["accuracy"] == max(((scores >= t) == same).mean() for t in [*scores, 2.0])


def test_accuracy_by_what_the_sightings_share(colours, people: Benchmark, tmp_path: Path, monkeypatch, capsys) -> None:
    rows = people.sightings
    attributes = {"light": np.arange(len(rows)) % 2, "coat": rows.pids % 2}
    schema = Attribute("light", ("day", "dusk"), identity=False), Attribute("coat", ("red", "blue"))
    lit = Benchmark("lit", rows.replace(attributes=attributes), schema=schema)
    monkeypatch.setattr(verification, "benchmark_of", lambda *_: lit)
    command("pairs", "colours", "--data", "lit", "--out", tmp_path, "--examples", 0)
    found = json.loads((tmp_path / "metrics.json").read_text())["by_attribute"]
    assert [(g["attribute"], g["values"]) for g in found] == [
        ("light", "same"), ("light", "different"), ("light", "both day"), ("light", "both dusk")
    ]  # fmt: skip
    # Of the four images of a person, in turn by day and at dusk, 2 of 6 pairs share the light; 36 positives in all.
    table = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    of_file = dict(zip(rows.files.tolist(), attributes["light"].tolist()))
    shared = [one for one in table if of_file[one["file_a"]] == of_file[one["file_b"]]]
    assert found[0]["pairs"] == len(shared)
    assert found[0]["tpr"] == pytest.approx(np.mean([one["accepted"] for one in shared if one["same"]]))
    assert sum(one["same"] for one in shared) == 12
    assert found[0]["pairs"] + found[1]["pairs"] == 72
    assert "both dusk" in capsys.readouterr().out


def test_evaluate_with_a_pairwise_network(colours, people: Benchmark, data: Path, tmp_path: Path, capsys) -> None:
    start = ["evaluate", "colours", "--data", data, "--out", tmp_path / "out"]
    command(*start, "--verification")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    query, gallery = people.query, people.gallery

    def ranks(cameras: tuple[int, int] | None) -> list[float]:
        """Mean over queries of whether the best of other cameras is right."""
        hits = []
        for q in range(len(query)):
            seen = [g for g in range(len(gallery)) if not (gallery.pids[g] == query.pids[q] and gallery.camids[g] == 1)]
            seen = [g for g in seen if cameras is None or gallery.camids[g] == cameras[1]]
            scores = [
                by_hand(query.files[q], gallery.files[g]) + by_hand(gallery.files[g], query.files[q]) for g in seen
            ]
            hits.append(gallery.pids[seen[int(np.argmax(scores))]] == query.pids[q])
        return hits

    assert found["rank1"] == pytest.approx(np.mean(ranks(None)))
    assert (tmp_path / "out" / "report.html").exists()
    command(*start, "--report", "false", "--between", 1, 2)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["gallery"] == int((gallery.camids == 2).sum())
    assert found["rank1"] == pytest.approx(np.mean(ranks((1, 2))))
    assert found["ranking"] == "queries and gallery of cameras 1 and 2"
    command(*start, "--report", "false", "--between", 1, 2, "--protocol", "single-shot")
    for options, said in (
        (["--rerank"], "--rerank works on embeddings, and colours is a pairwise network"),
        (["--expand", 2], "--expand works on embeddings"),
        (["--rescore", "colours"], "--rescore works on embeddings"),
        (["--flip", "true"], "--flip: colours is a pairwise network, which sees pictures as its card says"),
        (["--between", 1, 7], "--between: no image of camera 7 on its side; of the cameras there are 1, 2"),
    ):
        assert said in only_error(capsys, *start, *options)


def test_a_cascade_from_the_command_line(colours, people: Benchmark, data: Path, tmp_path: Path, capsys) -> None:
    start = ["evaluate", EMBEDDING, "--data", data, "--report", "false"]
    scores = {}
    for name, options in (
        ("plain", []),
        ("some", ["--rescore", "colours", "--rescore-top", 4]),
        ("all", ["--rescore", "colours", "--rescore-top", 18]),
    ):
        command(*start, "--out", tmp_path / name, *options)
        scores[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert scores["some"]["ranking"] == "the nearest 4 ranked anew by colours"
    command("evaluate", "colours", "--data", data, "--report", "false", "--out", tmp_path / "pairwise")
    alone = json.loads((tmp_path / "pairwise" / "metrics.json").read_text())
    assert scores["all"]["mAP"] == pytest.approx(alone["mAP"])
    assert scores["some"]["mAP"] != scores["plain"]["mAP"]
    out = ["--out", tmp_path / "x"]
    assert "--rescore-top: of how many rows --rescore ranks" in only_error(capsys, *start, *out, "--rescore-top", 4)
    assert "--rescore-top: expected 1 or more" in only_error(capsys, *start, *out, "--rescore-top", 0)
    files = ["--query-embeddings", "q.parquet", "--gallery-embeddings", "g.parquet"]
    assert "--rescore compares pictures" in only_error(capsys, "evaluate", *files, *out, "--rescore", "colours")


def test_verify_with_a_pairwise_network(colours, people: Benchmark, capsys) -> None:
    a, b = people.query.files[:2]
    command("verify", "colours", a, b)
    said = capsys.readouterr().out
    assert said.startswith(f"same person: {50 * (by_hand(a, b) + by_hand(b, a)):.1f} % (mean of both orders")
    assert "were resized to 32x16" in said
    assert "not calibrated, so it takes no prior" in only_error(capsys, "verify", "colours", a, b, "--prior", 0.1)


def test_explain_draws_matches(colours, people: Benchmark, tmp_path: Path, capsys) -> None:
    colours.network.correlation = NormalisedCorrelation()
    colours.network.trunk = SimpleNamespace(frame=lambda image, cells: Frame(0, 0, *image, cells))
    a, b = people.query.files[:2]
    out = tmp_path / "matched.png"
    command("explain", "colours", a, "--reference", b, "-o", out)
    assert capsys.readouterr().out.strip() == str(out)
    assert Image.open(out).size == (110 + 2 * 3 * 16 + 90 + 12, 52 + 3 * 32 + 40 + 12)
    start = ["explain", "colours", a, "-o", out]
    assert "explain needs one picture, and the other with --reference" in only_error(capsys, *start)
    assert "--matches: expected at least 1" in only_error(capsys, *start, "--reference", b, "--matches", 0)
    out.unlink()
    more = [*start, "--reference", b]
    assert "--data: of a pairwise network explain needs one picture" in only_error(capsys, *more, "--data", "viper")
    assert "--row: of a pairwise network explain needs one picture" in only_error(capsys, *more, "--row", 3)
    folder = ["explain", "colours", tmp_path, "--reference", b, "-o", out]
    assert f"{tmp_path} is a folder: of a pairwise network" in only_error(capsys, *folder)
    assert f"{tmp_path} is a folder: of a pairwise" in only_error(capsys, *start, "--reference", tmp_path)
    del colours.network.correlation
    assert "colours correlates no patches" in only_error(capsys, *more)
    assert not out.exists()


def test_weights_of_the_wrong_kind_are_one_line(people: Benchmark, data: Path, tmp_path: Path, capsys) -> None:
    card = Card("mine", {}, Preprocessing(160, 60), 500, "", "", kind="pairs")
    weights = tmp_path / "weights.safetensors"
    save_weights({"a": torch.zeros(1)}, card, weights)
    said = "the weights of a pairwise network, not of an embedding network: they are for `reidentify pairs`"
    for arguments in (
        ("embed", weights, people.query.files[0], "-o", tmp_path / "e.parquet"),
        ("calibrate", weights, "--data", data),
        ("attributes", weights, people.query.files[0]),
    ):
        assert said in only_error(capsys, *arguments)
    rescored = ("evaluate", EMBEDDING, "--data", data, "--out", tmp_path / "out", "--rescore", EMBEDDING)
    assert "the weights of an embedding network, not of a pairwise network" in only_error(capsys, *rescored)


def test_data_that_gives_no_pairs(colours, data: Path, tmp_path: Path, capsys) -> None:
    lines = ["path,pid,camid,split"]
    for pid in (1, 2, 3):
        draw_person(pid, 0).save(tmp_path / f"{pid}.png")
        lines.append(f"{tmp_path / f'{pid}.png'},{pid},1,train")
    (tmp_path / "one.csv").write_text("\n".join(lines) + "\n")
    start = ["pairs", "colours", "--out", tmp_path / "out", "--data"]
    said = only_error(capsys, *start, tmp_path / "one.csv", "--split", "train")
    assert "one.csv (train): no pair of images shows one person, as each of the 3 identities has one image" in said
    assert "has no such images of known people" in only_error(capsys, *start, tmp_path / "one.csv")
    assert "--negatives: expected 1 or more" in only_error(capsys, *start, data, "--negatives", 0)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def named(people: Benchmark, monkeypatch):
    """Whatever data set is asked for, the drawn people are read under its name."""
    for place in (verification, ranking):
        monkeypatch.setattr(place, "benchmark_of", lambda name, root: Benchmark(name, people.sightings))


def warned(capsys, *arguments: object) -> list[str]:
    """What a command warns of, also where it was said before."""
    warnings.simplefilter("always")
    command(*arguments)
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]


def test_a_network_that_knows_the_tested_people_is_named(colours, named, tmp_path: Path, capsys) -> None:
    colours.card = dataclasses.replace(colours.card, dataset="mars")
    start = ["evaluate", "--report", "false", "--out", tmp_path, "--data"]
    cascade = [EMBEDDING, "--rescore", "colours", "--rescore-top", 2]
    said = "warning: colours was trained on {}, whose people may be among those searched for in {}: the scores flatter"
    assert warned(capsys, *start, "market1501", "colours") == [said.format("mars", "market1501")]
    assert warned(capsys, *start, "market1501", *cascade) == [said.format("mars", "market1501")]
    assert warned(capsys, *start, "dukemtmcreid", *cascade) == []
    colours.card = dataclasses.replace(colours.card, dataset="viper")
    # Split 0 is what the name alone stands for, so its test people are not among those trained on.
    assert warned(capsys, *start, "viper@all", *cascade) == [said.format("viper", "9 of the 10 splits of viper")]
    assert warned(capsys, *start, "viper@all", "colours") == [said.format("viper", "9 of the 10 splits of viper")]
    assert warned(capsys, *start, "viper@0", "colours") == []


def test_pairs_of_training_people_are_called_so(colours, named, tmp_path: Path, capsys) -> None:
    colours.card = dataclasses.replace(colours.card, dataset="viper@1")
    start = ["pairs", "colours", "--out", tmp_path, "--examples", 0, "--data"]
    trained = "warning: colours was trained on viper@1, "
    among = trained + "whose people may be among those of {}: the figures flatter"
    training = trained + "and the people of {} (train) are training people: the figures flatter"
    for data, split, said in (
        ("viper", "test", among.format("viper (test)")),
        ("viper@1", "test", None),
        ("viper@1", "all", among.format("viper@1 (all)")),
        ("viper", "all", among.format("viper (all)")),
        ("viper@1", "train", training.format("viper@1")),
        ("viper", "train", training.format("viper")),
        ("grid", "train", None),
        ("grid", "all", None),
    ):
        assert warned(capsys, *start, data, "--split", split) == ([] if said is None else [said]), (data, split)


def test_pairs_at_once_are_an_option(colours, people: Benchmark, data: Path, tmp_path: Path, capsys) -> None:
    one = ["evaluate", "colours", "--report", "false"]
    two = ["evaluate", EMBEDDING, "--rescore", "colours", "--report", "false"]
    for start in (one, two, ["pairs", "colours", "--examples", 0]):
        found = []
        for options in ([], ["--batch-size", 5]):
            colours.network.largest = 0
            command(*start, "--data", data, "--out", tmp_path / "out", *options)
            found.append((colours.network.largest, json.loads((tmp_path / "out" / "metrics.json").read_text())))
        # Of 18 gallery images the protocol leaves out the one of the query's own person and camera.
        most = 17 if start is two else 32
        assert [largest for largest, _ in found] == [most, 5]
        for key in {"mAP", "accuracy"} & found[0][1].keys():
            assert found[0][1][key] == pytest.approx(found[1][1][key])
        assert "batch_size must be at least 1, got 0" in only_error(
            capsys, *start, "--data", data, "--out", tmp_path / "out", "--batch-size", 0
        )


def test_a_cascade_shows_its_queries(colours, data: Path, tmp_path: Path, monkeypatch) -> None:
    asked = []
    real = cascade._tracked
    monkeypatch.setattr(cascade, "_tracked", lambda q, d, progress: asked.append(progress) or real(q, d, progress))
    command("evaluate", EMBEDDING, "--data", data, "--out", tmp_path, "--report", "false", "--rescore", "colours")
    assert asked == [True]
