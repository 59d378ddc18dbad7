"""The commands for people against a real API server, which they find as kubectl does."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.api.server import RELEASE, ROOT, Installation, Json
from tests.unit.controller_node import KUBEPODS, MI, node, task

from oomsayer.agent.report import status_of
from oomsayer.kernel.snapshot import ROOT as ROOT_CGROUP
from oomsayer.kernel.snapshot import Memcg, Snapshot

NODE = "commands-node"
IDS = {"greedy": "1" * 64, "modest": "2" * 64}


def cgroup(uid: str) -> str:
    return f"{KUBEPODS}/kubepods-besteffort-pod{uid.replace('-', '_')}.slice"


def snapshot(uids: dict[str, str]) -> Snapshot:
    """Two BestEffort pods, the greedy one bigger."""
    before = node(free=2000)
    memcgs = {ROOT_CGROUP: Memcg(ROOT_CGROUP, working_set_bytes=6000 * MI), KUBEPODS: Memcg(KUBEPODS)}
    tasks = []
    for pid, (name, held) in enumerate({"greedy": 300, "modest": 200}.items(), start=70):
        path = cgroup(uids[name])
        inner = f"{path}/cri-containerd-{IDS[name]}.scope"
        memcgs |= {path: Memcg(path, working_set_bytes=held * MI), inner: Memcg(inner)}
        tasks.append(task(pid, name, inner, held, 1000))
    return replace(before, memcgs=memcgs, tasks=tuple(tasks))


@pytest.fixture(scope="module")
def kubeconfig(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with a second context, whose namespace is that of the pods."""
    server = installed.api_server
    server.node(NODE)
    server.kubectl("create", "namespace", "commands")
    uids = {}
    for name, number in IDS.items():
        uids[name] = server.pod(name, NODE, "commands")["metadata"]["uid"]
        state = {"name": "main", "containerID": f"containerd://{number}", "image": "none", "imageID": "",
                 "ready": True, "restartCount": 0}  # fmt: skip
        status = json.dumps({"status": {"containerStatuses": [state]}})
        server.kubectl("patch", "pod", name, "-n", "commands", "--subresource=status", "-p", status)
    metadata = {"name": NODE}
    server.apply(
        {
            "apiVersion": "oomsayer.dev/v1alpha1",
            "kind": "NodeMemoryReport",
            "metadata": metadata,
            "status": status_of(snapshot(uids)),
        }
    )
    config = json.loads(server.kubeconfig.read_text())
    context = config["contexts"][0]["context"] | {"namespace": "commands"}
    config["contexts"].append({"name": "there", "context": context})
    path = tmp_path_factory.mktemp("commands") / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def oomsayer(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "oomsayer", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def teams(installed: Installation, kubeconfig: Path, tmp_path: Path) -> Path:  # noqa: ARG001 - what it asks for
    """The kubeconfig of somebody who has no rights at all."""
    server = installed.api_server
    server.apply(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "team", "namespace": "commands"},
        }
    )
    config = json.loads(server.kubeconfig.read_text())
    token = server.kubectl("create", "token", "team", "-n", "commands").strip()
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "teams"
    path.write_text(json.dumps(config))
    return path


def victim(answer: Json) -> str:
    return str(answer["domains"][0]["victim"]["pod"])


@pytest.mark.parametrize(
    "where",
    [
        ("commands/greedy",),
        ("greedy", "-n", "commands"),
        ("greedy", "--context", "there"),
    ],
    ids=["in full", "by namespace", "by context"],
)
def test_a_pod_is_found_as_kubectl_finds_it(kubeconfig: Path, where: tuple[str, ...]) -> None:
    words = ("what-if", "--pod", *where, "--request", "1Gi", "--kubeconfig", str(kubeconfig), "-o", "json")
    status, out, err = oomsayer(*words)
    assert (status, err) == (0, "")
    answer = json.loads(out)
    assert (answer["pod"], answer["node"]) == ("commands/greedy", NODE)
    assert [victim(answer[when]) for when in ("before", "after")] == ["commands/greedy", "commands/modest"]


def test_the_viewers_role_is_all_that_the_commands_need(installed: Installation, teams: Path) -> None:
    words = ("advise", "--pod", "commands/greedy", "--kubeconfig", str(teams))
    status, _, err = oomsayer(*words)
    assert status == 1
    assert "403" in err
    assert "viewer" in err

    installed.api_server.kubectl(
        "create", "clusterrolebinding", "team", "--serviceaccount=commands:team",
        f"--clusterrole={RELEASE}-viewer",
    )  # fmt: skip
    for command in (words, ("what-if", *words[1:], "--request", "1Gi")):
        status, out, err = oomsayer(*command)
        assert (status, err) == (0, "")
        assert "greedy" in out


def test_the_environment_names_the_cluster_too(kubeconfig: Path) -> None:
    status, out, _ = oomsayer(
        "advise", "--pod", "commands/greedy", environment={"KUBECONFIG": str(kubeconfig)}
    )
    assert status == 0
    assert "requests.memory" in out
    assert "pod commands/modest" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--context", "nowhere"), "nowhere"),
        (("--pod", "commands/gone"), "no pod gone in namespace commands"),
    ],
)
def test_what_is_not_there_is_named(kubeconfig: Path, words: tuple[str, ...], says: str) -> None:
    status, out, err = oomsayer("advise", *words, "--kubeconfig", str(kubeconfig))
    assert (status, out) == (1, "")
    assert says in err


def test_without_a_kubeconfig_it_says_what_to_do(tmp_path: Path) -> None:
    status, _, err = oomsayer("advise", environment={"KUBECONFIG": "", "HOME": str(tmp_path)})
    assert status == 1
    assert "set KUBECONFIG, or give --kubeconfig or --context" in err


def test_a_server_that_is_away_is_no_traceback(tmp_path: Path, kubeconfig: Path) -> None:
    config = json.loads(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "away"
    path.write_text(json.dumps(config))
    status, _, err = oomsayer("advise", "--kubeconfig", str(path))
    assert status == 1
    assert "no answer from the API server" in err
    assert "Traceback" not in err
