"""`make demo`, as the README shows it."""

from collections.abc import Iterator

import pytest
from lab.demo import EXAMPLES, Demo
from lab.errors import LabError
from lab.existing import ExistingProvider
from lab.provider import Provider
from tests.cluster.story import Kubectl

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def demo(cluster: Provider, kubectl: Kubectl, installed: None) -> Iterator[Demo]:  # noqa: ARG001 - it has to be there
    yield Demo(cluster)
    kubectl("delete", "namespace", EXAMPLES, "--ignore-not-found", timeout=300)


def test_in_somebodys_cluster_it_touches_no_installation_of_theirs(
    cluster: Provider,
    kubectl: Kubectl,
    installed: None,  # noqa: ARG001 - it has to be there, and is not the demo's
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    theirs = Demo(ExistingProvider())
    for act in (theirs.play, theirs.clear):
        with pytest.raises(LabError, match="and not by the demo"):
            act()
    assert "oomforecasts.oomsayer.dev" in kubectl("get", "crd")
    assert "oomsayer" in kubectl("get", "namespace")


def test_the_demo_shows_a_forecast_a_warning_and_the_kill_that_was_foretold(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.play()
    shown = capsys.readouterr().out
    print(shown)
    signs = ("$ kubectl get oomforecasts", "reason=OOMRisk", "foretold: cache (pid ", "kernel:   cache (pid ")
    places = [shown.index(sign) for sign in signs]
    assert places == sorted(places)
