"""The native cluster: control plane processes on this machine, nodes in QEMU, every part real."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab import archive as archives
from lab import cache, packages, tools
from lab.errors import LabError
from lab.native import nodeimage
from lab.native.controlplane import HOST_FROM_NODES, POD_RANGE, ControlPlane
from lab.native.vm import Machine
from lab.process import capture
from lab.progress import say, tail, wait_until

_PROGRAMS = (
    "qemu-system-x86_64",
    "qemu-img",
    "mmdebstrap",
    "mke2fs",
    "ssh",
    "ssh-keygen",
    "openssl",
    "gcc",
    "unshare",
)
_CLUSTER_DNS = "10.96.0.10"
_READY_SECONDS = 300
_MAX_NODES = 9
_IMPORT_SECONDS = 300
# The second node's kubelet leaves memory.oom.group alone, so that both ways to die can be seen.
_SINGLE_PROCESS_OOM_KILL = frozenset({"node2"})


@dataclass(frozen=True, slots=True)
class NativeProvider:
    """A cluster on a machine that has neither Docker nor KVM nor a registry; needs root, apt and Go."""

    directory: Path = field(default_factory=lambda: cache.run_directory("native"))
    name: str = "native"

    @property
    def _control_plane(self) -> ControlPlane:
        return ControlPlane(self.directory / "control-plane")

    @property
    def kubeconfig(self) -> Path:
        """See Provider."""
        if not self.running():
            raise LabError("no lab cluster is up: start one with `python -m lab up`")
        return self._control_plane.kubeconfig

    def nodes(self) -> list[str]:
        """See Provider."""
        return [machine.name for machine in self._machines()]

    def running(self) -> bool:
        """See Provider."""
        machines = self._recorded()
        return (
            bool(machines) and self._control_plane.running() and all(each.daemon.pid() for each in machines)
        )

    def up(self, nodes: int) -> None:
        """See Provider."""
        if self.running() and len(self._recorded()) == nodes:
            say("the lab cluster is up already")
            self._wait_ready()
            return
        if os.geteuid() != 0:
            raise LabError(
                "the native cluster needs root, to make the nodes' disks: run the same command with sudo"
            )
        if not 1 <= nodes <= _MAX_NODES:
            raise LabError(f"--nodes must be 1 to {_MAX_NODES}, not {nodes}")
        packages.require(_PROGRAMS)
        image = nodeimage.node_image()
        self.down()
        machines = [Machine(self.directory / "nodes", number) for number in range(1, nodes + 1)]
        say("starting the control plane")
        control_plane = self._control_plane
        control_plane.directory.mkdir(parents=True, exist_ok=True)
        api_port = control_plane.start(
            hosts={each.name: each.host_address for each in machines}, controllers=True
        )
        self._make_ssh_keys(machines)
        say(f"starting {nodes} nodes (QEMU without KVM: about a minute)")
        for machine in machines:
            machine.start(image, self._node_files(machine, api_port))
        (self.directory / "cluster.json").write_text(json.dumps({"nodes": nodes}))
        self._wait_ready()

    def down(self) -> None:
        """See Provider."""
        for machine in self._recorded() or [
            Machine(self.directory / "nodes", each + 1) for each in range(_MAX_NODES)
        ]:
            machine.daemon.stop()
        self._control_plane.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700)

    def load_image(self, archive: Path) -> None:
        """See Provider."""
        reference = archives.reference_of(archive)
        content = archive.read_bytes()
        machines = self._machines()
        say(
            f"loading {reference} ({len(content) >> 20} MiB) into {', '.join(each.name for each in machines)}"
        )
        with ThreadPoolExecutor(len(machines)) as pool:
            list(pool.map(lambda machine: _import_image(machine, content), machines))
        say("loaded")

    def node_shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """See Provider."""
        return self._machine(node).shell(argv, stdin=stdin, timeout=timeout)

    def kernel_log(self, node: str) -> str:
        """See Provider."""
        return self._machine(node).console.read_text(errors="replace").replace("\r", "")

    def _recorded(self) -> list[Machine]:
        try:
            count = int(json.loads((self.directory / "cluster.json").read_text())["nodes"])
        except (OSError, ValueError, KeyError):
            return []
        return [Machine(self.directory / "nodes", number) for number in range(1, count + 1)]

    def _machines(self) -> list[Machine]:
        if not self.running():
            raise LabError("no lab cluster is up: start one with `python -m lab up`")
        return self._recorded()

    def _machine(self, node: str) -> Machine:
        for machine in self._machines():
            if machine.name == node:
                return machine
        raise LabError(f"no node {node!r}; there are: {', '.join(self.nodes())}")

    def _wait_ready(self) -> None:
        machines = self._recorded()
        kubectl = tools.kubectl(self._control_plane.kubeconfig)
        names = {machine.name for machine in machines}
        say(f"waiting for {', '.join(sorted(names))} to be Ready")

        def ready() -> bool:
            for machine in machines:
                machine.daemon.require()
            try:
                return _ready_nodes(capture([*kubectl, "get", "nodes", "--output", "json"])) >= names
            except LabError:
                return False

        def hint() -> str:
            return "\n".join(f"{each.name}'s console:\n{tail(each.console)}" for each in machines)

        wait_until("the nodes' start", ready, seconds=_READY_SECONDS, every=1, hint=hint)
        say(f"{len(names)} nodes are Ready")

    def _make_ssh_keys(self, machines: Sequence[Machine]) -> None:
        directory = self.directory / "nodes" / "ssh"
        directory.mkdir(parents=True)
        for name in ("key", "host_key"):
            capture(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "oomsayer-lab", "-f", directory / name]
            )
        public = " ".join((directory / "host_key.pub").read_text().split()[:2])
        (directory / "known_hosts").write_text("".join(machine.known_host(public) for machine in machines))

    def _node_files(self, machine: Machine, api_port: int) -> dict[str, bytes]:
        authority = self._control_plane.authority
        server = f"https://{HOST_FROM_NODES}:{api_port}"
        node = authority.issue(
            machine.name,
            user=f"system:node:{machine.name}",
            group="system:nodes",
            addresses=[f"IP:{machine.address}", f"DNS:{machine.name}"],
        )
        proxy = authority.issue(f"{machine.name}-proxy", user="system:kube-proxy")
        ssh = self.directory / "nodes" / "ssh"
        environment = {
            "NODE_NAME": machine.name,
            "NODE_ADDRESS": machine.address,
            "GATEWAY": HOST_FROM_NODES,
            "POD_RANGE": POD_RANGE,
        }
        kubeconfig = authority.kubeconfig(machine.name, server, node)
        return {
            "etc/hostname": f"{machine.name}\n".encode(),
            "etc/hosts": f"127.0.0.1 localhost\n{machine.address} {machine.name}\n".encode(),
            "etc/lab/node.env": "".join(f"{name}={value}\n" for name, value in environment.items()).encode(),
            "etc/kubernetes/ca.crt": authority.certificate.read_bytes(),
            "etc/kubernetes/node.crt": node.certificate.read_bytes(),
            "etc/kubernetes/node.key": node.key.read_bytes(),
            "etc/kubernetes/kubelet.kubeconfig": kubeconfig.read_bytes(),
            "etc/kubernetes/kube-proxy.kubeconfig": authority.kubeconfig(
                f"{machine.name}-proxy", server, proxy
            ).read_bytes(),
            "etc/kubernetes/kubelet.json": json.dumps(kubelet_configuration(machine.name), indent=1).encode(),
            "etc/cni/net.d/10-lab.conflist": json.dumps(pod_network(machine.number), indent=1).encode(),
            "etc/ssh/lab_host_key": (ssh / "host_key").read_bytes(),
            "root/.ssh/authorized_keys": (ssh / "key.pub").read_bytes(),
        }


def kubelet_configuration(node: str) -> Mapping[str, object]:
    """A node's KubeletConfiguration: the kubelet's own defaults but for what this cluster is made of."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/etc/kubernetes/node.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/node.key",
        "clusterDNS": [_CLUSTER_DNS],
        # Images come by hand and could not be fetched again.
        "imageGCHighThresholdPercent": 100,
        "singleProcessOOMKill": node in _SINGLE_PROCESS_OOM_KILL,
    }


def pod_network(number: int) -> Mapping[str, object]:
    """The CNI configuration of a node: a bridge, and addresses that no other node gives out."""
    return {
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "subnet": f"10.244.{number}.0/24",
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _import_image(machine: Machine, content: bytes) -> None:
    done = machine.shell(
        ["ctr", "-n", "k8s.io", "images", "import", "-"], stdin=content, timeout=_IMPORT_SECONDS
    )
    if done.returncode != 0:
        raise LabError(f"{machine.name} did not take the image: {done.stderr.strip()}")


def _ready_nodes(listing: str) -> set[str]:
    return {
        item["metadata"]["name"]
        for item in json.loads(listing)["items"]
        for condition in item["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
