"""Events: where each goes, what it is called, what it holds, and how many there may be. Pure.

The name of an Event is worked out from what it announces alone. Writing it again, after a restart or by a
second operator, is refused by the API server as existing already, and so nothing is announced twice.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from oomsayer.api.budget import Bucket
from oomsayer.api.forecast import Risk, ScoredKill
from oomsayer.api.vocabulary import EVENT_ACTION, REPORTING_CONTROLLER, EventReason
from oomsayer.controller.risk import Scope, key, scope
from oomsayer.kubelet.cgroups import owner

NODE_EVENT_NAMESPACE = "default"
"""Where Kubernetes keeps Events about objects without a namespace."""

SAME_RISK_SECONDS = 600
"""A risk that ends and begins again within the same such span gets its second Event when that is over."""

OBJECT_BURST, OBJECT_SECONDS = 10, 300.0
"""Events that one object may get at once, and the seconds until it may get one more."""
CLUSTER_BURST, CLUSTER_SECONDS = 200, 1.0
"""The same for all objects together."""

_EVENTS_API = "events.k8s.io/v1"
_NAME_CHARACTERS = 230
_INSTANCE_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about, as an ObjectReference."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    api_version: str = "v1"

    @property
    def event_namespace(self) -> str:
        """The namespace in which its Events live."""
        return self.namespace or NODE_EVENT_NAMESPACE

    def reference(self) -> dict[str, str]:
        """As the API writes it."""
        fields = {"kind": self.kind, "name": self.name, "namespace": self.namespace, "uid": self.uid}
        return {"apiVersion": self.api_version, **{k: v for k, v in fields.items() if v}}


@dataclass(frozen=True, slots=True)
class Event:
    """What one Event says, whoever writes it and whenever.

    Attributes:
        name: worked out from what it announces.
        why: its reason.
        note: its text.
        regarding: what it is about; it lives in that object's namespace.
        related: what else it has to do with.
    """

    name: str
    why: EventReason
    note: str
    regarding: Subject
    related: Subject | None = None

    def body(self, instance: str, now: datetime) -> dict[str, Any]:
        """As an events.k8s.io/v1 Event that the operator `instance` writes now."""
        body: dict[str, Any] = {
            "apiVersion": _EVENTS_API,
            "kind": "Event",
            "metadata": {"name": self.name, "namespace": self.regarding.event_namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Normal" if self.why is EventReason.RISK_ENDED else "Warning",
            "reason": self.why.value,
            "action": EVENT_ACTION,
            "note": self.note,
            "regarding": self.regarding.reference(),
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": instance[:_INSTANCE_CHARACTERS],
        }
        if self.related is not None:
            body["related"] = self.related.reference()
        return body


def pod_subject(risk: Risk) -> Subject | None:
    """The pod that a risk threatens, None for a host process or a pod without a name."""
    return named_pod(risk.pod, risk.pod_uid)


def known_to_kubelet(pod: Subject, path: str | None) -> Subject:
    """The pod under the UID by which its Events are found: the one in the path of a cgroup of its.

    Of a static pod that is another than its mirror's. The kubelet's Events have it, and `kubectl describe
    pod` asks for no others.
    """
    return replace(pod, uid=(owner(path).pod_uid if path else None) or pod.uid)


def named_pod(full_name: str, uid: str) -> Subject | None:
    """The pod NAMESPACE/NAME, None for one without a name."""
    namespace, slash, name = full_name.partition("/")
    return Subject("Pod", name, namespace, uid) if slash else None


def subjects(risk: Risk, node: Subject) -> tuple[Subject, Subject | None]:
    """What a risk's Events are about, and what else they relate to: the pod it threatens, or the Node.

    A limit that more than one pod is under is the Node's affair: one Event there, however many pods
    take turns at being the victim's.
    """
    pod = pod_subject(risk)
    if scope(risk.domain) is Scope.NODE or pod is None:
        return node, pod
    return known_to_kubelet(pod, risk.domain), node


def reason(risk: Risk) -> EventReason:
    """Why an Event says that a risk began."""
    return EventReason.RISK if scope(risk.domain) is Scope.POD else EventReason.NODE_RISK


def event_name(risk: Risk, why: EventReason, subject: Subject) -> str:
    """The name of the Event about one risk, the same whenever and wherever it is worked out."""
    k = key(risk)
    parts = (k.scope, k.pod_uid, k.container, k.host, why, str(int(risk.since.timestamp())))
    return _name(subject, subject.kind, subject.name, *parts)


def held_back(risk: Risk, past: Iterable[Risk], now: datetime) -> float:
    """Seconds that a risk's Event waits, since people have been told of the same one a moment ago."""
    span = _span(risk)
    told = any(other.announced and key(other) == key(risk) and _span(other) == span for other in past)
    return max((span + 1) * SAME_RISK_SECONDS - now.timestamp(), 0.0) if told else 0.0


def _span(risk: Risk) -> int:
    return int(risk.since.timestamp()) // SAME_RISK_SECONDS


def event(risk: Risk, why: EventReason, note: str, *, node: Subject) -> Event:
    """The Event about a risk."""
    regarding, related = subjects(risk, node)
    return Event(event_name(risk, why, regarding), why, note, regarding, related)


def eviction_event(pod: Subject, why: EventReason, note: str, *, since: datetime, node: Subject) -> Event:
    """The Event about a pod of a node that is near its eviction since `since`."""
    span = int(since.timestamp()) // SAME_RISK_SECONDS
    return Event(_name(pod, pod.kind, pod.name, pod.uid, why, str(span)), why, note, pod, node)


def kill_event(kill: ScoredKill, note: str, *, subject: Subject, node: Subject) -> Event:
    """The Event about a kill, related to the Event that had warned of it, else to the node."""
    namespace, slash, warning = kill.warning.partition("/")
    related = Subject("Event", warning, namespace, api_version=_EVENTS_API) if slash else node
    return Event(_name(subject, node.name, kill.id), EventReason.KILL, note, subject, related)


def _name(subject: Subject, *parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return f"{subject.name[:_NAME_CHARACTERS].rstrip('-.')}.{digest}"


@dataclass(slots=True)
class EventBudget:
    """How many Events may still be written: token buckets, one an object and one for the cluster.

    Times are seconds of a monotonic clock.
    """

    objects: dict[str, Bucket] = field(default_factory=dict)
    cluster: Bucket = field(default_factory=lambda: Bucket(CLUSTER_BURST, CLUSTER_SECONDS))

    def wait(self, regarding: Subject, now: float) -> float:
        """Seconds until an Event about this object may be written; 0 takes it from the budget."""
        name = f"{regarding.kind}/{regarding.namespace}/{regarding.name}"
        bucket = self.objects.setdefault(name, Bucket(OBJECT_BURST, OBJECT_SECONDS))
        wait = max(bucket.wait(now), self.cluster.wait(now))
        if not wait:
            bucket.take(now)
            self.cluster.take(now)
        self._forget_full(now)
        return wait

    def _forget_full(self, now: float) -> None:
        idle = OBJECT_BURST * OBJECT_SECONDS
        for name in [n for n, b in self.objects.items() if now - b.filled_at > idle]:
            del self.objects[name]
