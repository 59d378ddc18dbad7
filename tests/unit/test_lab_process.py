"""The lab's background processes: known by pid and start time, ended by nothing else."""

import json
import os
import sys
from pathlib import Path

import pytest
from lab.errors import LabError
from lab.process import Daemon, capture, start_time, stop_all
from lab.progress import wait_until

SLEEPER = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, 1); print('up', flush=True); time.sleep(600)",
]


def started(directory: Path, name: str, argv: list[str]) -> Daemon:
    daemon = Daemon(directory, name)
    daemon.start(argv)
    wait_until("its first line", lambda: "up" in daemon.log.read_text(), seconds=20, every=0.05)
    return daemon


def test_a_daemon_runs_until_it_is_stopped(tmp_path: Path) -> None:
    daemon = started(tmp_path, "sleeper", SLEEPER)
    pid = daemon.pid()
    assert pid is not None
    daemon.stop()
    assert daemon.pid() is None
    assert start_time(pid) is None
    assert not Path(f"/proc/{pid}").exists(), "a zombie"
    daemon.stop()


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.process._KILL_AFTER_SECONDS", 0.5)
    daemon = started(tmp_path, "stubborn", STUBBORN)
    pid = daemon.pid()
    assert pid is not None
    daemon.stop()
    assert start_time(pid) is None


def test_a_stale_record_never_ends_another_process(tmp_path: Path) -> None:
    mine = os.getpid()
    started_at = start_time(mine)
    assert started_at is not None
    (tmp_path / "stale.pid").write_text(json.dumps({"pid": mine, "start": started_at - 1}))
    daemon = Daemon(tmp_path, "stale")
    assert daemon.pid() is None
    daemon.stop()
    assert not (tmp_path / "stale.pid").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "start": 1}'])
def test_a_broken_record_is_a_process_that_is_gone(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.pid").write_text(content)
    assert Daemon(tmp_path, "broken").pid() is None


def test_all_of_a_directory_end_together(tmp_path: Path) -> None:
    daemons = [started(tmp_path, name, SLEEPER) for name in ("one", "two")]
    stop_all(tmp_path)
    assert [daemon.pid() for daemon in daemons] == [None, None]
    assert not list(tmp_path.glob("*.pid"))


def test_the_end_of_a_daemon_is_told_with_its_last_words(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, "failing")
    daemon.start([sys.executable, "-c", "print('no such port')"])
    wait_until("its end", lambda: daemon.pid() is None, seconds=20, every=0.05)
    with pytest.raises(LabError, match=r"failing has ended(.|\n)*no such port"):
        daemon.require()


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(LabError, match="no-such-program is not installed"):
        capture(["no-such-program"])


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(LabError, match="exited with 3: broken"):
        capture([sys.executable, "-c", "import sys; print('broken', file=sys.stderr); sys.exit(3)"])
