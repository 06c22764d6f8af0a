"""Things that stand in a street: buildings, trees, cars, lamps, benches and the like, as meshes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reidentify.street.meshes import Mesh, box, dressed, pillar, sheet, sheets, tube
from reidentify.street.wardrobe import linear

F32 = NDArray[np.float32]

PLAIN, FACADE, BRICKS, PAVING, SLABS, COBBLES, ASPHALT, GRASS, GRAVEL, BARK, LEAF, GLASS, POSTER, WOOD, LAMP = range(15)

STEEL = linear((84, 88, 92))
DARK = linear((40, 42, 46))
CAR_COLOURS = (
    (196, 198, 200),
    (34, 36, 40),
    (120, 124, 130),
    (140, 30, 32),
    (40, 62, 110),
    (206, 204, 196),
    (60, 84, 74),
)
WALLS = (
    (196, 184, 164),
    (168, 120, 92),
    (150, 150, 148),
    (206, 200, 188),
    (136, 96, 78),
    (186, 164, 128),
    (120, 128, 136),
)


def building(rng: np.random.Generator, low: ArrayLike, high: ArrayLike, tall: float, style: int) -> Mesh:
    """A block between two corners on the ground. `style`: 0 plaster, 1 brick, 2 glass, 3 stone."""
    (x0, y0), (x1, y1) = np.asarray(low, float), np.asarray(high, float)
    colour = linear(np.asarray(WALLS[int(rng.integers(len(WALLS)))]) * rng.normal(1, 0.05))
    block = box((x1 - x0, y1 - y0, tall), ((x0 + x1) / 2, (y0 + y1) / 2, tall / 2), FACADE, colour)
    block.uv[:] = int(rng.integers(1, 4096)), style
    eaves = box((x1 - x0 + 0.3, y1 - y0 + 0.3, 0.25), ((x0 + x1) / 2, (y0 + y1) / 2, tall - 0.1), PLAIN, colour * 0.8)
    return Mesh.join([block, eaves])


def row_of_buildings(
    rng: np.random.Generator, start: ArrayLike, end: ArrayLike, depth: float, style: int
) -> list[Mesh]:
    """Buildings side by side along a line; `depth` metres deep, to the left of the line from start to end."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(b - a))
    way = (b - a) / length
    back = np.array([-way[1], way[0]]) * depth
    parts, done = [], 0.0
    while done < length - 1e-6:
        wide = float(rng.uniform(9, 17))
        if length - done - wide < 5:
            wide = length - done
        p, q = a + done * way, a + (done + wide) * way + back
        step = back / depth * rng.uniform(0, 0.25)
        kind = style if rng.random() < 0.7 else int(rng.integers(4))
        parts.append(building(rng, np.minimum(p + step, q), np.maximum(p + step, q), float(rng.uniform(8, 17)), kind))
        done += wide
    return parts


def awning(rng: np.random.Generator, start: ArrayLike, end: ArrayLike, out: ArrayLike) -> Mesh:
    """A striped cloth roof between two points of a wall, sloping towards `out` (x, y)."""
    a, b, o = (np.append(np.asarray(v, float), 0.0) for v in (start, end, out))
    colour = linear(((150, 52, 46), (60, 88, 66), (176, 164, 140), (52, 62, 92))[int(rng.integers(4))])
    top, low = np.array([0, 0, 3.15]), np.array([0, 0, 2.65])
    return sheet([a + top, b + top, b + o + low, a + o + low], PLAIN, colour)


def tree(rng: np.random.Generator, tall: float = 6.5, fine: float = 1.0) -> Mesh:
    """A tree: a trunk and clouds of leaves. `fine` above 1 makes leaves smaller and more of them."""
    r = float(rng.uniform(0.11, 0.2))
    bend = rng.normal(0, 0.12, 2)
    fork = 0.42 * tall
    trunk = [
        (0, 0, -0.1, 1.5 * r, 1.5 * r), (0, 0, 0.25, r, r),
        (0.4 * bend[0], 0.4 * bend[1], 0.6 * fork, 0.85 * r, 0.85 * r), (*bend, 1.4 * fork, 0.45 * r, 0.45 * r),
    ]  # fmt: skip
    parts = [pillar(trunk, 10, BARK, linear((92, 76, 60)) * rng.uniform(0.7, 1.2))]
    blobs = int(rng.integers(6, 10))
    centres = np.stack(
        [rng.normal(0, 0.17 * tall, blobs), rng.normal(0, 0.17 * tall, blobs), rng.uniform(0.52, 0.92, blobs) * tall], 1
    )
    n = int(300 * fine**2) * blobs
    which = rng.integers(0, blobs, n)
    way = rng.normal(size=(n, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    radius = 0.17 * tall * rng.uniform(0.55, 1.0, n) ** 0.5
    place = centres[which] + way * radius[:, None] * [1, 1, 0.8]
    spread = rng.normal(size=(2, n, 3)) * rng.uniform(0.09, 0.17, (1, n, 1)) / fine
    u, v = spread
    corners = np.stack([place - u - v, place + u - v, place + u + v, place - u + v], 1)
    normals = way + rng.normal(0, 0.45, (n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    green = linear(((70, 96, 44), (88, 104, 48), (60, 84, 50), (112, 102, 46))[int(rng.integers(4))])
    tint = green * rng.uniform(0.55, 1.35, (n, 1))
    return Mesh.join([*parts, sheets(corners.astype(np.float32), normals, LEAF, tint)])


def _lying(shape_rings: ArrayLike, segments: int, squareness: float, material: int, tint: ArrayLike) -> Mesh:
    """A tube along x instead of z."""
    t = tube(shape_rings, segments, squareness)
    order = [2, 0, 1]  # a rotation, so the faces keep their orientation
    return dressed(
        t.vertices[:, order], t.faces, t.normals[:, order], np.stack([t.u, t.vertices[:, 2]], 1), material, tint
    )


def _upright(part: Mesh) -> Mesh:
    """A tube along y instead of z."""
    order = [0, 2, 1]  # a reflection, so the faces are turned round
    return Mesh(part.vertices[:, order], part.faces[:, ::-1], part.normals[:, order], part.uv, part.material, part.tint)


def car(rng: np.random.Generator) -> Mesh:
    """A parked car, 4.2 m long along x."""
    paint = linear(np.asarray(CAR_COLOURS[int(rng.integers(len(CAR_COLOURS)))]) * rng.uniform(0.85, 1.1))
    tall = float(rng.uniform(0.97, 1.1))
    hull = (
        (-2.12, 0.70, 0.16), (-2.05, 0.82, 0.26), (-1.5, 0.87, 0.33), (0.2, 0.88, 0.34), (1.4, 0.86, 0.29),
        (1.98, 0.80, 0.22), (2.1, 0.68, 0.13),
    )  # fmt: skip
    body = _lying([(0, 0.58, x, w, d) for x, w, d in hull], 24, 3.6, PLAIN, paint)
    glazed = (
        (-1.95, 0.86, 0.60, 0.06), (-1.45, 1.08, 0.70, 0.33), (-0.4, 1.10, 0.72, 0.38), (0.25, 1.09, 0.71, 0.36),
        (1.15, 0.86, 0.66, 0.08),
    )  # fmt: skip
    cabin = _lying([(0, z, x, w, d) for x, z, w, d in glazed], 24, 3.6, GLASS, DARK)
    up = cabin.normals[cabin.faces].mean(axis=1)[:, 2]
    along = cabin.vertices[cabin.faces].mean(axis=1)[:, 0]
    roof = (up > 0.75) & (along > -1.45) & (along < 0.25)
    cabin.material[roof], cabin.tint[roof] = PLAIN, paint
    parts = [body, cabin]
    for x in (-1.32, 1.30):
        for y in (-0.78, 0.78):
            wheel = pillar([(0, 0, -0.10, 0.31, 0.31), (0, 0, 0.10, 0.31, 0.31)], 16, PLAIN, linear((28, 28, 30)))
            hub = pillar([(0, 0, -0.11, 0.18, 0.18), (0, 0, 0.11, 0.18, 0.18)], 12, PLAIN, linear((130, 132, 136)))
            for part in (wheel, hub):
                parts.append(_upright(part).moved((x, y, 0.31)))
    for y in (-0.6, 0.6):
        parts.append(box((0.05, 0.3, 0.12), (2.05, y, 0.66), PLAIN, linear((225, 225, 215))))
        parts.append(box((0.05, 0.24, 0.12), (-2.08, y, 0.72), PLAIN, linear((130, 20, 20))))
    mesh = Mesh.join(parts)
    mesh.vertices[:, 2] *= tall
    return mesh


def lamp_post(tall: float = 4.2) -> tuple[Mesh, F32]:
    """A street lamp and where its light is."""
    post = pillar(
        [(0, 0, 0, 0.09, 0.09), (0, 0, 0.5, 0.08, 0.08), (0, 0, 0.52, 0.055, 0.055), (0, 0, tall, 0.04, 0.04)],
        10,
        PLAIN,
        DARK,
    )
    head = pillar([(0, 0, tall - 0.02, 0.08, 0.08), (0, 0, tall + 0.22, 0.17, 0.17)], 10, LAMP, linear((230, 226, 214)))
    cap = pillar([(0, 0, tall + 0.22, 0.21, 0.21), (0, 0, tall + 0.30, 0.06, 0.06)], 10, PLAIN, DARK)
    return Mesh.join([post, head, cap]), np.array([0, 0, tall + 0.1], np.float32)


def bench(rng: np.random.Generator) -> Mesh:
    """A wooden bench, 1.7 m along x, facing -y."""
    wood = linear((134, 98, 66)) * rng.uniform(0.7, 1.1)
    parts = [box((1.7, 0.11, 0.04), (0, y, 0.45), WOOD, wood) for y in (-0.18, -0.04, 0.10)]
    parts += [box((1.7, 0.035, 0.10), (0, 0.21, z), WOOD, wood) for z in (0.62, 0.78)]
    parts += [box((0.06, 0.42, 0.44), (x, 0.0, 0.22), PLAIN, DARK) for x in (-0.7, 0.7)]
    parts += [box((0.06, 0.05, 0.42), (x, 0.21, 0.63), PLAIN, DARK) for x in (-0.7, 0.7)]
    return Mesh.join(parts)


def bin_(rng: np.random.Generator) -> Mesh:
    """A litter bin."""
    colour = linear(((50, 70, 58), (66, 68, 72), (86, 60, 44))[int(rng.integers(3))])
    body = pillar([(0, 0, 0, 0.22, 0.22), (0, 0, 0.82, 0.26, 0.26)], 14, PLAIN, colour)
    lid = pillar([(0, 0, 0.84, 0.27, 0.27), (0, 0, 0.98, 0.14, 0.14)], 14, PLAIN, colour * 0.6)
    return Mesh.join([body, lid])


def planter(rng: np.random.Generator) -> Mesh:
    """A stone trough with a bush, 1.3 m along x."""
    stone = box((1.3, 0.6, 0.5), (0, 0, 0.25), PLAIN, linear((150, 146, 138)) * rng.uniform(0.7, 1.1))
    n = 420
    place = rng.normal(size=(n, 3)) * [0.33, 0.15, 0.16] + [0, 0, 0.68]
    spread = rng.normal(size=(2, n, 3)) * 0.055
    u, v = spread
    corners = np.stack([place - u - v, place + u - v, place + u + v, place - u + v], 1)
    normals = rng.normal(size=(n, 3)) + np.array([0, 0, 0.8])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    tint = linear((66, 92, 48)) * rng.uniform(0.5, 1.3, (n, 1))
    flowers = rng.random(n) < 0.08
    tint[flowers] = linear(((196, 80, 96), (210, 180, 80), (190, 190, 200))[int(rng.integers(3))])
    return Mesh.join([stone, sheets(corners.astype(np.float32), normals, LEAF, tint.astype(np.float32))])


def bollard() -> Mesh:
    """A low steel post."""
    return pillar([(0, 0, 0, 0.075, 0.075), (0, 0, 0.78, 0.075, 0.075), (0, 0, 0.84, 0.03, 0.03)], 10, PLAIN, STEEL)


def sign_post(rng: np.random.Generator) -> Mesh:
    """A traffic sign on a pole."""
    pole = pillar([(0, 0, 0, 0.03, 0.03), (0, 0, 2.75, 0.03, 0.03)], 8, PLAIN, STEEL)
    colour = linear(((52, 84, 138), (142, 52, 48), (170, 170, 166))[int(rng.integers(3))])
    if rng.random() < 0.5:
        return Mesh.join([pole, box((0.40, 0.03, 0.40), (0, -0.04, 2.5), PLAIN, colour)])
    disc = pillar([(0, 0, -0.015, 0.24, 0.24), (0, 0, 0.015, 0.24, 0.24)], 18, PLAIN, colour)
    return Mesh.join([pole, _upright(disc).moved((0, -0.05, 2.5))])


def advertising_column() -> Mesh:
    """A round column covered with posters."""
    body = pillar([(0, 0, 0.3, 0.48, 0.48), (0, 0, 2.5, 0.48, 0.48)], 24, POSTER, linear((170, 166, 158)))
    foot = pillar([(0, 0, 0, 0.54, 0.54), (0, 0, 0.3, 0.52, 0.52)], 24, PLAIN, linear((110, 108, 104)))
    roof = pillar([(0, 0, 2.5, 0.58, 0.58), (0, 0, 2.65, 0.5, 0.5), (0, 0, 2.95, 0.05, 0.05)], 24, PLAIN, DARK)
    return Mesh.join([body, foot, roof])


def shelter() -> Mesh:
    """A bus shelter, 3 m along x, open towards -y."""
    frame = [box((0.08, 0.08, 2.35), (x, y, 1.17), PLAIN, DARK) for x in (-1.5, 1.5) for y in (-0.6, 0.6)]
    roof = box((3.3, 1.6, 0.10), (0, 0, 2.4), PLAIN, STEEL)
    seat = box((1.8, 0.35, 0.06), (0.3, 0.35, 0.47), WOOD, linear((120, 90, 62)))
    legs = [box((0.06, 0.06, 0.45), (x, 0.35, 0.22), PLAIN, DARK) for x in (-0.4, 1.0)]
    poster = box((0.06, 1.1, 1.7), (-1.5, 0, 1.2), POSTER, linear((190, 190, 186)))
    return Mesh.join([*frame, roof, seat, *legs, poster])


def column(radius: float = 0.22, tall: float = 4.4) -> Mesh:
    """A round concrete column."""
    return pillar([(0, 0, 0, radius, radius), (0, 0, tall, radius, radius)], 18, PLAIN, linear((168, 166, 160)))
