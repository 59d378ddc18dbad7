"""A real cluster for a test session: the lab's, brought up when none is, and left up when one was."""

import os
from collections.abc import Iterator

import pytest
from lab.provider import Provider
from tests.cluster.installation import install, kubectl_of, load, session_cluster
from tests.cluster.story import Kubectl, Stage

_NODES = 2
# Tests drive nodes out of memory: never by default in a cluster that merely is at hand.
_PROVIDER = os.environ.get("OOMSAYER_LAB_PROVIDER", "native")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Provider]:
    yield from session_cluster(_PROVIDER, _NODES)


@pytest.fixture(scope="session")
def kubectl(cluster: Provider) -> Kubectl:
    return kubectl_of(cluster)


@pytest.fixture(scope="session")
def installed(cluster: Provider, kubectl: Kubectl) -> None:
    """This checkout's image and chart, running on every node."""
    load(cluster)
    install(cluster, kubectl)


@pytest.fixture
def stage(cluster: Provider, kubectl: Kubectl, installed: None) -> Iterator[Stage]:  # noqa: ARG001 - it has to be there
    """Where a story's pods are taken away when it ends."""
    stage = Stage(cluster, kubectl)
    yield stage
    stage.clear(["--all", "-n", "default"])
