"""A recipe of pose-guided generation for tiny networks, and joints for drawn people."""

import numpy as np
from numpy.typing import NDArray

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
