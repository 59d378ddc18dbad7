"""Looks up the pods of a node when a forecast needs a name that is not known yet.

Nothing watches the cluster's pods. The pods of one node are listed when a cgroup there belongs to a pod or
container without a name, at most every few seconds, and ever more seldom for one that stays nameless.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from oomsayer.controller.apiserver import ApiServer
from oomsayer.controller.names import Names, Pod, read_pods
from oomsayer.kubelet.cgroups import Owner

FIRST_RETRY, LAST_RETRY = 5.0, 300.0
"""Seconds until a name that was not found is looked for again: doubling from the first to the last."""
RENEW_SECONDS = 60.0
"""Requests and priorities that were read so long ago are read again: a resize in place changes no name."""
NAMELESS_AFTER = 3
"""Look-ups in vain after which a name is no longer waited for."""


@dataclass(slots=True)
class _Miss:
    lookups: int
    next_at: float


@dataclass(slots=True)
class _Node:
    pods: dict[str, Pod] = field(default_factory=dict)
    misses: dict[Owner, _Miss] = field(default_factory=dict)
    listed_at: float | None = None


class PodNames:
    """Names by node. Holds those of pods that the node's last forecast spoke of, and no others."""

    def __init__(self, api: ApiServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._nodes: dict[str, _Node] = {}

    async def names(
        self, node: str, wanted: Iterable[Owner], *, anew: bool = False
    ) -> tuple[Names, float | None]:
        """The names of `wanted`, and the seconds after which those still missing should be asked for again.

        Args:
            node: whose pods.
            wanted: what needs a name.
            anew: ask even where all names are known, since more than names is needed.

        Raises:
            ApiError: the pods had to be listed and could not be.
        """
        owners = set(wanted)
        known = self._nodes.setdefault(node, _Node())
        now = self._clock()
        missing = _missing(known, owners)
        old = known.listed_at is not None and now - known.listed_at >= RENEW_SECONDS
        looks = any(whose not in known.misses or known.misses[whose].next_at <= now for whose in missing)
        if anew or old or looks:
            # A pod that is gone keeps its name for as long as something is told of it.
            known.pods |= await self._list(node)
            known.listed_at = now
            missing = _missing(known, owners)
            known.misses = {whose: _looked_up(known.misses.get(whose), now) for whose in missing}
        uids = {whose.pod_uid for whose in owners}
        known.pods = {uid: pod for uid, pod in known.pods.items() if uid in uids}
        retry = min((m.next_at - now for o, m in known.misses.items() if o in missing), default=None)
        nameless = frozenset(o for o, m in known.misses.items() if m.lookups >= NAMELESS_AFTER)
        return Names(dict(known.pods), nameless), retry

    def forget(self, node: str) -> None:
        """Forget a node's pods."""
        self._nodes.pop(node, None)

    async def _list(self, node: str) -> dict[str, Pod]:
        # resourceVersion 0: the API server answers from memory and does not ask etcd.
        answer = await self._api.get(
            "/api/v1/pods", fieldSelector=f"spec.nodeName={node}", resourceVersion="0"
        )
        return read_pods(answer.get("items") or ())


def _missing(known: _Node, owners: Iterable[Owner]) -> set[Owner]:
    names = Names(known.pods)
    return {whose for whose in owners if not names.knows(whose)}


def _looked_up(before: _Miss | None, now: float) -> _Miss:
    """The miss once more, unless its time had not come: pods may have been listed for another's sake."""
    if before is not None and before.next_at > now:
        return before
    lookups = before.lookups + 1 if before else 1
    return _Miss(lookups, now + min(FIRST_RETRY * 2 ** min(lookups - 1, 16), LAST_RETRY))
