"""The main job on the embedded default, whole: render the street, train on it, report."""

import json
from pathlib import Path

import numpy as np
from histogram import stripes

import reidentify
from reidentify import Embeddings
from reidentify.cli import main


def test_the_demo_finds_people_whom_colours_alone_do_not_tell_apart(tmp_path: Path, capsys) -> None:
    out, root = tmp_path / "demo", tmp_path / "root"
    assert main(["demo", "--out", str(out), "--root", str(root)]) == 0
    printed = capsys.readouterr().out
    assert "mAP" in printed
    assert str(out / "report.html") in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert 0.6 < metrics["mAP"] < 0.97
    assert (out / "report.html").stat().st_size > 100_000

    street = reidentify.benchmark("street", root)
    sides = [Embeddings(np.stack([stripes(f) for f in rows.files]), rows) for rows in (street.query, street.gallery)]
    colours = reidentify.evaluate(*sides, street.protocol).mAP
    print(f"mAP on the street: colour histograms {colours:.4f}, trained network {metrics['mAP']:.4f}")
    assert colours < 0.45
