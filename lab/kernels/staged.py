"""Scenarios made by hand: one rule each that the generated ones cannot show.

Most of them turn on totalpages: of two processes one is worse where oom_score_adj weighs little and the other
where it weighs more, so that a wrong totalpages names the wrong victim.
"""

from dataclasses import replace

from lab.kernels.scenario import MACHINE_MIB, PAGE, ROOT, SWAP_MIB, Cgroup, End, Machine, Process, Scenario

FIRST_NUMBER = 1000
"""Of their numbers; generated scenarios have lower ones."""

_LIMIT_PAGES = 16_000
_SWAP_PAGES = (SWAP_MIB << 20) // PAGE
_MEMSW_PAGES = _LIMIT_PAGES + 8000
_RAM_PAGES = 118_000
"""About what a guest counts as its memory."""
_HALF_PAGES = (MACHINE_MIB << 19) // PAGE
_POOL = 64
"""Huge pages."""
_SMALL_PAGES = 400
_NEVER = -1000

_V1_LIMIT = {"memory.limit_in_bytes": str(_LIMIT_PAGES * PAGE)}
_V1_MEMSW = _V1_LIMIT | {"memory.memsw.limit_in_bytes": str(_MEMSW_PAGES * PAGE)}


def staged() -> list[Scenario]:
    """All of them, in the order in which to play them: what ends in a panic is its machine's last."""
    return [
        replace(scenario, index=FIRST_NUMBER + number, attach=list(range(len(scenario.processes))))
        for number, scenario in enumerate((*_PLAIN, *_NUMA, *_V1, _SPARE))
    ]


def _undecided(cgroup: str, small: int, large: int, adj: int = 300) -> tuple[Process, Process]:
    """The first is worse where totalpages is nearer to `small`, the second where it is nearer to `large`."""
    pages = _SMALL_PAGES + adj * ((small + large) // 2 // 1000)
    return _holder(cgroup, 0, pages), _holder(cgroup, adj, _SMALL_PAGES)


def _holder(cgroup: str, adj: int, pages: int) -> Process:
    return Process(cgroup, adj, [f"anon={pages}"])


_NODE = Scenario(seed=0, index=0, domain=ROOT, filler=ROOT, cgroups=(), processes=(), attach=())
_CGROUP = replace(
    _NODE,
    domain="/c",
    filler="/c",
    cgroups=[Cgroup("/c", {"memory.max": str(_LIMIT_PAGES * PAGE)})],
    processes=[_holder("/c", 0, 900), _holder("/c", 0, 700)],
    steps=2,
)

_PLAIN = (
    replace(
        _NODE,
        name="huge pages of the pool count in totalpages and in nobody's badness",
        processes=[
            *_undecided(ROOT, _RAM_PAGES - _POOL * 512, _RAM_PAGES),
            Process(ROOT, 0, [f"hugetlb={_POOL - 4}", "anon=500"]),
        ],
        sysctls={"vm/nr_hugepages": str(_POOL)},
        steps=2,
    ),
    replace(
        _NODE,
        name="vm.oom_kill_allocating_task takes whoever asks",
        processes=[_holder(ROOT, 0, 1600)],
        sysctls={"vm/oom_kill_allocating_task": "1"},
        hunger_adj=-999,
        end=End.GONE,
        says="takes the process that asks",
    ),
    replace(
        _CGROUP,
        name="vm.oom_kill_allocating_task leaves cgroups as they are",
        sysctls={"vm/oom_kill_allocating_task": "1"},
    ),
    replace(
        _CGROUP,
        name="with nobody to kill in a cgroup a page fault is tried again",
        processes=[_holder("/c", _NEVER, 1600)],
        hunger_adj=_NEVER,
        end=End.SPINS,
        says="no process here can be killed",
    ),
    replace(_CGROUP, name="vm.panic_on_oom=1 leaves cgroups as they are", sysctls={"vm/panic_on_oom": "1"}),
    replace(
        _NODE,
        name="vm.panic_on_oom=1 panics where the node is out of memory",
        processes=[_holder(ROOT, 0, 1600)],
        sysctls={"vm/panic_on_oom": "1"},
        end=End.PANIC,
        says="system-wide panic_on_oom is enabled",
    ),
)

_CPUSETS = replace(
    _NODE,
    machine=Machine.NUMA,
    cgroups=[
        Cgroup("/both"),
        Cgroup("/first", {"cpuset.mems": "0"}),
        Cgroup("/second", {"cpuset.mems": "1"}),
        Cgroup("/filler", {"cpuset.mems": "1"}),
    ],
    processes=[
        # Small: a node has some 31000 pages left for all of them.
        *_undecided("/second", _HALF_PAGES, _RAM_PAGES, adj=100),
        _holder("/first", 900, 3000),
        _holder("/both", 0, 3000),
        _holder("/both", 400, 200),
        # The last, and large: pages of /both may lie on the other node, where their death is of no help.
        _holder("/second", -300, 6000),
    ],
    steps=3,
)
_NUMA = (
    replace(_CPUSETS, name="a cpuset's memory nodes", domain="cpuset.mems=1", filler="/filler"),
    replace(_CPUSETS, name="the node as a whole, with cpusets"),
    replace(
        _CPUSETS,
        name="vm.panic_on_oom=1 leaves a cpuset as it is",
        domain="cpuset.mems=1",
        filler="/filler",
        sysctls={"vm/panic_on_oom": "1"},
        steps=1,
    ),
    replace(
        _CGROUP,
        name="vm.panic_on_oom=2 panics for a cgroup too",
        machine=Machine.NUMA,
        sysctls={"vm/panic_on_oom": "2"},
        end=End.PANIC,
        says="compulsory panic_on_oom is enabled",
    ),
)

_V1_SWAP = replace(_CGROUP, machine=Machine.V1, swap=True)
_V1 = (
    replace(
        _NODE,
        name="v1: a pod of two containers",
        machine=Machine.V1,
        domain="/pod",
        filler="/pod",
        cgroups=[Cgroup("/pod", _V1_LIMIT), Cgroup("/pod/one"), Cgroup("/pod/two"), Cgroup("/other")],
        processes=[
            _holder("/pod/one", 900, 900),
            _holder("/pod/two", 905, 860),
            _holder("/pod", -998, 3000),
            _holder("/other", 1000, 5000),
        ],
        steps=3,
    ),
    replace(
        _V1_SWAP,
        name="v1: swap counts",
        cgroups=[Cgroup("/c", _V1_LIMIT)],
        processes=_undecided("/c", _LIMIT_PAGES, _LIMIT_PAGES + _SWAP_PAGES),
    ),
    replace(
        _V1_SWAP,
        name="v1: swap counts up to the memsw limit",
        cgroups=[Cgroup("/c", _V1_MEMSW)],
        processes=_undecided("/c", _MEMSW_PAGES, _LIMIT_PAGES + _SWAP_PAGES),
    ),
    replace(
        _V1_SWAP,
        name="v1: at a swappiness of 0, the cgroup's own, swap does not count",
        cgroups=[Cgroup("/c", _V1_LIMIT | {"memory.swappiness": "0"})],
        processes=_undecided("/c", _LIMIT_PAGES, _LIMIT_PAGES + _SWAP_PAGES),
    ),
    replace(
        _CGROUP,
        name="v1: oom_kill_disable makes page faults hang",
        machine=Machine.V1,
        cgroups=[Cgroup("/c", _V1_LIMIT | {"memory.oom_control": "1"})],
        hunger_adj=0,
        end=End.HANGS,
        says="page faults hang",
    ),
)

_SPARE = replace(
    _NODE,
    name="nobody to kill on the node: it panics",
    machine=Machine.SPARE,
    processes=[_holder(ROOT, _NEVER, 900)],
    end=End.PANIC,
    says="System is deadlocked on memory",
)
