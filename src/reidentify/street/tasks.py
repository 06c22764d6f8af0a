"""What one process does of a street's rendering; every task writes its own files and depends on no other's order."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reidentify.street.cameras import HEIGHT, WIDTH, jpeg
from reidentify.street.dance import DanceSettings, Stage
from reidentify.street.scene import Layers, render_layers
from reidentify.street.sites import dance_floor, site
from reidentify.street.world import FPS, Settings, Street, World
from reidentify.values import Sightings

AnySettings: TypeAlias = "Settings | DanceSettings"


@dataclass(frozen=True, eq=False)
class Shot:
    """One crop as it stands in the tables: whose, where, when, under which name, and the truth about it."""

    pid: int
    camid: int
    visit: int
    frame: int
    name: str
    box: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    attributes: dict[str, int]


def watch_parent() -> None:
    """End this process when the one that started it is killed."""
    from multiprocessing import parent_process

    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Here:
    """An executor that works at once, in this process."""

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        open_street.cache_clear()

    def submit(self, job: Any, *arguments: Any) -> Future[Any]:
        """Do the job now."""
        future: Future[Any] = Future()
        future.set_result(job(*arguments))
        return future

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Nothing is ever under way."""


def made(settings: AnySettings, **known: Any) -> World[Any]:
    """The street, or the dance stage, of some settings; `known` is passed on to it."""
    return Stage(settings, **known) if isinstance(settings, DanceSettings) else Street(settings, **known)


@lru_cache(maxsize=1)
def open_street(shop: Path, settings: AnySettings) -> World[Any]:
    """The street as prepared in the workshop: trips and empty places are read, not made again."""
    visits = pickle.loads((shop / "visits.pickle").read_bytes())  # written by this very run
    return made(settings, layers=lambda node: Layers.load(shop / f"place{node}"), visits=visits)


def render_place(shop: Path, settings: AnySettings, node: int) -> None:
    """Cast the empty place of one camera."""
    place = dance_floor if isinstance(settings, DanceSettings) else site
    render_layers(settings.seed, place(settings.seed, node + 1)).save(shop / f"place{node}")


def render_visits(shop: Path, settings: AnySettings, numbers: list[int]) -> list[Shot]:
    """Cast and write the crops of some visits."""
    from PIL import Image

    street, shots = open_street(shop, settings), []
    for visit, frame, crop in street.shots([street.visits[number] for number in numbers]):
        sequence = crop.attributes["light"] + 1
        name = f"{visit.pid:04d}_c{visit.node + 1}s{sequence}_{frame:06d}_00"
        quality = street.sites[visit.node].camera.sensor.quality
        (shop / "whole" / "crops" / f"{name}.jpg").write_bytes(jpeg(crop.pixels, quality))
        Image.fromarray(crop.mask).save(shop / "whole" / "masks" / f"{name}.png")
        here = visit.pid, visit.node + 1, visit.number
        shots.append(Shot(*here, frame, name, crop.box, crop.keypoints, crop.attributes))
    return shots


def film(shop: Path, settings: AnySettings, node: int) -> None:
    """Write every frame of one camera as MP4 (H.264), and the truth about everybody in it."""
    import av

    street, stem = open_street(shop, settings), shop / "whole" / "video" / f"cam{node + 1}"
    columns: dict[str, list[Any]] = {name: [] for name in ("pids", "times", "frames", "boxes", "keypoints", "visible")}
    with av.open(f"{stem}.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1  # more threads would make other bytes
        for number in range(*street.span(node)):
            shown = street.frame(node, number / FPS)
            for packet in stream.encode(av.VideoFrame.from_ndarray(shown.pixels, format="rgb24")):
                container.mux(packet)
            n = len(shown.pids)
            columns["pids"] += [shown.pids]
            columns["times"] += [np.full(n, shown.time)]
            columns["frames"] += [np.full(n, number)]
            columns["boxes"] += [shown.boxes]
            columns["keypoints"] += [shown.keypoints]
            columns["visible"] += [np.round(100 * shown.visible).astype(np.int64)]
        for packet in stream.encode():
            container.mux(packet)
    table = {name: np.concatenate(parts) for name, parts in columns.items()}
    visible = table.pop("visible")
    camids = np.full(len(visible), node + 1)
    Sightings(**table, camids=camids, attributes={"visible": visible}).save(f"{stem}.parquet")
