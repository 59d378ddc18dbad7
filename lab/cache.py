"""Where the lab keeps what is slow to make: outside the repository, named by what it was made from.

A thing in the cache is complete: it is made under a temporary name and renamed. Its name ends in a hash of
its inputs, so a changed input is another thing, and an interrupted build leaves nothing that counts.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.progress import say

_KEPT_VERSIONS = 2
_ABANDONED_SECONDS = 86_400.0
"""A build that is so old was interrupted; a younger one another checkout may be at."""
_KEY_DIGITS = 16


def root() -> Path:
    """The cache directory: $OOMSAYER_CACHE, or ~/.cache/oomsayer."""
    named = os.environ.get("OOMSAYER_CACHE")
    path = Path(named) if named else Path.home() / ".cache" / "oomsayer"
    path.mkdir(parents=True, exist_ok=True)
    return path


def run_directory(name: str) -> Path:
    """The directory for what runs now (pids, logs, keys) under a name; made when absent."""
    path = root() / "run" / name
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def log_file(name: str) -> Path:
    """The file that keeps the output of a build step."""
    path = root() / "logs" / f"{name}.log"
    path.parent.mkdir(exist_ok=True)
    return path


def key_of(*inputs: str | bytes | Path) -> str:
    """A key over strings, bytes, the contents of files, and whole directories (names and contents)."""
    digest = hashlib.sha256()
    for part in inputs:
        for chunk in _chunks(part):
            digest.update(len(chunk).to_bytes(8, "big"))
            digest.update(chunk)
    return digest.hexdigest()[:_KEY_DIGITS]


def artifact(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The file or directory `name` made from inputs with that key; `build` makes it at the path it is given.

    Older versions of the same name are removed, but for the latest, which another checkout may be using; so
    are builds that were interrupted long ago.
    """
    directory = root() / "artifacts" / name
    directory.mkdir(parents=True, exist_ok=True)
    final = directory / key
    if not final.exists():
        partial = directory / f"{key}.partial"
        _remove(partial)
        build(partial)
        partial.rename(final)
    os.utime(final)
    _prune(directory)
    return final


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of that name, waiting for another lab command that holds it."""
    with (root() / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another lab command to finish ({lock.name})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _chunks(part: str | bytes | Path) -> Iterable[bytes]:
    if isinstance(part, bytes):
        yield part
    elif isinstance(part, str):
        yield part.encode()
    elif part.is_dir():
        for path in sorted(part.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(part)).encode()
                yield path.read_bytes()
    else:
        yield part.read_bytes()


def _prune(directory: Path) -> None:
    complete = [path for path in directory.iterdir() if path.suffix != ".partial"]
    for path in sorted(complete, key=lambda each: each.stat().st_mtime, reverse=True)[_KEPT_VERSIONS:]:
        _remove(path)
    for partial in directory.glob("*.partial"):
        with suppress(FileNotFoundError):  # another checkout has finished it
            if partial.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
