"""Which OOMPolicy speaks for a pod, and which for the node."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from oomsayer.api.policy import OOMPolicy, OOMPolicySpec


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one pod or one node.

    Attributes:
        headroom_percent: at risk below this share of the limit; 0 never is.
        clear_percent: a risk ends above headroom_percent plus this.
        minutes_to_oom: at risk too when the OOM may come within so many minutes; 0 never for that.
        events: whether Events are written.
        annotations: whether pods are annotated.
    """

    headroom_percent: int
    clear_percent: int
    events: bool
    annotations: bool
    minutes_to_oom: int = 0


ALL = "*"
"""Stands for all namespaces; none is called so."""
SILENT = Rules(headroom_percent=0, clear_percent=0, events=False, annotations=False)
"""Of a namespace that a policy excludes."""


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies that validate, by name."""

    by_name: tuple[tuple[str, OOMPolicySpec], ...] = ()

    def for_pod(self, namespace: str) -> Rules:
        """The rules for the pods of a namespace: of the policy that names it, else of the one for all."""
        named = self._first_for(namespace)
        spec = named[1] if named else self._for_all()
        if named is None and namespace in spec.namespaces.exclude:
            return SILENT
        return _rules(spec, spec.thresholds.pod_headroom_percent)

    def places(self, name: str) -> list[str]:
        """The namespaces that the policy of that name speaks for, "*" for all."""
        spec = dict(self.by_name)[name]
        return [place for place in spec.namespaces.include or (ALL,) if _speaks_for(spec, place)]

    def overruled(self, name: str) -> dict[str, str]:
        """By namespace, "*" for all, the policy that is asked before the one of that name."""
        first = {place: self._first_for(place) for place in self.places(name)}
        return {place: asked[0] for place, asked in first.items() if asked and asked[0] != name}

    def for_node(self) -> Rules:
        """The rules for nodes: of the policy for all namespaces."""
        spec = self._for_all()
        return _rules(spec, spec.thresholds.node_headroom_percent)

    def _for_all(self) -> OOMPolicySpec:
        found = self._first_for(ALL)
        return found[1] if found else OOMPolicySpec()

    def _first_for(self, place: str) -> tuple[str, OOMPolicySpec] | None:
        """The policy that is asked about a place, with its name."""
        return next(((name, spec) for name, spec in self.by_name if _speaks_for(spec, place)), None)


def _speaks_for(spec: OOMPolicySpec, place: str) -> bool:
    """Whether a policy names a namespace, or with ALL, names none and so is for all."""
    if place == ALL:
        return not spec.namespaces.include
    # Of both lists, as an older schema let them be stored, to exclude is the safer one.
    return place in spec.namespaces.include and place not in spec.namespaces.exclude


def policies(specs: Mapping[str, OOMPolicySpec]) -> Policies:
    """Put policies into the order in which they are asked."""
    return Policies(tuple(sorted(specs.items())))


def read_policy(obj: Mapping[str, Any]) -> OOMPolicySpec:
    """Understand an OOMPolicy as the API server gave it.

    Raises:
        ValueError: names the fields that do not validate. The API server's schema normally refuses
            these before; an object stored under an older schema is not looked at again.
    """
    try:
        return OOMPolicy.model_validate(obj).spec
    except ValidationError as error:
        raise ValueError(_sentence(error.errors(include_url=False, include_input=False))) from error


def _sentence(errors: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in errors)


def _rules(spec: OOMPolicySpec, percent: int) -> Rules:
    thresholds, publish = spec.thresholds, spec.publish
    return Rules(
        percent, thresholds.clear_percent, publish.events, publish.annotations, thresholds.minutes_to_oom
    )
