"""A real API server (etcd and kube-apiserver as processes), and clients of it with differing rights."""

import base64
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab import tools
from lab.native.controlplane import ControlPlane
from lab.process import Daemon, capture
from lab.progress import wait_until

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "oomsayer"
NAMESPACE = "oomsayer"
RELEASE = "oomsayer"

Json = Any
"""A Kubernetes object, as JSON has it."""


def eventually(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Poll until `holds`; fails naming `what` when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def report(node: str, **status: Json) -> dict[str, Json]:
    """The smallest NodeMemoryReport, with more of its status as given."""
    smallest = {
        "schemaVersion": 1,
        "agentVersion": "0.1.0",
        "sampledAt": "2026-11-24T10:00:00.25Z",
        "kernel": "6.12.117+deb13-cloud-amd64",
        "era": "E6",
        "cgroupVersion": 2,
        "memory": {"totalBytes": 2 << 30},
    }
    return {
        "apiVersion": "oomsayer.dev/v1alpha1",
        "kind": "NodeMemoryReport",
        "metadata": {"name": node},
        "status": smallest | status,
    }


@dataclass(frozen=True)
class Client:
    """Someone who talks to the API server."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints; fails with its error message when it does not succeed."""
        done = subprocess.run(
            [*tools.kubectl(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Json:
        """An object or a list, as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Json]) -> None:
        """Create or change objects."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=_list(objects))

    def patch(self, *what: str, patch: Mapping[str, Json]) -> None:
        """Merge-patch an object, named as for kubectl."""
        self.kubectl("patch", *what, "--type=merge", "-p", json.dumps(patch))

    def create_refused(self, item: Mapping[str, Json]) -> str:
        """Why the API server refuses to create an object; empty when it does not. Nothing is written."""
        try:
            self.kubectl("create", "-f", "-", "--dry-run=server", stdin=json.dumps(item))
        except AssertionError as refusal:
            return str(refusal)
        return ""

    def patch_refused(self, path: str, patch: Mapping[str, Json], *, dry_run: bool = True) -> str:
        """Why the API server refuses a merge patch of what is at a URL path; empty when it does not.

        Unlike kubectl, which reads first, it needs the right to patch alone.
        """
        config = json.loads(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        request = urllib.request.Request(  # noqa: S310 - the URL is the lab's own
            f"{cluster['server']}{path}{'?dryRun=All' if dry_run else ''}",
            method="PATCH",
            data=json.dumps(patch).encode(),
            headers={
                "Authorization": f"Bearer {user['token']}",
                "Content-Type": "application/merge-patch+json",
            },
        )
        context = ssl.create_default_context(cadata=authority)
        try:
            urllib.request.urlopen(request, timeout=30, context=context).close()  # noqa: S310 - likewise
        except urllib.error.HTTPError as refusal:
            with refusal:
                return str(json.load(refusal)["message"])
        return ""


@dataclass(frozen=True)
class ApiServer(Client):
    """The API server and its administrator.

    Attributes:
        control_plane: the processes.
        url: https://127.0.0.1:PORT.
        ca: file with the certificate of its authority.
        certificate: file with the administrator's certificate.
        key: file with the administrator's key.
    """

    control_plane: ControlPlane
    url: str
    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def start(cls, directory: Path) -> "ApiServer":
        """Start etcd and the API server with their data in a directory, and wait until it is ready."""
        control_plane = ControlPlane(directory)
        with _left_running():
            control_plane.start(controllers=False)
        pki = control_plane.authority
        return cls(
            kubeconfig=control_plane.kubeconfig,
            control_plane=control_plane,
            url=control_plane.server,
            ca=pki.certificate,
            certificate=pki.directory / "admin.crt",
            key=pki.directory / "admin.key",
        )

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(urlsplit(self.url).port or 0)

    def stop(self) -> None:
        """End it for good."""
        self.control_plane.stop()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Kill the API server for the length of the block and start it again with its data and port."""
        process = Daemon(self.control_plane.directory, "kube-apiserver")
        pid = process.pid()
        assert pid is not None
        argv = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0").split("\0")
        os.kill(pid, signal.SIGKILL)
        process.stop()
        try:
            yield
        finally:
            with _left_running():
                process.start(argv)
            wait_until("the API server's return", self._ready, seconds=60, every=0.1)

    def _ready(self) -> bool:
        try:
            return self.kubectl("get", "--raw", "/readyz") == "ok"
        except AssertionError:
            return False

    def with_token(self, token: str, name: str) -> Client:
        """Who holds a bearer token; `name` tells the kubeconfig files apart."""
        config = json.loads(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = self.control_plane.directory / f"{name}.kubeconfig"
        path.write_text(json.dumps(config))
        return Client(path)

    def node(self, name: str) -> Json:
        """Make a Node of that name, unless there is one, and return it."""
        self.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        return self.get("node", name)

    def pod(self, name: str, node: str, namespace: str = "default", account: str = "default") -> Json:
        """Make a pod that is bound to a node, unless there is one, and return it."""
        container = {"name": "main", "image": "none"}
        spec = {"nodeName": node, "serviceAccountName": account, "containers": [container]}
        meta = {"name": name, "namespace": namespace}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        return self.get("pod", name, "-n", namespace)


@dataclass(frozen=True)
class Installation:
    """The chart, installed; and its two service accounts with tokens as the kubelet would mount them."""

    api_server: ApiServer

    def agent_token(self, node: str, *options: str) -> str:
        """A token of the agent's pod on a node; options are those of `kubectl create token`."""
        self.api_server.node(node)
        pod = self.api_server.pod(f"agent-{node}", node, NAMESPACE, f"{RELEASE}-agent")
        return self._token("agent", pod, *options)

    def agent(self, node: str) -> Client:
        """The agent on a node."""
        return self.api_server.with_token(self.agent_token(node), f"agent-{node}")

    def operator_token(self, *options: str) -> str:
        """A token of the operator's pod."""
        self.api_server.node("operators-node")
        pod = self.api_server.pod("operator-0", "operators-node", NAMESPACE, f"{RELEASE}-operator")
        return self._token("operator", pod, *options)

    def operator(self) -> Client:
        """The operator."""
        return self.api_server.with_token(self.operator_token(), "operator")

    def _token(self, component: str, pod: Json, *options: str) -> str:
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod['metadata']['name']}"]
        account = ["token", f"{RELEASE}-{component}", "-n", NAMESPACE]
        return self.api_server.kubectl("create", *account, *bound, *options).strip()


def helm(kubeconfig: Path, *arguments: str) -> str:
    """Run helm on the API server and return what it prints."""
    return capture([*tools.helm(kubeconfig), *arguments])


def install(api_server: ApiServer, *options: str) -> str:
    """Install or upgrade the chart; nobody runs its pods here, so there is nothing to wait for."""
    arguments = ["upgrade", "--install", RELEASE, str(CHART), "-n", NAMESPACE, "--create-namespace"]
    return helm(api_server.kubeconfig, *arguments, *options)


@contextmanager
def _left_running() -> Iterator[None]:
    """Python warns of a child that nobody waits for; these run on until stop()."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def _list(objects: tuple[Mapping[str, Json], ...]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
