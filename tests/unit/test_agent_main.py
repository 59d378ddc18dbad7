"""The agent as a process of its own, without an API server that answers."""

import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from oomsayer.agent.apiserver import TIMEOUT_SECONDS

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
LEAN_MIB = 27
"""What the agent may keep resident on a machine like this: 24 measured, of which 11 are shared libraries."""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def start(*flags: str, **environment: str) -> subprocess.Popen[str]:
        server = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "oomsayer", "agent", *flags],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), **server, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    line = process.stderr.readline()
    match = re.search(r"watches node (\S+); metrics on port (\d+)", line)
    assert match is not None, line
    return int(match[2])


def get(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def metric(port: int, name: str) -> float:
    match = re.search(rf"^{re.escape(name)} (\S+)$", get(port, "/metrics"), re.MULTILINE)
    assert match is not None, name
    return float(match[1])


def wait_for_samples(port: int, count: int) -> None:
    deadline = time.monotonic() + 30
    while metric(port, 'oomsayer_agent_samples_total{result="taken"}') < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_samples_lean_and_healthy_without_its_api_server(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    process = start(
        "--root=/",
        "--metrics-address=127.0.0.1:0",
        "--interval=0.1",
        f"--service-account={tmp_path}",
        NODE_NAME="here",
    )
    port = port_of(process)
    wait_for_samples(port, 5)

    assert get(port, "/healthz") == "ok\n"
    assert metric(port, "process_resident_memory_bytes") < LEAN_MIB * MIB
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=10)
    assert time.monotonic() - began < 3
    assert process.returncode == 0
    assert said.count("WARNING") == 1
    assert f"{tmp_path}/ca.crt: " in said
    assert said.splitlines()[-1].endswith("stopping on SIGTERM")


def test_an_api_server_that_never_answers_holds_up_no_stop(start: Start, tmp_path: Path) -> None:
    new = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=kubernetes"
    files = "-addext subjectAltName=IP:127.0.0.1 -keyout key -out ca.crt"
    subprocess.run(["openssl", *f"{new} {files}".split()], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "token").write_text("x")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = start(
            "--root=/",
            "--metrics-address=127.0.0.1:0",
            f"--service-account={tmp_path}",
            KUBERNETES_SERVICE_PORT=str(listening.getsockname()[1]),
            NODE_NAME="here",
        )
        with tls.wrap_socket(listening.accept()[0], server_side=True) as client:
            assert client.recv(5) == b"PATCH"
            process.terminate()
            assert process.wait(timeout=TIMEOUT_SECONDS - 2) == 0


@pytest.mark.parametrize(
    ("flags", "environment", "status", "says"),
    [
        (["--root=/nowhere"], {}, 1, r"/nowhere/proc: .*mount the node's /proc and /sys/fs/cgroup below"),
        (["--root=/"], {"KUBERNETES_SERVICE_HOST": ""}, 1, r"`oomsayer node`"),
        (["--root=/"], {}, 1, r"/token: .*automountServiceAccountToken"),
        (["--interval=soon"], {}, 2, r"--interval: 'soon' is not a number of seconds from 0.1 to 3600"),
        ([], {"OOMSAYER_INTERVAL": "0"}, 2, r"--interval: '0' is not a number of seconds"),
        (["--report-size=1"], {}, 2, r"--report-size: '1' is not a number of bytes from 2048 to 1048576"),
        (["--metrics-address=9464"], {}, 2, r"--metrics-address: '9464' is not \[HOST\]:PORT"),
        (["--log-level=loud"], {}, 2, r"--log-level: 'loud' is not debug, info, warning or error"),
    ],
)
def test_what_is_wrong_is_named(
    start: Start, flags: list[str], environment: dict[str, str], status: int, says: str
) -> None:
    process = start(*flags, **environment)
    _, said = process.communicate(timeout=30)

    assert process.returncode == status
    assert re.search(says, said), said
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_named(start: Start) -> None:
    first = start("--root=/", "--metrics-address=127.0.0.1:0", NODE_NAME="here")
    port = port_of(first)
    second = start("--root=/", f"--metrics-address=127.0.0.1:{port}", NODE_NAME="here")
    _, said = second.communicate(timeout=30)

    assert second.returncode == 1
    assert f"--metrics-address 127.0.0.1:{port}: Address already in use" in said


def test_few_open_files_are_enough(start: Start) -> None:
    process = start("--root=/", "--metrics-address=127.0.0.1:0", "--interval=0.1", NODE_NAME="here")
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (32, 32))
    port = port_of(process)
    wait_for_samples(port, 3)
    process.terminate()

    assert process.wait(timeout=10) == 0
