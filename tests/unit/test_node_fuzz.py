"""Whatever the files of /proc and of cgroups hold: no exception, no waiting, no growth.

What fuzzing found stays in tests/fixtures/fuzz, one file a find, in a folder for each parser.
OOMSAYER_FUZZ_EXAMPLES=100000 makes it a long search.
"""

import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.made_up_machine import Machine, stat_of

from oomsayer.cli.document import document
from oomsayer.cli.table import table
from oomsayer.kernel import nodelist
from oomsayer.kernel.verdict import verdicts
from oomsayer.node import (
    files,
    meminfo,
    pidcgroup,
    pidstat,
    pidstatm,
    pidstatus,
    pressure,
    swaps,
    zoneinfo,
)
from oomsayer.node.snapshot import Scanner, UnreadableNodeError

CORPUS = Path(__file__).parents[1] / "fixtures" / "fuzz"
EXAMPLES = int(os.environ.get("OOMSAYER_FUZZ_EXAMPLES", "100"))
pytestmark = pytest.mark.timeout(120 + EXAMPLES // 5)
"""Seconds: as long as any other test, and a fifth of one for each example, on a busy machine."""

Parser = Callable[[bytes], object]

STATUS = (
    b"Name:\tcat\nState:\tS (sleeping)\nNStgid:\t25623\t17\nVmPeak:\t 3060 kB\nVmRSS:\t 1620 kB\n"
    b"VmPTE:\t 56 kB\nVmPMD:\t 8 kB\nVmSwap:\t 12 kB\nThreads:\t1\nSigPnd:\t0000000000000000\n"
    b"ShdPnd:\t0000000000000000\n"
    b"CapEff:\t000001ffffffffff\nMems_allowed_list:\t0-1,3\n"
)
MEMINFO = (
    b"MemTotal:  24684096 kB\nMemFree:  23024392 kB\nMemAvailable: 24217620 kB\nActive(anon): 100 kB\n"
    b"Inactive(anon): 20 kB\nActive(file): 30 kB\nInactive(file): 40 kB\nSwapTotal: 1048572 kB\n"
    b"SwapFree: 5 kB\n"
)
ZONEINFO = (
    b"Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 30\n      nr_active_file 60\n"
    b"  pages free     3840\n        min      24\n        spanned  4095\n        present  3998\n"
    b"Node 1, zone   Normal\n  pages free     160\n        min      176\n        present  61440\n"
)
CGROUP = b"12:memory,cpu:/kubepods/pod1\n1:name=systemd:/init.scope\n0::/../../kubepods.slice/a (deleted)\n"
MEMORY_STAT = (
    b"anon 5\nactive_file 100\ninactive_file 20\nslab_reclaimable 3\nactive_anon 7\ninactive_anon 8\n"
)
PRESSURE = (
    b"some avg10=0.25 avg60=0.10 avg300=0.00 total=99\nfull avg10=0.20 avg60=0.10 avg300=0.00 total=9\n"
)
SWAPS = b"Filename Type Size Used Priority\n/dev/zram0 partition 4194300 94300 100\n/dev/vda2 file 9 0 -2\n"

PARSERS: dict[str, tuple[Parser, bytes]] = {
    "stat": (pidstat.parse, stat_of(7, "a) S (b", rss=12, vsize=4096).encode()),
    "status": (lambda data: pidstatus.parse(data, mems=True), STATUS),
    "statm": (pidstatm.resident_pages, b"765 380 353 5 0 90 0\n"),
    "cgroup": (
        lambda data: [
            pidcgroup.absolute(path, "/kubepods/pod1")
            for version in (1, 2)
            if (path := pidcgroup.memory_path(data, version)) is not None
        ],
        CGROUP,
    ),
    "meminfo": (lambda data: meminfo.parse(data, 4096, zoneinfo.memory_nodes(data)), MEMINFO),
    "zoneinfo": (zoneinfo.memory_nodes, ZONEINFO),
    "pressure": (pressure.parse, PRESSURE),
    "swaps": (swaps.zram_free_bytes, SWAPS),
    "memory.stat": (
        lambda data: [files.keyed(data, key) for key in (b"active_file ", b"oom_kill ")],
        MEMORY_STAT,
    ),
    "limit": (files.number, b"9223372036854771712\n"),
    "nodelist": (lambda data: nodelist.parse(data.decode("latin-1")), b"0-3,5,7-1023\n"),
}


NO_DIGITS = (b"-1", b"9" * 30, b"", b"_", b"\xd9\xa3", b"e9")


@st.composite
def mangled(draw: st.DrawFn, sample: bytes) -> bytes:
    """A kernel file, cut, stretched, or with numbers that no kernel shows."""
    data = sample
    for _ in range(draw(st.integers(1, 4))):
        at, to = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        kind = draw(st.integers(0, 6))
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:at] + draw(st.binary(max_size=8)) + data[at:]
        elif kind == 3:
            data = data[:at] + data[at:to] * draw(st.integers(2, 9)) + data[to:]
        elif kind == 4:
            digit = draw(st.sampled_from(b"0123456789")).to_bytes()
            data = data.replace(digit, draw(st.sampled_from(NO_DIGITS)))
        elif kind == 5:
            data = data.replace(
                draw(st.sampled_from([b"\n", b" ", b"\t", b":"])), b"", draw(st.integers(1, 5))
            )
        else:
            data = draw(st.binary(max_size=64))
    return data


@pytest.mark.parametrize("name", PARSERS)
def test_no_content_raises(name: str) -> None:
    parse, sample = PARSERS[name]

    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(mangled(sample))
    def search(data: bytes) -> None:
        parse(data)

    search()


FINDS = [path for path in sorted(CORPUS.glob("*/*")) if path.parent.name in PARSERS]


@pytest.mark.parametrize("path", FINDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once(path: Path) -> None:
    PARSERS[path.parent.name][0](path.read_bytes())


def long_inputs(sample: bytes) -> Iterator[bytes]:
    """Beginnings of inputs that would take a careless parser ever longer."""
    first_line = sample.partition(b"\n")[0]
    yield sample
    yield first_line
    yield from (part for part in (b" ", b"\n", b"(", b")", b":", b",", b"/..", b"\t0", b"9", b"0-9,", b"\0"))
    yield first_line.partition(b" ")[0] + b" " * 50


@pytest.mark.parametrize("name", PARSERS)
def test_time_and_memory_grow_no_faster_than_a_file(name: str) -> None:
    parse, sample = PARSERS[name]

    def seconds(data: bytes) -> float:
        started = time.process_time()
        parse(data)
        return time.process_time() - started

    for part in long_inputs(sample):
        short = part * (50_000 // len(part) + 1)
        # Eight times the file: quadratic would be sixty-four times.
        assert seconds(short * 8) < 24 * seconds(short) + 0.2, part
        tracemalloc.start()
        parse(short * 8)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 100 * len(short * 8), part


FORK = stat_of(6, "child", rss=12, vsize=4096).replace(" S 1 ", " S 5 ").encode()
PLACES = {
    "proc/5/stat": PARSERS["stat"][1],
    "proc/6/stat": FORK,
    "proc/6/status": STATUS,
    "proc/6/oom_score": b"0\n",
    "proc/5/status": STATUS,
    "proc/5/statm": b"765 380 353 5 0 90 0\n",
    "proc/5/oom_score_adj": b"-998\n",
    "proc/5/oom_score": b"670\n",
    "proc/5/cgroup": CGROUP,
    "proc/meminfo": MEMINFO,
    "proc/zoneinfo": ZONEINFO,
    "proc/swaps": SWAPS,
    "proc/pressure/memory": PRESSURE,
    "proc/sys/kernel/osrelease": b"6.12.117+deb13-cloud-amd64\n",
    "proc/sys/vm/swappiness": b"60\n",
    "proc/sys/vm/panic_on_oom": b"1\n",
    "sys/fs/cgroup/box/memory.max": b"1048576\n",
    "sys/fs/cgroup/box/memory.swap.max": b"max\n",
    "sys/fs/cgroup/box/memory.current": b"4096\n",
    "sys/fs/cgroup/box/memory.oom.group": b"1\n",
    "sys/fs/cgroup/box/memory.stat": MEMORY_STAT,
    "sys/fs/cgroup/box/memory.pressure": PRESSURE,
    "sys/fs/cgroup/box/memory.events": b"low 0\nmax 70\noom 6\noom_kill 5\noom_group_kill 2\n",
    "sys/fs/cgroup/box/cgroup.procs": b"5\n6\n",
    "sys/fs/cgroup/cgroup.controllers": b"cpu memory pids\n",
}
"""Files of a machine by where they are; for some of them any content at all makes sense."""


def machine_of(root: Path) -> Machine:
    machine = Machine(root)
    machine.cgroup("/box", (5, 6), max="1048576", oom_group="1")
    for pid in (5, 6):
        machine.process(pid, cgroup="/box")
    for place, content in PLACES.items():
        machine.write(place, content)
    return machine


def tell(root: Path) -> None:
    """All that `oomsayer node` does, twice over, since the second look at a machine is another one."""
    try:
        scanner = Scanner(root, own=root)
        try:
            for _ in range(2):
                shot = scanner.snapshot()
                told = verdicts(shot)
                json.dumps(document(shot, told)).encode()
                assert all(c.isprintable() or c == "\n" for c in table(shot, told, wide=True))
        finally:
            scanner.close()
    except UnreadableNodeError:
        return  # the one error that the command turns into a sentence


def test_no_file_of_a_machine_raises(tmp_path: Path) -> None:
    machine = machine_of(tmp_path)

    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(st.data())
    def search(data: st.DataObject) -> None:
        places = data.draw(st.lists(st.sampled_from(sorted(PLACES)), min_size=1, max_size=3, unique=True))
        for place in places:
            machine.write(place, data.draw(mangled(PLACES[place])))
        tell(tmp_path)
        for place in places:
            machine.write(place, PLACES[place])

    search()


MACHINES = sorted(CORPUS.glob("machine/*"))


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.name)
def test_what_was_found_once_in_a_machine(tmp_path: Path, path: Path) -> None:
    machine = machine_of(tmp_path)
    for place, content in json.loads(path.read_text()).items():
        machine.write(place, content.encode("latin-1"))
    tell(tmp_path)


def test_extremes_of_the_numbers_that_a_kernel_can_show(tmp_path: Path) -> None:
    for adj, pages, limit in product(("-1000", "1000"), ("0", str(2**52)), ("0", "4095", str(2**63 - 4096))):
        machine = machine_of(tmp_path)
        machine.write("proc/5/oom_score_adj", adj)
        machine.write("proc/5/statm", f"{pages} {pages} 0 0 0 0 0\n")
        machine.write("sys/fs/cgroup/box/memory.max", limit)
        tell(tmp_path)
