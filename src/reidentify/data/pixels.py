"""Pixels: every image decoded and resized once into a memory-mapped uint8 array, or decoded on the fly."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import multiprocessing
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from reidentify.data.console import say, tracked
from reidentify.errors import ImageError, InputError, ReidentifyWarning, StorageError

Size = tuple[int, int]
"""Height and width in pixels."""
Picture: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[np.uint8]"
"""A path, a PIL image, or an array H x W x 3."""
Item = TypeVar("Item")
Read = TypeVar("Read")

LARGEST_CACHE = 40e9
"""Bytes of decoded images beyond which a data set is decoded on the fly."""

RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Pixels(Protocol):
    """Decoded images by number."""

    size: Size

    def __len__(self) -> int: ...

    def read(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The chosen images, n x H x W x 3, RGB."""
        ...


def decode(
    path: str | os.PathLike[str], size: Size | None = None, interpolation: str = "bilinear"
) -> NDArray[np.uint8]:
    """Read one image as H x W x 3 uint8, RGB, resized to `size` if given.

    Raises:
        ImageError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            return to_array(image, size, interpolation)
    except FileNotFoundError:
        raise ImageError(path, "no such file") from None
    except (
        InputError,
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        raise ImageError(path, str(error)) from None


def to_array(image: Image.Image, size: Size | None, interpolation: str = "bilinear") -> NDArray[np.uint8]:
    """A PIL image as H x W x 3 uint8, RGB, upright as its EXIF says, resized to `size` if given."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise InputError(f"pixels of mode {image.mode} have no stated range; save the image with 8 or 16 bits")
    rgb = ImageOps.exif_transpose(image).convert("RGB")
    if size is not None and rgb.size != (size[1], size[0]):
        rgb = rgb.resize((size[1], size[0]), RESAMPLE[interpolation])
    return np.asarray(rgb)


class DecodedOnTheFly:
    """Images read from their files whenever they are asked for, several at a time.

    Args:
        files: paths of the images.
        size: height and width they are resized to.
        interpolation: a key of `RESAMPLE`.
    """

    def __init__(self, files: Sequence[str], size: Size, interpolation: str = "bilinear") -> None:
        self.files, self.size, self.interpolation = list(files), size, interpolation

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The chosen images, n x H x W x 3, RGB."""
        chosen = np.atleast_1d(np.asarray(indices))
        if not len(chosen):
            return np.empty((0, *self.size, 3), np.uint8)

        def one(i: int) -> NDArray[np.uint8]:
            return decode(self.files[i], self.size, self.interpolation)

        if len(chosen) < 8 or multiprocessing.current_process().daemon:  # of several worker processes one core is ours
            return np.stack([one(i) for i in chosen])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.stack(list(pool.map(one, chosen.tolist())))


def ahead(read: Callable[[Item], Read], items: Sequence[Item]) -> Iterator[tuple[Item, Read]]:
    """Each item with what `read` makes of it, the next being read while the last is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(read, items[0]) if items else None
        for here, after in zip(items, [*items[1:], None]):
            assert following is not None
            got = following.result()
            following = None if after is None else pool.submit(read, after)
            yield here, got


def picture_array(
    picture: Picture, channels: str, size: Size | None = None, interpolation: str = "bilinear"
) -> NDArray[np.uint8]:
    """A picture as H x W x 3 uint8, RGB, resized to `size` if given; `channels` are those of an array, "rgb" or "bgr".

    Raises:
        ImageError: a file cannot be read.
        InputError: an array has another shape or type, or it is no picture.
    """
    if isinstance(picture, (str, os.PathLike)):
        return decode(picture, size, interpolation)
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            got = " x ".join(map(str, picture.shape))
            raise InputError(f"an image array must be H x W x 3 uint8, got {got} {picture.dtype}")
        rgb = picture if channels == "rgb" else picture[:, :, ::-1]
        picture = Image.fromarray(np.ascontiguousarray(rgb))
    if not isinstance(picture, Image.Image):
        raise InputError(f"an image must be a path, a PIL image or an array, got {type(picture).__name__}")
    return to_array(picture, size, interpolation)


class Pictures:
    """Pictures in memory or in files, read on demand.

    Args:
        pictures: paths, PIL images, or arrays H x W x 3 uint8.
        channels: order of the channels in arrays, "rgb" or "bgr".
        size: height and width they are resized to.
        interpolation: a key of `RESAMPLE`.
    """

    def __init__(self, pictures: Sequence[Picture], channels: str, size: Size, interpolation: str) -> None:
        self.pictures, self.channels, self.size, self.interpolation = pictures, channels, size, interpolation

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The chosen images, n x H x W x 3, RGB.

        Raises:
            ImageError: a file cannot be read.
            InputError: an array has another shape or type.
        """
        chosen = [self.pictures[i] for i in np.atleast_1d(np.asarray(indices))]
        return np.stack([picture_array(one, self.channels, self.size, self.interpolation) for one in chosen])


class PixelCache:
    """Images decoded once. Open with `open_pixels`, which builds what is missing.

    The array lies in `<folder>/<key>.u8`, and beside it `<key>.done` holds one byte per image, set once its pixels are
    written, so that a killed build goes on where it stopped.
    """

    def __init__(self, path: Path, count: int, size: Size) -> None:
        self.path, self.size = path, size
        self._array = np.memmap(path, np.uint8, "r", shape=(count, *size, 3))

    def __len__(self) -> int:
        return len(self._array)

    def read(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The chosen images, n x H x W x 3, RGB."""
        return np.asarray(self._array[np.atleast_1d(np.asarray(indices))])

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "count": len(self), "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # worker processes map the file anew instead of copying it


def cache_folder() -> Path:
    """`$REIDENTIFY_CACHE`, else `~/.cache/reidentify`. What lies there can be deleted at any time."""
    return Path(os.environ.get("REIDENTIFY_CACHE") or Path.home() / ".cache" / "reidentify")


def open_pixels(
    files: ArrayLike, size: Size, interpolation: str = "bilinear", folder: Path | None = None, progress: bool = True
) -> Pixels:
    """Every image of `files`, decoded once into the cache.

    The cache is keyed by each file's path, size and modification time and by the target size, so a changed image is
    decoded anew. Two processes may open the same images at once: one decodes, the other waits for it. If the array
    would take half of the free disk or more, the images are decoded on the fly instead, with a warning; so they are,
    without one, beyond `LARGEST_CACHE`, as with the frames of a large video set.

    Args:
        files: N paths.
        size: height and width.
        interpolation: a key of `RESAMPLE`.
        folder: where the cache lies; default `cache_folder() / "pixels"`.
        progress: show a progress bar and say how much disk will be used.

    Raises:
        ImageError: an image cannot be read (with several: the first is named and the rest counted).
        StorageError: the disk is full.
    """
    paths = [os.path.abspath(f) for f in np.asarray(files, dtype=object)]
    if interpolation not in RESAMPLE:
        raise InputError(f"interpolation must be one of {', '.join(RESAMPLE)}, got {interpolation!r}")
    folder = folder or cache_folder() / "pixels"
    path = folder / f"{_key(paths, size, interpolation)}.u8"
    nbytes = len(paths) * size[0] * size[1] * 3
    done = path.with_suffix(".done")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (path.exists() and path.stat().st_size == nbytes and done.exists()):
                if nbytes > LARGEST_CACHE:
                    if progress:
                        say(f"{len(paths):,} images are too many to keep decoded ({nbytes / 1e9:.0f} GB): on the fly")
                    return DecodedOnTheFly(paths, size, interpolation)
                free = shutil.disk_usage(folder).free
                if nbytes * 2 >= free:
                    warnings.warn(
                        f"the pixel cache would take {nbytes / 1e9:.2f} GB, half or more of the {free / 1e9:.2f} GB"
                        f" free in {folder}: images are decoded on the fly, which is slower",
                        ReidentifyWarning,
                        stacklevel=2,
                    )
                    return DecodedOnTheFly(paths, size, interpolation)
            try:
                _build(path, done, paths, size, interpolation, progress)
            except OSError:
                path.unlink(missing_ok=True)
                done.unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"the disk of {folder} is full: the pixel cache needs {nbytes / 1e6:.0f} MB; free some space or set"
                " REIDENTIFY_CACHE to another disk"
            ) from None
        raise
    return PixelCache(path, len(paths), size)


def _key(paths: list[str], size: Size, interpolation: str) -> str:
    digest = hashlib.sha256(f"1 {size} {interpolation}".encode())
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            raise ImageError(path, "no such file") from None
        digest.update(f"\n{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]


def _build(path: Path, done: Path, paths: list[str], size: Size, interpolation: str, progress: bool) -> None:
    """Decode what `done` does not list yet. Called with the lock held."""
    stride, nbytes = size[0] * size[1] * 3, len(paths) * size[0] * size[1] * 3
    if path.exists() and path.stat().st_size != nbytes:
        done.unlink(missing_ok=True)
    with _file(path) as pixels, _file(done) as flags:
        if not nbytes:
            return
        # Reserved at once: a disk that fills up later can no longer end the run, and a write never meets a hole.
        os.posix_fallocate(pixels, 0, nbytes)
        os.posix_fallocate(flags, 0, len(paths))
        todo = np.flatnonzero(np.frombuffer(os.pread(flags, len(paths), 0), np.uint8) == 0)
        if not len(todo):
            return
        failed: list[ImageError] = []

        def one(i: int) -> None:
            try:
                array = decode(paths[i], size, interpolation)
            except ImageError as error:
                failed.append(error)
                return
            os.pwrite(pixels, array.tobytes(), i * stride)
            os.pwrite(flags, b"\1", i)

        if progress:
            say(f"decoding {len(paths):,} images to {size[0]}x{size[1]}: {nbytes / 1e6:,.0f} MB in {path.parent}")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in tracked(pool.map(one, todo.tolist()), len(todo), "Decoding", progress):
                pass
    if failed:
        failed.sort(key=lambda error: error.path)
        if len(failed) > 1:
            raise InputError(f"{failed[0]}; {len(failed) - 1} more images cannot be read (`reidentify data check`)")
        raise failed[0]


@contextlib.contextmanager
def _file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
