"""The skin: trunk, limbs, head, clothes, hair and bags as lofted tubes bound to the bones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reidentify.street import skeleton as sk
from reidentify.street.accessories import hang_bag, put_on_hat
from reidentify.street.casting import Caster
from reidentify.street.meshes import box, tube
from reidentify.street.noise import stream
from reidentify.street.tailor import HAIR, LOWER, PARCEL, SHOES, SKIN, SOLE, UPPER, Tailor, ease, ring_rows
from reidentify.street.wardrobe import VALUES, Look

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Body:
    """One person's skin at rest, bound to the bones.

    Args:
        rest: V x 3, metres.
        normals: V x 3.
        around: V, metres around the limb or the trunk.
        shade: V, float32: how much of the sky each vertex sees past its own body (ambient occlusion).
        bones: V x 2 bone numbers, `weights` V x 2 summing to 1.
        faces: F x 3; `material`: F, positions in `tailor.MATERIALS`.
        parcel: F, bool: faces that are there only while the person carries the parcel.
        origins: BONES x 3, the bones at rest.
        worn: number of vertices before the parcel's, which come last.
    """

    rest: F32
    normals: F32
    around: F32
    shade: F32
    bones: NDArray[np.int32]
    weights: F32
    faces: NDArray[np.int32]
    material: NDArray[np.int32]
    parcel: NDArray[np.bool_]
    origins: NDArray[np.float64]
    worn: int

    def posed(self, pose: sk.Pose) -> tuple[F32, F32]:
        """Vertices (metres) and unit normals in the world, V x 3 each."""
        rotations = pose.rotations.astype(np.float32)
        offsets = (pose.origins - np.einsum("bij,bj->bi", pose.rotations, self.origins)).astype(np.float32)
        blend = np.einsum("vk,vkij->vij", self.weights, rotations[self.bones])
        vertices = np.einsum("vij,vj->vi", blend, self.rest) + np.einsum(
            "vk,vki->vi", self.weights, offsets[self.bones]
        )
        normals = np.einsum("vij,vj->vi", blend, self.normals)
        normals /= np.sqrt(np.maximum(np.einsum("vi,vi->v", normals, normals), 1e-9))[:, None]
        return vertices, normals


def build(look: Look) -> Body:
    """The body of a person: about 1,500 vertices."""
    o = sk.rest(look.height, look.shoulders, look.hips)
    t = Tailor()
    value = {name: VALUES[name][i] for name, i in look.attributes.items()}
    _trunk(t, look, o, value)
    for side in (1, -1):
        _arm(t, look, o, value, side)
        _leg(t, look, o, value, side)
    _head(t, look, o, value)
    hang_bag(t, look, o, value["bag"])
    parcel = box((0.34, 0.26, 0.24), o[sk.FRONT], PARCEL, (1, 1, 1))
    t.add((parcel.vertices, parcel.faces, parcel.normals, parcel.uv[:, 0]), PARCEL, sk.FRONT)
    starts = np.cumsum([0, *(len(p[0]) for p in t.pieces)])
    columns = [np.concatenate([p[k] for p in t.pieces]) for k in range(5)]
    faces = np.concatenate([p[5] + s for p, s in zip(t.pieces, starts)]).astype(np.int32)
    material = np.concatenate([p[6] for p in t.pieces]).astype(np.int32)
    vertices, normals, around, bones, weights = columns
    bare = Body(
        vertices.astype(np.float32), normals.astype(np.float32), around.astype(np.float32),
        np.ones(len(vertices), np.float32), bones.astype(np.int32), weights.astype(np.float32), faces, material,
        material == PARCEL, o, len(vertices) - len(parcel.vertices),
    )  # fmt: skip
    return Body(**{**bare.__dict__, "shade": _self_shade(bare, look)})


def _self_shade(body: Body, look: Look) -> F32:
    """Share of the sky above each vertex's tangent plane that the own body leaves open, in a walking pose."""
    stance = sk.Stance(lambda s: (0.0, s, 0.0), 0.35 * look.gait.step)
    vertices, normals = body.posed(sk.pose(body.origins, look.gait, stance))
    caster = Caster(vertices, body.faces[~body.parcel])
    k = 20
    rng = stream(look.seed, 7)
    way = rng.normal(size=(k, 3))
    way = (way / np.linalg.norm(way, axis=1, keepdims=True)).astype(np.float32)
    rays = normals[:, None] + 0.98 * way[None]
    starts = np.repeat(vertices + 0.012 * normals, k, axis=0)
    blocked = caster.blocked(starts, rays.reshape(-1, 3), 0.45)
    return (1 - 0.85 * blocked.reshape(-1, k).mean(axis=1)).astype(np.float32)


def _trunk(t: Tailor, look: Look, o: NDArray[np.float64], value: dict[str, str]) -> None:
    h, g, s, hip = look.height, look.girth, look.shoulders, look.hips
    cloth = {"shirt": 0.006, "jacket": 0.018, "coat": 0.022}[value["upper_type"]] + 0.25 * look.loose
    belly = look.belly
    profile = np.array([  # height, half-width, half-depth, shift forward: shares of the stature
        (0.468, 0.062, 0.052, -0.004), (0.485, 0.082, 0.066, -0.006), (0.510, 0.094, 0.074, -0.008),
        (0.540, 0.096, 0.074, -0.006), (0.575, 0.090, 0.067, -0.001), (0.615, 0.082, 0.062, 0.003),
        (0.660, 0.087, 0.065, 0.004), (0.705, 0.098, 0.071, 0.003), (0.745, 0.103, 0.071, 0.000),
        (0.780, 0.104, 0.064, -0.003), (0.804, 0.094, 0.054, -0.005), (0.822, 0.079, 0.045, -0.006),
        (0.838, 0.048, 0.039, -0.005), (0.852, 0.036, 0.035, -0.002),
    ])  # fmt: skip
    z, wide, deep, ahead = (profile * h).T
    blend = ease(profile[:, 0], 0.56, 0.72)
    wide = wide * (hip * (1 - blend) + s * blend) * (0.55 + 0.45 * g)
    deep = deep * (0.35 + 0.65 * g)
    paunch = np.exp(-(((profile[:, 0] - 0.60) / 0.05) ** 2)) * belly
    bust = np.exp(-(((profile[:, 0] - 0.72) / 0.03) ** 2)) * max(0.0, 1.02 - s) * 0.22
    deep, ahead = deep + paunch / 2 + bust / 2, ahead + paunch / 2 + bust / 2
    worn = np.where((z > 0.535 * h) & (profile[:, 0] < 0.83), cloth, 0.004)
    segments = 16
    trunk = tube(np.stack([0 * z, ahead, z, wide + worn, deep + worn], 1), segments, 2.3)
    row = ring_rows(trunk, segments)
    hem = 4 if value["upper_type"] == "shirt" and look.seed % 3 == 0 else 3  # tucked in, or over the belt
    paint = np.where(row < hem, LOWER, np.where(row >= 12, SKIN, UPPER))
    y = trunk.vertices[:, 2] / h
    lower = np.where(y < 0.60, sk.PELVIS, sk.SPINE)
    upper = np.where(y < 0.60, sk.SPINE, sk.CHEST)
    weight = np.where(y < 0.60, ease(y, 0.53, 0.60), ease(y, 0.60, 0.72))
    neck = y > 0.815
    lower, upper = np.where(neck, sk.CHEST, lower), np.where(neck, sk.NECK, upper)
    weight = np.where(neck, ease(y, 0.815, 0.85), weight)
    t.add(trunk, paint, np.stack([lower, upper], 1), weight)
    if value["upper_type"] != "shirt" or value["lower_type"] == "skirt":
        _skirts(t, look, value, wide, deep, z, cloth)


def _skirt_hem(look: Look) -> float:
    """Height of a skirt's hem, as a share of the stature; `_coat_hem` likewise."""
    return (0.30, 0.25, 0.17)[look.seed % 3]


def _coat_hem(look: Look) -> float:
    return (0.33, 0.27)[look.seed % 2]


def _skirts(t: Tailor, look: Look, value: dict[str, str], wide: F64, deep: F64, z: F64, cloth: float) -> None:
    """Cloth that hangs round both thighs: skirts, and the tails of jackets and coats."""
    h, segments = look.height, 20
    garments = []
    if value["lower_type"] == "skirt":
        garments.append((0.60, _skirt_hem(look), LOWER, 0.010, 0.030 + 0.035 * ((look.seed >> 4) % 3) / 2))
    if value["upper_type"] != "shirt":
        hem = 0.475 if value["upper_type"] == "jacket" else _coat_hem(look)
        garments.append((0.66, hem, UPPER, cloth + 0.010, 0.016 if value["upper_type"] == "jacket" else 0.030))
    for top, hem, material, gap, flare in garments:
        level = np.linspace(top, hem, 9) * h
        at_hips = np.maximum(level, 0.51 * h)
        w, d = np.interp(at_hips, z, wide), np.interp(at_hips, z, deep)
        d = np.maximum(d, np.interp(0.53 * h, z, deep) * (0.9 + 0.12 * ease(-level, -0.6 * h, -0.4 * h)))
        tuck = (gap + 0.004) * (1 - ease(-level, -top * h, -(top - 0.025) * h))  # the upper edge lies under the shirt
        out = gap - tuck + flare * h * ease(0.56 * h - level, 0, (0.56 - hem) * h + 1e-6)
        shape = tube(np.stack([0 * level, 0 * level - 0.002 * h, level, w + out, d + 1.15 * out], 1), segments, 2.2)
        drop = ease(-shape.vertices[:, 2], -0.53 * h, -0.33 * h)
        aside = ease(np.abs(shape.vertices[:, 0]), 0.0, 0.09 * h)
        side = np.where(shape.vertices[:, 0] > 0, sk.R_THIGH, sk.L_THIGH)
        high = shape.vertices[:, 2] > 0.575 * h
        first = np.where(high, sk.SPINE, sk.PELVIS)
        keep = np.arange(len(shape.faces)) < 2 * 8 * segments  # open at the top and below
        open_tube = (shape.vertices, shape.faces[keep], shape.normals, shape.u)
        t.add(open_tube, material, np.stack([first, side], 1), np.where(high, 0, 0.92 * drop * (0.5 + 0.5 * aside)))


def _arm(t: Tailor, look: Look, o: NDArray[np.float64], value: dict[str, str], side: int) -> None:
    h, g = look.height, 0.5 + 0.5 * look.girth
    arm, fore, hand = (sk.R_ARM, sk.R_FOREARM, sk.R_HAND) if side > 0 else (sk.L_ARM, sk.L_FOREARM, sk.L_HAND)
    x, y = o[arm, 0], o[arm, 1]
    shoulder, elbow, wrist = o[arm, 2] / h, o[fore, 2] / h, o[hand, 2] / h
    level = np.array([
        shoulder + 0.024, shoulder + 0.016, shoulder, shoulder - 0.03, 0.73, 0.702, 0.698, 0.66, elbow + 0.012,
        elbow - 0.012, 0.585, 0.535, wrist + 0.014, wrist + 0.010, wrist,
    ])  # fmt: skip
    flesh = np.array([8, 19, 27, 29, 27, 26.5, 27, 25.5, 24.5, 24, 24, 20.5, 16.5, 16.5, 16]) / 1000 * h * g
    lean = np.array([-16, -10, -4, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) / 1000 * h * side
    long = value["sleeve"] == "long"
    cloth = {"shirt": 0.006, "jacket": 0.016, "coat": 0.020}[value["upper_type"]]
    worn = (level > (wrist + 0.012 if long else 0.70)) * 1.0
    loose = cloth + (0.45 * look.loose if long else 0.7 * look.loose) * ease(-level, -0.80, -0.70)
    radius = flesh + worn * loose
    shape = tube(np.stack([x + lean, 0 * level + y, level * h, radius, radius * 1.05], 1), 9)
    row = ring_rows(shape, 9)
    cuff = 12 if long else 5
    z = shape.vertices[:, 2] / h
    upper_half = z > 0.70
    first = np.where(upper_half, sk.CHEST, arm)
    second = np.where(upper_half, arm, fore)
    weight = np.where(
        upper_half, ease(-z, -(shoulder + 0.03), -(shoulder - 0.02)), ease(-z, -elbow - 0.02, -elbow + 0.02)
    )
    t.add(shape, np.where(row < cuff, UPPER, SKIN), np.stack([first, second], 1), weight)
    palm = np.array([(0.002, 0.013, 0.015), (-0.02, 0.012, 0.021), (-0.045, 0.012, 0.024), (-0.07, 0.010, 0.020),
                     (-0.092, 0.006, 0.011)]) * h  # fmt: skip
    rings = [(x, y + 0.004, o[hand, 2] + dz, rx, ry) for dz, rx, ry in palm]
    t.add(tube(rings, 6), SKIN, hand)


def _leg(t: Tailor, look: Look, o: NDArray[np.float64], value: dict[str, str], side: int) -> None:
    h, g = look.height, 0.45 + 0.55 * look.girth
    thigh, shin, foot = (sk.R_THIGH, sk.R_SHIN, sk.R_FOOT) if side > 0 else (sk.L_THIGH, sk.L_SHIN, sk.L_FOOT)
    x, knee = o[thigh, 0], o[shin, 2] / h
    level = np.array([
        0.535, 0.51, 0.475, 0.42, 0.36, 0.322, 0.316, knee + 0.015, knee - 0.015, 0.225, 0.175, 0.12, 0.075, 0.058,
        0.052, 0.035,
    ])  # fmt: skip
    flesh = np.array([30, 44, 50.5, 47, 41, 36.5, 36, 33, 32, 34, 31.5, 24, 20, 20, 20, 20]) / 1000 * h * g
    back = np.array([0, 0, 0, 0, 0, 0, 0, 0, -2, -8, -8, -5, -4, -4, -4, -4]) / 1000 * h
    kind = value["lower_type"]
    reach = {"trousers": 0.055, "shorts": 0.319, "skirt": 1.0}[kind]
    worn = level > reach
    width = 0.004 + look.loose * (1.0 if kind == "trousers" else 1.3) * ease(-level, -0.5, -0.3)
    if kind == "trousers":  # straight cut: the leg of the trousers narrows less than the leg
        flesh = np.where(worn, np.maximum(flesh, (26 + 500 * look.loose) / 1000 * h), flesh)
    radius = flesh + worn * width
    # Under a skirt or a coat there are no thighs, so none can poke through.
    hems = [_skirt_hem(look)] * (kind == "skirt") + [_coat_hem(look)] * (value["upper_type"] == "coat")
    stay = level < min(hems, default=1.0) + 0.03
    rings = np.stack([x + 0 * level, back, level * h, radius, radius * 1.06], 1)[stay]
    shape = tube(rings, 10)
    row = ring_rows(shape, 10)
    covered = np.flatnonzero(worn[stay])
    last = covered[-1] if len(covered) else -1
    z = shape.vertices[:, 2] / h
    high = z > 0.40
    first, second = np.where(high, sk.PELVIS, thigh), np.where(high, thigh, shin)
    weight = np.where(high, ease(-z, -0.54, -0.47), ease(-z, -knee - 0.03, -knee + 0.03))
    low = z < 0.10
    first, second = np.where(low, shin, first), np.where(low, foot, second)
    weight = np.where(low, ease(-z, -0.062, -0.040), weight)
    bare = SKIN if kind != "skirt" or look.seed % 2 else LOWER  # bare legs or tights
    t.add(shape, np.where(row < last, LOWER, bare), np.stack([first, second], 1), weight)
    # The shoe is lofted from heel to toe along y and turned upright afterwards.
    along = np.array([-0.042, -0.036, -0.015, 0.02, 0.055, 0.085, 0.105, 0.113]) * h
    half = np.array([0.008, 0.019, 0.0225, 0.023, 0.027, 0.027, 0.018, 0.005]) * h
    top = np.array([0.035, 0.055, 0.060, 0.050, 0.036, 0.028, 0.022, 0.014]) * h
    shoe = tube(np.stack([0 * along, top / 2, along, half, top / 2], 1), 8, 3.0)
    upright = np.stack([shoe.vertices[:, 0] + x, shoe.vertices[:, 2], shoe.vertices[:, 1]], 1)
    normals = shoe.normals[:, [0, 2, 1]]
    sole = upright[shoe.faces][:, :, 2].mean(axis=1) < 0.010 * h
    t.add((upright, shoe.faces[:, ::-1], normals, shoe.u), np.where(sole, SOLE, SHOES), foot)


def _head(t: Tailor, look: Look, o: NDArray[np.float64], value: dict[str, str]) -> None:
    h, segments = look.height, 16
    base = o[sk.NECK, 2] + 0.02 * h  # the chin's height is 0.87 of the stature, the crown's 1.0
    throat = tube([(0, -0.004 * h, z * h, 0.031 * h, 0.032 * h) for z in (0.835, 0.86, 0.89)], 12)
    t.add(throat, SKIN, (sk.NECK, sk.HEAD), ease(throat.vertices[:, 2], 0.845 * h, 0.885 * h))
    level = np.array([0.003, 0.010, 0.024, 0.040, 0.056, 0.072, 0.088, 0.102, 0.114, 0.124, 0.131, 0.1345])
    half = np.array([0.012, 0.024, 0.034, 0.040, 0.043, 0.0445, 0.0445, 0.0425, 0.038, 0.029, 0.018, 0.006]) * h
    deep = np.array([0.014, 0.026, 0.038, 0.046, 0.051, 0.054, 0.0555, 0.0535, 0.048, 0.038, 0.023, 0.008]) * h
    ahead = np.array([0.028, 0.022, 0.014, 0.010, 0.007, 0.005, 0.003, 0.001, 0, 0, 0, 0]) * h
    skull = tube(np.stack([0 * level, ahead, base + level * h, half, deep], 1), segments)
    v = skull.vertices.copy()
    up = (v[:, 2] - base) / h
    nose = np.exp(-((v[:, 0] / (0.008 * h)) ** 2) - ((up - 0.052) / 0.010) ** 2) * (v[:, 1] > 0)
    v[:, 1] += (0.012 * h * nose).astype(np.float32)
    style = value["hair"]
    thick = {"bald": 0, "cropped": 0.003, "short": 0.010, "full": 0.030, "bob": 0.015, "long": 0.012,
             "ponytail": 0.006, "bun": 0.006}[style]  # fmt: skip
    front = v[:, 1] / (0.055 * h)
    edge = np.where(front > 0.45, 0.100, np.where(front > 0.0, 0.070, 0.030))
    if style in ("bob", "long"):
        edge = np.where(front > 0.45, 0.104, np.where(front > 0.12, 0.05, -0.02 if style == "bob" else -0.01))
    covered = (up > edge) & (style != "bald")
    out = skull.normals * (thick * (covered * ease(up - edge, 0, 0.02)))[:, None]
    v += out.astype(np.float32)
    hairy = covered[skull.faces].sum(axis=1) >= 2
    t.add((v, skull.faces, skull.normals, skull.u), np.where(hairy, HAIR, SKIN), sk.HEAD)
    if style in ("bob", "long"):
        drop = 0.0 if style == "bob" else -0.085 - 0.03 * (look.seed % 3)
        z = np.linspace(0.075, drop, 7)
        wide = np.interp(z, [-0.15, -0.06, 0.02, 0.08], [0.040, 0.050, 0.049, 0.046]) * h
        rings = np.stack(
            [0 * z, (-0.018 - 0.07 * np.clip(-z - 0.0, 0, 0.2)) * h, base + z * h, wide, 0.043 * h + 0 * z], 1
        )
        mane = tube(rings, 10)
        follow = ease(-mane.vertices[:, 2], -(base - 0.01 * h), -(base - 0.10 * h))
        t.add(mane, HAIR, (sk.HEAD, sk.CHEST), follow)
    if style == "ponytail":
        z = np.linspace(0.105, -0.045, 7)
        width = np.array([8, 15, 17, 17, 15, 11, 4]) / 1000 * h
        y = np.array([-0.05, -0.066, -0.074, -0.078, -0.080, -0.080, -0.078]) * h
        t.add(tube(np.stack([0 * z, y, base + z * h, width, width], 1), 8), HAIR, sk.HEAD)
    if style == "bun":
        z = np.linspace(-1, 1, 7)
        width = 0.024 * h * np.sqrt(np.maximum(1 - z**2, 0.02))
        t.add(
            tube(np.stack([0 * z, 0 * z - 0.062 * h, base + (0.10 + 0.024 * z) * h, width, width], 1), 10),
            HAIR,
            sk.HEAD,
        )
    put_on_hat(t, h, base, value["hat"], thick)
