"""etcd, the API server and, for a whole cluster, controllers and scheduler: plain processes on loopback."""

import json
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import binaries, ports
from lab.native.pki import Authority, KeyPair
from lab.process import Daemon, stop_all
from lab.progress import say, tail, wait_until

SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.244.0.0/16"
# How a QEMU machine sees this one.
HOST_FROM_NODES = "10.0.2.2"
_KUBERNETES_SERVICE = "10.96.0.1"
_PREFERRED_API_PORT = 16443
_PREFERRED_ETCD_PORT = 12379
_READY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A control plane whose keys, data and logs live in one directory."""

    directory: Path

    @property
    def authority(self) -> Authority:
        """The certificate authority of this control plane."""
        return Authority(self.directory / "pki")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.authority.directory / "admin.kubeconfig"

    @property
    def server(self) -> str:
        """The API server's URL, once it was started."""
        return str(json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])

    @property
    def _apiserver(self) -> Daemon:
        return Daemon(self.directory, "kube-apiserver")

    def running(self) -> bool:
        """Whether the API server's process runs."""
        return self._apiserver.pid() is not None

    def start(self, *, hosts: Mapping[str, str] | None = None, controllers: bool) -> int:
        """Start everything with new keys and an empty store, and return the API server's port.

        Args:
            hosts: node names and the addresses on which the API server reaches their kubelets.
            controllers: start the controller manager and the scheduler too.
        """
        self.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        programs = binaries.kubernetes(binaries.CONTROL_PLANE if controllers else ("kube-apiserver",))
        etcd = binaries.etcd()
        self.authority.create()
        etcd_port = ports.pick(_PREFERRED_ETCD_PORT)
        self._start_etcd(etcd, etcd_port)
        api_port = ports.pick(_PREFERRED_API_PORT)
        server = f"https://127.0.0.1:{api_port}"
        tokens = self.authority.token_keys()
        admin = self.authority.issue("admin", user="oomsayer-lab-admin", group="system:masters")
        self.authority.kubeconfig("admin", server, admin)
        self._start_apiserver(
            programs["kube-apiserver"],
            port=api_port,
            etcd_port=etcd_port,
            tokens=tokens,
            hosts=hosts or {},
            controllers=controllers,
        )
        say(f"waiting for the API server at {server}")
        wait_until(
            "the API server's start",
            self._ready,
            seconds=_READY_SECONDS,
            hint=lambda: tail(self._apiserver.log),
        )
        if controllers:
            self._start_controllers(programs, server, tokens)
        return api_port

    def stop(self) -> None:
        """End all processes and forget keys and data."""
        stop_all(self.directory)
        for name in ("etcd", "pki"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def _ready(self) -> bool:
        self._apiserver.require()
        Daemon(self.directory, "etcd").require()
        return _answers(self.server, self.authority)

    def _start_etcd(self, program: Path, port: int) -> None:
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ports.pick(port + 1)}"
        Daemon(self.directory, "etcd").start(
            [program, "--data-dir", self.directory / "etcd", "--unsafe-no-fsync",
             "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"default={peer}"]
        )  # fmt: skip

    def _start_apiserver(
        self,
        program: Path,
        *,
        port: int,
        etcd_port: int,
        tokens: KeyPair,
        hosts: Mapping[str, str],
        controllers: bool,
    ) -> None:
        serving = self.authority.issue(
            "apiserver",
            user="kube-apiserver",
            addresses=[
                *(f"IP:{address}" for address in ("127.0.0.1", HOST_FROM_NODES, _KUBERNETES_SERVICE)),
                *(f"DNS:{name}" for name in ("localhost", "kubernetes", "kubernetes.default.svc")),
            ],
        )
        kubelets = self.authority.issue("kubelet-client", user="kube-apiserver", group="system:masters")
        argv: list[str | Path] = [
            program,
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            f"--advertise-address={HOST_FROM_NODES}",
            f"--secure-port={port}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--service-account-key-file={tokens.certificate}",
            f"--service-account-signing-key-file={tokens.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--kubelet-client-certificate={kubelets.certificate}",
            f"--kubelet-client-key={kubelets.key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            "--kubelet-preferred-address-types=Hostname",
        ]
        if not controllers:
            # Nobody makes the default service account here, and pods should be accepted all the same.
            argv.append("--disable-admission-plugins=ServiceAccount")
        self._apiserver.start([*_with_hosts(self.directory / "hosts", hosts), *argv])

    def _start_controllers(self, programs: Mapping[str, Path], server: str, tokens: KeyPair) -> None:
        for name, arguments in {
            "kube-controller-manager": [
                f"--service-account-private-key-file={tokens.key}",
                f"--root-ca-file={self.authority.certificate}",
                "--use-service-account-credentials=true",
            ],
            "kube-scheduler": [],
        }.items():
            user = self.authority.issue(name, user=f"system:{name}")
            Daemon(self.directory, name).start(
                [programs[name], f"--kubeconfig={self.authority.kubeconfig(name, server, user)}",
                 "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0", *arguments]
            )  # fmt: skip


def _answers(server: str, authority: Authority) -> bool:
    """Whether an API server says that it is ready (anybody may ask that)."""
    try:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        # The URL is one that the lab wrote itself.
        with urllib.request.urlopen(f"{server}/readyz", timeout=5, context=context) as answer:  # noqa: S310 - see above
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's own number for success
    except (urllib.error.URLError, OSError):
        return False


def _with_hosts(path: Path, hosts: Mapping[str, str]) -> Sequence[str | Path]:
    """A prefix for a command that lets it alone see extra names in /etc/hosts.

    A mount namespace of its own leaves this machine's /etc/hosts as it is, with nothing to undo.
    """
    if not hosts:
        return []
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in hosts.items())]
    path.write_text("\n".join(lines) + "\n")
    script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", path]
