"""Rays, cameras, bones and steps against hand-computed places."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("embreex")
from reidentify.street import skeleton as sk
from reidentify.street.body import build
from reidentify.street.cameras import HEIGHT, WIDTH, camera
from reidentify.street.casting import Caster, halved
from reidentify.street.meshes import box, tube
from reidentify.street.noise import cells, smooth, stream
from reidentify.street.wardrobe import VALUES, look


def test_first_hit_of_one_triangle() -> None:
    caster = Caster(np.array([[0, 5, 0], [1, 5, 0], [0, 5, 1]]), np.array([[0, 1, 2]]))
    ways = np.array([[0.05, 1, 0.1], [0, -1, 0]], np.float32)
    hits = caster.first(np.zeros(3, np.float32), ways)
    assert hits.face.tolist() == [0, -1]
    assert hits.distance[0] == pytest.approx(5)
    assert np.isinf(hits.distance[1])
    # The ray meets the plane y = 5 at x = 0.25, z = 0.5: weights 0.25 of the x corner, 0.5 of the z corner.
    assert hits.weights[0] == pytest.approx([0.25, 0.25, 0.5], abs=1e-5)


def test_blocked_minds_the_reach() -> None:
    caster = Caster(np.array([[-1, 5, -1], [1, 5, -1], [0, 5, 2]]), np.array([[0, 1, 2]]))
    way = np.array([[0, 1, 0], [0, 1, 0]], np.float32)
    assert caster.blocked(np.zeros(3, np.float32), way, np.array([4.9, 5.1], np.float32)).tolist() == [False, True]


def test_halved_is_the_mean_of_four() -> None:
    assert halved(np.arange(16, dtype=np.float32).reshape(4, 4)).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_tubes_and_boxes_point_outwards() -> None:
    for vertices, faces, normals in (
        (t := tube([(0, 0, z, 1, 2) for z in (0, 1, 2)], 12)) and (t.vertices, t.faces, t.normals),
        (b := box((2, 4, 6), (0, 0, 0), 0, (1, 1, 1))) and (b.vertices, b.faces, b.normals),
    ):
        middle = vertices.mean(axis=0)
        a, b_, c = (vertices[faces[:, k]] for k in range(3))
        flat = np.cross(b_ - a, c - a)
        outward = (flat * ((a + b_ + c) / 3 - middle)).sum(axis=1)
        agrees = (flat[:, None] * normals[faces]).sum(axis=2)
        area = np.linalg.norm(flat, axis=1)
        assert (outward[area > 1e-9] > 0).all() or len(faces) == 12  # a box's corners are listed side by side
        assert (((vertices - middle) * normals).sum(axis=1) > -1e-6).all()
        assert (agrees[area > 1e-9] > 0).all() or len(faces) == 12


def test_camera_projects_what_its_rays_hit() -> None:
    lens = camera(0, 1, (0.5, -8, 3.5), (0, 1, 1), np.deg2rad(60))
    x, y = np.array([3.0, 480.0, 900.0], np.float32), np.array([500.0, 270.0, 20.0], np.float32)
    points = lens.centre + 7.5 * lens.rays(x, y)
    pixels, depth = lens.project(points)
    assert pixels == pytest.approx(np.stack([x, y], 1), abs=1e-3)
    assert depth == pytest.approx([7.5] * 3, abs=1e-5)
    target, _ = lens.project([[0, 1, 1]])
    assert target[0] == pytest.approx([WIDTH / 2, HEIGHT / 2])  # it looks at its target
    assert np.linalg.det(lens.R) == pytest.approx(1)
    edge = lens.rays(np.array([0.0, WIDTH], np.float32), np.full(2, HEIGHT / 2, np.float32))
    cosine = edge[0] @ edge[1] / np.linalg.norm(edge[0]) / np.linalg.norm(edge[1])
    assert np.rad2deg(np.arccos(cosine)) == pytest.approx(60, abs=1e-3)


def _walk(arc: float) -> tuple[float, float, float]:
    return 0.0, arc, 0.0


@pytest.mark.parametrize("person", [1, 2, 3])
def test_feet_on_the_ground_do_not_slide(person: int) -> None:
    worn = look(0, person)
    o, step = sk.rest(worn.height), worn.gait.step
    # The right foot is flat on the ground from 8 to 38 hundredths of a cycle of two steps.
    poses = [sk.pose(o, worn.gait, sk.Stance(_walk, share * 2 * step)) for share in np.linspace(3.09, 3.37, 8)]
    ankles = np.array([p.joints[10] for p in poses])
    assert np.ptp(ankles, axis=0) == pytest.approx(np.zeros(3), abs=0.012)
    assert ankles[:, 2] == pytest.approx(o[sk.R_FOOT, 2], abs=0.012)
    pelvis = np.array([p.origins[sk.PELVIS] for p in poses])
    assert np.ptp(pelvis[:, 1]) == pytest.approx(0.28 * 2 * step)


def test_bones_keep_their_length_and_feet_stay_above_the_ground() -> None:
    worn = look(0, 4)
    body = build(worn)
    o = body.origins
    stances = [sk.Stance(_walk, a) for a in np.linspace(0, 2, 12)]
    stances += [sk.Stance(_walk, 1, still=1, dance=d) for d in (0.2, 0.9, 1.7)]
    stances += [sk.Stance(_walk, 1, still=1), sk.Stance(_walk, 1, still=0.5), sk.Stance(_walk, 1.3, carry=True)]
    for stance in stances:
        pose = sk.pose(o, worn.gait, stance)
        for side in (sk.R_ARM, sk.L_ARM, sk.R_THIGH, sk.L_THIGH):
            for bone in (side, side + 1):
                now = np.linalg.norm(pose.origins[bone + 1] - pose.origins[bone])
                assert now == pytest.approx(np.linalg.norm(o[bone + 1] - o[bone]), rel=2e-3)
        vertices, _ = body.posed(pose)
        used = vertices[: body.worn][np.isfinite(vertices[: body.worn]).all(axis=1)]
        assert used[:, 2].min() > -0.03
        assert used[:, 2].min() < 0.05  # nobody floats
        turned = np.einsum("bij,bkj->bik", pose.rotations, pose.rotations)
        assert turned == pytest.approx(np.tile(np.eye(3), (sk.BONES, 1, 1)), abs=1e-9)


def test_right_is_the_persons_own() -> None:
    pose = sk.pose(sk.rest(1.8), look(0, 1).gait, sk.Stance(_walk, 0.0, still=1))  # faces +y, so right is +x
    assert (pose.joints[[2, 3, 4, 8, 9, 10], 0] > 0).all()
    assert (pose.joints[[5, 6, 7, 11, 12, 13], 0] < 0).all()
    assert pose.joints[0, 2] == pytest.approx(1.8, abs=0.06)


def test_a_look_depends_on_the_person_alone() -> None:
    one, again, other = look(5, 7), look(5, 7), look(5, 8)
    assert one.attributes == again.attributes
    assert one.height == again.height
    assert (one.height, one.seed) != (other.height, other.seed)
    for person in range(1, 200):
        a = look(5, person).attributes
        assert a.keys() == VALUES.keys()
        assert all(0 <= a[k] < len(VALUES[k]) for k in a)
        assert (a["upper_type"] == 0) or a["sleeve"] == 1


def test_every_value_of_every_attribute_occurs() -> None:
    looks = [look(0, p).attributes for p in range(1, 900)]
    seen = {name: {a[name] for a in looks} for name in VALUES}
    never = {"lower_colour": {9, 10, 11}}  # no yellow, pink or purple trousers
    assert all(seen[n] == set(range(len(VALUES[n]))) - never.get(n, set()) for n in VALUES)


def test_noise_is_continuous_and_streams_are_independent() -> None:
    x = np.linspace(0, 5, 2001, dtype=np.float32)
    values = smooth(x, 0 * x, 1)
    assert np.abs(np.diff(values)).max() < 0.01
    assert np.ptp(values) > 0.2
    grid = cells(*np.meshgrid(np.arange(64), np.arange(64)), seed=2)
    assert grid.mean() == pytest.approx(0.5, abs=0.02)
    assert grid.min() >= 0
    assert grid.max() < 1
    draws = {tuple(stream(0, *key).integers(1 << 30, size=3)) for key in ((1,), (1, 0), (0, 1), (2,))}
    assert len(draws) == 4
