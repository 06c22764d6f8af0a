"""What is cast agrees with what is known: masks, joints, boxes, angles, shadows and light."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("embreex")
from reidentify.errors import InputError
from reidentify.street import Settings, Street, frame
from reidentify.street import skeleton as sk
from reidentify.street.actors import actor
from reidentify.street.light import light_at
from reidentify.street.world import FPS, Crop


@pytest.fixture(scope="module")
def crops(street: Street) -> list[tuple[int, int, Crop]]:
    """Crops of the first camera: visit, frame number, crop."""
    here = [v for v in street.visits if v.node == 0][:14]
    return [(v.number, number, crop) for v in here for number, crop in street.crops(v)]


def test_crops_are_the_same_whatever_came_before(street: Street, crops: list[tuple[int, int, Crop]]) -> None:
    assert len(crops) > 25
    for visit, number, crop in (crops[-1], crops[0]):
        again = street.crop(street.visits[visit], number)
        assert again is not None
        assert (again.pixels == crop.pixels).all()
        assert (again.mask == crop.mask).all()


def test_boxes_are_twice_as_high_as_wide_and_hold_the_person(
    street: Street, crops: list[tuple[int, int, Crop]]
) -> None:
    for visit, number, crop in crops:
        x0, y0, x1, y1 = crop.box
        assert (y1 - y0) / (x1 - x0) == pytest.approx(2, rel=1e-4)
        assert min(x0, y0) >= 0
        assert x1 <= 960
        assert y1 <= 540
        v = street.visits[visit]
        whole = actor(street.person(v.pid), v, number / FPS, street.sites[0].camera).box
        assert x0 < whole[0]
        assert y0 < whole[1]
        assert x1 > whole[2]
        assert y1 > whole[3]
        rim = np.concatenate([crop.mask[0], crop.mask[-1], crop.mask[:, 0], crop.mask[:, -1]])
        assert not rim.any()  # nothing of the person is cut off


def test_seen_joints_lie_on_the_person(crops: list[tuple[int, int, Crop]]) -> None:
    on = total = 0
    for _, _, crop in crops:
        for x, y, seen in crop.keypoints:
            if seen:
                total += 1
                i, j = int(y), int(x)
                on += crop.mask[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3].any()
    assert total > 200
    assert on / total > 0.99


def test_visible_share_and_attributes_agree(crops: list[tuple[int, int, Crop]]) -> None:
    for _, _, crop in crops:
        assert 0.4 <= crop.visible <= 1
        assert crop.attributes["visible"] == round(100 * crop.visible)
        assert crop.attributes["occlusion"] == (crop.visible < 0.9) + (crop.visible < 0.65)
    assert any(c.visible == 1 for _, _, c in crops)
    assert any(c.visible < 0.95 for _, _, c in crops)


def test_angle_tells_which_side_the_camera_sees(street: Street, crops: list[tuple[int, int, Crop]]) -> None:
    """From behind (bins 3 to 5) the right shoulder shows right of the left one, from the front left of it."""
    checked = 0
    for _, _, crop in crops:
        apart = crop.keypoints[2, 0] - crop.keypoints[5, 0]
        if crop.attributes["angle"] in (3, 4, 5) or crop.attributes["angle"] in (0, 1, 7):
            behind = crop.attributes["angle"] in (3, 4, 5)
            if abs(apart) > 4:
                checked += 1
                assert (apart > 0) == behind
    assert checked > 5


def test_calibration_projects_the_world(street: Street) -> None:
    visit = next(v for v in street.visits if v.node == 2)
    time = (visit.start + visit.end) / 2
    a = actor(street.person(visit.pid), visit, time, street.sites[2].camera)
    pixels, _ = street.sites[2].camera.project(a.pose.joints)
    known = {k: np.array(v) for k, v in street.calibration(2).items()}
    turn = sk.turn(2, float(street.graph.turns[2]))
    world = a.pose.joints @ turn.T + np.append(street.graph.places[2], 0.0)
    seen = (world @ known["R"].T + known["t"]) @ known["K"].T
    assert seen[:, :2] / seen[:, 2:] == pytest.approx(pixels, abs=1e-6)


def test_frames_hold_the_people_who_are_there(street: Street) -> None:
    visit = max((v for v in street.visits if v.node == 0), key=lambda v: len(street.candidates(v)))
    number = street.candidates(visit)[len(street.candidates(visit)) // 2]
    shown = frame(street, 1, number / FPS)
    assert shown.pixels.shape == (540, 960, 3)
    assert shown.pixels.dtype == np.uint8
    assert visit.pid in shown.pids
    assert len(set(shown.pids.tolist())) == len(shown.pids)
    box = shown.boxes[shown.pids.tolist().index(visit.pid)]
    crop = street.crop(visit, number)
    if crop is not None:  # the crop's box lies about the frame's
        assert crop.box[0] < box[0] + 4
        assert crop.box[1] < box[1] + 8
        assert crop.box[2] > box[2] - 4
        assert crop.box[3] > box[3] - 8
    # A person changes the picture where they are.
    empty_time = next(
        t for t in np.arange(0, street.duration, 1.0) if not street.actors(0, t, np.array([0, 0, 960, 540.0]))
    )
    assert len(frame(street, 1, float(empty_time)).pids) == 0


def test_day_becomes_dusk() -> None:
    day, dusk = light_at(0, 10.0, 600.0), light_at(0, 590.0, 600.0)
    assert (day.dark, dusk.dark) == (0, 1)
    assert day.lamp.sum() == 0
    assert dusk.sun.sum() == 0
    assert dusk.lamp.sum() > 0
    assert dusk.sky.sum() < 0.5 * day.sky.sum()


def test_questions_that_have_no_answer(street: Street) -> None:
    with pytest.raises(InputError, match="no camera 4; they are numbered from 1 to 3"):
        frame(street, 4, 1.0)
    with pytest.raises(InputError, match="between 0 and 600 seconds"):
        frame(street, 1, 601.0)
    for name, bad in (("identities", 1), ("cameras", 2.5), ("minutes", 0), ("seed", -1), ("identities", True)):
        with pytest.raises(InputError, match=name):
            Settings(**{name: bad})
