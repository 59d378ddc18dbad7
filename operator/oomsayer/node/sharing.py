"""Which processes share one memory (CLONE_VM without CLONE_THREAD, vfork).

kcmp(2) proves it where the reader may trace both. Elsewhere parent and child whose memory counters are all
equal are taken to share: a fork copies no file pages, so its counters differ from its parent's. Of other
processes equal counters prove nothing: idle workers of one program look alike.

Few have to be asked about: who shares has the same address space in size, and in it the same place of the
stack, which is drawn by lot when a program starts and shown to whom kcmp is open.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cmp_to_key

from oomsayer.node.kcmp import Compare, Order
from oomsayer.node.processes import Process

_TOLD = 4
"""How many are named of whom it is only assumed, or one more: every verdict repeats them, and a pod may have
thousands."""

_Identities = tuple[tuple[int, int, str], ...]


class Sharing:
    """Finds who shares, and remembers it for processes that are still the same and run the same program."""

    def __init__(self, compare: Compare | None) -> None:
        """Start with nothing known.

        Args:
            compare: kcmp, None where pids mean other processes to the reader.
        """
        self._compare = compare
        self._known: dict[_Identities, dict[int, int]] = {}

    def sharers(self, processes: Iterable[Process], *, anew: bool) -> tuple[dict[int, int], list[str]]:
        """By pid, a number that those sharing a memory have in common; and what was assumed, in sentences.

        Args:
            processes: all of them.
            anew: ask kcmp again about those that are known.
        """
        first: dict[tuple[int, int], Process] = {}
        alike: dict[tuple[int, int], list[Process]] = {}
        for process in processes:
            place = process.stat.vsize_bytes, process.stat.stack
            other = first.setdefault(place, process)
            if other is not process:
                alike.setdefault(place, [other]).append(process)
        known: dict[_Identities, dict[int, int]] = {}
        shared: dict[int, int] = {}
        assumed: list[str] = []
        for group in alike.values():
            found: dict[int, int] | None = None
            if self._compare is not None:
                identities = tuple((p.tid or p.pid, p.stat.start_time, p.stat.comm) for p in group)
                found = None if anew else self._known.get(identities)
                if found is None:
                    # An exited leader has no memory: two of them would pass for sharers.
                    found = _proved({p.tid or p.pid: p.pid for p in group}, self._compare)
                known[identities] = found
                shared.update((pid, mm) for pid, mm in found.items() if mm)
            assumed.extend(_assumed([p for p in group if found is None or p.pid not in found], shared))
        self._known = known
        if len(assumed) > _TOLD + 1:
            more = len(assumed) - _TOLD
            assumed[_TOLD:] = [f"{more} more processes are taken to share their parents' memory"]
        return shared, assumed


def _proved(threads: Mapping[int, int], compare: Compare) -> dict[int, int]:
    """By pid that kcmp may be asked about: the lowest pid of those who share its memory, 0 for one alone.

    Args:
        threads: by a thread that has the memory of its process, the pid of that.
        compare: kcmp.
    """
    open_to_us = [tid for tid in threads if compare(tid, tid) is Order.SAME]
    proved = {threads[tid]: 0 for tid in open_to_us}
    for run in _runs(open_to_us, compare):
        pids = [threads[tid] for tid in run]
        proved.update(dict.fromkeys(pids, min(pids)))
    return proved


def _runs(pids: list[int], compare: Compare) -> Iterator[list[int]]:
    """Pids of one memory each, where there are several."""

    def order(one: int, other: int) -> int:
        result = compare(one, other)
        if result is Order.SAME:
            return 0
        return -1 if result is Order.BEFORE else 1

    run: list[int] = []
    for pid in sorted(pids, key=cmp_to_key(order)):
        if run and compare(run[-1], pid) is Order.SAME:
            run.append(pid)
            continue
        if len(run) > 1:
            yield run
        run = [pid]
    if len(run) > 1:
        yield run


def _assumed(group: list[Process], shared: dict[int, int]) -> Iterator[str]:
    by_pid = {process.pid: process for process in group}
    for child in group:
        parent = by_pid.get(child.stat.parent)
        if parent is None or parent.status.mm_counters != child.status.mm_counters:
            continue
        number = shared.setdefault(parent.pid, parent.pid)
        shared[child.pid] = number
        yield (
            f"pid {child.pid} is taken to share the memory of its parent {parent.pid}: their counters are "
            "equal, and only kcmp(2), which is not open to this reader, could prove it"
        )
