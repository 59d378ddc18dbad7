from collections.abc import Iterator

import pytest
from tests.api.server import NAMESPACE, ApiServer, Installation, eventually, install, report


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """etcd and kube-apiserver on loopback, empty at first, for the whole session."""
    server = ApiServer.start(tmp_path_factory.mktemp("api-server"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def installed(api_server: ApiServer) -> Installation:
    """The chart on that API server: CRDs, rights and admission policies in force."""
    install(api_server)
    api_server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    installation = Installation(api_server)
    in_force(installation)
    return installation


def in_force(installation: Installation) -> None:
    """Wait until the admission policies are enforced, which takes a moment after their creation."""
    agent = installation.agent("somewhere")
    operator = installation.operator()
    pod = f"/api/v1/namespaces/{NAMESPACE}/pods/operator-0"
    label = {"metadata": {"labels": {"probe": "probe"}}}
    eventually(
        lambda: "may not write" in agent.create_refused(report("probe")), "the agent's admission policy"
    )
    eventually(
        lambda: "annotations only" in operator.patch_refused(pod, label),
        "the operator's admission policy",
    )
