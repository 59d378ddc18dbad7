"""What a Prometheus finds in a cluster of the lab, as far as that can be told without nodes."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.native.join import Place
from lab.native.scraping import scrape_configs, write_pods
from lab.ports import any_free
from lab.prometheus import Prometheus
from tests.api.server import ApiServer, Json, eventually

NAMESPACE = "scraped"


def make_pod(api_server: ApiServer) -> None:
    ports = [{"name": "metrics", "containerPort": 9464}, {"name": "other", "containerPort": 9999}]
    spec = {
        "nodeName": "node1",
        "containers": [{"name": "agent", "image": "none", "ports": ports}],
    }
    api_server.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "agent-0", "namespace": NAMESPACE},
            "spec": spec,
        },
    )
    status = {"phase": "Running", "podIP": "10.244.1.98", "podIPs": [{"ip": "10.244.1.98"}]}
    api_server.patch("pod", "agent-0", "-n", NAMESPACE, "--subresource=status", patch={"status": status})


@contextmanager
def proxy() -> Iterator[tuple[str, set[str]]]:
    """The URL of a SOCKS proxy that leads nowhere, and the addresses for which it was asked."""
    asked: set[str] = set()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            # RFC 1928: no authentication; then a request to connect to an IPv4 address, which is refused.
            _, methods = self.rfile.read(2)
            self.rfile.read(methods)
            self.wfile.write(b"\x05\x00")
            request = self.rfile.read(10)
            asked.add(f"{socket.inet_ntoa(request[4:8])}:{int.from_bytes(request[8:])}")
            self.wfile.write(b"\x05\x05\x00\x01" + bytes(6))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"socks5://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_it_finds_kubelets_and_the_metrics_ports_of_pods(api_server: ApiServer, tmp_path: Path) -> None:
    make_pod(api_server)
    server = Prometheus(tmp_path, any_free())
    pods = tmp_path / f"{NAMESPACE}.json"

    def found() -> dict[str, Json]:
        targets = (server.ask("targets", state="active") or {}).get("activeTargets", [])
        return {target["scrapeUrl"]: target["labels"] for target in targets}

    kubelet, agent = "https://10.0.3.21:10250/metrics/cadvisor", "http://10.244.1.98:9464/metrics"
    with proxy() as (proxy_url, asked):
        server.start(scrape_configs(api_server.control_plane, [Place(1)], pods, proxy_url))
        try:
            eventually(lambda: set(found()) == {kubelet}, "the kubelet is known")
            write_pods(api_server.kubeconfig, NAMESPACE, pods)
            eventually(lambda: set(found()) == {kubelet, agent}, "the pod is known once it is written down")
            labels = {"namespace": NAMESPACE, "pod": "agent-0", "container": "agent", "job": NAMESPACE}
            assert found()[kubelet].items() >= {"node": "node1", "job": "cadvisor"}.items()
            assert found()[agent].items() >= labels.items()
            eventually(
                lambda: asked == {"10.0.3.21:10250", "10.244.1.98:9464"}, "the proxy is the way to both"
            )
        finally:
            server.stop()
