"""When: a leak's OOM is foretold and comes when it was said; what only breathes raises no alarm."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from lab.provider import Provider
from tests.cluster.story import FILL, Json, Kubectl, Stage, container, eventually, pod

pytestmark = pytest.mark.timeout(900)

LEAK_NODE, SAWTOOTH_NODE = "node1", "node2"

LEAK = f"child name leaky wait {FILL}/go grow 400 1000 end"
LIMIT = "128Mi"
"""A mebibyte a second: about two minutes to live."""

SAWTOOTH = "while :; do /bin/memtool grow 50 200 exit 0; done"
"""Ten seconds up, and all of it back."""

CLOCK_SECONDS = 5.0
"""How far the test's clock, the node's and the moment at which a kill is noticed may lie apart."""


@dataclass
class Seen:
    """What a pod's forecasts said, newest last, each with the moment at which it was read."""

    uid: str
    told: list[tuple[float, Json]] = field(default_factory=list)
    killed_at: float | None = None

    def look(self, stage: Stage, node: str) -> None:
        slice_ = f"pod{self.uid.replace('-', '_')}.slice"
        domains = stage.get("oomforecast", node).get("status", {}).get("domains", ())
        told = next((d.get("timeToOOM") for d in domains if d["path"].endswith(slice_)), None)
        if told is not None and (not self.told or self.told[-1][1] != told):
            self.told.append((time.time(), told))
            print(f"{node}: {told}")

    @property
    def sure(self) -> list[tuple[float, Json]]:
        """What was told as growing for sure."""
        return [
            (at, time) for at, time in self.told if (time["trend"], time["confidence"]) == ("growing", "high")
        ]


@pytest.fixture(scope="module")
def stage(cluster: Provider, kubectl: Kubectl, installed: None) -> Iterator[Stage]:  # noqa: ARG001 - it has to be there
    stage = Stage(cluster, kubectl)
    yield stage
    stage.clear(["--all", "-n", "default"])


@pytest.fixture(scope="module")
def played(stage: Stage) -> tuple[Seen, Seen]:
    """A leak on one node and a sawtooth on the other, watched until the kernel has killed."""
    sawtooth = container("app", "name idle", limit=LIMIT)
    sawtooth["command"] = ["/bin/busybox", "sh", "-c", SAWTOOTH]
    leaking, breathing = stage.run(
        pod("leaking", LEAK_NODE, container("app", LEAK, limit=LIMIT)),
        pod("breathing", SAWTOOTH_NODE, sawtooth),
    )
    leak, tooth = Seen(leaking), Seen(breathing)
    before = len(stage.kills(LEAK_NODE))
    stage.touch("leaking", "app", f"{FILL}/go")

    def killed() -> bool:
        leak.look(stage, LEAK_NODE)
        tooth.look(stage, SAWTOOTH_NODE)
        return len(stage.kills(LEAK_NODE)) > before

    eventually("the leak to be killed", killed)
    leak.killed_at = time.time()
    return leak, tooth


def test_a_leak_is_killed_within_the_time_foretold(played: tuple[Seen, Seen], stage: Stage) -> None:
    leak, _ = played
    assert leak.killed_at is not None
    early = [(at, told) for at, told in leak.sure if at < leak.killed_at - 10]
    assert early, f"no sure forecast in time: {leak.told}"
    assert leak.killed_at - early[0][0] > 30, "the first came too late to act on"
    for at, told in early:
        earliest, latest = (datetime.fromisoformat(told[end]).timestamp() for end in ("earliest", "latest"))
        left = leak.killed_at - at
        print(f"{left:.0f} s before the kill: {told['text']} ({earliest - at:.0f} to {latest - at:.0f} s)")
        assert earliest - CLOCK_SECONDS <= leak.killed_at <= latest + CLOCK_SECONDS
    [event] = stage.events("leaking", "OOMRisk")
    print(event["message"])
    assert "at the present growth" in event["message"]


def test_a_sawtooth_raises_no_alarm(played: tuple[Seen, Seen], stage: Stage) -> None:
    _, tooth = played
    assert tooth.told, "no forecast at all"
    assert tooth.sure == []
    assert stage.events("breathing", "OOMRisk") == []
