"""How a command finds its cluster; that it then reads it is shown in tests/api."""

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest

from kubernetes import config
from oomsayer.cli import cluster
from oomsayer.cli.cluster import Cluster, ClusterError


def found(*flags: str) -> Cluster:
    parser = ArgumentParser()
    cluster.add_arguments(parser)
    return Cluster(parser.parse_args(flags))


def write_kubeconfig(path: Path, server: str) -> None:
    context = {"cluster": "c", "user": "c", "namespace": "shop"}
    here = {"name": "c", "cluster": {"server": server}, "user": {}, "context": context}
    path.write_text(
        json.dumps({"clusters": [here], "users": [here], "contexts": [here], "current-context": "c"})
    )


@pytest.fixture
def in_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this ran in a pod with a service account."""
    monkeypatch.setattr(config, "load_incluster_config", lambda **_: None)


@pytest.mark.usefixtures("in_pod")
def test_a_kubeconfig_or_context_that_is_named_is_never_replaced_by_the_pods_own_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert found().namespace == "default"
    for flags in (("--kubeconfig", str(tmp_path / "none")), ("--context", "prod")):
        with pytest.raises(ClusterError, match=flags[1]):
            found(*flags)


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "while parsing"), ("text", "holds no kubeconfig"), (None, "Is a directory")]
)
def test_a_kubeconfig_that_does_not_load_is_named_with_the_cause_in_one_line(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path
    if text is not None:
        path = tmp_path / "config"
        path.write_text(text)
    with pytest.raises(ClusterError, match=said) as error:
        found("--kubeconfig", str(path))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "there is no kubeconfig {}: set KUBECONFIG, or give --kubeconfig or --context"),
        (("--context", "prod"), "context prod: there is no kubeconfig {}"),
        (("--kubeconfig", "{}"), "there is no kubeconfig {}"),
    ],
)
def test_a_kubeconfig_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], says: str
) -> None:
    path = tmp_path / "none"
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    with pytest.raises(ClusterError) as error:
        found(*(flag.format(path) for flag in flags))
    assert str(error.value) == says.format(path)


def test_a_kubeconfig_variable_that_is_empty_counts_as_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"there is no kubeconfig ~/\.kube/config: set"):
        found()
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube/config", "https://127.0.0.1:1")
    assert found().namespace == "shop"


def test_a_server_that_is_away_is_named_with_the_systems_own_words(tmp_path: Path) -> None:
    path, server = tmp_path / "config", "https://127.0.0.1:1"
    write_kubeconfig(path, server)
    with pytest.raises(ClusterError) as error:
        found("--kubeconfig", str(path)).forecasts()
    assert str(error.value) == f"no answer from the API server {server}: Connection refused"


@pytest.mark.usefixtures("in_pod")
def test_a_cluster_without_the_resource_is_no_cluster_without_forecasts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    reached = found()
    monkeypatch.setattr(reached, "_ask", lambda _: None)
    with pytest.raises(ClusterError, match="is oomsayer installed in this cluster"):
        reached.forecasts()
