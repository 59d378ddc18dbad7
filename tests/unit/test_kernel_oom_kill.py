"""The branches of out_of_memory(), each by itself, and what the scan does with one process."""

from dataclasses import replace

import pytest

from oomsayer.kernel.domain import Domain, DomainKind, constrained_alloc, cpuset_domain, node_domain
from oomsayer.kernel.era import ERAS, Era, era_named
from oomsayer.kernel.oom_kill import (
    Evaluation,
    OomControl,
    Outcome,
    Scan,
    mem_cgroup_oom,
    oom_evaluate_task,
    out_of_memory,
    pagefault_out_of_memory,
    select_bad_process,
)
from oomsayer.kernel.snapshot import Memcg, Memory, MemoryNode, Sysctls, Task, Unkillable

NODE, CPUSET, POLICY, MEMCG = DomainKind.NODE, DomainKind.CPUSET, DomainKind.MEMPOLICY, DomainKind.MEMCG
EVERYWHERE = (NODE, CPUSET, POLICY, MEMCG)


@pytest.mark.parametrize(
    ("oc", "sysctls", "scan", "outcome"),
    [
        (OomControl(NODE), Sysctls(), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(MEMCG), Sysctls(), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(NODE), Sysctls(), Scan.ABORTED, Outcome.ABORTED),
        (OomControl(NODE, disabled=True), Sysctls(panic_on_oom=2), Scan.CHOSEN, Outcome.DISABLED),
        (OomControl(NODE, freed=True), Sysctls(panic_on_oom=2), Scan.CHOSEN, Outcome.FREED),
        (OomControl(NODE, freed=True, sysrq=True), Sysctls(), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(MEMCG, freed=True), Sysctls(), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(MEMCG, current_dies=True), Sysctls(panic_on_oom=2), Scan.CHOSEN, Outcome.CURRENT_DIES),
        (OomControl(NODE, fs=False), Sysctls(panic_on_oom=2), Scan.CHOSEN, Outcome.NO_FS),
        (OomControl(MEMCG, fs=False), Sysctls(), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(NODE), Sysctls(panic_on_oom=1), Scan.CHOSEN, Outcome.PANIC),
        (OomControl(CPUSET), Sysctls(panic_on_oom=1), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(POLICY), Sysctls(panic_on_oom=1), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(MEMCG), Sysctls(panic_on_oom=1), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(MEMCG), Sysctls(panic_on_oom=2), Scan.CHOSEN, Outcome.PANIC),
        (OomControl(NODE, sysrq=True), Sysctls(panic_on_oom=2), Scan.CHOSEN, Outcome.KILLED),
        (OomControl(NODE), Sysctls(oom_kill_allocating_task=1), Scan.NOBODY, Outcome.CURRENT),
        (OomControl(MEMCG), Sysctls(oom_kill_allocating_task=1), Scan.CHOSEN, Outcome.KILLED),
        (
            OomControl(NODE, current_eligible=False),
            Sysctls(oom_kill_allocating_task=1),
            Scan.CHOSEN,
            Outcome.KILLED,
        ),
        (OomControl(NODE), Sysctls(), Scan.NOBODY, Outcome.DEADLOCKED),
        (OomControl(CPUSET), Sysctls(), Scan.NOBODY, Outcome.DEADLOCKED),
        (OomControl(NODE, sysrq=True), Sysctls(), Scan.NOBODY, Outcome.NOBODY),
        (OomControl(MEMCG), Sysctls(), Scan.NOBODY, Outcome.NOBODY),
    ],
)
def test_a_branch(oc: OomControl, sysctls: Sysctls, scan: Scan, outcome: Outcome) -> None:
    assert out_of_memory(oc, sysctls, scan) is outcome


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_badness_has_the_word_only_where_it_decides(kind: DomainKind) -> None:
    assert out_of_memory(OomControl(kind), Sysctls(), Scan.CHOSEN).kills
    assert not out_of_memory(OomControl(kind), Sysctls(panic_on_oom=2), Scan.CHOSEN).kills
    assert not out_of_memory(OomControl(kind), Sysctls(), Scan.NOBODY).kills


def test_a_cgroup_whose_killer_is_disabled_hangs() -> None:
    assert mem_cgroup_oom(Memcg("/c", oom_kill_disable=True)) is Outcome.HANGS
    assert mem_cgroup_oom(Memcg("/c")) is None


@pytest.mark.parametrize(
    ("release", "waits", "outcome"),
    [
        ("5.15.2", False, Outcome.DEADLOCKED),
        ("5.15.3", False, Outcome.RETRIED),
        ("5.10.0-32-cloud-amd64", False, Outcome.DEADLOCKED),
        ("5.13.19", False, Outcome.DEADLOCKED),
        ("5.16.0", False, Outcome.RETRIED),
        ("6.12", False, Outcome.RETRIED),
        ("4.19.0", True, Outcome.HANGS),
        ("6.12.1", True, Outcome.HANGS),
    ],
)
def test_a_page_fault_that_got_nothing(release: str, *, waits: bool, outcome: Outcome) -> None:
    assert pagefault_out_of_memory(release, memcg_waits=waits, node=Outcome.DEADLOCKED) is outcome


ALL = frozenset({0, 1})


@pytest.mark.parametrize(
    ("nodemask", "mems_allowed", "kind"),
    [
        (None, None, NODE),
        (ALL, ALL, NODE),
        (None, frozenset({1}), CPUSET),
        (ALL, frozenset({1}), CPUSET),
        (frozenset({0}), frozenset({1}), POLICY),
    ],
)
def test_what_an_allocation_ran_out_of(
    nodemask: frozenset[int] | None, mems_allowed: frozenset[int] | None, kind: DomainKind
) -> None:
    assert constrained_alloc(ALL, nodemask=nodemask, mems_allowed=mems_allowed) is kind


@pytest.mark.parametrize(("era", "totalpages"), [("E3", 1400), ("E4", 1200)])
def test_memory_nodes_have_a_totalpages_of_their_own(era: str, totalpages: int) -> None:
    nodes = (MemoryNode(0, 900, 1000), MemoryNode(2, 200, 300), MemoryNode(3, 7000, 7000))
    memory = Memory(4096, 8000 * 4096, swap_total_bytes=100 * 4096, nodes=nodes)
    mems = frozenset({0, 2})
    assert cpuset_domain(mems, memory, era_named(era)) == Domain(CPUSET, "cpuset.mems=0,2", totalpages, mems)


WHOLE = node_domain(Memory(4096, 1 << 30))
SECOND = Domain(CPUSET, "cpuset.mems=1", 1000, frozenset({1}))
PLAIN = Task(10, 1, "p", "/", 0, 100)


@pytest.mark.parametrize(
    ("task", "domain", "flags", "evaluation"),
    [
        (PLAIN, WHOLE, {}, Evaluation.CONSIDER),
        (replace(PLAIN, oom_score_adj=-1000), WHOLE, {}, Evaluation.SKIP),
        (replace(PLAIN, unkillable=Unkillable.INIT), WHOLE, {}, Evaluation.SKIP),
        (replace(PLAIN, in_flight=True), WHOLE, {}, Evaluation.ABORT),
        (replace(PLAIN, in_flight=True, unkillable=Unkillable.OOM_SKIP), WHOLE, {}, Evaluation.SKIP),
        (replace(PLAIN, in_flight=True), WHOLE, {"sysrq": True}, Evaluation.CONSIDER),
        (replace(PLAIN, oom_score_adj=-1000), WHOLE, {"origin": True}, Evaluation.SELECT),
        (replace(PLAIN, in_flight=True, mems_allowed=frozenset({0})), SECOND, {}, Evaluation.SKIP),
        (replace(PLAIN, mems_allowed=frozenset({0, 1})), SECOND, {}, Evaluation.CONSIDER),
        (replace(PLAIN, mems_allowed=frozenset({0})), WHOLE, {}, Evaluation.CONSIDER),
    ],
)
def test_one_process(task: Task, domain: Domain, flags: dict[str, bool], evaluation: Evaluation) -> None:
    assert oom_evaluate_task(task, domain, **flags) is evaluation


@pytest.mark.parametrize("era", ERAS, ids=lambda e: e.name)
def test_the_scan_takes_the_worst_and_of_equals_one(era: Era) -> None:
    twins = (replace(PLAIN, pid=11, rss_pages=200), PLAIN, replace(PLAIN, pid=12, rss_pages=200))
    scan, chosen = select_bad_process(twins, WHOLE, era, 4096)
    assert chosen is not None
    assert (scan, chosen.pid) == (Scan.CHOSEN, 11 if era.name < "E4" else 12)
    dying = replace(PLAIN, in_flight=True)
    assert select_bad_process((*twins, dying), WHOLE, era, 4096) == (Scan.ABORTED, None)
    assert select_bad_process((), WHOLE, era, 4096) == (Scan.NOBODY, None)
