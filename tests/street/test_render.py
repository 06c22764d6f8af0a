"""Files: the same bytes whatever the number of workers, all or nothing, and readable as a benchmark."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("embreex")
from histogram import stripes

from reidentify.data.benchmarks import street as reader
from reidentify.errors import InputError, StorageError
from reidentify.street import SIGHTING_VALUES, VALUES, Frame, Street, opened, render
from reidentify.street.world import FPS
from reidentify.values import Sightings

module = sys.modules["reidentify.street.render"]


def _digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    one = render(tmp_path / "one", 3, 2, 2, seed=5, workers=1)
    two = render(tmp_path / "two", 3, 2, 2, seed=5, workers=2)
    digests = _digest(one)
    assert digests == _digest(two)
    assert len(digests) > 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]  # nothing is left behind


def test_layout(folder: Path) -> None:
    facts = json.loads((folder / "street.json").read_text())
    assert facts["settings"] == {"identities": 24, "cameras": 3, "minutes": 10.0, "seed": 3}
    assert facts["attributes"] == {k: list(v) for k, v in {**VALUES, **SIGHTING_VALUES}.items()}
    assert len(facts["cameras"]) == 3
    assert len(facts["joints"]) == 14
    rows = Sightings.load(folder / "sightings.parquet")
    assert rows.is_images
    assert len(rows) > 200
    assert sorted(p.name for p in (folder / "crops").iterdir()) == sorted(f.removeprefix("crops/") for f in rows.files)
    for k in range(0, len(rows), 9):
        name = re.fullmatch(r"crops/(\d{4})_c(\d)s([12])_(\d{6})_00\.jpg", rows.files[k])
        assert name is not None
        light = rows.attributes["light"][k]
        assert [int(g) for g in name.groups()] == [rows.pids[k], rows.camids[k], light + 1, rows.frames[k]]
        assert rows.times[k] == rows.frames[k] / facts["fps"]
        with Image.open(folder / rows.files[k]) as crop, Image.open(folder / rows.masks[k]) as mask:
            assert crop.size == mask.size == (64, 128)
            share = np.asarray(mask.convert("L"))
            assert set(np.unique(share)) == {0, 255}
            assert 0.04 < (share > 0).mean() < 0.7
    for values, column in ((VALUES[n], rows.attributes[n]) for n in VALUES):
        assert column.min() >= 0
        assert column.max() < len(values)


def test_split(folder: Path) -> None:
    rows = Sightings.load(folder / "sightings.parquet")
    train, query, gallery = (rows[rows.split == s] for s in ("train", "query", "gallery"))
    assert len(train.identities) == 12
    assert not set(train.pids) & set(gallery.pids)
    assert len(set(zip(query.pids, query.camids))) == len(query)
    for pid in gallery.identities:
        cameras = np.unique(rows.camids[rows.pids == pid])
        assert (query.pids == pid).sum() == (len(cameras) if len(cameras) > 1 else 0)
    for pid, camid in zip(query.pids, query.camids):
        others = rows[(rows.pids == pid) & (rows.camids != camid)]
        assert len(others) > 0


def test_tracklets_hold_the_same_frames(folder: Path) -> None:
    rows, ways = (Sightings.load(folder / f"{n}.parquet") for n in ("sightings", "tracklets"))
    assert sorted(rows.files) == sorted(ways.files)
    assert not ways.is_images
    place = {f: k for k, f in enumerate(rows.files)}
    order = [place[f] for f in ways.files]
    assert (rows.boxes[order] == ways.boxes).all()
    assert (rows.keypoints[order] == ways.keypoints).all()
    owner = ways.frame_rows()
    assert (rows.pids[order] == ways.pids[owner]).all()
    assert (rows.camids[order] == ways.camids[owner]).all()
    for a, b in zip(ways.offsets[:-1], ways.offsets[1:]):
        assert (np.diff(ways.times[a:b]) > 0).all()
        assert ways.times[b - 1] - ways.times[a] < 120
    asked = ways[ways.split == "query"]
    assert 0 < len(asked) < (ways.split != "train").sum()
    left = ways[ways.split == "gallery"]
    for pid, camid in zip(asked.pids, asked.camids):
        assert ((left.pids == pid) & (left.camids != camid)).any()


def test_the_benchmark_reads_it(folder: Path) -> None:
    images = reader.read(folder.parent, None, 0)
    assert len(images.train) + len(images.query) + len(images.gallery) == len(images.sightings)
    assert Path(images.query.files[0]).is_file()
    assert Path(images.query.masks[0]).is_file()
    tracklets = reader.read(folder, "tracklets", 0)
    assert not tracklets.sightings.is_images
    expected = [(k, v, True) for k, v in VALUES.items()] + [(k, v, False) for k, v in SIGHTING_VALUES.items()]
    assert [(a.name, a.values, a.identity) for a in images.schema] == expected
    assert tracklets.schema == images.schema
    with pytest.raises(InputError, match=r"nowhere, which does not exist.*reidentify street --out"):
        reader.read(folder / "nowhere", None, 0)
    assert len(opened(folder).visits) > 20


def test_colours_alone_do_not_identify(folder: Path) -> None:
    """Twelve people in the gallery: chance is about 0.1; the full street, with a hundred, is far harder."""
    rows = Sightings.load(folder / "sightings.parquet")
    rows = rows[rows.split != "train"]
    vectors = np.stack([stripes(folder / f) for f in rows.files])
    asked, precisions = rows.split == "query", []
    for k in np.flatnonzero(asked):
        rest = ~asked & ~((rows.pids == rows.pids[k]) & (rows.camids == rows.camids[k]))
        right = (rows.pids[rest] == rows.pids[k])[np.argsort(-(vectors[rest] @ vectors[k]), kind="stable")]
        if right.any():
            at = np.flatnonzero(right)
            precisions.append(np.mean(np.arange(1, len(at) + 1) / (at + 1)))
    assert 0.05 < np.mean(precisions) < 0.45


def test_a_whole_street_is_left_alone_and_a_foreign_folder_too(folder: Path, tmp_path: Path) -> None:
    before = (folder / "street.json").stat().st_mtime_ns
    assert render(folder, 24, 3, 10, 3) == folder
    assert (folder / "street.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds something else"):
        render(folder, 25, 3, 10, 3)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="give another folder"):
        render(tmp_path, 4, 2, 2)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


@pytest.mark.parametrize("bad", [{"identities": 1}, {"cameras": 0}, {"minutes": "ten"}, {"seed": 1.5}, {"workers": 0}])
def test_bad_arguments_are_one_sentence(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))) as caught:
        render(tmp_path / "out", **bad)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "render_place", full)
    with pytest.raises(StorageError, match="No space left"):
        render(tmp_path / "out", 3, 2, 2, workers=1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 10**5))
    with pytest.raises(StorageError, match="0 MB are free"):
        render(tmp_path / "out", 3, 2, 2, workers=1)
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    code = f"from reidentify.street import render; render({str(tmp_path / 'out')!r}, 30, 2, 10, workers=1)"
    run = subprocess.Popen([sys.executable, "-c", code])
    while not list(tmp_path.glob(".out.rendering-*")):
        assert run.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.iterdir())) == 1
    with module._workshop(tmp_path / "out"):  # the next run clears up
        assert [p.name.split("-")[1] for p in tmp_path.iterdir()] == [str(os.getpid())]
    assert not list(tmp_path.iterdir())


def test_video_and_its_truth(street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    from reidentify.street import tasks

    visit = max((v for v in street.visits if v.node == 0), key=lambda v: len(street.candidates(v)))
    begin = street.candidates(visit)[0] / FPS
    taken: list[int] = []

    def shot(node: int, time: float) -> Frame:  # half a second of film, begun when somebody is there
        picture = street.frame(node, begin + time)
        taken.append(len(picture.pids))
        return picture

    short = SimpleNamespace(span=lambda node: (0, 5), frame=shot)
    monkeypatch.setattr(tasks, "open_street", lambda *_: short)
    (tmp_path / "whole" / "video").mkdir(parents=True)
    tasks.film(tmp_path, street.settings, 0)
    with av.open(str(tmp_path / "whole" / "video" / "cam1.mp4")) as film:
        shown = [(float(f.time), f.to_ndarray(format="rgb24")) for f in film.decode(video=0)]
    assert [t for t, _ in shown] == pytest.approx([k / FPS for k in range(5)])
    exact = street.frame(0, begin + 0.4).pixels
    assert np.abs(shown[4][1].astype(int) - exact).mean() < 12  # lossy, but the same picture
    truth = Sightings.load(tmp_path / "whole" / "video" / "cam1.parquet")
    assert visit.pid in truth.pids
    assert set(truth.camids) == {1}
    assert truth.times == pytest.approx(begin + truth.frames / FPS)
    assert len(truth) == sum(taken)


def test_the_default_street_of_another_version_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "street"
    old.mkdir()
    default = {"identities": 200, "cameras": 6, "minutes": 30.0, "seed": 0}
    facts = {"format": 1, "version": module.VERSION - 1, "settings": default}
    (old / "street.json").write_text(json.dumps(facts))
    asked: list[Path] = []
    monkeypatch.setattr(module, "render", lambda out, progress: asked.append(out) or out)
    assert module.ensure(tmp_path) == old
    assert asked == [old]
    assert not old.exists()


def test_the_default_street_is_kept_and_anothers_is_not_touched(tmp_path: Path) -> None:
    kept = tmp_path / "street"
    kept.mkdir()
    facts = {"format": 1, "version": module.VERSION, "settings": {**module.asdict(module.Settings())}}
    (kept / "street.json").write_text(json.dumps(facts))
    assert module.ensure(tmp_path) == kept
    facts["settings"]["identities"] = 30
    (kept / "street.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="holds something else"):
        module.ensure(tmp_path)
    assert (kept / "street.json").exists()


def test_montage(folder: Path, street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reidentify.street import montage

    first = SimpleNamespace(
        sites=street.sites[:1], visits=street.visits, duration=street.duration, candidates=street.candidates,
        frame=street.frame,
    )  # fmt: skip
    monkeypatch.setattr(sys.modules["reidentify.street.montage"], "opened", lambda _: first)
    montage(folder, tmp_path / "img" / "street.png", width=600)
    with Image.open(tmp_path / "img" / "street.png") as picture:
        assert picture.size == (600, 110 + 5 + 2 * 45)  # one row of frames (196 x 110), one of crops (45 x 90)
        assert np.ptp(np.asarray(picture.convert("L"))[:110, :190]) > 100
    with pytest.raises(InputError, match="nobody called 99"):
        montage(folder, tmp_path / "none.png", pid=99)
