"""What a Prometheus on this machine scrapes of the native cluster: kubelets' cAdvisor, and pods.

Debian's Prometheus is built without the discovery of Kubernetes' objects. So the nodes' addresses stand in
the configuration, and the pods' in a file that can be written anew while it runs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import tools
from lab.native.booted import KUBELET_PORT
from lab.native.controlplane import ControlPlane
from lab.native.join import Place
from lab.process import capture

METRICS_PORT = "metrics"
"""The name of a container's port that is scraped."""

Json = Mapping[str, Any]


def scrape_configs(
    control_plane: ControlPlane, places: Sequence[Place], pods: Path, proxy_url: str
) -> Sequence[Json]:
    """The scrape configurations.

    Args:
        control_plane: of the cluster, which runs.
        places: of its nodes.
        pods: the file that write_pods() writes; its name's stem is the job's name.
        proxy_url: the way to the addresses of nodes and pods.
    """
    pki = control_plane.authority.directory
    return [
        {
            "job_name": "cadvisor",
            "scheme": "https",
            "metrics_path": "/metrics/cadvisor",
            "tls_config": {
                "ca_file": str(control_plane.authority.certificate),
                "cert_file": str(pki / "admin.crt"),
                "key_file": str(pki / "admin.key"),
            },
            "static_configs": [_target(place.address, KUBELET_PORT, node=place.name) for place in places],
            "proxy_url": proxy_url,
        },
        {"job_name": pods.stem, "file_sd_configs": [{"files": [str(pods)]}], "proxy_url": proxy_url},
    ]


def write_pods(kubeconfig: Path, namespace: str, pods: Path) -> None:
    """Write down the metrics ports of a namespace's pods, with the labels that a PodMonitor gives them."""
    command = [*tools.kubectl(kubeconfig), "--namespace", namespace, "get", "pods", "--output", "json"]
    found = [target for pod in json.loads(capture(command))["items"] for target in _targets(pod)]
    partial = pods.with_suffix(".partial")
    partial.write_text(json.dumps(found))
    partial.rename(pods)


def _targets(pod: Json) -> Iterator[Json]:
    address = pod["status"].get("podIP")
    if address is None or pod["status"]["phase"] != "Running":
        return
    meta = pod["metadata"]
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", ()):
            if port.get("name") == METRICS_PORT:
                labels = {"namespace": meta["namespace"], "pod": meta["name"], "container": container["name"]}
                yield _target(address, port["containerPort"], **labels)


def _target(address: str, port: int, **labels: str) -> Json:
    return {"targets": [f"{address}:{port}"], "labels": labels}
