"""People who walk through a simulated camera network, for the tests of space-time statistics."""

import numpy as np

from reidentify import Sightings

PLACES = np.array([0.0, 40.0, 90.0, 150.0])
"""Seconds along the road at which cameras 1 to 4 stand."""


def walks(people: int, seed: int = 0, first: int = 1, ahead=(0.0, 0.0, 0.0, 0.0)) -> Sightings:
    """People pass four cameras along a road, each way as often, at about one speed, three pictures at each camera.

    Args:
        people: how many.
        seed: of the draws.
        first: number of the first identity.
        ahead: seconds by which each camera's clock is ahead.
    """
    rng = np.random.default_rng(seed)
    pids, camids, times = [], [], []
    for pid in range(first, first + people):
        start, pace, way = rng.uniform(0, 5000), rng.normal(1, 0.1), rng.choice([-1, 1])
        for camera, place in enumerate(PLACES):
            pids += [pid] * 3
            camids += [camera + 1] * 3
            times += (start + way * pace * place + ahead[camera] + np.arange(3)).tolist()
    return Sightings(pids, camids=camids, times=times, split=["train"] * len(pids))
