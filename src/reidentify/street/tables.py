"""The tables of a rendered street: splits, rows and tracklets, and the facts in street.json."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reidentify.street.cameras import HEIGHT, WIDTH
from reidentify.street.dance import Stage
from reidentify.street.noise import stream
from reidentify.street.skeleton import JOINTS
from reidentify.street.tasks import Shot
from reidentify.street.wardrobe import SIGHTING_VALUES, VALUES
from reidentify.street.world import CROP_HEIGHT, CROP_WIDTH, FPS, VERSION, Settings, Street, World
from reidentify.values import Sightings

FORMAT = 1
"""Version of the folder's layout."""


def tables(street: World[Any], shots: list[Shot]) -> tuple[Sightings, Sightings]:
    """Images and tracklets, files relative to the folder.

    Args:
        street: that was rendered, or the dance stage.
        shots: in order of identity, camera and frame.
    """
    if isinstance(street, Stage):
        runs = _runs(shots)
        return (
            _sightings(street, [[s] for s in shots], _stage_split(street, shots)),
            _sightings(street, runs, _stage_split(street, [run[0] for run in runs])),
        )
    assert isinstance(street, Street)
    ways = [list(group) for _, group in groupby(shots, key=lambda s: s.visit)]
    return (
        _sightings(street, [[s] for s in shots], _image_split(street.settings, shots)),
        _sightings(street, ways, _tracklet_split(street.settings, ways)),
    )


def _runs(shots: list[Shot]) -> list[list[Shot]]:
    """A dancer's shots without a gap of more than a second, in order of time."""
    runs: list[list[Shot]] = []
    for shot in shots:
        if runs and runs[-1][-1].visit == shot.visit and shot.frame - runs[-1][-1].frame <= FPS:
            runs[-1].append(shot)
        else:
            runs.append([shot])
    return runs


def _stage_split(stage: Stage, shots: list[Shot]) -> NDArray[np.object_]:
    """Everybody in a video for training trains; everything else asks, and stands in the gallery too."""
    train = stage.training_videos()
    return np.array(["train" if s.camid in train else "query" for s in shots], object)


def _sightings(street: World[Any], rows: list[list[Shot]], split: NDArray[np.object_]) -> Sightings:
    frames = [shot for row in rows for shot in row]
    first = [row[0] for row in rows]
    identity = {pid: street.attributes(pid) for pid in {s.pid for s in first}}
    attributes = {name: np.array([identity[s.pid][name] for s in first]) for name in VALUES}
    for name in SIGHTING_VALUES:  # of a tracklet: what most of its frames show
        attributes[name] = np.array([np.bincount([s.attributes[name] for s in row]).argmax() for row in rows])
    attributes["visible"] = np.array([round(np.mean([s.attributes["visible"] for s in row])) for row in rows])
    return Sightings(
        pids=np.array([s.pid for s in first]),
        camids=np.array([s.camid for s in first]),
        times=np.array([s.frame / FPS for s in frames]),
        files=np.array([f"crops/{s.name}.jpg" for s in frames], object),
        split=split,
        attributes=attributes,
        frames=np.array([s.frame for s in frames]),
        boxes=np.stack([s.box for s in frames]),
        keypoints=np.stack([s.keypoints for s in frames]),
        masks=np.array([f"masks/{s.name}.png" for s in frames], object),
        offsets=np.cumsum([0, *(len(row) for row in rows)]),
    )


def training_identities(settings: Settings) -> set[int]:
    """The half of the identities that is for training."""
    order = stream(settings.seed, 14).permutation(settings.identities) + 1
    return set(order[: settings.identities // 2].tolist())


def _image_split(settings: Settings, shots: list[Shot]) -> NDArray[np.object_]:
    train, rng = training_identities(settings), stream(settings.seed, 15)
    split = np.array(["train" if s.pid in train else "gallery" for s in shots], object)
    places: dict[int, dict[int, list[int]]] = {}
    for k, s in enumerate(shots):
        places.setdefault(s.pid, {}).setdefault(s.camid, []).append(k)
    for pid, cameras in places.items():
        if pid not in train and len(cameras) > 1:
            for at in cameras.values():
                split[at[int(rng.integers(len(at)))]] = "query"
    return split


def _tracklet_split(settings: Settings, ways: list[list[Shot]]) -> NDArray[np.object_]:
    train, rng = training_identities(settings), stream(settings.seed, 16)
    split = np.array(["train" if way[0].pid in train else "gallery" for way in ways], object)
    for pid in sorted({way[0].pid for way in ways} - train):
        mine = [k for k, way in enumerate(ways) if way[0].pid == pid]
        if len({ways[k][0].camid for k in mine}) > 1:
            asked = rng.permutation(mine)[: max(1, len(mine) // 3)]
            left = {ways[k][0].camid for k in mine if k not in asked}
            for k in asked:  # a query needs an answer from another camera
                if left - {ways[k][0].camid}:
                    split[k] = "query"
    return split


def facts(street: World[Any], video: bool) -> dict[str, Any]:
    """The contents of street.json."""
    graph = street.graph
    edges = [
        {"cameras": [a + 1, int(b) + 1], "metres": float(graph.lengths[a, b])}
        for a in range(len(street.sites)) for b in graph.neighbours(a) if a < b
    ]  # fmt: skip
    cameras = {
        str(n + 1): {**street.calibration(n), "width": WIDTH, "height": HEIGHT, "place": here.kind}
        for n, here in enumerate(street.sites)
    }
    return {
        **({"kind": "dance"} if isinstance(street, Stage) else {}),
        "format": FORMAT,
        "version": VERSION,
        "settings": asdict(street.settings),
        "video": video,
        "fps": FPS,
        "crop": {"width": CROP_WIDTH, "height": CROP_HEIGHT},
        "joints": list(JOINTS),
        "attributes": {name: list(values) for name, values in {**VALUES, **SIGHTING_VALUES}.items()},
        "cameras": cameras,
        "graph": edges,
    }
