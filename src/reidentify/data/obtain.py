"""Getting public data sets: resumable downloads, checked and unpacked, where the publisher allows them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from reidentify.data.benchmark import Download, Facts
from reidentify.data.benchmarks import facts as facts_of
from reidentify.data.console import console, say
from reidentify.data.root import data_root, readable
from reidentify.errors import InputError, StorageError

if TYPE_CHECKING:
    from rich.progress import Progress

CHUNK = 1 << 20
ATTEMPTS = 5
"""Connections in a row that may break without bringing a byte before a download is given up."""
PAUSE = 1.0
"""Seconds waited after a connection that brought nothing, times the number of such in a row."""
TIMEOUT = 30.0
"""Seconds without any answer after which a connection counts as broken."""


def get(name: str, root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Download and unpack a public data set, or print where to ask for it, or that a path is at hand already.

    An interrupted download is taken up where it stopped when the same command is run again. The set's folder appears
    under the data root only when everything in it is unpacked; what already has that folder is left as it is.

    Args:
        name: of the data set, as for `benchmark`.
        root: the data root; default as in `data_root`.

    Returns:
        The folder of the data set; nothing where its publisher allows no direct download, or `name` is a path.

    Raises:
        InputError: the name is unknown, the server does not answer or has another file than stated, or an archive is
            broken or would write outside its folder.
        StorageError: the disk has no room.
    """
    try:
        facts = facts_of(name)
    except InputError:
        if not readable(Path(name)).expanduser().exists():
            raise
        say(f"{name} is data of your own and need not be fetched: use it with --data {name}")
        return []
    if not facts.downloads:
        say(f"{facts.title} cannot be downloaded directly. {facts.obtain}")
        return []
    return [fetch(facts, data_root(root))]


def fetch(facts: Facts, root: Path) -> Path:
    """Download and unpack the files of `facts.downloads` into `root/facts.folder`; see `get`."""
    target = root / facts.folder
    if target.is_dir() and any(target.iterdir()):
        say(f"{target} is already there")
        return target
    staging = root / f".{facts.folder}.unpacking"
    try:
        root.mkdir(parents=True, exist_ok=True)
        files = [download(d, root) for d in facts.downloads]
        shutil.rmtree(staging, ignore_errors=True)  # what an interrupted run left
        staging.mkdir()
        for source, file in zip(facts.downloads, files):
            if source.unpack:
                unpack(file, staging)
            else:
                shutil.copy2(file, staging / file.name)
        if target.is_dir():
            target.rmdir()
        os.replace(_inner(staging, facts.folder), target)
        for file in files:
            file.unlink()
    except OSError as error:
        raise _storage(target, error) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _inner(folder: Path, name: str) -> Path:
    """The archive's own top folder if that is all it holds and is called as the set's folder, else `folder`."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() and entries[0].name == name else folder


def download(source: Download, folder: Path) -> Path:
    """Fetch one file into `folder`, resuming what an earlier run left in a .part file beside it.

    Returns:
        The path of the whole file, its sha256 checked, or, where the publisher states none, shown.

    Raises:
        InputError: the server refuses or keeps breaking off, or the file has another sha256 than stated.
        StorageError: the disk has no room.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    name = unquote(Path(urlsplit(source.url).path).name)
    if not name:
        raise InputError(f"{source.url}: names no file")
    target, part = folder / name, folder / f"{name}.part"
    if target.exists():
        return target
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    failures = 0
    with Progress(*columns, TimeRemainingColumn(), console=console()) as bar:
        while True:
            before = _size(part)
            try:
                if _receive(source.url, part, bar):
                    break
                reason = "the connection broke off"
            except urllib.error.HTTPError as error:
                raise InputError(f"{source.url}: the server answered {error.code} {error.reason}") from None
            except (HTTPException, OSError) as error:  # URLError, TLS errors and time-outs among them
                reason = str(getattr(error, "reason", error))
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise InputError(
                    f"{source.url}: {reason}; {_size(part):,} bytes are kept, run the same command again to go on"
                )
            time.sleep(failures * PAUSE)
    digest = _sha256(part)
    if source.sha256 is None:
        say(f"{name}: sha256 {digest} (the publisher states none)")
    elif digest != source.sha256.lower():
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        raise InputError(f"{source.url}: expected sha256 {source.sha256}, got {digest}; the file was deleted")
    os.replace(part, target)
    _tag(part).unlink(missing_ok=True)
    return target


def _receive(url: str, part: Path, bar: Progress) -> bool:
    """One connection: append what it brings to `part`; True when the file is whole."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "reidentify"})
    tag = _tag(part).read_text() if have and _tag(part).exists() else None
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag:  # if the file has changed since, the server sends it from the start
            request.add_header("If-Range", tag)
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing lies beyond what is here: it is the whole file, or one that has changed.
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        part.unlink()
        return False
    with response:
        begin, total = _extent(response)
        if begin != have:
            have = 0  # the server sends everything
            part.unlink()  # before its new tag is written, so that a kill in between mixes no versions
        _room(part, 0 if total is None else total - have)
        try:
            _tag(part).write_text(_validator(response))
        except OSError as error:
            raise _storage(_tag(part), error) from None
        task = bar.add_task(part.stem, total=total, completed=have)
        for size in _append(part, _blocks(response), fresh=not have):
            bar.advance(task, size)
        bar.remove_task(task)
    return total is None or _size(part) >= total


def _extent(response: HTTPResponse) -> tuple[int, int | None]:
    """Where the body begins within the file, and the size of the whole file if the server tells it."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None:
            raise InputError(f"{response.url}: the server resumes at an unknown place; delete the .part file")
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _validator(response: HTTPResponse) -> str:
    """What identifies this version of the file in If-Range: a strong ETag, else its date; empty without either."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    while block := response.read(CHUNK):
        yield block


def _append(part: Path, blocks: Iterator[bytes], fresh: bool) -> Iterator[int]:
    """Write the blocks, yielding the size of each; only errors of the disk are turned into StorageError."""
    try:
        file = part.open("wb" if fresh else "ab")
    except OSError as error:
        raise _storage(part, error) from None
    with file:
        for block in blocks:
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise _storage(part, error) from None
            yield len(block)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _room(path: Path, needed: int) -> None:
    """Refuse to start what cannot end."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise StorageError(f"{path.parent}: {needed:,} bytes are needed but {free:,} are free; make room and run again")


def _storage(path: Path, error: OSError) -> StorageError:
    full = "the disk is full; make room and run the same command again"
    return StorageError(f"{path}: {full if error.errno == errno.ENOSPC else error.strerror or error}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar archive into `folder`, plain files and folders only.

    Raises:
        InputError: it is neither, is broken, or holds a link, a device or a path that leads out of `folder`; nothing
            is written outside in any case.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder)
        else:
            raise InputError(f"{archive}: neither a .zip nor a .tar archive; delete it and run again")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: the archive is broken ({error}); delete it and run again") from None


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for item in content.infolist():
            if stat.S_ISLNK(item.external_attr >> 16):
                raise InputError(f"{archive}: holds a link, {item.filename}, which is not unpacked")
            with content.open(item) as source:
                _place(archive, folder, item.filename, None if item.is_dir() else source)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as content:
        for item in content:
            if not (item.isfile() or item.isdir()):
                raise InputError(f"{archive}: holds a link or device, {item.name}, which is not unpacked")
            source = content.extractfile(item)
            _place(archive, folder, item.name, source)


def _place(archive: Path, folder: Path, name: str, source: IO[bytes] | None) -> None:
    """Write one entry of an archive; `source` None: a folder."""
    target = (folder / name.replace("\\", "/")).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise InputError(f"{archive}: the entry {name} leads out of the folder; the archive is not to be trusted")
    if source is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK)
