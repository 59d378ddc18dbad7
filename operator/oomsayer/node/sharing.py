"""Which processes share one memory (CLONE_VM without CLONE_THREAD, vfork).

kcmp(2) proves it where the reader may trace both. Elsewhere parent and child whose memory counters are all
equal are taken to share: a fork copies no file pages, so its counters differ from its parent's. Of other
processes equal counters prove nothing: idle workers of one program look alike.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cmp_to_key

from oomsayer.node.kcmp import Order
from oomsayer.node.processes import Process

Compare = Callable[[int, int], Order | None]


def sharers(processes: Iterable[Process], compare: Compare | None) -> tuple[dict[int, int], list[str]]:
    """By pid, a number that those sharing a memory have in common; and what was assumed, in sentences.

    Args:
        processes: all of them.
        compare: kcmp, None where pids mean other processes to the reader.
    """
    alike: dict[int, list[Process]] = {}
    for process in processes:
        alike.setdefault(process.stat.vsize_bytes, []).append(process)
    shared: dict[int, int] = {}
    assumed: list[str] = []
    for group in alike.values():
        if len(group) > 1:
            unproved = _proved(group, compare, shared)
            assumed.extend(_assumed(unproved, shared))
    return shared, assumed


def _proved(group: list[Process], compare: Compare | None, shared: dict[int, int]) -> list[Process]:
    """Note those that kcmp says share; return those that it may not be asked about."""
    if compare is None:
        return group
    open_to_us = [process.pid for process in group if compare(process.pid, process.pid) is Order.SAME]
    for run in _runs(open_to_us, compare):
        shared.update(dict.fromkeys(run, min(run)))
    asked = set(open_to_us)
    return [process for process in group if process.pid not in asked]


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
