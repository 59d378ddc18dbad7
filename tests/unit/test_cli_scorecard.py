"""`oomsayer scorecard` for people."""

from typing import Any

import pytest

from oomsayer.cli.cluster import ClusterError
from oomsayer.cli.scorecard import scorecards, table, understood

HIT = {
    "id": "a", "at": "2026-11-26T22:14:03.5Z", "source": "Counters", "pid": 5123, "comm": "worker-a",
    "rssBytes": 54 << 20, "pod": "default/child", "container": "app",
    "domainName": "container default/child/app", "outcome": "Hit",
    "foretold": {"pid": 5123, "comm": "worker-a"},
}  # fmt: skip
MISS = {
    "id": "b", "at": "2026-11-26T22:15:03.5Z", "source": "Counters", "cgroup": "/system.slice/a.service",
    "domainName": "node", "outcome": "Miss", "reason": "NotSampledInTime",
    "foretold": {"pid": 9, "comm": "x\ty"},
}  # fmt: skip
CARD = {
    "since": "2026-11-26T22:00:00Z", "kills": 2, "hits": 1, "misses": 1, "warned": 1, "right": "1/2",
    "last": [HIT, MISS],
}  # fmt: skip


def test_a_line_a_node_then_the_kills_newest_first() -> None:
    forecasts: list[dict[str, Any]] = [
        {"metadata": {"name": "node2"}, "status": {"scorecard": CARD}},
        {"metadata": {"name": "node1"}},
    ]

    assert table(understood(scorecards(forecasts))) == (
        "NODE   RIGHT  KILLS  HITS  KILL-SET  MISSES  UNFORESEEN  UNKNOWN  WARNED  SINCE\n"
        "node1      -      0     0         0       0           0        0       0  -\n"
        "node2    1/2      2     1         0       1           0        0       1  2026-11-26\n"
        "all      1/2      2     1         0       1           0        0       1  -\n"
        "\n"
        "WHEN                 NODE   KILLED           CONTAINER                RAN OUT    HELD  OUTCOME"
        "                    FORETOLD\n"
        "2026-11-26 22:15:03  node2  ?                /system.slice/a.service  node          -  "
        "miss: not sampled in time  x\\x09y (9)\n"
        "2026-11-26 22:14:03  node2  worker-a (5123)  default/child/app        container  54Mi  hit"
        "                        worker-a (5123)\n"
        "\n"
        "? is a process that the counters alone do not tell; the kernel's log would (agent.kernelLog).\n"
    )


def test_an_outcome_of_a_newer_operator_is_not_guessed_at() -> None:
    card = CARD | {"last": [HIT | {"outcome": "NearMiss"}]}

    with pytest.raises(ClusterError, match="the scorecard of node1 is not understood: is the operator newer"):
        understood({"node1": card})
