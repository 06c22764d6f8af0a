"""Bones of a moving person: proportions, gait and gestures, and the frames that carry the skin.

At rest a person stands upright with hanging arms, facing +y, the right hand at +x. Every bone's frame is the
identity then, so a posed vertex is `rotation @ (vertex - rest origin) + origin`. Steps are planned along the path by
arc length and legs bend to reach them (two-bone inverse kinematics): a foot on the ground does not slide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reidentify.joints import MARKET14

F64 = NDArray[np.float64]

PELVIS, SPINE, CHEST, NECK, HEAD = range(5)
R_ARM, R_FOREARM, R_HAND, L_ARM, L_FOREARM, L_HAND = range(5, 11)
R_THIGH, R_SHIN, R_FOOT, L_THIGH, L_SHIN, L_FOOT = range(11, 17)
R_HELD, L_HELD, TRAILED, FRONT = range(17, 21)  # what hangs from a hand, rolls behind, or is carried in front
BONES = 21

JOINTS = MARKET14.joints
_JOINT_BONES = [HEAD, NECK, R_ARM, R_FOREARM, R_HAND, L_ARM, L_FOREARM, L_HAND]
_JOINT_BONES += [R_THIGH, R_SHIN, R_FOOT, L_THIGH, L_SHIN, L_FOOT]
JOINT_DEPTH = np.array([0.09, 0.11, 0.12, 0.09, 0.08, 0.12, 0.09, 0.08, 0.17, 0.11, 0.1, 0.17, 0.11, 0.1])
"""How deep below the surface of body and clothes each joint may lie, metres."""

STANCE = 0.6  # share of a gait cycle a foot spends on the ground (Perry, Gait Analysis, ch. 1)
SUITCASE_REACH = 0.86  # metres from a trailed suitcase's wheels to the top of its handle


@dataclass(frozen=True)
class Gait:
    """How one person moves.

    Args:
        speed: preferred walking speed, metres a second.
        step: length of one step, metres.
        swing: amplitude of the arms, radians.
        lean: forward lean of the trunk, radians.
        elbow: resting bend of the elbows, radians.
        width: sideways distance of a foot from the path, metres.
        toes: outward turn of the feet, radians.
        sway: rotation of the shoulders against the hips, radians.
    """

    speed: float
    step: float
    swing: float
    lean: float
    elbow: float
    width: float
    toes: float
    sway: float


@dataclass(frozen=True, eq=False)
class Figure:
    """What a dancer's body shows while it stands; angles in radians, lengths in metres.

    Args:
        arms: 2 x 4, right and left: raised sideways, raised forwards, bend of the elbow, and turn of the forearm about
            the upper arm (positive: inwards).
        feet: 2 x 3, right and left: from where one stands outwards, ahead and up.
        crouch: how far the pelvis sinks.
        lean, tilt: of the trunk, forwards and to the right.
        twist: of the shoulders against the hips, to the left.
        nod: of the head, forwards.
    """

    arms: F64
    feet: F64
    crouch: float
    lean: float
    tilt: float
    twist: float
    nod: float


@dataclass(frozen=True)
class Stance:
    """What a body is asked to do at one instant.

    Args:
        path: arc length (metres) -> x, y, heading (radians; 0 faces +y).
        arc: where on the path.
        still: 0 walking, 1 standing, between while stopping.
        dance: phase in beats; None: not dancing.
        phone: looks at a phone in the right hand.
        carry: carries a box in front with both hands.
        right, left: what a hand does: None, "bag" (hangs down) or "suitcase" (pulls one behind).
        look: turn of the head, radians.
        figure: what a dancer on the stage shows while standing; None: nothing of the kind.
    """

    path: Callable[[float], tuple[float, float, float]]
    arc: float
    still: float = 0.0
    dance: float | None = None
    phone: bool = False
    carry: bool = False
    right: str | None = None
    left: str | None = None
    look: float = 0.0
    figure: Figure | None = None


@dataclass(frozen=True, eq=False)
class Pose:
    """Frames of all bones at one instant: `rotations` BONES x 3 x 3 and `origins` BONES x 3, metres."""

    rotations: F64
    origins: F64
    joints: F64


def turn(axis: int, angle: float) -> F64:
    """Rotation by `angle` radians about a coordinate axis."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    r = np.eye(3)
    r[i, i], r[i, j], r[j, i], r[j, j] = c, -s, s, c
    return r


def rest(height: float, shoulders: float = 1.0, hips: float = 1.0) -> F64:
    """Origins of the bones at rest, BONES x 3, for a stature in metres (proportions after Drillis and Contini)."""
    o = np.zeros((BONES, 3))
    sx, hx = 0.099 * height * shoulders, 0.052 * height * hips
    o[PELVIS] = 0, 0, 0.535
    o[SPINE] = 0, 0, 0.60
    o[CHEST] = 0, 0, 0.68
    o[NECK] = 0, -0.005, 0.845
    o[HEAD] = 0, 0.004, 0.885
    for side, sign in ((R_ARM, 1), (L_ARM, -1)):
        o[side], o[side + 1], o[side + 2] = (0, -0.005, 0.805), (0, -0.005, 0.628), (0, -0.005, 0.482)
        o[side : side + 3, 0] = sign * sx / height
    for side, sign in ((R_THIGH, 1), (L_THIGH, -1)):
        o[side], o[side + 1], o[side + 2] = (0, 0, 0.52), (0, 0, 0.283), (0, 0, 0.047)
        o[side : side + 3, 0] = sign * hx / height
    o[R_HELD], o[L_HELD] = o[R_HAND] + [0, 0, -0.055], o[L_HAND] + [0, 0, -0.055]
    o[TRAILED] = 0, 0, 0
    o[FRONT] = 0, 0.19, 0.62
    return o * height


def _bend(root: F64, target: F64, upper: float, lower: float, pole: F64) -> tuple[F64, F64]:
    """Middle and end joint of a two-bone limb from `root` to `target`, bent towards `pole`."""
    reach = target - root
    length = float(np.linalg.norm(reach))
    way = reach / max(length, 1e-9)
    length = min(length, 0.9995 * (upper + lower))
    along = (upper**2 - lower**2 + length**2) / (2 * length)
    side = pole - (pole @ way) * way
    side /= max(float(np.linalg.norm(side)), 1e-9)
    middle = root + along * way + np.sqrt(max(upper**2 - along**2, 0.0)) * side
    return middle, root + length * way


def _frame(start: F64, end: F64, forward: F64) -> F64:
    """Rotation that takes a bone hanging down (-z) onto start -> end, its front (+y) nearest to `forward`."""
    z = (start - end) / max(float(np.linalg.norm(start - end)), 1e-9)
    y = forward - (forward @ z) * z
    y /= max(float(np.linalg.norm(y)), 1e-9)
    return np.stack([np.cross(y, z), y, z], axis=1)


def _foot(o: F64, gait: Gait, stance: Stance, side: int) -> tuple[F64, float, float]:
    """Ankle position, pitch (toe down positive) and heading of one foot."""
    sign = 1.0 if side == R_THIGH else -1.0
    ankle, toes = o[side + 2, 2], 0.107 * o[HEAD, 2]  # height of the ankle; ankle to toes
    stride = 2 * gait.step
    cycle = stance.arc / stride + (0.0 if sign > 0 else 0.5)
    turnover = np.floor(cycle)
    phase = cycle - turnover
    planted = (turnover - (0.0 if sign > 0 else 0.5) + STANCE / 2) * stride
    rise, pitch = 0.0, 0.0
    if phase < STANCE:
        at = planted
        pitch = -0.30 * max(0.0, 1 - phase / 0.08) + 0.62 * max(0.0, (phase - 0.38) / (STANCE - 0.38)) ** 1.6
    else:
        w = (phase - STANCE) / (1 - STANCE)
        ease = w * w * (3 - 2 * w)
        at = planted + stride * ease
        pitch = 0.62 * (1 - w) ** 1.2 * np.cos(1.6 * w) - 0.30 * w**2
        rise = 0.05 * np.sin(np.pi * w) ** 1.2
    # The foot rolls about its toes when they point down, about its heel when they point up.
    pivot = toes if pitch > 0 else -0.05
    back = pivot - pivot * np.cos(pitch) + ankle * np.sin(pitch)
    height = pivot * np.sin(pitch) + ankle * np.cos(pitch) + rise
    x, y, heading = stance.path(at + back)
    across = np.array([np.cos(heading), np.sin(heading), 0.0])
    walking = np.array([x, y, height]) + sign * gait.width * across
    if stance.still == 0:
        return walking, pitch, heading - sign * gait.toes
    x, y, heading = stance.path(stance.arc)
    across = np.array([np.cos(heading), np.sin(heading), 0.0])
    ahead = np.array([-np.sin(heading), np.cos(heading), 0.0])
    standing = np.array([x, y, ankle]) + sign * (gait.width + 0.03) * across + 0.02 * sign * ahead
    lift, b = 0.16 * stance.still * (1 - stance.still), stance.still
    if stance.dance is not None:
        beat = 0.5 * stance.dance + (0.0 if sign > 0 else 0.5)
        hop = max(0.0, np.sin(2 * np.pi * beat))
        standing += sign * across * 0.11 * (0.5 - 0.5 * np.cos(2 * np.pi * beat)) + ahead * 0.06 * hop
        lift += 0.09 * hop
    if stance.figure is not None:
        out, on, up = stance.figure.feet[0 if sign > 0 else 1]
        standing += sign * out * across + on * ahead + np.array([0.0, 0.0, up])
    place = (1 - b) * walking + b * standing
    place[2] += lift
    return place, (1 - b) * pitch + 2.0 * lift, heading - sign * (gait.toes + 0.12 * b)


def _arms(o: F64, gait: Gait, stance: Stance, side: int, chest: F64, shoulder: F64, swing: float) -> tuple[F64, ...]:
    """Rotations of upper arm, forearm and hand by joint angles, for an arm that holds nothing rigid."""
    sign = 1.0 if side == R_ARM else -1.0
    role = stance.right if sign > 0 else stance.left
    out, flex, bend = 0.09, sign * -swing, gait.elbow + max(0.0, -sign * swing) * 0.7
    if role == "bag":
        out, flex, bend = 0.15, 0.35 * flex, 0.10
    elif role == "suitcase":
        out, flex, bend = 0.20, -0.24, 0.05
    if stance.phone and sign > 0:
        out, flex, bend = 0.10, 0.55, 1.65
    if stance.dance is not None:
        beat = 2 * np.pi * stance.dance
        out = 0.55 + 0.5 * np.sin(0.5 * beat + sign)
        flex, bend = 0.6 + 0.7 * np.sin(0.5 * beat + 1.3 * sign), 1.2 + 0.7 * np.sin(beat + sign)
    inward = turn(2, sign * 0.35) if bend > 0.5 else np.eye(3)
    if stance.figure is not None:
        shown, b = stance.figure.arms[0 if sign > 0 else 1], _kept(stance)
        out, flex, bend, turned = (1 - b) * np.array([out, flex, bend, 0.0]) + b * shown
        inward = turn(2, sign * turned)
    upper = chest @ turn(1, -sign * out) @ turn(0, flex)
    lower = upper @ inward @ turn(0, bend)
    return upper, lower, lower @ turn(0, 0.12)


def _kept(stance: Stance) -> float:
    """How much of a figure arms and trunk show: some of it while walking too."""
    return 0.5 + 0.5 * stance.still


def _trunk(rotations: F64, facing: F64, figure: Figure, share: float) -> None:
    """Bend the trunk as a figure asks, by a share from 0 to 1; `rotations` are changed in place."""
    for bone, much in ((PELVIS, 0.25), (SPINE, 0.6), (CHEST, 1.0), (NECK, 1.0), (HEAD, 0.8)):
        part = share * much
        twisted = turn(2, part * figure.twist if bone < NECK else 0.0)
        bend = facing @ turn(1, part * figure.tilt) @ turn(0, -part * figure.lean) @ twisted @ facing.T
        rotations[bone] = bend @ rotations[bone]
    rotations[HEAD] = rotations[HEAD] @ turn(0, -share * figure.nod)


def pose(o: F64, gait: Gait, stance: Stance) -> Pose:
    """Where every bone is.

    Args:
        o: origins at rest, BONES x 3, from `rest`.
        gait: of the person.
        stance: of the instant.
    """
    rotations, p = np.tile(np.eye(3), (BONES, 1, 1)), o.copy()
    x, y, heading = stance.path(stance.arc)
    facing = turn(2, heading)
    cycle = 2 * np.pi * stance.arc / (2 * gait.step)
    moving = 1 - stance.still
    # The right heel strikes at cycle 0: the left arm is foremost then, and the right hip.
    beat = 0.0 if stance.dance is None else np.pi * stance.dance
    yaw = 0.09 * np.cos(cycle) * moving + 0.18 * np.sin(beat)
    roll = 0.035 * np.sin(cycle) * moving + 0.07 * np.sin(beat)
    rotations[PELVIS] = facing @ turn(2, yaw) @ turn(1, roll)
    lean = gait.lean * (0.4 + 0.6 * moving) - (0.07 if stance.carry else 0.0)
    rotations[SPINE] = facing @ turn(2, 0.3 * yaw) @ turn(0, -lean)
    twist = -gait.sway * np.cos(cycle) * moving - 0.15 * np.sin(beat)
    rotations[CHEST] = facing @ turn(2, twist) @ turn(0, -1.2 * lean)
    rotations[NECK] = facing @ turn(2, 0.3 * stance.look) @ turn(0, -1.2 * lean)
    nod = -0.35 if stance.phone else 0.02
    rotations[HEAD] = facing @ turn(2, stance.look + 0.1 * np.sin(beat)) @ turn(0, nod - 0.3 * lean)
    if stance.figure is not None:
        _trunk(rotations, facing, stance.figure, _kept(stance))

    feet = {side: _foot(o, gait, stance, side) for side in (R_THIGH, L_THIGH)}
    sway = 0.018 * np.sin(cycle) * moving + 0.05 * np.sin(beat)
    p[PELVIS] = [x, y, 0] + facing @ [sway, 0, 0]
    top = o[PELVIS, 2] - 0.004 - (0.03 if stance.dance is not None else 0.0)
    for side, (ankle, _, _) in feet.items():
        hip = p[PELVIS] + rotations[PELVIS] @ (o[side] - o[PELVIS])
        leg = 0.994 * (o[side, 2] - o[side + 2, 2])
        gap = float(np.hypot(*(hip - ankle)[:2]))
        top = min(top, ankle[2] + np.sqrt(leg**2 - min(gap, 0.9 * leg) ** 2) - hip[2])
    p[PELVIS, 2] = top - (0.0 if stance.figure is None else stance.still * stance.figure.crouch)
    for child, parent in ((SPINE, PELVIS), (CHEST, SPINE), (NECK, CHEST), (HEAD, NECK)):
        p[child] = p[parent] + rotations[parent] @ (o[child] - o[parent])

    for side, (ankle, pitch, way) in feet.items():
        forward = turn(2, way)[:, 1]
        p[side] = p[PELVIS] + rotations[PELVIS] @ (o[side] - o[PELVIS])
        lengths = o[side, 2] - o[side + 1, 2], o[side + 1, 2] - o[side + 2, 2]
        p[side + 1], p[side + 2] = _bend(p[side], ankle, *lengths, forward)
        rotations[side] = _frame(p[side], p[side + 1], forward)
        rotations[side + 1] = _frame(p[side + 1], p[side + 2], forward)
        rotations[side + 2] = turn(2, way) @ turn(0, -pitch)

    p[FRONT] = p[CHEST] + facing @ (o[FRONT] - o[CHEST])
    rotations[FRONT] = facing
    swing = gait.swing * np.cos(cycle) * moving + 0.03
    for side, sign in ((R_ARM, 1.0), (L_ARM, -1.0)):
        p[side] = p[CHEST] + rotations[CHEST] @ (o[side] - o[CHEST])
        lengths = o[side, 2] - o[side + 1, 2], o[side + 1, 2] - o[side + 2, 2]
        if stance.carry:
            grip = p[FRONT] + facing @ [sign * 0.185, -0.02, -0.05]
            elbow, wrist = _bend(p[side], grip, *lengths, facing @ np.array([sign * 0.6, -0.5, -1.0]))
            p[side + 1], p[side + 2] = elbow, wrist
            rotations[side] = _frame(p[side], elbow, facing @ np.array([0.0, 0.4, 1.0]))
            rotations[side + 1] = _frame(elbow, wrist, np.array([0.0, 0.0, 1.0]))
            rotations[side + 2] = rotations[side + 1]
        else:
            rotations[side : side + 3] = _arms(o, gait, stance, side, rotations[CHEST], p[side], swing)
            for k in (side + 1, side + 2):
                p[k] = p[k - 1] + rotations[k - 1] @ (o[k] - o[k - 1])
    for held, hand, sign in ((R_HELD, R_HAND, 1.0), (L_HELD, L_HAND, -1.0)):
        p[held] = p[hand] + rotations[hand] @ (o[held] - o[hand])
        rotations[held] = facing @ turn(0, 0.1 * np.sin(cycle + 1.0) * moving)
        if (stance.right if sign > 0 else stance.left) == "suitcase":
            tilt = np.arccos(np.clip(p[held, 2] / SUITCASE_REACH, 0.0, 1.0))
            rotations[TRAILED] = facing @ turn(0, -tilt)
            p[TRAILED] = p[held] - rotations[TRAILED][:, 2] * SUITCASE_REACH
    joints = p[_JOINT_BONES].copy()
    joints[0] = p[HEAD] + rotations[HEAD] @ [0, 0.0, 0.115 / 0.885 * o[HEAD, 2]]
    return Pose(rotations, p, joints)
