"""Renders a street, or a dance stage, into a folder: crops, masks, tables, calibration and, if wanted, video.

The folder (layout version 1) is complete when `street.json` is in it; it is put in place in one step:

    street.json           format, version, settings, fps, frame and crop size, joints, attributes (name -> value names),
                          cameras ({camid: {K, R, t, width, height, place}}, world metres), graph (edges with metres)
    sightings.parquet     one image per row: `reidentify.values.Sightings`; files and masks relative to the folder,
                          times in seconds on one clock (= frame / fps), boxes in pixels of the full frame, keypoints in
                          pixels of the crop, attributes of the identity and of the sighting
    tracklets.parquet     the same frames, one row per way of a person past a camera
    crops/*.jpg           64 x 128: PPPP_cCsS_FFFFFF_00.jpg = identity, camera, sequence (1 day, 2 dusk), frame number
    masks/*.png           64 x 128, 255 where the person shows, 0 elsewhere
    video/camC.mp4        every frame of camera C, with video/camC.parquet: the boxes and joints of everybody in it
                          (one row per person and frame; keypoints in pixels of the frame; `visible` in percent)

Half of the identities are for training. Of every other identity and camera one image is a query and the rest are the
gallery (as in Market-1501). Of an identity's tracklets one third, at least one, are queries and the rest the gallery.
An identity that only one camera saw has no query: there would be no right answer.

A stage has the same layout; street.json says `"kind": "dance"` there. Its cameras are its videos, its tracklets the
stretches of a video in which a dancer is seen at least once a second, and every row of a video for testing is a query.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from reidentify.errors import InputError, ReidentifyError, StorageError
from reidentify.street.dance import EVERY, DanceSettings, Stage
from reidentify.street.tables import FORMAT, facts, tables
from reidentify.street.tasks import AnySettings, Here, film, made, render_place, render_visits, watch_parent
from reidentify.street.world import FPS, VERSION, Settings, Street

_CHUNK = 12  # visits rendered by one task
_BYTES_PER_CROP = 9_000  # a JPEG and a mask in blocks of 4 KiB, and table rows
_BYTES_PER_FILM_MINUTE = 20_000_000
_BYTES_PER_CAMERA = 20_000_000  # the empty places, kept while rendering


def render(
    out: str | os.PathLike[str],
    identities: int = 200,
    cameras: int = 6,
    minutes: float | None = None,
    seed: int = 0,
    video: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render a camera network with its complete truth into the folder `out` (layout: see the module).

    The same arguments give the same bytes whatever the number of workers. Nothing is at `out` before everything is.
    With several workers, a script that calls this needs the usual `if __name__ == "__main__":` of multiprocessing.

    Args:
        out: must not exist, be empty, or hold this very street (then nothing is done).
        identities: 2 to 9999 people.
        cameras: 2 to 99.
        minutes: length of the recording, 2 to 1440; None: 0.15 minutes per identity within 10 to 1440, so that streets
            of any size are about equally busy.
        seed: of everything.
        video: also write every camera's frames as MP4 (10 a second: about a quarter of a second of work each).
        workers: processes; None: one per available core.
        progress: show a progress bar on standard error when that is a terminal.

    Returns:
        The folder.

    Raises:
        InputError: an argument is out of range, Embree or PyAV is not installed, or `out` holds something else.
        StorageError: the disk cannot take it.
        ReidentifyError: a worker process was killed.
    """
    if minutes is None:  # any length will do where `identities` is no number: Settings says so
        minutes = min(max(10.0, 0.15 * identities), 1440.0) if isinstance(identities, (int, np.integer)) else 10.0
    settings = Settings(identities, cameras, minutes, seed)
    return _rendered(out, settings, video, workers, progress)


def render_dance(
    out: str | os.PathLike[str],
    videos: int = 18,
    dancers: int = 5,
    seconds: int = 60,
    seed: int = 0,
    video: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render a dance stage with its complete truth into the folder `out`: groups of dancers, each before one camera.

    Everybody is cut out twice a second; of a dancer of whom less than 40 hundredths show there is no picture, as a
    detector would lose them.

    Args:
        out: must not exist, be empty, or hold this very stage (then nothing is done).
        videos: 3 to 99, each of other people; two thirds are for training.
        dancers: 2 to 9 in each.
        seconds: length of each, 10 to 600.
        seed, video, workers, progress: as in `render`.

    Returns:
        The folder.

    Raises:
        InputError, StorageError, ReidentifyError: as `render`.
    """
    return _rendered(out, DanceSettings(videos, dancers, seconds, seed), video, workers, progress)


def _rendered(
    out: str | os.PathLike[str], settings: AnySettings, video: bool, workers: int | None, progress: bool
) -> Path:
    """Render what the settings ask for into a folder, unless it is there."""
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InputError(f"street: workers must be a whole number from 1, got {workers!r}")
    target = Path(out).expanduser()
    if _is_whole(target, settings, video):
        return target
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: holds something else than the street asked for; give another folder")
    _require(video)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _storage(target), _workshop(target) as shop:
        _check_space(shop, settings, video)
        _fill(shop, settings, video, workers or cores, progress)
        try:
            if target.is_dir():
                target.rmdir()
            os.rename(shop / "whole", target)
        except OSError:
            if not _is_whole(target, settings, video):  # another process may have been first with the same street
                raise
    return target


def ensure(root: str | os.PathLike[str], progress: bool = True, dance: bool = False) -> Path:
    """The default street, or the default dance stage, under a data root, rendered there if it is missing or of another
    version.

    Args:
        root: the data root; the street is its folder `street`, the stage its folder `street-dance`.
        progress: as in `render`.
        dance: the stage.

    Returns:
        The folder.

    Raises:
        InputError: the folder holds something that is not a default street or stage.
        StorageError: the disk cannot take it.
    """
    target = Path(root).expanduser() / ("street-dance" if dance else "street")
    found = _read_json(target / "street.json")
    settings = asdict(DanceSettings() if dance else Settings())
    if (
        found is not None
        and found.get("settings") == settings
        and (found.get("version"), found.get("format")) != (VERSION, FORMAT)
    ):
        shutil.rmtree(target)  # the default street of another version of this package
    return render_dance(target, progress=progress) if dance else render(target, progress=progress)


def opened(folder: str | os.PathLike[str]) -> Street | Stage:
    """The street, or the stage, a folder was rendered from, to take further pictures of it.

    Raises:
        InputError: the folder holds no street, or one of another version.
    """
    found = _read_json(Path(folder) / "street.json")
    if found is None or (found.get("version"), found.get("format")) != (VERSION, FORMAT):
        raise InputError(f"{folder}: holds no street of this version; render one: reidentify street --out {folder}")
    dance = found.get("kind") == "dance"
    return Stage(DanceSettings(**found["settings"])) if dance else Street(Settings(**found["settings"]))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _is_whole(folder: Path, settings: AnySettings, video: bool) -> bool:
    found = _read_json(folder / "street.json") or {}
    same = found.get("settings") == asdict(settings) and (found.get("version"), found.get("format")) == (
        VERSION,
        FORMAT,
    )
    return same and (found.get("video", False) or not video)


def _require(video: bool) -> None:
    """Say what is missing before any work is done."""
    from importlib.util import find_spec

    missing = [name for name in ("embreex", *(["av"] if video else [])) if find_spec(name) is None]
    if missing:
        raise InputError(f"rendering the street needs {' and '.join(missing)}: pip install 'reidentify[street]'")


@contextlib.contextmanager
def _storage(target: Path) -> Iterator[None]:
    """Turn what a disk may answer into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise StorageError(f"{target}: cannot write the street there: {os.strerror(error.errno)}") from None
        raise


@contextlib.contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, gone afterwards; those of processes that were killed go first."""
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.rendering-"
    for left in parent.glob(f"{prefix}*"):
        owner = re.fullmatch(re.escape(prefix) + r"(\d+)-.*", left.name)
        if owner and not _alive(int(owner[1])):
            shutil.rmtree(left, ignore_errors=True)
    shop = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
    try:
        yield shop
    finally:
        shutil.rmtree(shop, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _check_space(folder: Path, settings: AnySettings, video: bool) -> None:
    if isinstance(settings, DanceSettings):
        cameras, minutes = settings.videos, settings.seconds / 60
        crops = settings.videos * settings.dancers * settings.seconds * FPS // EVERY
    else:
        cameras, minutes, crops = settings.cameras, settings.minutes, 30 * settings.identities
    need = crops * _BYTES_PER_CROP + cameras * _BYTES_PER_CAMERA
    need += int(video * cameras * minutes * _BYTES_PER_FILM_MINUTE)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise StorageError(f"{folder.parent}: the street needs about {need / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")


def _fill(shop: Path, settings: AnySettings, video: bool, workers: int, progress: bool) -> None:
    """Render everything into `shop / "whole"`."""
    for name in ("crops", "masks", *(["video"] if video else [])):
        (shop / "whole" / name).mkdir(parents=True)
    with _pool(workers) as pool, _bar(progress) as bar:
        try:
            nodes = range(settings.videos if isinstance(settings, DanceSettings) else settings.cameras)
            places = [pool.submit(render_place, shop, settings, node) for node in nodes]
            street = made(settings)  # while the places are cast: everybody's trips
            (shop / "visits.pickle").write_bytes(pickle.dumps(street.visits))
            _collect(bar, "places", places)
            order = sorted(range(len(street.visits)), key=lambda k: (street.visits[k].node, street.visits[k].start))
            step = settings.dancers if isinstance(settings, DanceSettings) else _CHUNK  # all dancers of a video
            chunks = [order[k : k + step] for k in range(0, len(order), step)]
            crops = [pool.submit(render_visits, shop, settings, chunk) for chunk in chunks]
            films = [pool.submit(film, shop, settings, node) for node in nodes] if video else []
            shots = [shot for part in _collect(bar, "crops", crops) for shot in part]
            _collect(bar, "video", films)
        except BaseException as error:
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                reason = "street: a worker process was killed, perhaps for want of memory; give fewer workers"
                raise ReidentifyError(reason) from None
            raise
    if not shots:
        raise InputError("street: nobody comes into any picture; ask for more identities or minutes")
    images, tracklets = tables(street, sorted(shots, key=lambda s: (s.pid, s.camid, s.frame)))
    images.save(shop / "whole" / "sightings.parquet")
    tracklets.save(shop / "whole" / "tracklets.parquet")
    (shop / "whole" / "street.json").write_text(json.dumps(facts(street, video), indent=1) + "\n")


def _pool(workers: int) -> Any:
    if workers == 1:
        return Here()
    import multiprocessing

    # Fresh processes: a fork of one that runs threads (torch, Embree) may hang.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), watch_parent)


def _collect(bar: Any, name: str, jobs: list[Future[Any]]) -> list[Any]:
    """Results in the order of the jobs."""
    task, results = bar.add_task(name, total=len(jobs), visible=bool(jobs)), []
    for job in jobs:
        results.append(job.result())
        bar.advance(task)
    return results


def _bar(show: bool) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), disable=not (show and sys.stderr.isatty()), transient=True)
