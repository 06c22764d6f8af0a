"""The dance stage: what its dancers do, what they wear, and the files that are made of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")
import reidentify
from reidentify import Embeddings, Sightings, cli
from reidentify.commands.shared import benchmark_of
from reidentify.data.benchmarks import benchmark, trained_on_tested
from reidentify.errors import InputError
from reidentify.ranking.invariance import pose_distances
from reidentify.ranking.protocol import DANCEREID_STRICT
from reidentify.street import DanceSettings, Stage, montage, opened, render, render_dance
from reidentify.street import skeleton as sk
from reidentify.street.choreography import FIGURES, RATE, Steps, choreography, mirrored
from reidentify.street.dance import EVERY
from reidentify.street.picture import joints_in
from reidentify.street.skeleton import Figure
from reidentify.street.wardrobe import look, troupe
from reidentify.street.world import FPS, MIN_VISIBLE

SMALL = DanceSettings(videos=3, dancers=3, seconds=14, seed=2)
EYE = np.array([0.0, -9.0, 1.8])
HEAD, R_WRIST, L_WRIST, R_ANKLE, L_ANKLE = 0, 4, 7, 10, 13


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos, with files."""
    root = tmp_path_factory.mktemp("dance")
    return render_dance(root / "street-dance", SMALL.videos, SMALL.dancers, SMALL.seconds, SMALL.seed, workers=1)


@pytest.fixture(scope="module")
def rows(folder: Path) -> Sightings:
    return Sightings.load(folder / "sightings.parquet")


@pytest.fixture(scope="module")
def stage(folder: Path) -> Stage:
    """The same, to take further pictures of the first video."""
    found = opened(folder)
    assert isinstance(found, Stage)
    return found


def shown(figure: np.ndarray, person: int = 1) -> sk.Pose:
    """Somebody who stands at the origin facing +y and shows a figure."""
    worn = look(0, person)
    steps = Steps(np.zeros((2, 3)), np.array([0.0]), figure[None], quick=0.1)
    stance = sk.Stance(lambda _: (0.0, 0.0, 0.0), 0.0, still=1.0, figure=steps.figure(5.0))
    return sk.pose(sk.rest(worn.height), worn.gait, stance)


def test_bones_keep_their_length_in_every_figure() -> None:
    limbs = [(sk.R_ARM, 2), (sk.L_ARM, 2), (sk.R_THIGH, 2), (sk.L_THIGH, 2)]
    for person in (1, 2, 3):
        o = sk.rest(look(0, person).height)
        for figure in np.concatenate([FIGURES, mirrored(FIGURES)]):
            p = shown(figure, person).origins
            for first, count in limbs:
                for a in range(first, first + count):
                    assert np.linalg.norm(p[a + 1] - p[a]) == pytest.approx(np.linalg.norm(o[a + 1] - o[a]), rel=0.01)
            assert p[[sk.R_FOOT, sk.L_FOOT], 2].min() > 0.03
            assert p[sk.PELVIS, 2] > 0.35  # nobody sinks into the ground


def test_figures_show_what_they_say() -> None:
    ease, cross, high, kick = FIGURES[0], FIGURES[1], FIGURES[2], FIGURES[12]
    joints = shown(ease).joints
    assert joints[R_WRIST, 2] < joints[8, 2] + 0.1  # hands hang beside the hips
    assert joints[R_WRIST, 0] > 0 > joints[L_WRIST, 0]
    joints = shown(cross).joints
    assert joints[R_WRIST, 0] - joints[L_WRIST, 0] > 1.2  # arms spread sideways, level with the shoulders
    assert joints[[R_WRIST, L_WRIST], 2] == pytest.approx(joints[[2, 5], 2], abs=0.2)
    joints = shown(high).joints
    assert (joints[[R_WRIST, L_WRIST], 2] > joints[HEAD, 2]).all()
    joints = shown(kick).joints
    assert joints[R_ANKLE, 2] > 0.4 > joints[L_ANKLE, 2]
    assert joints[R_ANKLE, 1] > joints[L_ANKLE, 1] + 0.4


def test_a_mirrored_figure_mirrors_the_body() -> None:
    """Its x changes sign, and right and left change places; the gait that stands below is nearly symmetric."""
    assert (mirrored(mirrored(FIGURES)) == FIGURES).all()
    other = reidentify.joints.MARKET14.mirrored
    for figure in FIGURES:
        one, two = shown(figure).joints, shown(mirrored(figure)).joints
        assert np.abs(two[other] * [-1, 1, 1] - one).max() < 0.12


def test_figures_differ_from_one_another() -> None:
    """As seen from the front; two that look the same would be one."""
    flat = [np.c_[shown(f).joints[:, 0], -shown(f).joints[:, 2], np.ones(14)] for f in FIGURES]
    distances = pose_distances(np.stack(flat))
    assert distances[np.triu_indices(len(FIGURES), 1)].min() > 0.08
    assert np.median(distances[np.triu_indices(len(FIGURES), 1)]) > 0.3


def test_a_change_of_figure_takes_its_time() -> None:
    steps = Steps(np.zeros((2, 3)), np.array([0.0, 2.0]), np.stack([FIGURES[0], FIGURES[2]]), quick=0.4)

    def arms(figure: Figure) -> float:
        return float(figure.arms[0, 0])

    first, last = FIGURES[[0, 2], 0]
    moments = [arms(steps.figure(t)) for t in (-1.0, 1.0, 2.2, 2.4, 9.0)]
    assert moments == pytest.approx([first, first, (first + last) / 2, last, last])


def test_groups_move_as_people_do() -> None:
    hidden, left = 0, 0
    for seed in range(6):
        group = choreography(np.random.default_rng(seed), EYE, 5, 60)
        ways = np.stack([steps.tracks[:, :2] for steps in group], 1)
        assert ways.shape == (60 * RATE + 1, 5, 2)
        assert (np.linalg.norm(np.diff(ways, axis=0), axis=-1) * RATE).max() < 2.2  # metres a second
        turning = np.abs(np.diff([steps.tracks[:, 2] for steps in group], axis=1)) * RATE
        assert turning.max() < 9  # radians a second
        angle = np.arctan2(*(ways - EYE[:2]).transpose(2, 0, 1))
        far = np.linalg.norm(ways - EYE[:2], axis=-1)
        for a in range(5):
            behind = [(np.abs(angle[:, a] - angle[:, b]) < 0.02) & (far[:, a] > far[:, b] + 0.3) for b in range(5)]
            hidden += int(np.any(behind, axis=0).sum())
        left += int((np.abs(ways[..., 0]) > 6.5).sum())
    assert hidden > 0.05 * 6 * 5 * 600  # of all moments, somebody stands right behind somebody
    assert left > 0.005 * 6 * 5 * 600  # and somebody is out of the picture


def test_a_group_is_dressed_alike_but_for_somebody_else() -> None:
    for group in range(8):
        looks = troupe(0, group, 5)
        worn = [
            tuple(x.attributes[k] for k in ("upper_colour", "pattern", "lower_colour", "lower_type")) for x in looks
        ]
        assert len(set(worn)) == 5
        assert len({w[:2] for w in worn}) <= 3
        assert len({w[2:] for w in worn}) <= 2
        assert all(x.attributes["bag"] == 0 for x in looks)
    assert len({x.seed for group in range(8) for x in troupe(0, group, 5)}) == 40


def test_layout_and_split(rows: Sightings, folder: Path) -> None:
    facts = json.loads((folder / "street.json").read_text())
    assert facts["kind"] == "dance"
    assert facts["settings"] == {"videos": 3, "dancers": 3, "seconds": 14, "seed": 2}
    assert facts["graph"] == []
    assert sorted(facts["cameras"]) == ["1", "2", "3"]
    assert ((rows.pids - 1) // 3 + 1 == rows.camids).all()  # a group keeps to its video
    train, test = rows[rows.split == "train"], rows[rows.split == "query"]
    assert len(train) + len(test) == len(rows)
    assert len(np.unique(train.camids)) == 2
    assert len(np.unique(test.camids)) == 1
    assert not set(train.identities) & set(test.identities)
    assert len(rows.identities) == 9
    begins = (rows.camids - 1) * 3 * SMALL.seconds
    assert ((rows.times >= begins) & (rows.times < begins + SMALL.seconds)).all()
    assert (rows.times == rows.frames / FPS).all()
    assert (rows.frames % EVERY == 0).all()
    assert (rows.attributes["visible"] >= 100 * MIN_VISIBLE - 1).all()
    assert (rows.attributes["action"] == facts["attributes"]["action"].index("dance")).all()
    assert len(rows) > 0.5 * 9 * SMALL.seconds * FPS / EVERY
    assert all((folder / f).is_file() for column in (rows.files, rows.masks) for f in column)


def test_tracklets_are_the_stretches_in_view(rows: Sightings, folder: Path) -> None:
    runs = Sightings.load(folder / "tracklets.parquet")
    assert sorted(runs.files) == sorted(rows.files)
    for a, b in zip(runs.offsets[:-1], runs.offsets[1:]):
        assert (np.diff(runs.times[a:b]) <= 1).all()
    ends = {(p, t) for p, t in zip(runs.pids, runs.times[runs.offsets[1:] - 1])}
    begins = [(p, t) for p, t in zip(runs.pids, runs.times[runs.offsets[:-1]])]
    for pid, begin in begins:  # nothing ended a second or less before
        assert not any(p == pid and 0 < begin - end <= 1 for p, end in ends)


def test_poses_change(rows: Sightings) -> None:
    """A second apart, two pictures of a person mostly show different poses; on the street they are nearly the same."""
    apart = []
    for pid in rows.identities:
        mine = rows[rows.pids == pid]
        distances = pose_distances(mine.keypoints)
        apart.append(distances[np.abs(mine.times[:, None] - mine.times) >= 1])
    every = np.concatenate(apart)
    assert np.nanmedian(every) > 0.5


def test_a_joint_behind_ones_own_body_is_half_seen(stage: Stage, rows: Sightings) -> None:
    """It alone: with nobody else and nothing before the camera, what a dancer's crop does not show fully is 0.5."""
    visibility = rows.keypoints[..., 2]
    assert set(np.unique(visibility)) == {0.0, 0.5, 1.0}
    me = next(v for v in stage.visits if v.node == 0)
    here = stage.actor(me, me.start + 1)
    place = stage.stage(0, me.start + 1)
    alone, shadowed = (joints_in(here, [], place, value)[1] for value in (0.5, 0.0))
    assert set(np.unique(alone)) <= {0.5, 1.0}
    np.testing.assert_array_equal(shadowed, alone == 1)
    assert (joints_in(here, [here], place, 0.5)[1][alone == 0.5] == 0).all()  # another body in the same place


def test_the_benchmark_reads_it(folder: Path, rows: Sightings) -> None:
    data = benchmark("street-dance", folder.parent)
    assert data.name == "street-dance"
    assert data.protocol is DANCEREID_STRICT
    assert len(data.query) == len(data.gallery) == (rows.split == "query").sum()
    assert benchmark_of("street-dance", str(folder)).train.keypoints.shape[1:] == (14, 3)
    assert not trained_on_tested("street", "street-dance")  # other people
    pids = np.unique(data.query.pids, return_inverse=True)[1]
    known = Embeddings(np.eye(3, dtype=np.float32)[pids], data.query)
    assert reidentify.evaluate(known, known, data.protocol).mAP == 1.0
    with pytest.raises(InputError, match="holds a dance stage; ask for it as street-dance"):
        benchmark("street", folder)


def test_a_street_is_no_stage(tmp_path: Path) -> None:
    (tmp_path / "street.json").write_text(json.dumps({"format": 1, "attributes": {}}))
    with pytest.raises(InputError, match="holds a street without a stage; ask for it as street"):
        benchmark("street-dance", tmp_path)


def test_another_layout_is_rendered_anew_by_its_own_command(tmp_path: Path) -> None:
    for name, command in (("street-dance", "stage"), ("street", "street")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "street.json").write_text(json.dumps({"format": 99, "attributes": {}}))
        with pytest.raises(InputError, match=f"layout 99 where 1 .*: reidentify {command} --out"):
            benchmark(name, tmp_path)


def test_tracks_have_a_rate_of_their_own(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the rate of the pictures, a dancer is where the choreography says: the tenth position after a second."""
    monkeypatch.setattr("reidentify.street.dance.FPS", 3 * FPS)
    dancer = Stage(SMALL).visits[1]
    np.testing.assert_allclose(dancer.place(dancer.start + 2.0), dancer.steps.tracks[2 * RATE])


def test_the_same_seed_gives_the_same_pictures(stage: Stage, rows: Sightings) -> None:
    """Cast anew in memory, a video's crops have the boxes, joints and visibility that the files state."""
    again = list(stage.shots([v for v in stage.visits if v.node == 0]))
    mine = rows[rows.camids == 1]
    assert len(again) == len(mine)
    order = np.lexsort((np.array([n for _, n, _ in again]), np.array([v.pid for v, _, _ in again])))
    for row, at in enumerate(order[::5]):
        visit, number, crop = again[at]
        one = mine[[5 * row]]
        assert (one.pids[0], one.frames[0]) == (visit.pid, number)
        assert (one.boxes[0] == crop.box).all()
        assert (one.keypoints[0] == crop.keypoints).all()
        assert one.attributes["visible"][0] == round(100 * crop.visible)


def test_montage(folder: Path, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["reidentify.street.montage"]
    monkeypatch.setattr(stage, "sites", stage.sites[:1])  # one frame will do
    monkeypatch.setattr(module, "opened", lambda _: stage)
    montage(folder, tmp_path / "shown.png", width=600)
    assert (tmp_path / "shown.png").stat().st_size > 10_000


def test_a_whole_stage_is_left_alone_and_a_street_is_not_taken_for_it(folder: Path) -> None:
    before = (folder / "street.json").stat().st_mtime_ns
    again = render_dance(folder, SMALL.videos, SMALL.dancers, SMALL.seconds, SMALL.seed, workers=1)
    assert again == folder
    assert (folder / "street.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="holds something else"):
        render(folder, 3, 2, 2)
    with pytest.raises(InputError, match="holds something else"):
        render_dance(folder, SMALL.videos, SMALL.dancers, SMALL.seconds, seed=3)


@pytest.mark.parametrize(
    "bad", [{"videos": 2}, {"dancers": 1}, {"dancers": 10}, {"seconds": 5}, {"seconds": 10.5}, {"seed": -1}]
)
def test_bad_settings_are_one_sentence(bad: dict[str, int]) -> None:
    name = next(iter(bad))
    with pytest.raises(InputError, match=f"street: {name} must be a whole number from"):
        DanceSettings(**bad)


def test_the_default_stage_is_rendered_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["reidentify.street.render"]
    old = tmp_path / "street-dance"
    old.mkdir()
    default = {"videos": 18, "dancers": 5, "seconds": 60, "seed": 0}
    stated = {"kind": "dance", "format": 1, "version": module.VERSION - 1, "settings": default}
    (old / "street.json").write_text(json.dumps(stated))
    asked: list[Path] = []
    monkeypatch.setattr(module, "render_dance", lambda out, progress: asked.append(out) or out)
    monkeypatch.setenv("REIDENTIFY_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"expected street\.json"):  # nothing was rendered after all
        benchmark_of("street-dance", None)
    assert asked == [old]
    assert not old.exists()


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--videos", "3", "--dancers", "3", "--seconds", "14", "--seed", "2"]
    assert cli.main(["stage", "--out", str(folder), *wanted]) == 0
    assert capsys.readouterr().out.strip() == str(folder)
    assert cli.main(["stage", "--out", str(folder / "other"), "--videos", "2"]) != 0
    line = capsys.readouterr().err.strip()
    assert line == "error: street: videos must be a whole number from 3 to 99, got 2"
