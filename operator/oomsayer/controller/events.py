"""Events about risks: where each goes, what it is called, and how many there may be. Pure.

The name of an Event is worked out from the risk alone. Writing it again, after a restart or by a second
operator, is refused by the API server as existing already, and so nothing is announced twice.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from oomsayer.api.forecast import Risk, ScoredKill
from oomsayer.api.vocabulary import EVENT_ACTION, REPORTING_CONTROLLER, EventReason
from oomsayer.controller.risk import Scope, key, scope

NODE_EVENT_NAMESPACE = "default"
"""Where Kubernetes keeps Events about objects without a namespace."""

SAME_RISK_SECONDS = 600
"""A risk that ends and begins again within the same such span gets no second Event."""

OBJECT_BURST, OBJECT_SECONDS = 10, 300.0
"""Events that one object may get at once, and the seconds until it may get one more."""
CLUSTER_BURST, CLUSTER_SECONDS = 200, 1.0
"""The same for all objects together."""

_NAME_CHARACTERS = 230
_INSTANCE_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about, as an ObjectReference."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""

    @property
    def event_namespace(self) -> str:
        """The namespace in which its Events live."""
        return self.namespace or NODE_EVENT_NAMESPACE

    def reference(self) -> dict[str, str]:
        """As the API writes it."""
        fields = {"kind": self.kind, "name": self.name, "namespace": self.namespace, "uid": self.uid}
        return {"apiVersion": "v1", **{k: v for k, v in fields.items() if v}}


def pod_subject(risk: Risk) -> Subject | None:
    """The pod that a risk threatens, None for a host process or a pod without a name."""
    return named_pod(risk.pod, risk.pod_uid)


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
    return pod, node


def reason(risk: Risk) -> EventReason:
    """Why an Event says that a risk began."""
    return EventReason.RISK if scope(risk.domain) is Scope.POD else EventReason.NODE_RISK


def event_name(risk: Risk, why: EventReason, subject: Subject) -> str:
    """The name of the Event about one risk, the same whenever and wherever it is worked out."""
    k = key(risk)
    span = int(risk.since.timestamp()) // SAME_RISK_SECONDS
    return _name(subject, k.scope, k.pod_uid, k.container, k.host, why, str(span))


def event(
    risk: Risk, why: EventReason, note: str, *, node: Subject, instance: str, now: datetime
) -> dict[str, Any]:
    """The Event about a risk."""
    regarding, related = subjects(risk, node)
    name = event_name(risk, why, regarding)
    return _event(name, why, note, regarding=regarding, related=related, instance=instance, now=now)


def eviction_event(
    pod: Subject, why: EventReason, note: str, *, since: datetime, node: Subject, instance: str, now: datetime
) -> dict[str, Any]:
    """The Event about a pod of a node that is near its eviction since `since`."""
    span = int(since.timestamp()) // SAME_RISK_SECONDS
    name = _name(pod, pod.uid, why, str(span))
    return _event(name, why, note, regarding=pod, related=node, instance=instance, now=now)


def _name(subject: Subject, *parts: str) -> str:
    text = "\0".join((subject.kind, subject.name, *parts))
    return f"{subject.name[:_NAME_CHARACTERS]}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _event(
    name: str,
    why: EventReason,
    note: str,
    *,
    regarding: Subject,
    related: Subject | None,
    instance: str,
    now: datetime,
) -> dict[str, Any]:
    """An events.k8s.io/v1 Event."""
    body: dict[str, Any] = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": regarding.event_namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Normal" if why is EventReason.RISK_ENDED else "Warning",
        "reason": why.value,
        "action": EVENT_ACTION,
        "note": note,
        "regarding": regarding.reference(),
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": instance[:_INSTANCE_CHARACTERS],
    }
    if related is not None:
        body["related"] = related.reference()
    return body


def kill_event(
    kill: ScoredKill, note: str, *, subject: Subject, node: Subject, instance: str, now: datetime
) -> dict[str, Any]:
    """The Event about a kill, related to the Event that had warned of it, else to the node."""
    digest = hashlib.sha256(f"{node.name}\0{kill.id}".encode()).hexdigest()[:16]
    namespace, slash, warning = kill.warning.partition("/")
    related = node.reference()
    if slash:
        related = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "namespace": namespace,
            "name": warning,
        }
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{subject.name[:_NAME_CHARACTERS]}.{digest}",
            "namespace": subject.event_namespace,
        },
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning",
        "reason": EventReason.KILL.value,
        "action": EVENT_ACTION,
        "note": note,
        "regarding": subject.reference(),
        "related": related,
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": instance[:_INSTANCE_CHARACTERS],
    }


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


@dataclass(slots=True)
class EventBudget:
    """How many Events may still be written: token buckets, one an object and one for the cluster.

    Times are seconds of a monotonic clock.
    """

    objects: dict[str, _Bucket] = field(default_factory=dict)
    cluster: _Bucket = field(default_factory=lambda: _Bucket(CLUSTER_BURST, 0.0))

    def wait(self, body: Mapping[str, Any], now: float) -> float:
        """Seconds until this Event may be written; 0 takes it from the budget."""
        bucket = self.objects.setdefault(_subject_of(body), _Bucket(OBJECT_BURST, now))
        _fill(bucket, OBJECT_BURST, OBJECT_SECONDS, now)
        _fill(self.cluster, CLUSTER_BURST, CLUSTER_SECONDS, now)
        wait = max(_missing(bucket, OBJECT_SECONDS), _missing(self.cluster, CLUSTER_SECONDS))
        if wait <= 0:
            bucket.tokens -= 1
            self.cluster.tokens -= 1
        self._forget_full(now)
        return wait

    def _forget_full(self, now: float) -> None:
        idle = OBJECT_BURST * OBJECT_SECONDS
        for name in [n for n, b in self.objects.items() if now - b.filled_at > idle]:
            del self.objects[name]


def _subject_of(body: Mapping[str, Any]) -> str:
    regarding = body["regarding"]
    return f"{regarding['kind']}/{regarding.get('namespace', '')}/{regarding['name']}"


def _fill(bucket: _Bucket, burst: int, seconds: float, now: float) -> None:
    bucket.tokens = min(burst, bucket.tokens + max(now - bucket.filled_at, 0.0) / seconds)
    bucket.filled_at = now


def _missing(bucket: _Bucket, seconds: float) -> float:
    return max(0.0, 1 - bucket.tokens) * seconds
