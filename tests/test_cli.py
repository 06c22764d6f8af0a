"""The command line as a user meets it: what it prints, and one line for every mistake."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_person

from reidentify import Benchmark, Embeddings, Sightings, cli
from reidentify.commands import COMMANDS, Group
from reidentify.commands.shared import Use


def run(*arguments: object) -> tuple[int, list[str]]:
    """Exit status and the lines on standard error of a real process."""
    command = [sys.executable, "-m", "reidentify", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr.strip().splitlines()


@pytest.fixture
def folder(people: Benchmark, tmp_path: Path) -> Path:
    """The drawn people as a folder with Market-style names."""
    for file in people.sightings.files:
        shutil.copy(file, tmp_path)
    return tmp_path


def only_error(capsys, *arguments: object) -> str:
    """The one line of a failing command."""
    assert cli.main([str(a) for a in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_mistakes_are_one_line_that_names_the_culprit(capsys, tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "out"
    train = ("train", "demo", "--out", out)
    assert "/nowhere" in only_error(capsys, *train, "--data", "market1501", "--root", "/nowhere")
    assert "the nearest is market1501" in only_error(capsys, *train, "--data", "market1502")
    assert "no recipe 'dmeo', did you mean 'demo'" in only_error(
        capsys, "train", "dmeo", "--data", folder, "--out", out
    )
    assert "did you mean optimiser.epochs?" in only_error(
        capsys, *train, "--data", folder, "--set", "optimiser.epoch=3"
    )
    (tmp_path / "table.csv").write_text("path,person\na.jpg,1\n")
    assert "pid" in only_error(capsys, *train, "--data", tmp_path / "table.csv")
    assert "embed" in only_error(capsys, "embed", "market-small")
    assert "no shipped weights" in only_error(capsys, "embed", "nothing", "-o", tmp_path / "x.parquet", folder)
    assert "preprocessing.height: expected a whole number above 0, got 0" in only_error(
        capsys, "embed", "x.onnx", folder, "-o", tmp_path / "x.parquet", "--size", 0, 5
    )
    assert "invalid choice" in only_error(capsys, "trian")
    assert "evaluate needs WEIGHTS" in only_error(capsys, "evaluate", "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "rest", "said"),
    [
        ("", "", "COMMAND is required: demo, data, street,"),
        ("", "--nope", "unrecognized arguments: --nope"),
        ("data", "gte", "COMMAND: invalid choice: 'gte'"),
        ("evaluate", "", "--out is required: for example reidentify evaluate market-small --data market1501"),
        ("train", "bot", "--data, --out are required: for example reidentify train market-cpu"),
        ("convert", "--out x", "SOURCE is required: for example reidentify convert"),
        ("recipes", "--out x", "unrecognized arguments: --out x"),
        ("street", "--out", "--out: expected one argument"),
        ("street", "--out x --ident 3", "unrecognized arguments: --ident 3"),
        ("street", "--out x --identities many", "--identities: expected a whole number, got 'many'"),
        ("street", "--out x --minutes nan", "--minutes: expected a number, got 'nan'"),
        ("street", "--out x --video maybe", "--video: expected true or false, got 'maybe'"),
        ("evaluate", "--out x --channels grb", "--channels: invalid choice: 'grb'"),
        ("evaluate", "--out x --mean 1 2", "--mean: expected 3 arguments"),
    ],
)
def test_what_cannot_be_parsed_is_said_in_the_words_of_the_user(capsys, command: str, rest: str, said: str) -> None:
    line = only_error(capsys, *command.split(), *rest.split())
    assert line.startswith(f"error: {said}")
    assert line.endswith(f"(see `{' '.join(['reidentify', *command.split()])} --help`)")


def test_values_arrive_as_the_types_that_a_command_states(monkeypatch) -> None:
    given: list[object] = []

    def kept(out: str, use: Use, images: list[str], seed: int = 3, share: float = 0.5, video: bool = True) -> None:
        """Example: reidentify kept

        Args:
            out: a folder.
            images: files.
            seed: of 50 % of all.
            share: a part.
            video: or not.
        """
        given.extend([out, use, images, seed, share, video])

    monkeypatch.setattr(cli, "COMMANDS", Group("Some.", {"kept": kept}))
    options = ["--video", "false", "--share", "1", "--mean", "1", "2", "3", "--size", "8", "4"]
    assert cli.main(["kept", "a", "--out", "b", *options, "c", "--flip", "true"]) == 0
    use = Use(flip=True, mean=[1.0, 2.0, 3.0], size=[8, 4])
    assert given == ["b", use, ["a", "c"], 3, 1.0, False]
    with pytest.raises(SystemExit):
        cli.main(["kept", "--help"])


def test_a_truncated_picture_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    draw_person(1, 0, (64, 128)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:700])
    status, lines = run("embed", "osnet-x0.25-msmt17", tmp_path / "a.jpg", "-o", tmp_path / "x.parquet")
    assert status == 2
    assert len(lines) == 1
    assert "a.jpg" in lines[0]
    assert not (tmp_path / "x.parquet").exists()


def test_embed_then_evaluate_files(people: Benchmark, tmp_path: Path, capsys) -> None:
    for side, rows in (("query", people.query), ("gallery", people.gallery)):
        for file, pid in zip(rows.files, rows.pids):
            place = tmp_path / side / str(pid)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    out, weights = tmp_path / "run", "osnet-x0.25-msmt17"
    sides = ["--query", tmp_path / "query", "--gallery", tmp_path / "gallery"]
    assert cli.main([str(a) for a in ("evaluate", weights, *sides, "--out", out)]) == 0
    printed = capsys.readouterr().out
    assert "No cameras are known" in " ".join(printed.split())
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10", "protocol", "queries", "valid_queries"} <= set(
        metrics
    )
    assert metrics["protocol"] == "no-cameras"
    assert (out / "report.html").exists()

    cli.main(["embed", weights, str(tmp_path / "query"), "-o", str(tmp_path / "q.parquet")])
    assert len(Embeddings.load(tmp_path / "q.parquet")) == len(people.query)


def test_embedded_splits_score_as_the_data_set_does(folder: Path, tmp_path: Path, capsys) -> None:
    weights, mine = "osnet-x0.25-msmt17", tmp_path / "mine"
    cli.main(["data", "import", str(folder), "--out", str(mine)])
    for split in ("query", "gallery"):
        cli.main(["embed", weights, "--data", str(mine), "--split", split, "-o", str(tmp_path / f"{split}.parquet")])
    sides = ["--query-embeddings", tmp_path / "query.parquet", "--gallery-embeddings", tmp_path / "gallery.parquet"]
    for out, source in (("a", sides), ("b", [weights, "--data", mine])):
        assert cli.main([str(x) for x in ("evaluate", *source, "--out", tmp_path / out, "--report", "false")]) == 0
    a, b = (json.loads((tmp_path / out / "metrics.json").read_text()) for out in ("a", "b"))
    assert a["mAP"] == pytest.approx(b["mAP"], abs=1e-6)


@pytest.mark.parametrize("name", ["cmc.png", "report.html", "per_query.parquet", "metrics.json"])
def test_a_full_disk_leaves_nothing_that_looks_finished(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    people = (
        Sightings(np.array([1, 2, 3]), camids=np.array([1, 1, 1])),
        Sightings(np.array([1, 2, 3]), camids=np.array([2, 2, 2])),
    )
    for side, rows in zip("qg", people):
        Embeddings(np.eye(3, dtype=np.float32), rows).save(tmp_path / f"{side}.parquet")
    out = tmp_path / "out"
    sides = ["--query-embeddings", tmp_path / "q.parquet", "--gallery-embeddings", tmp_path / "g.parquet"]
    assert cli.main([str(a) for a in ("evaluate", *sides, "--out", out, "--report", "false")]) == 0
    assert (out / "metrics.json").exists()
    moved = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved(source, target)

    monkeypatch.setattr(os, "replace", full)
    capsys.readouterr()
    assert f"{name}: cannot be written (No space left on device)" in only_error(
        capsys, "evaluate", *sides, "--out", out
    )
    assert not (out / "metrics.json").exists()
    assert not [*out.glob(".*")]


def test_import_makes_a_data_set_that_can_be_trained_on(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "mine"
    assert cli.main(["data", "import", str(folder), "--out", str(out)]) == 0
    assert cli.main(["data", "stats", str(out)]) == 0
    assert "identities" in capsys.readouterr().out


def test_help_has_an_example_for_every_command(capsys) -> None:
    commands = [
        (n, *m)
        for n, c in COMMANDS.commands.items()
        for m in ([(inner,) for inner in c.commands] if isinstance(c, Group) else [()])
    ]
    for words in commands:
        with pytest.raises(SystemExit) as left:
            cli.main([*words, "--help"])
        assert left.value.code == 0
        printed = capsys.readouterr().out
        assert f"reidentify {' '.join(words)}" in printed.partition("Example")[2]
        assert not re.search(r"type: |Optional|Union|\[options\]|null|None", printed)


def test_data_root_comes_from_the_option_then_the_environment(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("REIDENTIFY_DATA", str(tmp_path / "elsewhere"))
    assert "elsewhere" in only_error(capsys, "data", "stats", "market1501")
    assert os.fspath(tmp_path / "here") in only_error(
        capsys, "data", "stats", "market1501", "--root", tmp_path / "here"
    )
