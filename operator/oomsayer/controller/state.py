"""What the watches have shown: the newest report of every node, and all policies."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from oomsayer.api.policy import OOMPolicySpec
from oomsayer.controller.policy import Policies, policies, read_policy
from oomsayer.controller.snapshot import Report, ReportError, node_uid, read_report

LONGEST_DELAY = timedelta(seconds=30)
"""An agent that waits longer to write has a clock that is behind, rather."""
STALE_AFTER = timedelta(minutes=15)
"""Three of the agent's heartbeats without a report: what it said no longer holds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A report as it arrived.

    Attributes:
        report: what it says, or why it cannot be used.
        version: its resourceVersion.
        written_at: when the API server stored it, by the API server's clock. The node's own clock,
            which made sampledAt, has no say in how old a report is.
        arrived: when it was seen to change, on the local monotonic clock; None for one that was there
            already when the watch began.
        node_uid: of the Node that owns it, None without: known even where the rest cannot be used.
    """

    report: Report | ReportError
    version: str
    written_at: datetime
    arrived: float | None
    node_uid: str | None = None

    @property
    def delay(self) -> timedelta:
        """How long before it was written the node was sampled, as far as the node's clock can be believed."""
        if isinstance(self.report, ReportError):
            return timedelta()
        return min(max(self.written_at - self.report.sampled_at, timedelta()), LONGEST_DELAY)

    def age(self, now: datetime, clock: float) -> timedelta:
        """How long ago it was written, never below zero."""
        # Seen to arrive, it needs neither wall clock: ours may have been set back.
        age = now - self.written_at if self.arrived is None else timedelta(seconds=clock - self.arrived)
        return max(age, timedelta())


@dataclass(slots=True)
class State:
    """The newest of everything, by name."""

    reports: dict[str, Seen] = field(default_factory=dict)
    policies: Policies = field(default_factory=Policies)
    policy_objects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _specs: dict[str, OOMPolicySpec] = field(default_factory=dict)

    def saw_report(self, obj: Mapping[str, Any], *, change: bool) -> bool:
        """Keep a report; False if it is the one that was kept already.

        Args:
            obj: the NodeMemoryReport.
            change: whether it was seen to change just now, rather than found in a list.
        """
        metadata = obj["metadata"]
        name, version = metadata["name"], str(metadata.get("resourceVersion", ""))
        before = self.reports.get(name)
        if before is not None and before.version == version:
            return False
        try:
            report: Report | ReportError = read_report(obj)
        except ReportError as error:
            report = error
        arrived = time.monotonic() if change else None
        self.reports[name] = Seen(report, version, written_at(metadata), arrived, node_uid(metadata))
        return True

    def lost_report(self, name: str) -> bool:
        """Forget a report; False if there was none."""
        return self.reports.pop(name, None) is not None

    def saw_policy(self, obj: Mapping[str, Any]) -> bool:
        """Keep a policy; whether that changed what holds. One that does not validate holds nothing."""
        name = obj["metadata"]["name"]
        self.policy_objects[name] = obj
        try:
            spec = read_policy(obj)
        except ValueError:
            return self._drop_spec(name)
        if self._specs.get(name) == spec:
            return False
        self._specs[name] = spec
        self.policies = policies(self._specs)
        return True

    def lost_policy(self, name: str) -> bool:
        """Forget a policy; whether that changed what holds."""
        self.policy_objects.pop(name, None)
        return self._drop_spec(name)

    def _drop_spec(self, name: str) -> bool:
        if self._specs.pop(name, None) is None:
            return False
        self.policies = policies(self._specs)
        return True


def written_at(metadata: Mapping[str, Any]) -> datetime:
    """When the API server last stored an object: the newest time in its managedFields, else its creation."""
    times = [entry["time"] for entry in metadata.get("managedFields") or () if entry.get("time")]
    times.append(metadata.get("creationTimestamp") or "1970-01-01T00:00:00Z")
    return max(datetime.fromisoformat(moment) for moment in times).astimezone(UTC)
