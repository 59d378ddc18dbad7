"""The pure parts of the native cluster: what nodes are told, and the forms that the kernel reads."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from lab import image
from lab.errors import LabError
from lab.native import ports
from lab.native.binaries import kubernetes_version
from lab.native.cpio import Member, write_archive
from lab.native.join import Place, kubelet_configuration, pod_network
from lab.native.pki import Authority
from lab.packages import mirror

REPOSITORY = Path(__file__).resolve().parents[2]


def test_cpio_reads_what_is_written(tmp_path: Path) -> None:
    reader = ["cpio", "--quiet"] if shutil.which("cpio") else ["busybox", "cpio"]
    content = write_archive([Member("bin"), Member("bin/init", b"#!/bin/sh\n", 0o755), Member("odd", b"abc")])
    assert len(content) % 4 == 0
    subprocess.run([*reader, "-i", "-d"], input=content, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "bin/init").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "bin/init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "odd").read_bytes() == b"abc"


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
