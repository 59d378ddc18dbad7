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
        age_seconds: how long before that the node was sampled.
    """

    report: Report
    names: Names
    outlooks: Sequence[Outlook]
    watched: Watched
    coming: Mapping[str, Prospect]
    now: datetime
    age_seconds: float = 0.0

    @property
    def node(self) -> Subject:
        """The Node."""
        return Subject("Node", self.report.node, uid=self.report.node_uid or "")
