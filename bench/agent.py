"""What the agent costs a node: run `python bench/agent.py [IDLE_PROCESSES] [SECONDS]` (1000, 60).

Starts so many idle processes and `oomsayer agent` as in a pod, with an API server that takes every report,
lets it settle, then measures. In a pod means in a PID namespace of its own and without capabilities, with
the machine's /proc below another directory; its kernel memory (descriptors that it keeps, entries of /proc
behind them) is that of a memory cgroup of its own. Both need root.
"""

import compileall
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT)]

from bench.scan import idle

from oomsayer.node.cgroupfs import memory_mount
from oomsayer.node.files import keyed

MOST_RESIDENT_MIB = 24.0
MOST_PERCENT = 0.5
SETTLE_SECONDS = 40.0
"""Until start-up is over, and what the idle processes' own start set off."""
MIB = 1 << 20


class Taking(BaseHTTPRequestHandler):
    """An API server that takes everything."""

    protocol_version = "HTTP/1.1"

    def do_PATCH(self) -> None:
        """Take a report."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer = json.dumps({"metadata": {"resourceVersion": "1"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET = do_PATCH  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def api_server(account: Path) -> Iterator[int]:
    """Serve with a certificate of its own; ca.crt and token go into `account`. The port."""
    key, certificate = account / "key", account / "ca.crt"
    subprocess.run(  # noqa: S603 - the arguments are this file's own
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=bench",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    (account / "token").write_text("x")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def memcg() -> Iterator[Path | None]:
    """A memory cgroup of its own, None where that cannot be made."""
    mount = memory_mount(Path("/"))
    if mount is None:
        yield None
        return
    made = mount.directory / f"oomsayer-bench-{os.getpid()}"
    try:
        made.mkdir()
    except OSError:
        yield None
        return
    try:
        yield made
    finally:
        made.rmdir()


def kernel_bytes(cgroup: Path) -> int | None:
    """Kernel memory charged to a cgroup, None where its files do not tell."""
    v1 = cgroup / "memory.kmem.usage_in_bytes"
    if v1.exists():
        return int(v1.read_text())
    stat = cgroup / "memory.stat"
    return keyed(stat.read_bytes(), b"kernel ") if stat.exists() else None


def resident_bytes(pid: int) -> tuple[int, int]:
    """All that is resident, and what of it is anonymous: no other process shares that."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = [re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE) for name in ("VmRSS", "RssAnon")]
    total, anonymous = (int(found[1]) * 1024 for found in values if found)
    return total, anonymous


def ticks(pid: int) -> int:
    """Processor time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


POD = """
if [ -n "$CGROUP" ]; then echo 0 > "$CGROUP/cgroup.procs"; fi
mkdir -p "$0/proc" "$0/sys/fs/cgroup"
mount --rbind /proc "$0/proc"
mount --rbind /sys/fs/cgroup "$0/sys/fs/cgroup"
mount -t proc proc /proc
exec setpriv --bounding-set=-all --inh-caps=-all "$@"
"""
"""What becomes the agent, with its root directory and its command as arguments."""


@contextmanager
def agent(directory: Path, port: int, cgroup: Path | None) -> Iterator[int]:
    """Run an agent whose service account and root are in a directory; its pid."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "operator"),
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(port),
        "CGROUP": str(cgroup or ""),
    }
    pod, root = os.geteuid() == 0, directory / "host"
    command = [
        *(("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", POD, root) if pod else ()),
        *(sys.executable, "-m", "oomsayer", "agent"),
        f"--root={root if pod else '/'}",
        "--metrics-address=127.0.0.1:0",
        "--node-name=bench",
        f"--service-account={directory}",
    ]

    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603 - our own agent
    pid = process.pid
    try:
        time.sleep(SETTLE_SECONDS)
        if pod:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        yield pid
    finally:
        os.kill(pid, signal.SIGTERM)  # not to unshare, which ends with the agent
        process.wait()


def main() -> int:
    """Measure and print; status 1 where a target is missed."""
    # The image has bytecode only: what is compiled at the start stays in the process's arenas.
    compileall.compile_dir(ROOT / "operator" / "oomsayer", quiet=1)
    count, seconds = (int(word) for word in (*sys.argv[1:3], *("1000", "60")[len(sys.argv) - 1 :]))
    with (
        tempfile.TemporaryDirectory() as name,
        api_server(Path(name)) as port,
        memcg() as cgroup,
        idle(count),
        agent(Path(name), port, cgroup) as pid,
    ):
        before, began = ticks(pid), time.monotonic()
        time.sleep(seconds)
        spent = (ticks(pid) - before) / os.sysconf("SC_CLK_TCK")
        percent = spent / (time.monotonic() - began) * 100
        total, anonymous = resident_bytes(pid)
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - a count is all
        kernel = None if cgroup is None else kernel_bytes(cgroup)
    told = "not told here" if kernel is None else f"{kernel / MIB:.1f} MiB"
    print(
        f"agent, {count} processes: {total / MIB:.1f} MiB resident ({anonymous / MIB:.1f} its own), "
        f"kernel memory {told} with {descriptors} descriptors, {percent:.2f} % of a core when calm"
    )
    targets = {
        f"at most {MOST_RESIDENT_MIB:.0f} MiB resident": total <= MOST_RESIDENT_MIB * MIB,
        f"at most {MOST_PERCENT} % of a core when calm": percent <= MOST_PERCENT,
    }
    for target, met in targets.items():
        print(f"{'met' if met else 'MISSED'}: {target}")
    return 0 if all(targets.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
