"""A node's report once it is judged and named: what all that is published of the node is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from oomsayer.controller.events import Subject
from oomsayer.controller.forecast import Outlook
from oomsayer.controller.names import Names
from oomsayer.controller.snapshot import Report
from oomsayer.forecast.prospect import Prospect, Watched


@dataclass(frozen=True, slots=True)
class Judged:
    """One usable report.

    Attributes:
        report: as it came.
        names: the pods of its node.
        outlooks: the verdicts of all domains, the node's first.
        watched: what was seen over time, by the agent and by Prometheus.
        coming: what is ahead of each domain, by path, from now on.
        now: when it was judged.
    """

    report: Report
    names: Names
    outlooks: Sequence[Outlook]
    watched: Watched
    coming: Mapping[str, Prospect]
    now: datetime

    @property
    def node(self) -> Subject:
        """The Node."""
        return Subject("Node", self.report.node, uid=self.report.node_uid or "")

    @property
    def age_seconds(self) -> float:
        """How long ago the node was sampled, never below zero."""
        return age_seconds(self.report, self.now)


def age_seconds(report: Report, now: datetime) -> float:
    """How long ago a report was sampled, never below zero: the node's clock may be ahead of ours."""
    return max((now - report.sampled_at).total_seconds(), 0.0)
