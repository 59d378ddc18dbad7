"""Scenarios: who lives where with how much memory, and which domain runs out; all follows from a seed.

The generator aims at what a wrong rule would get wrong: most processes of the domain are given the memory
that makes their badness nearly equal, each at its own oom_score_adj.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from random import Random

ROOT = "/"
NO_CONTROLLER = "/container"
"""How the paths of cgroups end that have no memory controller: as below crun's scopes."""
PAGE = 4096
MACHINE_MIB = 512
SWAP_MIB = 96
MAPPED_PAGES = 4096
"""Pages of the files that actors can map: not charged to any cgroup of a scenario."""

# What the kernel itself takes for a process and for a further thread: stacks, page tables, slab.
_OVERHEAD_PAGES, _THREAD_PAGES = 110, 12
_LARGEST_PAGES, _LEAST_PAGES = 6000, 40
_PAUSE_ADJ, _NEVER_ADJ = -998, -1000
_DOMAIN_BUDGET_PAGES = 26000
_OUTSIDE_BUDGET_PAGES = 9000
_MACHINE_TOTALPAGES = 118_000
_HUGE_PAGES, _MANY_PAGES = 1024, 400
_KINDS = ("plain",) * 8 + ("threads", "threads", "fork", "sharer", "vfork", "leader", "pidns")
_THREADED = ("threads", "leader")
_STEPS = 8
_SURVIVORS = 4

_NAMES = (
    b"java", b"python3", b"nginx", b"a b", b"a) R 1 (b", b"new\nline", b"tab\there", b"x,pid=1,uid=0",
    b"Killed process ", b"task=a,pid=1,u", b"(sd-pam)", b"\xff\xfe\x80", b"\xc3\xa9t\xc3\xa9", b"back\\slash",
    b"exactly15bytes!", b"oom-kill:constr", b"{}", b"%s%n", b" ", b")",
)  # fmt: skip
_SYSTEM = (("kubelet", -999), ("containerd", -999), ("dbus", -900), ("systemd-journald", -250),
           ("sshd", -1000),
           ("cron", 0), ("node-exporter", 100))  # fmt: skip


class Machine(StrEnum):
    """What a guest is started as."""

    PLAIN = "plain"
    """cgroup v2, one memory node."""
    NUMA = "numa"
    """cgroup v2, two memory nodes of equal size."""
    V1 = "v1"
    """cgroup v1, with swap accounting."""
    SPARE = "spare"
    """As plain: for one more panic."""


class End(StrEnum):
    """How a scenario ends."""

    KILLS = "kills"
    """Those die whom the prediction names."""
    PANIC = "panic"
    """The kernel panics: nothing can be played after it."""
    GONE = "gone"
    """The process that asks for memory is taken."""
    HANGS = "hangs"
    """It waits for room."""
    SPINS = "spins"
    """Its page fault is tried again and again."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup to make, and what to write into its files."""

    path: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Process:
    """A process to start: its cgroup, its oom_score_adj, and the actor's arguments (guest/actor.c)."""

    cgroup: str
    adj: int
    arguments: Sequence[str]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One experiment.

    Attributes:
        seed: what it was made from, with index.
        index: its number under that seed.
        domain: path of the memory cgroup that runs out, "/" for the node.
        filler: the cgroup whose tmpfs pages fill the domain.
        cgroups: parents before children; siblings in the order of their creation.
        processes: in the order of their creation.
        attach: indices of processes, in the order in which they enter their cgroups.
        swap: whether there is any.
        swappiness: vm.swappiness.
        prefill_bytes: how much is filled before the prediction, so that swap is in use then.
        steps: how many kills to wait for.
        leave: when fewer than this many processes are left, it ends: the node would panic.
        name: of one made by hand (staged.py), empty for a generated one.
        machine: what it is played on.
        sysctls: files below /proc/sys to write.
        hunger_adj: if not None, no tmpfs pages fill the domain: a process at this oom_score_adj asks for more
            memory than there is.
        end: how it ends.
        says: what a panic's message, or an assumption of the prediction, has in it.
    """

    seed: int
    index: int
    domain: str
    filler: str
    cgroups: Sequence[Cgroup]
    processes: Sequence[Process]
    attach: Sequence[int]
    swap: bool = False
    swappiness: int = 60
    prefill_bytes: int = 0
    steps: int = _STEPS
    leave: int = 0
    name: str = ""
    machine: Machine = Machine.PLAIN
    sysctls: Mapping[str, str] = field(default_factory=dict)
    hunger_adj: int | None = None
    end: End = End.KILLS
    says: str = ""

    def document(self) -> dict[str, object]:
        """What the player in the guest reads."""
        return asdict(self)


def generate(seed: int, index: int) -> Scenario:
    """The scenario of that number under a seed: always the same."""
    return _Generator(Random(f"{seed}:{index}")).scenario(seed, index)  # noqa: S311 - it should be predictable


@dataclass(slots=True)
class _Leaf:
    """A cgroup that holds processes, and the oom_score_adj that its container was given."""

    path: str
    adj: int
    charged: int = 0


class _Generator:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._files: dict[str, dict[str, str]] = {}
        self._leaves: list[_Leaf] = []
        self._nearby = self._chance(0.6)  # in most scenarios all adj are near each other
        self._systemd = self._chance(0.5)
        self._around = random.choice((500, 900, 960, 985))

    def scenario(self, seed: int, index: int) -> Scenario:
        random = self._random
        kubepods = self._kubepods()
        self._system()
        domain = self._choose_domain(kubepods)
        swap = self._chance(0.25)  # swapping is slow to emulate
        swappiness = random.choice((60, 60, 100, 1, 0)) if swap else 60
        totalpages = _MACHINE_TOTALPAGES
        if domain != ROOT:
            totalpages = random.randrange(9000, _DOMAIN_BUDGET_PAGES + 8000)
            if self._chance(0.08):  # below 1000 pages, oom_score_adj has no effect
                totalpages = random.randrange(700, 1300)
        filler = self._filler(domain)
        inside = [leaf for leaf in self._leaves if domain == ROOT or _within(leaf.path, domain)]
        outside = [leaf for leaf in self._leaves if leaf not in inside]
        budget = min(_DOMAIN_BUDGET_PAGES, int(totalpages * 0.8))
        processes = list(self._processes(inside, totalpages, budget))
        processes += self._processes(outside, totalpages, _OUTSIDE_BUDGET_PAGES)
        random.shuffle(processes)
        charged = sum(leaf.charged for leaf in inside)
        self._set_limits(domain, max(totalpages, charged + min(1500, totalpages // 5)))
        if swap:
            self._swap_limits()
        attach = list(range(len(processes)))
        if self._chance(0.5):  # either way
            random.shuffle(attach)
        return Scenario(
            seed=seed,
            index=index,
            domain=domain,
            filler=filler,
            cgroups=[Cgroup(path, files) for path, files in self._files.items()],
            processes=processes,
            attach=attach,
            swap=swap,
            swappiness=swappiness,
            prefill_bytes=self._prefill(domain, charged) if swap and swappiness else 0,
            steps=_STEPS,
            leave=_SURVIVORS + sum(_unkillable(process) for process in processes) if domain == ROOT else 0,
        )

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _mkdir(self, path: str, *, delegate: bool) -> str:
        self._files[path] = {"cgroup.subtree_control": "+memory"} if delegate else {}
        return path

    def _kubepods(self) -> str:
        random = self._random
        suffix = ".slice" if self._systemd else ""
        top = self._mkdir(f"/kubepods{suffix}", delegate=True)
        pods = [
            random.choice(("", "burstable", "burstable", "besteffort")) for _ in range(random.randint(1, 4))
        ]
        for qos in random.sample(("burstable", "besteffort"), 2):
            if qos in pods:
                name = f"kubepods-{qos}.slice" if self._systemd else qos
                self._mkdir(f"{top}/{name}", delegate=True)
        for qos in pods:
            self._pod(top, qos)
        return top

    def _pod(self, top: str, qos: str) -> None:
        random = self._random
        uid = f"{random.getrandbits(32):08x}-0000-4000-8000-{random.getrandbits(48):012x}"
        if self._systemd:
            between = f"/kubepods-{qos}.slice" if qos else ""
            infix = f"-{qos}" if qos else ""
            path = f"{top}{between}/kubepods{infix}-pod{uid.replace('-', '_')}.slice"
        else:
            path = f"{top}/{qos}/pod{uid}" if qos else f"{top}/pod{uid}"
        self._mkdir(path, delegate=True)
        if self._chance(0.15):  # rare: the kubelet does not set it on pods
            self._files[path]["memory.oom.group"] = "1"
        containers = random.randint(1, 3)
        pause = random.randrange(containers + 1)
        for number in range(containers + 1):
            adj = _PAUSE_ADJ if number == pause else self._adj(qos)
            self._container(path, adj, plain=number == pause)

    def _container(self, pod: str, adj: int, *, plain: bool) -> None:
        random = self._random
        name = f"{random.getrandbits(256):064x}"
        path = self._mkdir(
            f"{pod}/cri-containerd-{name}.scope" if self._systemd else f"{pod}/{name}", delegate=False
        )
        if self._chance(0.5) and not plain:  # the kubelet's default, unless singleProcessOOMKill
            self._files[path]["memory.oom.group"] = "1"
        self._leaves.append(_Leaf(path, adj))
        # crun keeps the processes one level down, where no memory controller is.
        if self._chance(0.15):
            self._leaves.append(_Leaf(self._mkdir(path + NO_CONTROLLER, delegate=False), adj))

    def _adj(self, qos: str) -> int:
        if qos == "besteffort":
            return 1000
        if qos == "":
            return -997
        if self._nearby:
            return min(999, max(2, self._around + self._random.randint(-12, 12)))
        return self._random.randint(2, 999)

    def _system(self) -> None:
        top = self._mkdir("/system.slice", delegate=True)
        for name, adj in self._random.sample(_SYSTEM, 3):
            path = self._mkdir(f"{top}/{name}.service", delegate=False)
            if self._chance(0.2):  # OOMPolicy=kill
                self._files[path]["memory.oom.group"] = "1"
            self._leaves.append(_Leaf(path, adj))

    def _choose_domain(self, kubepods: str) -> str:
        random = self._random
        wanted = random.choice(("container", "container", "pod", "pod", "kubepods", "qos", "node", "service"))
        if wanted == "node":
            return ROOT
        if wanted == "kubepods":
            return kubepods
        pods = sorted(
            {_parent(leaf.path) for leaf in self._leaves if "pod" in _parent(leaf.path).rpartition("/")[2]}
        )
        pods = [pod for pod in pods if not pod.rpartition("/")[2].startswith("cri-")]
        pod = random.choice([each for each in pods if _is_pod(each)])
        if wanted == "qos":
            return _parent(pod)
        if wanted == "pod":
            return pod
        if wanted == "service":
            return random.choice([leaf.path for leaf in self._leaves if leaf.path.startswith("/system")])
        choices = [leaf for leaf in self._leaves if _parent(leaf.path) == pod and leaf.adj != _PAUSE_ADJ]
        return random.choice(choices).path

    def _filler(self, domain: str) -> str:
        """A cgroup below the domain that holds nothing else; where the domain is a leaf, itself."""
        if domain != ROOT and "cgroup.subtree_control" not in self._files[domain]:
            return domain
        return self._mkdir(f"{domain.rstrip('/')}/filler", delegate=False)

    def _processes(self, leaves: Sequence[_Leaf], totalpages: int, budget: int) -> Iterator[Process]:
        random = self._random
        anchor: int | None = None
        for leaf in random.sample(list(leaves), len(leaves)):
            many = random.choice((1, 1, 2, 3, 4)) if leaf.adj != _PAUSE_ADJ else 1
            for _ in range(many):
                most = min(_LARGEST_PAGES, budget // 2)
                if most < _LEAST_PAGES:
                    return
                adj = self._own_adj(leaf.adj)
                pages = int(2 ** random.uniform(4, most.bit_length() - 1))
                if anchor is None:
                    pages = random.randint(most // 4, most)
                    anchor = pages + adj * (totalpages // 1000)
                elif self._chance(0.7):  # most are level with the first
                    level = anchor - adj * (totalpages // 1000)
                    level += random.choice((0, 0, 1, -1, 2, -3, 17, -40, 300, -800))
                    pages = level if 0 < level <= most else pages
                process, charged = self._process(leaf.path, adj, pages)
                homes = [leaf]
                if self._chance(0.15):  # a twin, so that only the order of the scan tells them apart
                    homes.append(random.choice(leaves))
                for home in homes:
                    home.charged += charged
                    budget -= charged
                    yield replace(process, cgroup=home.path)

    def _own_adj(self, adj: int) -> int:
        """Of a process in a container with that oom_score_adj: programs may change their own."""
        random = self._random
        if self._chance(0.03):
            return _NEVER_ADJ
        if self._chance(0.1):
            return random.choice((min(1000, adj + random.randint(0, 20)), random.randint(-999, 1000)))
        return adj

    def _process(self, cgroup: str, adj: int, pages: int) -> tuple[Process, int]:
        """A process of about that many pages, and how many of them are charged to its cgroup."""
        named = [f"name={self._random.choice(_NAMES).hex()}"] if self._chance(0.6) else []
        memory, charged = self._memory(pages)
        first, last, overhead = self._kind(cgroup, adj, pages)
        return Process(cgroup, adj, [*first, *named, *memory, *last]), charged + overhead + _OVERHEAD_PAGES

    def _memory(self, pages: int) -> tuple[list[str], int]:
        """What it holds: files and shared pages are charged to nobody, the rest to its cgroup."""
        random = self._random
        arguments: list[str] = []
        anonymous = pages
        for kind, probability in (("file=/ramfs/file", 0.25), ("shared=/tmp/shared", 0.2)):
            if self._chance(probability):
                mapped = min(random.randint(1, MAPPED_PAGES), anonymous // 2)
                arguments.append(f"{kind}:{mapped}")
                anonymous -= mapped
        charged = anonymous + anonymous // 512
        if self._chance(0.2) and anonymous > _MANY_PAGES:
            # Each region costs the page and its page table.
            regions = random.randint(1, min(100, anonymous // 4))
            arguments.append(f"sparse={regions}")
            anonymous -= 2 * regions
        if self._chance(0.06) and anonymous > _MANY_PAGES + _HUGE_PAGES:
            arguments.append(f"huge={_HUGE_PAGES}")
            anonymous -= _HUGE_PAGES
        return [*arguments, f"anon={max(1, anonymous)}"], charged

    def _kind(self, cgroup: str, adj: int, pages: int) -> tuple[list[str], list[str], int]:
        """What else is peculiar: arguments to come first and last, and the pages that they cost."""
        random = self._random
        kind = random.choice(_KINDS)
        threads = random.randint(1, 6)
        copy = _OVERHEAD_PAGES + pages // 512
        number = random.randint(1, 3)
        threaded = [f"threads={threads}"] if kind in _THREADED or self._chance(0.1) else []
        cost = threads * _THREAD_PAGES if threaded else 0
        if kind == "leader":
            return [], [*threaded, "leader=exit"], cost
        if kind == "fork":
            return [], [*threaded, f"fork={number}"], cost + number * copy
        if kind == "pidns":
            own = random.choice((adj, adj, min(1000, adj + 10), _NEVER_ADJ))
            return [f"pidns={number - 1}:{own}"], threaded, cost + number * copy
        if kind == "vfork":
            return [], [*threaded, f"vfork={random.choice((adj, 1000, 1000, -1000))}"], cost + copy
        if kind == "sharer":
            homes = [random.choice(self._leaves).path if self._chance(0.5) else cgroup for _ in range(number)]
            return [], [*threaded, *(f"sharer=/sys/fs/cgroup{home}" for home in homes)], cost + number * copy
        return [], threaded, cost

    def _set_limits(self, domain: str, limit_pages: int) -> None:
        """The domain's limit, smaller than what those above it have left, and others never reached."""
        random = self._random
        for path in self._files:
            charged = sum(leaf.charged for leaf in self._leaves if _within(leaf.path, path))
            if path == domain:
                pages = limit_pages
            elif path.endswith(("/filler", NO_CONTROLLER)) or self._chance(0.4):
                continue
            elif domain != ROOT and _within(domain, path):
                pages = limit_pages + charged + random.randint(8000, 60000)
            elif domain == ROOT and self._has_filler(path):
                continue
            else:
                pages = charged * 2 + random.randint(2000, 20000)
            # A limit need not be a whole number of pages.
            self._files[path]["memory.max"] = str(pages * PAGE + random.choice((0, 0, 1, 4095)))
        if domain != ROOT:
            for path in self._files:
                if path != domain and _within(path, domain) and path.endswith("/filler"):
                    self._files[path].pop("memory.max", None)

    def _has_filler(self, path: str) -> bool:
        return f"{path}/filler" in self._files

    def _swap_limits(self) -> None:
        random = self._random
        for path, files in self._files.items():
            if path.endswith(NO_CONTROLLER):
                continue
            allowed = random.choice((None, None, "max", "0", str(random.randint(1, SWAP_MIB) << 20)))
            if allowed is not None:
                files["memory.swap.max"] = allowed

    def _prefill(self, domain: str, charged: int) -> int:
        random = self._random
        if domain == ROOT or self._chance(0.5):
            return 0
        room = int(self._files[domain]["memory.max"]) - charged * PAGE
        return max(0, int(room * random.uniform(0.5, 0.95)))


def _unkillable(process: Process) -> int:
    special = sum(argument.startswith(("vfork=", "sharer=")) for argument in process.arguments)
    children = 3 * sum(argument.startswith("pidns=") for argument in process.arguments)
    return special + children + (process.adj == _NEVER_ADJ)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or ROOT


def _within(path: str, domain: str) -> bool:
    return path == domain or path.startswith(domain + "/")


def _is_pod(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("pod") or "-pod" in name
