"""What makes a booted machine one node of a cluster: its files, network and kubelet's settings."""

import io
import json
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass

from lab.errors import LabError
from lab.native.controlplane import HOST_FROM_NODES, POD_RANGE
from lab.native.pki import Authority
from lab.qemu.machine import Machine

_CLUSTER_DNS = "10.96.0.10"
_JOIN_SECONDS = 60
# The second node's kubelet leaves memory.oom.group alone, so that both ways to die can be seen.
_SINGLE_PROCESS_OOM_KILL = frozenset({"node2"})


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a node in the cluster: all follows from its number, counted from 1."""

    number: int

    @property
    def name(self) -> str:
        """The node's name."""
        return f"node{self.number}"

    @property
    def host_address(self) -> str:
        """The loopback address on which this machine reaches the node's kubelet and shell."""
        return f"127.0.1.{20 + self.number}"

    @property
    def address(self) -> str:
        """The node's address in the nodes' own network."""
        return f"10.0.3.{20 + self.number}"

    @property
    def mac(self) -> str:
        """The address of its interface there."""
        return f"52:54:00:10:03:{20 + self.number:02x}"

    @property
    def pods(self) -> str:
        """The range of its pods' addresses."""
        return f"10.244.{self.number}.0/24"


def join(machine: Machine, place: Place, nodes: int, authority: Authority, api_port: int) -> None:
    """Lay a node's files on a booted machine and start its services.

    Raises:
        LabError: the machine did not take them.
    """
    machine.wait_for(f"the shell of {place.name}", "true", _JOIN_SECONDS)
    files = node_files(place, nodes, authority, api_port)
    done = machine.shell("tar -x -C / && lab-join", stdin=_tar(files), timeout=_JOIN_SECONDS)
    if done.returncode != 0:
        raise LabError(f"{place.name} did not join: {done.stderr.strip()}")


def node_files(place: Place, nodes: int, authority: Authority, api_port: int) -> dict[str, bytes]:
    """The files of one node: path under its root -> content."""
    server = f"https://{HOST_FROM_NODES}:{api_port}"
    node = authority.issue(
        place.name,
        user=f"system:node:{place.name}",
        group="system:nodes",
        addresses=[f"IP:{place.address}", f"DNS:{place.name}"],
    )
    proxy = authority.issue(f"{place.name}-proxy", user="system:kube-proxy")
    kubelet_config = authority.kubeconfig(place.name, server, node)
    proxy_config = authority.kubeconfig(f"{place.name}-proxy", server, proxy)
    return {
        "etc/hostname": f"{place.name}\n".encode(),
        "etc/hosts": f"127.0.0.1 localhost\n{place.address} {place.name}\n".encode(),
        "etc/lab/node.env": _environment(place, nodes).encode(),
        "etc/kubernetes/ca.crt": authority.certificate.read_bytes(),
        "etc/kubernetes/node.crt": node.certificate.read_bytes(),
        "etc/kubernetes/node.key": node.key.read_bytes(),
        "etc/kubernetes/kubelet.kubeconfig": kubelet_config.read_bytes(),
        "etc/kubernetes/kube-proxy.kubeconfig": proxy_config.read_bytes(),
        "etc/kubernetes/kubelet.json": json.dumps(kubelet_configuration(place.name), indent=1).encode(),
        "etc/cni/net.d/10-lab.conflist": json.dumps(pod_network(place), indent=1).encode(),
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


def pod_network(place: Place) -> Mapping[str, object]:
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
                    "subnet": place.pods,
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _environment(place: Place, nodes: int) -> str:
    others = [Place(number) for number in range(1, nodes + 1) if number != place.number]
    variables = {
        "NODE_NAME": place.name,
        "NODE_ADDRESS": place.address,
        "NODE_MAC": place.mac,
        "POD_RANGE": POD_RANGE,
        "POD_ROUTES": " ".join(f"{other.pods}={other.address}" for other in others),
        "NOW": f"{time.time():.3f}",
    }
    return "".join(f'{name}="{value}"\n' for name, value in variables.items())


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()
