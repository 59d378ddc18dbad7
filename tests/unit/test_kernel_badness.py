"""Badness and oom_score against what kernels printed, and what their source gives by hand."""

import pytest

from oomsayer.kernel.badness import oom_badness, oom_score
from oomsayer.kernel.domain import mem_cgroup_get_max
from oomsayer.kernel.era import detect, era_named
from oomsayer.kernel.snapshot import Memcg, Memory, Sysctls, Task

PAGE = 4096
MIB = 1 << 20


def task(rss: int, swap: int, pgtables: int, adj: int, *, admin: bool = False) -> Task:
    return Task(7, 7, "p", "/", adj, rss, swap, pgtables * PAGE, cap_sys_admin=admin)


@pytest.mark.parametrize(
    ("pages", "badness", "score"),
    [
        ((3654, 0, 19, 0), 3673, 666),
        ((3675, 0, 19, 1), 9865, 667),
        ((131415, 0, 270, 0), 131685, 680),
        ((387404, 0, 769, 0), 388173, 708),
        ((54606, 0, 117, 333), 2109666, 894),
        ((259398, 0, 520, 500), 3345418, 1028),
        ((3653, 0, 19, 1000), 6174672, 1333),
    ],
)
def test_signed_badness_as_measured_on_6_18(
    pages: tuple[int, int, int, int], badness: int, score: int
) -> None:
    era = era_named("E6")
    assert oom_badness(task(*pages), 6171023, era, PAGE) == badness
    assert oom_score(task(*pages), 6171023, era, PAGE) == score


@pytest.mark.parametrize(
    ("era", "process", "badness", "score"),
    [
        ("E1", task(250000, 0, 500, 0, admin=True), 242985, 59),
        ("E1", task(250000, 0, 500, 0), 250500, 61),
        ("E2", task(250000, 0, 500, 0, admin=True), 250500, 61),
        ("E5", task(250000, 0, 500, 0), 250500, 707),
        ("E4", task(100000, 1000, 100, -997), 1, 0),
        ("E5", task(100000, 1000, 100, -997), -3982612, 18),
        ("E2", task(20000, 0, 60, 1000), 4116060, 1004),
        ("E5", task(20000, 0, 60, 1000), 4116060, 1336),
        ("E2", task(500000, 0, 900, 875), 4084900, 997),
        ("E5", task(500000, 0, 900, 875), 4084900, 1331),
    ],
)
def test_the_eras_differ_as_their_source_says(era: str, process: Task, badness: int, score: int) -> None:
    assert oom_badness(process, 4096000, era_named(era), PAGE) == badness
    assert oom_score(process, 4096000, era_named(era), PAGE) == score


@pytest.mark.parametrize(
    ("totalpages", "process", "badness"),
    [
        (131072, task(60000, 0, 130, 900), 178030),
        (131072, task(58000, 0, 120, 905), 176675),
        (131072, task(200, 0, 2, -998), -130536),
        (700, task(100, 0, 1, 1000), 101),
    ],
)
def test_oom_score_adj_weighs_by_the_domain(totalpages: int, process: Task, badness: int) -> None:
    assert oom_badness(process, totalpages, era_named("E7"), PAGE) == badness


def test_minus_1000_is_never_chosen() -> None:
    assert oom_badness(task(9999, 0, 9, -1000), 4096000, era_named("E7"), PAGE) is None
    assert oom_score(task(9999, 0, 9, -1000), 4096000, era_named("E7"), PAGE) == 0


@pytest.mark.parametrize(
    ("memcg", "swap", "swappiness", "pages"),
    [
        (Memcg("/a", max_bytes=64 * MIB), 0, 60, 16384),
        (Memcg("/a", max_bytes=64 * MIB), 32 * MIB, 60, 24576),
        (Memcg("/a", max_bytes=64 * MIB), 32 * MIB, 0, 16384),
        (Memcg("/a", max_bytes=64 * MIB, swap_max_bytes=0), 32 * MIB, 60, 16384),
        (Memcg("/a", max_bytes=64 * MIB, swap_max_bytes=16 * MIB), 32 * MIB, 60, 20480),
        (Memcg("/a", max_bytes=64 * MIB, memsw_max_bytes=72 * MIB, swappiness=60), 32 * MIB, 0, 18432),
        (Memcg("/a", max_bytes=64 * MIB, memsw_max_bytes=64 * MIB, swappiness=0), 32 * MIB, 60, 16384),
        (Memcg("/a", max_bytes=0), 0, 60, 1),
    ],
)
def test_totalpages_of_a_memory_cgroup(memcg: Memcg, swap: int, swappiness: int, pages: int) -> None:
    memory = Memory(PAGE, 1 << 32, swap)
    assert mem_cgroup_get_max(memcg, memory, Sysctls(swappiness=swappiness)) == pages


@pytest.mark.parametrize(
    ("release", "score", "era", "doubts"),
    [
        ("3.10.0-1160.el7.x86_64", None, "E0", 0),
        ("4.19.0-27-amd64", 1, "E2", 0),
        ("5.4.0-150-generic", 667, "E5", 1),
        ("4.18.0-80.el8.x86_64", 0, "E2", 0),
        ("4.18.0-147.el8.x86_64", 0, "E3", 1),
        ("4.18.0-240.22.1.el8_3.x86_64", 0, "E4", 1),
        ("4.18.0-553.el8_10.x86_64", 667, "E5", 1),
        ("5.10.0-33-amd64", 666, "E5", 0),
        ("6.1.0-40-amd64", 666, "E5", 0),
        ("6.12.117+deb13-cloud-amd64", 666, "E6", 0),
        ("7.2.1", 666, "E7", 0),
        ("7.9.0", 666, "E7", 1),
        ("6.12.0", 3, "E4", 1),
        ("weird", None, "E7", 1),
    ],
)
def test_features_outrank_the_release(release: str, score: int | None, era: str, doubts: int) -> None:
    detection = detect(release, score)
    assert (detection.era.name, len(detection.doubts)) == (era, doubts)
