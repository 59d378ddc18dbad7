"""Whatever a log holds: no exception, no waiting, no growth. What fuzzing once found is an example here."""

import json
import os
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.oom_report_text import CONTAINER_PATH, Row, Text

from oomsayer.cli.explain_json import document
from oomsayer.cli.explain_table import text
from oomsayer.kernel.explain import explain
from oomsayer.kernel.oomscan import oom_reports

EXAMPLES = int(os.environ.get("OOMSAYER_FUZZ_EXAMPLES", "100"))
"""How far to search: 100000 takes long."""
pytestmark = pytest.mark.timeout(120 + EXAMPLES // 5)
"""Seconds: as long as any other test, and a fifth of one for each example, on a busy machine."""
ROWS = (Row(100, "big", 90_000), Row(200, "small", 400, adj=500))
SAMPLES = [
    sample
    for style, kernel in (
        ("3.10", "3.10.0-1160.el7"),
        ("4.8", "4.9.1"),
        ("4.19", "4.19.0"),
        ("6.8", "6.12.1"),
    )
    for sample in (
        Text(ROWS, (100,), style=style, kernel=kernel),
        Text(ROWS, (100,), style=style, kernel=kernel, memcg=CONTAINER_PATH, group=CONTAINER_PATH),
    )
]
DATED = (
    b"java invoked oom-killer: gfp_mask=0xd0, order=0, oom_adj=0, oom_score_adj=0",
    b"java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=0, order=0, oom_score_adj=0",
    b"Killed process 100, UID 48, (httpd) total-vm:8kB, anon-rss:4kB, file-rss:0kB",
    b"Out of memory: Killed process 100, UID 48, (httpd).",
    b"Killed process 200 (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB",
    b"[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name<br>",
    b"SysRq : Manual OOM execution",
    b"Task in /docker/a",
    b" killed as a result of limit of /docker",
    b"Memory cgroup stats for /a: cache:0KB rss:4KB",
    b"java cpuset=/ mems_allowed=0",
    b"Memory cgroup min protection 0kB",
    b"Memory cgroup out of memory: Kill process 100 (a) score 9 or sacrifice child Killed process 200 (b)",
)
"""Of releases that no report mixes."""
LINES = sorted({*DATED, *(line.encode() for sample in SAMPLES for line in sample.lines())})
PREFIXES = (
    b"",
    b"[  12.5] ",
    b"Nov 24 01:02:03 n kernel: ",
    b"6,1,2,-;",
    b'{"log":"',
    b"<6>1 2026 h k - - - ",
)


def mangled(data: st.DataObject, line: bytes) -> bytes:
    kind = data.draw(st.integers(0, 5))
    at = data.draw(st.integers(0, len(line)))
    if kind == 0:
        return line[:at]
    if kind == 1:
        return line[at:]
    if kind == 2:
        return line[:at] + data.draw(st.binary(max_size=8)) + line[at:]
    if kind == 3:
        return line[:at] + data.draw(st.sampled_from(LINES))
    if kind == 4:
        return line.replace(b"100", data.draw(st.sampled_from([b"-1", b"9" * 30, b"0", b"1", b"\xff", b""])))
    return line


def all_output(blocks: list[bytes]) -> int:
    found = 0
    for found, report in enumerate(oom_reports(blocks), start=1):
        told = explain(report)
        json.loads(document(found, told))
        assert all(c.isprintable() or c == "\n" for c in text(found, told))
    return found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_mangled_report_raises(data: st.DataObject) -> None:
    lines = list(data.draw(st.sampled_from(SAMPLES)).lines())
    raw = [mangled(data, line.encode()) if data.draw(st.booleans()) else line.encode() for line in lines]
    prefix = data.draw(st.sampled_from(PREFIXES))
    log = b"\n".join(prefix + line for line in raw)
    size = data.draw(st.integers(1, max(len(log), 1)))
    all_output([log[at : at + size] for at in range(0, len(log), size)])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=60))
def test_no_order_of_lines_raises(lines: list[bytes]) -> None:
    all_output([b"\n".join(lines)])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=2000))
@example(b"x invoked oom-killer")
@example(b"oom-kill:constraint=CONSTRAINT_,task=,pid=,uid=")
@example(b"[1] 1 1 1 1 1 1 1 1\n")
@example(b"Out of memory: Killed process 0 () total-vm:0kB, anon-rss:0kB, file-rss:0kB")
def test_no_bytes_raise(raw: bytes) -> None:
    all_output([raw])


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(st.data())
def test_the_blocks_make_no_difference(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=3))
    log = "".join(sample.text() for sample in chosen).encode()
    size = data.draw(st.integers(1, len(log)))
    whole = [explain(report).killed for report in oom_reports([log])]
    assert whole == [
        explain(r).killed for r in oom_reports(log[at : at + size] for at in range(0, len(log), size))
    ]


HEADER = b"java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
TABLE = b"[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n"


@pytest.mark.parametrize(
    "line",
    [
        HEADER,
        TABLE,
        HEADER + TABLE + b"[    100]     0   100     1121      884    53248       29             0 bash\n",
        b"Memory cgroup out of memory: Killed process 100 (x) total-vm:4kB, anon-rss:4kB, file-rss:0kB\n",
        b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)" + b",cpuset=/,mems_allowed=0" * 40 + b"\n",
        b"oom-kill:constraint=CONSTRAINT_NONE,task=" + b",pid=1" * 900 + b"\n",
        b"oom-kill:constraint=CONSTRAINT_NONE"
        + b",cpuset=/,mems_allowed=0,oom_memcg=/a,task=c" * 200
        + b"\n",
        b"oom-kill:constraint=CONSTRAINT_NONE" + b",oom_memcg=/a,task_memcg=/b,task=c,pid=1" * 300 + b"\n",
        b"Kill process 1 (" + b"(" * 4000 + b"\n",
        b"Tasks in /" + b" are going to be killed" * 200 + b"\n",
        b"[  12.5]" * 900 + b"\n",
        b"Nov 24 01:02:03 a b: " * 400 + b" invoked oom-killer\n",
        b"invoked oom-killer" * 400 + b"\n",
        b"\x1b[" * 3000 + b"Killed process \n",
        b'{"log":' * 900 + b" invoked oom-killer\n",
        b'"message": "' + b"\\" * 8000 + b" invoked oom-killer\n",
        b"Task in /" + b" killed as a result of limit of /" * 200 + b"\n",
        b"Node 0 Normal free:1kB " + b"present:" * 900 + b"\n",
        b"Tainted: " + b"G " * 4000 + b"Killed process \n",
        b"Killed process 1 (" * 900 + b"\n",
        b"mems_allowed=0-9999" + b",0-9999" * 900 + b" oom-kill:constraint=CONSTRAINT_CPUSET\n",
        b"[ " + b" 1" * 4000 + b" invoked oom-killer\n",
        b" " * 8000 + b" invoked oom-killer\n",
    ],
    ids=lambda line: line[:24].decode("ascii", "replace").strip(),
)
def test_time_grows_no_faster_than_the_log(line: bytes) -> None:
    def seconds(count: int) -> float:
        block = line * count
        started = time.process_time()
        for _ in oom_reports([block[at : at + 262_144] for at in range(0, len(block), 262_144)]):
            pass
        return time.process_time() - started

    count = max(30_000 // len(line), 4)
    seconds(1)
    # Eight times the log: a little more than eight times the time; quadratic would be sixty-four times.
    assert seconds(count * 8) < 24 * seconds(count) + 0.5


def test_memory_does_not_grow_with_the_log() -> None:
    def peak(megabytes: int) -> int:
        rows = tuple(Row(pid, "x", pid) for pid in range(2, 300))
        noise = b"Nov 24 01:02:03 n kubelet[1]: " + b"x" * 90 + b"\n"

        def blocks() -> Iterator[bytes]:
            for index in range(megabytes * 4):
                yield (
                    Text(rows, (200,), ram=(1_000_000 + index, 0)).text().encode() if index % 8 == 0 else b""
                )
                yield noise * 2000
                yield b"y" * 50_000

        tracemalloc.start()
        for report in oom_reports(blocks()):
            explain(report)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(12) < peak(4) * 1.3


def test_a_table_of_a_hundred_thousand_rows_is_kept_within_bounds() -> None:
    rows = b"".join(
        b"[%7d]     0 %5d     1121      884    53248       29             0 x\n" % (n, n)
        for n in range(100_000)
    )
    (report,) = oom_reports([HEADER + TABLE + rows])
    told = explain(report)
    assert len(told.candidates) == 50_000
    assert any("50000 rows beyond" in sentence for sentence in told.missing)
    assert not told.complete
