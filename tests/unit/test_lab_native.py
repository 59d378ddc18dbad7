"""The pure parts of the native cluster: what nodes are told, and the forms that the kernel reads."""

import socket
import subprocess
from pathlib import Path

import pytest
from lab import image, ports
from lab.binaries import kubernetes_version
from lab.errors import LabError
from lab.native.join import Place, kubelet_configuration, pod_network
from lab.native.pki import Authority
from lab.packages import mirror
from lab.qemu.cpio import Member, write_archive

REPOSITORY = Path(__file__).resolve().parents[2]


def unpack(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by name, as the kernel's unpacker walks it; booting a guest is the real proof."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        if name == "TRAILER!!!":
            return found
        start = -(-(at + 110 + name_size) // 4) * 4
        found[name] = (mode, archive[start : start + size])
        at = -(-(start + size) // 4) * 4


def test_cpio_holds_what_is_written() -> None:
    content = write_archive([Member("bin"), Member("bin/init", b"#!/bin/sh\n", 0o755), Member("odd", b"abc")])
    assert len(content) % 4 == 0
    assert unpack(content) == {
        "bin": (0o040755, b""),
        "bin/init": (0o100755, b"#!/bin/sh\n"),
        "odd": (0o100644, b"abc"),
    }


def test_nodes_differ_in_every_address() -> None:
    first, second = Place(1), Place(2)
    for field in ("name", "host_address", "address", "mac", "pods"):
        assert getattr(first, field) != getattr(second, field)
    assert pod_network(second)["name"] == "lab"
    assert second.pods in str(pod_network(second))


def test_both_ways_to_die_are_there() -> None:
    settings = [kubelet_configuration(name)["singleProcessOOMKill"] for name in ("node1", "node2", "node3")]
    assert settings == [False, True, False]


def test_the_version_is_the_one_that_every_module_is_replaced_by() -> None:
    minor = kubernetes_version().removeprefix("v1.")
    replaced = [
        line.split("=>")[1].split()
        for line in (REPOSITORY / "lab/kubernetes/go.mod").read_text().splitlines()
        if "=>" in line
    ]
    assert len(replaced) > 20
    assert {version for _, version in replaced} == {f"v0.{minor}"}


def test_the_examples_of_the_lab_name_this_version_of_the_image() -> None:
    listed = (REPOSITORY / "lab/examples/kustomization.yaml").read_text()
    assert f"newTag: {image.version()}\n" in listed


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        (
            "sources.list.d/debian.sources",
            "Types: deb\nURIs: http://m.example/debian\n",
            "http://m.example/debian",
        ),
        ("sources.list.d/debian.sources", "URIs: http://m.example/debian/\n", "http://m.example/debian"),
        (
            "sources.list",
            "deb [arch=amd64] http://m.example/debian bookworm main\n",
            "http://m.example/debian",
        ),
        ("sources.list", "# deb http://m.example/debian bookworm main\n", "http://deb.debian.org/debian"),
        ("sources.list", "deb http://m.example/debian-security x main\n", "http://deb.debian.org/debian"),
    ],
)
def test_the_mirror_is_the_one_of_this_machine(
    tmp_path: Path, path: str, content: str, expected: str
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / path).write_text(content)
    assert mirror(tmp_path) == expected


def test_a_taken_port_is_not_picked() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ports.pick(port) != port
        with pytest.raises(LabError, match=f"127.0.0.1:{port} is taken"):
            ports.require("127.0.0.1", port)


def test_an_issued_certificate_is_the_authoritys(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    authority.create()
    pair = authority.issue(
        "node1", user="system:node:node1", group="system:nodes", addresses=["IP:10.0.3.21"]
    )
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", authority.certificate, pair.certificate],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert verified.stdout.strip().endswith("OK")
    shown = subprocess.run(
        ["openssl", "x509", "-in", pair.certificate, "-noout", "-subject", "-ext", "subjectAltName"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "O = system:nodes, CN = system:node:node1" in shown.stdout.replace("O=", "O = ").replace(
        "CN=", "CN = "
    )
    assert "IP Address:10.0.3.21" in shown.stdout
    config = authority.kubeconfig("node1", "https://127.0.0.1:1", pair)
    assert config.stat().st_mode & 0o777 == 0o600
