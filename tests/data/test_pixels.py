"""The pixel cache: what it holds, when it is rebuilt, and what happens to it in bad times."""

import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidentify.data import pixels
from reidentify.data.pixels import DecodedOnTheFly, PixelCache, decode, open_pixels
from reidentify.errors import ImageError, InputError, StorageError


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    paths = []
    for i in range(20):
        path = tmp_path / f"{i:02d}.png"
        Image.fromarray(rng.integers(0, 256, (20 + i, 10, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return paths


def test_it_holds_what_the_decoder_gives(files: list[str], tmp_path: Path) -> None:
    cache = open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    assert isinstance(cache, PixelCache)
    expected = DecodedOnTheFly(files, (16, 8)).read(range(20))
    np.testing.assert_array_equal(cache.read(range(20)), expected)
    np.testing.assert_array_equal(cache.read([3, 3, 0]), expected[[3, 3, 0]])
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(again.read([7]), expected[[7]])


def test_colours_are_rgb_whatever_the_file_is(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 8), (255, 0, 0))
    for mode in ("RGB", "RGBA", "P", "CMYK"):
        path = tmp_path / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}"
        red.convert(mode).save(path)
        assert decode(path)[0, 0].tolist() == [255, 0, 0] or mode == "CMYK"
    Image.new("L", (4, 8), 77).save(tmp_path / "grey.png")
    assert decode(tmp_path / "grey.png", (2, 2)).tolist() == [[[77] * 3] * 2] * 2


def test_a_photograph_stands_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert decode(tmp_path / "turned.jpg").shape == (8, 4, 3)


def test_a_second_opening_decodes_nothing(files: list[str], tmp_path: Path, monkeypatch) -> None:
    open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    monkeypatch.setattr(pixels, "decode", lambda *_: pytest.fail("decoded again"))
    open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)


def test_a_changed_image_is_decoded_anew(files: list[str], tmp_path: Path) -> None:
    before = open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False).read([5])
    Image.new("RGB", (10, 20), (1, 2, 3)).save(files[5])
    after = open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False).read([5])
    assert after.reshape(-1, 3).tolist() == [[1, 2, 3]] * 128
    assert not np.array_equal(before, after)


def test_bad_images_are_named_and_the_rest_is_kept(files: list[str], tmp_path: Path, monkeypatch) -> None:
    good = Path(files[4]).read_bytes()
    Path(files[4]).write_bytes(good[: len(good) // 2])
    stat = os.stat(files[4])
    with pytest.raises(ImageError, match=r"04\.png") as caught:
        open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    assert caught.value.path == files[4]
    Path(files[9]).write_text("no image")
    with pytest.raises(InputError, match=r"04\.png.*; 1 more images cannot be read"):
        open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    os.remove(files[2])
    with pytest.raises(ImageError, match=r"02\.png: no such file"):
        open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    assert stat.st_size < len(good)


def test_too_little_disk_means_decoding_on_the_fly(files: list[str], tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20 * 16 * 8 * 3 * 2))
    with pytest.warns(UserWarning, match="half or more of the .* GB free"):
        plain = open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    assert isinstance(plain, DecodedOnTheFly)
    assert plain.read([0, 1]).shape == (2, 16, 8, 3)


def test_a_full_disk_is_said_and_leaves_nothing(files: list[str], tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="is full: the pixel cache needs"):
        open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    assert not [p for p in (tmp_path / "cache").iterdir() if p.suffix != ".lock"]


BUILD = """
import sys
from pathlib import Path
from reidentify.data import pixels
slow, real = float(sys.argv[2]), pixels.decode
def decode(*given):
    import time
    time.sleep(slow)
    return real(*given)
pixels.decode = decode
files = sorted(str(p) for p in Path(sys.argv[1]).glob("*.png"))
print("ready", flush=True)
pixels.open_pixels(files, (16, 8), folder=Path(sys.argv[1]) / "cache", progress=False)
"""


def test_a_killed_build_goes_on(files: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        command = [sys.executable, "-c", BUILD, str(tmp_path), "0.4"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # the build begins
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    cache = open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    np.testing.assert_array_equal(cache.read(range(20)), DecodedOnTheFly(files, (16, 8)).read(range(20)))


def test_two_processes_at_once(files: list[str], tmp_path: Path) -> None:
    both = [subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path), "0.02"]) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    cache = open_pixels(files, (16, 8), folder=tmp_path / "cache", progress=False)
    np.testing.assert_array_equal(cache.read(range(20)), DecodedOnTheFly(files, (16, 8)).read(range(20)))


def test_an_unknown_interpolation(files: list[str]) -> None:
    with pytest.raises(InputError, match="interpolation must be one of nearest, bilinear"):
        open_pixels(files, (16, 8), "sharp", progress=False)
