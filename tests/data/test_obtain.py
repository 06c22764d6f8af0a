"""Downloads from a local server that breaks off, resumes, ignores ranges or changes its file; and unpacking."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reidentify.data import obtain
from reidentify.data.benchmark import Download, Facts
from reidentify.errors import InputError, StorageError

CONTENT = bytes(range(256)) * 1_000


class Server:
    """Serves one file at any path and remembers the ranges asked for."""

    def __init__(self) -> None:
        self.content, self.etag = CONTENT, '"one"'
        self.break_after: int | None = None  # bytes of each body that are sent before the connection is cut
        self.ranges, self.tell_length, self.status = True, True, 200
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def url(self, name: str = "set.bin") -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if self.status != 200:
            request.send_error(self.status)
            return
        size, start = len(self.content), 0
        if asked and self.ranges and request.headers.get("If-Range", self.etag) == self.etag:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= size:
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{size}")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            request.send_response(200)
        if self.tell_length:
            request.send_header("Content-Length", str(size - start))
        request.send_header("ETag", self.etag)
        request.end_headers()
        request.wfile.write(self.content[start:][: self.break_after])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(obtain, "PAUSE", 0.0)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_whole_download_is_checked_and_leaves_one_file(server, tmp_path):
    path = obtain.download(Download(server.url(), sha256(CONTENT)), tmp_path)
    assert path == tmp_path / "set.bin"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["set.bin"]
    obtain.download(Download(server.url(), sha256(CONTENT)), tmp_path)
    assert server.asked == [None]  # what is there is not fetched again


def test_a_connection_that_breaks_off_is_resumed(server, tmp_path):
    server.break_after = 100_000
    path = obtain.download(Download(server.url(), sha256(CONTENT)), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_a_run_that_was_killed_is_taken_up_by_the_next(server, tmp_path):
    server.break_after = 0  # headers only
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:70_000])
    with pytest.raises(InputError, match=r"70,000 bytes are kept, run the same command again"):
        obtain.download(Download(server.url()), tmp_path)
    assert len(server.asked) == obtain.ATTEMPTS
    server.break_after = None
    assert obtain.download(Download(server.url(), sha256(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=70000-"


def test_a_server_that_ignores_ranges_sends_everything(server, tmp_path):
    server.ranges = False
    (tmp_path / "set.bin.part").write_bytes(b"x" * 70_000)
    assert obtain.download(Download(server.url(), sha256(CONTENT)), tmp_path).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old(server, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(b"old" * 1_000)
    (tmp_path / "set.bin.part.tag").write_text('"zero"')
    assert obtain.download(Download(server.url()), tmp_path).read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["set.bin"]


@pytest.mark.parametrize("have", [CONTENT, CONTENT + b"more"])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, have):
    (tmp_path / "set.bin.part").write_bytes(have)
    assert obtain.download(Download(server.url(), sha256(CONTENT)), tmp_path).read_bytes() == CONTENT


def test_a_server_that_tells_no_length(server, tmp_path):
    server.tell_length = False
    assert obtain.download(Download(server.url()), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_told_and_nothing_kept(server, tmp_path):
    with pytest.raises(InputError, match=f"expected sha256 {'0' * 64}, got {sha256(CONTENT)}"):
        obtain.download(Download(server.url(), "0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_refuses(server, tmp_path):
    server.status = 403
    with pytest.raises(InputError, match="the server answered 403"):
        obtain.download(Download(server.url()), tmp_path)
    assert server.asked == [None]


def test_no_server(server, tmp_path):
    url = server.url()
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(InputError, match="refused"):
        obtain.download(Download(url), tmp_path)


def test_a_disk_without_room(server, tmp_path, monkeypatch):
    monkeypatch.setattr(obtain.shutil, "disk_usage", lambda _: obtain.shutil._ntuple_diskusage(10, 10, 1_000))
    with pytest.raises(StorageError, match="256,000 bytes are needed but 1,000 are free"):
        obtain.download(Download(server.url()), tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_disk_that_fills_up(server, tmp_path):
    (tmp_path / "set.bin.part").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="the disk is full; make room"):
        obtain.download(Download(server.url()), tmp_path)


# Unpacking -----------------------------------------------------------------------------------------------------------


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(entries: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in entries.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            change(item)
            archive.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def facts(url: str, folder: str = "VIPeR") -> Facts:
    return Facts("VIPeR", "a paper", "none", "Ask.", folder, downloads=(Download(url),))


@pytest.mark.parametrize(("name", "pack"), [("set.zip", zipped), ("set.tgz", tarred)])
@pytest.mark.parametrize("top", ["", "VIPeR/", "VIPeR.v1.0/"])
def test_fetch_unpacks_into_the_folder_of_the_set(server, tmp_path, name, pack, top):
    server.content = pack({f"{top}cam_a/1.bmp": b"one", f"{top}cam_b/1.bmp": b"two"})
    target = obtain.fetch(facts(server.url(name)), tmp_path / "data")
    inside = "" if top in ("", "VIPeR/") else top
    assert target == tmp_path / "data" / "VIPeR"
    assert tree(target) == {f"{inside}cam_a/1.bmp": b"one", f"{inside}cam_b/1.bmp": b"two"}
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["VIPeR"]  # neither archive nor remains
    asked = len(server.asked)
    assert obtain.fetch(facts(server.url(name)), tmp_path / "data") == target
    assert len(server.asked) == asked


def test_what_an_interrupted_unpacking_left_is_swept_away(server, tmp_path):
    server.content = zipped({"a": b"1"})
    (tmp_path / ".VIPeR.unpacking" / "junk").mkdir(parents=True)
    assert tree(obtain.fetch(facts(server.url("s.zip")), tmp_path)) == {"a": b"1"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["VIPeR"]


def link(item: tarfile.TarInfo) -> None:
    item.type, item.linkname, item.size = tarfile.SYMTYPE, "/etc/passwd", 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.zip", zipped({"good": b"1", "../evil": b"2"}), "leads out of the folder"),
        ("s.zip", zipped({"..\\..\\evil": b"2"}), "leads out of the folder"),
        ("s.tar", tarred({"/tmp/evil-reidentify": b"2"}), "leads out of the folder"),
        ("s.tar", tarred({"passwd": b""}, link), "holds a link or device"),
        ("s.zip", b"PK no archive", "neither a .zip nor a .tar"),
        ("s.tgz", tarred({"a": bytes(100_000)})[:80], "broken|neither"),
    ],
)
def test_an_archive_that_is_not_to_be_trusted(server, tmp_path, name, content, message):
    server.content = content
    with pytest.raises(InputError, match=message):
        obtain.fetch(facts(server.url(name)), tmp_path / "data")
    assert not (tmp_path / "data" / "VIPeR").exists()
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil-reidentify").exists()
    assert [p.name for p in (tmp_path / "data").iterdir()] == [name]


def test_a_set_without_download_says_where_to_ask(tmp_path, capsys):
    assert obtain.get("market1501", tmp_path) == []
    shown = capsys.readouterr().out
    assert "Market-1501 cannot be downloaded directly." in shown
    assert "https://zheng-lab-anu.github.io/Project/project_reid.html" in shown
    with pytest.raises(InputError, match="nearest is viper"):
        obtain.get("vipr", tmp_path)


def test_a_path_is_at_hand_already(tmp_path, capsys):
    (tmp_path / "people").mkdir()
    assert obtain.get(f"{tmp_path}/people") == []
    assert "people is data of your own and need not be fetched" in capsys.readouterr().out
    with pytest.raises(InputError, match="pepole: no such file or folder"):
        obtain.get(f"{tmp_path}/pepole")
