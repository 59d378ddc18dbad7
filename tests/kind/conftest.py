"""A kind cluster for a test session, brought up when none is, and left up when one was."""

import time
from collections.abc import Iterator

import pytest
from lab.provider import Provider
from tests.cluster.installation import install, kubectl_of, load, session_cluster
from tests.cluster.story import Kubectl, Stage, eventually

_NODES = 3


@pytest.fixture(scope="session")
def cluster() -> Iterator[Provider]:
    yield from session_cluster("kind", _NODES)


@pytest.fixture(scope="session")
def kubectl(cluster: Provider) -> Kubectl:
    return kubectl_of(cluster)


@pytest.fixture(scope="session")
def first_forecasts(cluster: Provider, kubectl: Kubectl) -> float:
    """This checkout installed; the seconds from `helm install` to a forecast of every node."""
    load(cluster)
    began = time.monotonic()
    install(cluster, kubectl)
    nodes = {f"oomforecast.oomsayer.dev/{node}" for node in cluster.nodes()}
    eventually(
        "a forecast of every node",
        lambda: set(kubectl("get", "oomforecasts", "--output", "name").split()) >= nodes,
    )
    return time.monotonic() - began


@pytest.fixture
def stage(cluster: Provider, kubectl: Kubectl, first_forecasts: float) -> Iterator[Stage]:  # noqa: ARG001 - it has to be there
    stage = Stage(cluster, kubectl)
    yield stage
    stage.clear(["--all", "-n", "default"])
