"""One writer at a time, and files that are whole or as they were."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jamie import JamieError, _atomic
from jamie._atomic import as_path, whole, writing
from jamie._errors import InvalidValueError, WriteError, WrongTypeError

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.write(descriptor, b"process 7 on another")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that writes `x.txt`, and can be killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".x.txt.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, text):
    with whole(path) as temporary:
        temporary.write_text(text)


needs_flock = pytest.mark.skipif(sys.platform == "win32", reason="needs flock")


def test_a_file_is_there_and_nothing_else(tmp_path):
    write(tmp_path / "x.txt", "one")
    write(tmp_path / "x.txt", "two")
    assert (tmp_path / "x.txt").read_text() == "two"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(error), whole(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def raised_while(error, first):
    """An error of closing a file that could not be written."""
    error.__context__ = first
    return error


FULL = RuntimeError("Can't decrement id (… errno = 28, …)")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        FULL,
        raised_while(RuntimeError("Slist already enabled?"), FULL),
    ],
)
def test_a_full_disk_is_said_with_what_to_do(tmp_path, error):
    def fail():
        raise error

    expected = r"could not write `.*x\.txt`: .*28.*Nothing was kept; make room, or pass another path"
    with pytest.raises(WriteError, match=expected), whole(tmp_path / "x.txt"):
        fail()
    assert names(tmp_path) == []


@needs_flock
def test_the_second_of_two_writers_is_told_and_takes_nothing_away(tmp_path, holder):
    part = tmp_path / ".x.part.txt"
    part.write_text("of the other")
    with pytest.raises(WriteError, match=r"another process writes `.*x\.txt` \(process 7 on another, says `\.x\.txt"):
        write(tmp_path / "x.txt", "mine")
    assert part.read_text() == "of the other"
    assert names(tmp_path) == [".x.part.txt", ".x.txt.lock"]
    write(tmp_path / "y.txt", "another file")


@needs_flock
def test_a_lock_ends_with_its_process(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    (tmp_path / ".x.part.txt").write_text("half")
    write(tmp_path / "x.txt", "mine")
    assert (tmp_path / "x.txt").read_text() == "mine"
    assert names(tmp_path) == ["x.txt"]


def test_a_thread_is_another_writer_and_the_same_one_is_not(tmp_path):
    path, found = tmp_path / "x.txt", []

    def other():
        try:
            write(path, "other")
        except WriteError as error:
            found.append(str(error))

    with writing(path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        write(path, "mine")
        assert ".x.txt.lock" in names(tmp_path)
    assert f"process {os.getpid()} on {socket.gethostname()}" in found[0]
    assert path.read_text() == "mine"
    assert names(tmp_path) == ["x.txt"]


@needs_flock
def test_who_waits_goes_on_when_the_other_has_ended(tmp_path, holder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: (holder.kill(), holder.wait()))
    with writing(tmp_path / "x.txt", waits=True):
        assert names(tmp_path) == [".x.txt.lock"]
    assert names(tmp_path) == []


@needs_flock
def test_a_lock_that_was_taken_away_in_between_is_made_anew(tmp_path, monkeypatch):
    """The one before removes its file after this one has opened it: it would lock a file that nobody else sees."""
    lock, calls = _atomic._lock, []

    def late(descriptor):
        if not calls:
            (tmp_path / ".x.txt.lock").unlink()
        calls.append(descriptor)
        return lock(descriptor)

    monkeypatch.setattr(_atomic, "_lock", late)
    with writing(tmp_path / "x.txt"):
        assert names(tmp_path) == [".x.txt.lock"]
    assert len(calls) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="it has locks everywhere")
class TestWithoutLocks:
    """As on a file system that has none."""

    @pytest.fixture(autouse=True)
    def none(self, monkeypatch):
        def refuse(*_):
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr("fcntl.flock", refuse)

    def test_the_file_is_the_lock(self, tmp_path):
        with writing(tmp_path / "x.txt"):
            _atomic._mine.set(frozenset())  # as another process
            with pytest.raises(WriteError, match=rf"another process writes .*process {os.getpid()} on"):
                write(tmp_path / "x.txt", "mine")
        write(tmp_path / "x.txt", "mine")
        assert names(tmp_path) == ["x.txt"]

    def test_it_is_taken_over_from_a_process_that_is_no_more(self, tmp_path):
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        lock = tmp_path / ".x.txt.lock"
        lock.write_text(f"process {ended.pid} on {socket.gethostname()}")
        write(tmp_path / "x.txt", "mine")
        for other in (f"process {ended.pid} on another machine", "what is this"):
            lock.write_text(other)
            with pytest.raises(WriteError, match=other):
                write(tmp_path / "x.txt", "other")
        assert (tmp_path / "x.txt").read_text() == "mine"


def test_a_link_is_followed(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    with writing(link) as target:
        assert target == real.resolve()
        assert (tmp_path / ".real.txt.lock").exists()  # one lock by whatever name
    write(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: path.mkdir(), OSError, "expected a file to write at .*, found a folder"),
        (lambda path: path.symlink_to(path.parent), OSError, "expected a file to write at .*, found a folder"),
        (lambda path: path.symlink_to(path / "no" / "where"), FileNotFoundError, "expected a folder to write to"),
    ],
    ids=["folder", "link to a folder", "link to nowhere"],
)
def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path, make, error, message):
    path = tmp_path / "x.txt"
    make(path)
    with pytest.raises(error, match=message), writing(path):
        pass
    assert names(tmp_path) == ["x.txt"]


def test_a_folder_that_takes_no_files_is_said_at_once(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(JamieError, match=r"found that the folder does not take files \(Read-only file system\)"):
        write(tmp_path / "x.txt", "mine")


def test_a_reader_has_the_old_file_to_its_end(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"old" * 10_000)
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        write(path, "new")
        assert mapped[:] == b"old" * 10_000


@pytest.mark.parametrize("path", [3, None, b"bytes", True, "", "a" * 300, "a\0b", Path("b" * 300)])
def test_what_no_file_system_has_is_an_error_of_ours(path):
    with pytest.raises((InvalidValueError, WrongTypeError), match="expected `out` as"):
        as_path(path, name="out")


def test_paths_are_taken_as_they_are(tmp_path):
    for path in (tmp_path, str(tmp_path / "new"), "~x", "a b/ü.h5ad"):
        assert as_path(path, name="out") == Path(path)
