"""benchmarks/dancers.py on people who are drawn up, not drawn: their vectors are stated."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from reidentify import Benchmark, Embeddings, Sightings
from reidentify.ranking.invariance import PoseInvariance
from reidentify.ranking.protocol import DANCEREID_STRICT

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "dancers.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("dancers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dancers", module)  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data() -> Benchmark:
    """Three people for 30 seconds in one video, two pictures a second, in two poses by turns; the first is away from
    10 to 14 seconds."""
    pids, times = np.repeat([1, 2, 3], 60), np.tile(np.arange(60) / 2, 3)
    kept = ~((pids == 1) & (times > 10) & (times < 14))
    rng = np.random.default_rng(0)
    poses = np.concatenate([rng.uniform(5, 60, (2, 14, 2)), np.ones((2, 14, 1))], 2)
    n = int(kept.sum())
    return Benchmark(
        "dancers",
        Sightings(
            pids[kept], np.ones(n, int), times[kept], [f"{k}.jpg" for k in range(n)], ["query"] * n,
            keypoints=poses[np.tile(np.arange(60) // 3 % 2, 3)[kept]],
        ),
        DANCEREID_STRICT,
    )  # fmt: skip


def embeddings(data: Benchmark, pose: float) -> Embeddings:
    """One direction for each person, and so much of one that the two poses share out among them."""
    posed = np.where(data.test.keypoints[:, 0, 0] == data.test.keypoints[0, 0, 0], pose, -pose)
    return Embeddings(np.c_[np.eye(3)[data.test.pids - 1], posed].astype(np.float32), data.test)


def test_what_is_measured(script: ModuleType, data: Benchmark) -> None:
    """Without pose everything is perfect. With a pose of 1, vectors of length sqrt 2: other people in the same pose are
    at 2 - 2/2 = 1 and in the other at 2 + 2/2 = 3, a person in the other pose at 2 - 0 = 2."""
    blind, bound = (script.measured(embeddings(data, pose), data, 0) for pose in (0.0, 1.0))
    assert blind.result.mAP == 1
    assert blind.result.rank(1) == 1
    assert blind.invariance.ratio == pytest.approx(0, abs=1e-6)
    assert blind.lost[0].count == 1
    assert blind.lost[2].summary()["share"] == 1.0
    assert blind.lost[2].chance == pytest.approx(1 / 3)
    assert blind.cut[0].share == 1
    assert bound.result.mAP < 1
    assert bound.invariance.correlation == pytest.approx(1)
    assert 2 / 3 < bound.invariance.ratio < 2


def test_table_figures_and_chart(
    script: ModuleType,
    data: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    amounts = {"blind": 0.0, "bound": 1.0}

    def load(name: str) -> SimpleNamespace:
        card = SimpleNamespace(dataset="another")
        return SimpleNamespace(card=card, embed_sightings=lambda rows, cameras: embeddings(data, amounts[name]))

    monkeypatch.setattr(script.reidentify, "load", load)
    monkeypatch.setattr(script, "benchmark_of", lambda name, root: data)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(sys, "argv", ["dancers.py", *amounts, "--out", str(tmp_path / "out")])
    script.main()
    printed = capsys.readouterr().out
    assert "pose ratio" in printed
    assert "100.0 (100.0 to 100.0)" in printed
    stated = json.loads((tmp_path / "out" / "dancers.json").read_text())
    assert [one["weights"] for one in stated] == ["blind", "bound"]
    assert stated[0]["lost"][2]["share"] == 1.0
    with Image.open(tmp_path / "out" / "dancers.png") as chart:
        assert chart.width > 1000


def test_a_correlation_below_zero_is_in_the_chart(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "to_png", lambda figure: figure)
    invariance = PoseInvariance(0.5, -0.3, (0.4, 0.6), (-0.4, -0.2), 3, 9, 0.5, 1.0)
    figure = script.chart({"odd": script.Scores(None, invariance, [], [])}, script.LIGHT)
    left, right = figure.axes[:2]
    assert left.get_xlim() == (0, 1.02)
    assert right.get_xlim()[0] < -0.4
    assert right.get_xlim()[1] > -0.2


def test_distractors_are_no_person(script: ModuleType, data: Benchmark) -> None:
    """With the third person as distractors, of whom nothing is asked, there are two people, and so two candidates."""
    sightings = data.sightings.replace(pids=np.where(data.sightings.pids == 3, 0, data.sightings.pids))
    two = Benchmark("dancers", sightings, data.protocol)
    found = script.measured(embeddings(two, 1.0), two, 0)
    assert found.invariance.people == 2
    assert found.lost[2].chance == pytest.approx(1 / 2)


def test_data_without_times_are_refused(script: ModuleType, data: Benchmark) -> None:
    without = Benchmark("own", data.test.replace(times=None))
    with pytest.raises(script.InputError, match="times and joints are needed"):
        script.measured(embeddings(data, 0.0), without, 0)
