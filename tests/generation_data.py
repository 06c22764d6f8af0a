"""A recipe of pose-guided generation for tiny networks, and joints for drawn people."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reidentify import Benchmark, Sightings
from reidentify.joints import MARKET14
from reidentify.training.recipe import GenerationRecipe, recipe_of

TINY = {"backbone": "test_resnet", "last_stride": 2}  # less than half a million weights
SMALL = {
    "kind": "generation",
    "model": {**TINY, "init": "random", "embedding_dim": 16},
    "generator": {"channels": 4, "pose_features": 8, "noise": 4},
    "discriminators": {**TINY, "channels": 4},
    "input": {"height": 64, "width": 32, "holdout": 0.25},
    "sampler": {"kind": "instances", "anchors": 8},
    "augment": {"pad": 2, "erase": 0.3},
    "rates": {"generator": 2e-3},
    "optimiser": {"lr": 1e-3, "epochs": 2, "warmup": 0, "schedule": "cosine"},
    "run": {"accelerator": "cpu", "evaluate_every": 1},
}
FD_GAN = {
    "method": "fd-gan",
    "sampler": {"kind": "pairs", "anchors": 8, "negatives": 1},
    "discriminators": {"image": "identity", "backbone": "encoder", "init": "encoder", "channels": 4},
    "loss": {"masked": False, "same_pose": 1.0, "verification": 1.0, "cross_entropy": 0.0, "triplet": 0.0},
}


def small(base: dict | None = None, **changes: dict) -> GenerationRecipe:
    """`SMALL` with changes."""
    raw = {k: {**v} if isinstance(v, dict) else v for k, v in SMALL.items()}
    for more in (base or {}, changes):
        for key, value in more.items():
            raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) else value
    recipe = recipe_of(raw)
    assert isinstance(recipe, GenerationRecipe)
    return recipe


def standing(count: int) -> NDArray[np.float32]:
    """Joints of people who stand in pictures of 32 x 64 pixels, a little elsewhere in each. `count` x 14 x 3."""
    sides = {"right": -1, "left": 1}
    heights = {"shoulder": 18, "elbow": 25, "wrist": 31, "hip": 34, "knee": 46, "ankle": 58, "neck": 15, "head top": 4}
    one = np.zeros((len(MARKET14), 3), np.float32)
    for i, name in enumerate(MARKET14.joints):
        side, _, joint = name.partition(" ")
        one[i] = (16 + 6 * sides[side], heights[joint], 1) if side in sides else (16, heights[name], 1)
    joints = np.repeat(one[None], count, 0)
    joints[..., :2] += np.random.default_rng(0).uniform(-2, 2, (count, 1, 2))
    return joints


def gesturing(folder: Path, people: int = 16, pictures: int = 4) -> Benchmark:
    """People of two colours each on a grey ground, in whose pictures arms and legs are where their joints say: arms up
    or down, legs apart or together. 32 x 64 pixels, all to train on."""
    folder.mkdir()
    joints, files = standing(people * pictures), []
    rng = np.random.default_rng(1)
    for row, one in enumerate(joints):
        if row % 2:  # arms up
            for name in ("left elbow", "right elbow", "left wrist", "right wrist"):
                at = MARKET14.index(name)
                one[at, 1] = 36 - one[at, 1]
        for side, sign in (("left", 1), ("right", -1)):
            one[MARKET14.index(f"{side} ankle"), 0] += sign * rng.integers(-4, 8)
        upper, lower = np.random.default_rng(row // pictures).integers(0, 256, (2, 3)).tolist()
        image = Image.new("RGB", (32, 64), (128, 128, 128))
        draw = ImageDraw.Draw(image)
        for a, b in MARKET14.limbs:
            legs = {a.split()[-1], b.split()[-1]} & {"knee", "ankle"}
            ends = [tuple(one[MARKET14.index(name), :2].tolist()) for name in (a, b)]
            draw.line(ends, tuple(lower if legs else upper), 5)
        files.append(str(folder / f"{row}.png"))
        image.save(files[-1])
    pids, split = np.repeat(np.arange(people), pictures) + 1, ["train"] * len(files)
    return Benchmark(
        "gesturing", Sightings(pids, camids=np.ones_like(pids), files=files, split=split, keypoints=joints)
    )
