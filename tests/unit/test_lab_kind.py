"""kind in the lab: its configuration, and one clear message for each thing that is missing or in the way."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from lab import cache, providers
from lab.errors import LabError
from lab.kind import cluster, configuration, vm
from lab.kind.host import KindProvider
from lab.kind.vm import KindVmProvider
from lab.native.provider import NativeProvider
from lab.readiness import other_versions

# A kind with the clusters, and the server, that files beside it describe; every call is noted in `calls`.
KIND = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$1 $2" in
"get clusters") cat "$here/clusters" ;;
"create cluster")
  shift 2
  while [ "$1" != --kubeconfig ]; do shift; done
  echo made > "$2"
  echo oomsayer >> "$here/clusters"
  [ ! -e "$here/broken" ] || { echo "ERROR: no space left" >&2; exit 1; } ;;
"delete cluster") : > "$here/clusters" ;;
esac
"""
DOCKER = """#!/bin/sh
[ ! -e "$(dirname "$0")/stopped" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of programs, but for the shell's; and an empty cache."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("OOMSAYER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/clusters").touch()
    (tmp_path / "bin/calls").touch()
    # Those of this machine must not show through.
    for name in ("docker", "podman"):
        program(tmp_path / "bin" / name, "#!/bin/sh\nexit 1\n")
    return tmp_path / "bin"


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_the_overlay_describes_every_node_of_the_configuration() -> None:
    merged = yaml.safe_load(configuration.configuration())
    plain = yaml.safe_load(configuration.FILE.read_text())
    assert [node["role"] for node in merged["nodes"]] == [node["role"] for node in plain["nodes"]]
    assert merged["name"] == plain["name"] == "oomsayer"
    stores = [
        mount["hostPath"]
        for node in merged["nodes"]
        for mount in node["extraMounts"]
        if mount["containerPath"] == "/var/lib/containerd"
    ]
    assert stores == ["/opt/kind/control-plane", "/opt/kind/worker", "/opt/kind/worker2"]
    assert merged["nodes"][2]["kubeadmConfigPatches"] == plain["nodes"][2]["kubeadmConfigPatches"]


def test_the_directories_that_nodes_mount_are_there() -> None:
    assert [directory.is_dir() for directory in configuration.mounted_directories()] == [True]


def test_an_overlay_joins_mappings_lists_and_nodes() -> None:
    base = {"name": "a", "networking": {"x": 1}, "patches": ["one"], "nodes": [{"role": "worker"}]}
    over = {"networking": {"y": 2}, "patches": ["two"], "nodes": [{"image": "i"}]}
    assert configuration.merged(base, over) == {
        "name": "a",
        "networking": {"x": 1, "y": 2},
        "patches": ["one", "two"],
        "nodes": [{"role": "worker", "image": "i"}],
    }
    with pytest.raises(LabError, match="has 1 nodes"):
        configuration.merged(base, {"nodes": []})


def test_kind_is_this_machines_where_it_is_and_a_virtual_ones_elsewhere(path: Path) -> None:
    assert isinstance(providers.by_name("kind"), KindVmProvider)
    assert isinstance(providers.fitting({}), NativeProvider)
    program(path / "docker", DOCKER)
    assert isinstance(providers.by_name("kind"), KindProvider)
    assert isinstance(providers.fitting({}), NativeProvider)
    program(path / "kind", KIND)
    assert isinstance(providers.fitting({}), KindProvider)


def test_a_missing_kind_is_named(path: Path) -> None:
    program(path / "docker", DOCKER)
    with pytest.raises(LabError, match="kind is missing, docker is here: install kind"):
        KindProvider().up(3)


def test_a_docker_that_does_not_run_is_named(path: Path) -> None:
    program(path / "docker", DOCKER)
    program(path / "kind", KIND)
    (path / "stopped").touch()
    with pytest.raises(LabError, match="neither Docker nor Podman answers: start one"):
        KindProvider().up(3)


def test_a_cluster_of_that_name_is_left_as_it_is(path: Path) -> None:
    program(path / "docker", DOCKER)
    program(path / "kind", KIND)
    (path / "clusters").write_text("oomsayer\n")
    with pytest.raises(LabError, match=r"'oomsayer' that the lab did not make. Take it away"):
        KindProvider().up(3)
    KindProvider().down()
    assert (path / "clusters").read_text() == "oomsayer\n"
    assert "delete" not in (path / "calls").read_text()


def test_a_cluster_that_could_not_be_made_is_taken_away(path: Path) -> None:
    program(path / "docker", DOCKER)
    program(path / "kind", KIND)
    (path / "broken").touch()
    with pytest.raises(LabError, match="no space left"):
        KindProvider().up(3)
    assert (path / "clusters").read_text() == ""
    assert not (cache.run_directory("kind") / "kubeconfig").exists()


@pytest.mark.parametrize(
    ("version", "expected"), [("v1.29.8", {"worker": "v1.29.8"}), ("v1.30.0", {}), ("v2.0.0", {})]
)
def test_an_older_kubernetes_is_found(version: str, expected: dict[str, str]) -> None:
    node = {"metadata": {"name": "worker"}, "status": {"nodeInfo": {"kubeletVersion": version}}}
    assert other_versions(json.dumps({"items": [node]}), lambda found: found >= (1, 30)) == expected


def test_a_node_image_of_an_older_kubernetes_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "docker", DOCKER)
    program(path / "kind", KIND)
    node = {"metadata": {"name": "worker"}, "status": {"nodeInfo": {"kubeletVersion": "v1.29.8"}}}
    program(path / "kubectl", f"#!/bin/sh\necho '{json.dumps({'items': [node]})}'\n")
    monkeypatch.setattr("lab.tools.tool", lambda name: path / name)
    with pytest.raises(
        LabError, match=r"node image has Kubernetes v1.29.8, and oomsayer needs 1.30 or newer"
    ):
        KindProvider().up(3)
    assert (path / "clusters").read_text() == ""


def test_too_little_memory_for_the_machine_is_said_with_both_numbers(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8000000 kB\nMemAvailable:    1048576 kB\n")
    with pytest.raises(LabError, match=r"needs \d+ MiB of memory and 1024 MiB are available"):
        vm.require_memory(meminfo)


def test_the_outer_pid_of_a_nodes_process_is_found() -> None:
    """A process in a PID namespace of its own stands for a node's; "0::" is in all cgroup files."""
    nested = ["unshare", "--user", "--pid", "--fork", "--kill-child", "sh", "-c", "echo here; exec sleep 60"]
    with subprocess.Popen(nested, stdout=subprocess.PIPE) as outside:
        assert outside.stdout is not None
        outside.stdout.readline()
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
        found = [
            subprocess.run(
                ["sh", "-c", cluster.OUTER_PID, "sh", container, "1"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout.split()
            for container in ("0::", "no such container")
        ]
        outside.kill()
    assert children[0] in found[0]
    assert found[1] == []
