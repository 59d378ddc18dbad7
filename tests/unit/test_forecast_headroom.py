"""Room left before the OOM killer runs."""

from dataclasses import replace

from oomsayer.forecast.headroom import Headroom, binding, headroom
from oomsayer.kernel.domain import Domain, DomainKind
from oomsayer.kernel.era import ERAS
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, MemoryNode, Snapshot

MIB = 1 << 20
POD = Domain(DomainKind.MEMCG, "/pod", 1)
FULL = Memcg("/pod", max_bytes=100 * MIB, usage_bytes=90 * MIB, reclaimable_bytes=20 * MIB)
NO_SWAP = Memory(4096, 1000 * MIB)
SWAP = replace(NO_SWAP, swap_total_bytes=50 * MIB, swap_free_bytes=40 * MIB)


def snapshot(memory: Memory, *memcgs: Memcg) -> Snapshot:
    return Snapshot("6.12.0", ERAS[-1], 2, memory, (), {m.path: m for m in (Memcg(ROOT), *memcgs)})


def test_page_cache_is_room_and_anonymous_memory_is_not() -> None:
    assert headroom(POD, snapshot(NO_SWAP, FULL)) == Headroom(100 * MIB, 90 * MIB, 30 * MIB)


def test_swap_is_room_as_far_as_it_reaches() -> None:
    assert headroom(POD, snapshot(SWAP, FULL)).headroom_bytes == 70 * MIB
    # What is not there yet can be swapped too once it is.
    empty = replace(FULL, usage_bytes=20 * MIB)
    assert headroom(POD, snapshot(SWAP, empty)).headroom_bytes == 140 * MIB
    capped = replace(FULL, swap_max_bytes=16 * MIB, swap_usage_bytes=6 * MIB)
    assert headroom(POD, snapshot(SWAP, capped)).headroom_bytes == 40 * MIB


def test_a_swap_limit_further_up_binds_too() -> None:
    above = Memcg("/up", swap_max_bytes=8 * MIB, swap_usage_bytes=8 * MIB)
    below = replace(FULL, path="/up/pod")
    domain = replace(POD, path="/up/pod")
    assert headroom(domain, snapshot(SWAP, above, below)).headroom_bytes == 30 * MIB


def test_of_several_swap_limits_the_one_that_leaves_least_binds() -> None:
    def room(inner: int, outer: int) -> int | None:
        above = Memcg("/up", swap_max_bytes=outer * MIB)
        below = replace(FULL, path="/up/pod", swap_max_bytes=inner * MIB)
        return headroom(replace(POD, path="/up/pod"), snapshot(SWAP, above, below)).headroom_bytes

    assert (room(10, 20), room(20, 10), room(70, 60)) == (40 * MIB, 40 * MIB, 70 * MIB)


def test_swapping_does_not_help_against_the_sum_of_memory_and_swap() -> None:
    v1 = replace(FULL, memsw_max_bytes=100 * MIB, memsw_usage_bytes=95 * MIB, swappiness=60)
    assert headroom(POD, snapshot(SWAP, v1)).headroom_bytes == 25 * MIB


def test_what_could_not_be_read_is_unknown() -> None:
    blind = replace(FULL, usage_bytes=None)
    assert headroom(POD, snapshot(NO_SWAP, blind)) == Headroom(100 * MIB, None, None)
    assert headroom(POD, snapshot(NO_SWAP, blind)).share is None


def test_memory_nodes_have_the_room_of_their_own_zones() -> None:
    nodes = (MemoryNode(0, 1000, 1000, 900, 50), MemoryNode(1, 500, 500, 100, 60, 20))
    memory = replace(SWAP, nodes=nodes)
    second = Domain(DomainKind.CPUSET, "cpuset.mems=1", 1, frozenset({1}))
    # 100 free and 60 of page cache, less the 20 that are kept back; and what swap still takes.
    expected = Headroom(500 * 4096, 400 * 4096, 140 * 4096 + 40 * MIB)
    assert headroom(second, snapshot(memory)) == expected
    assert headroom(second, snapshot(replace(memory, swap_free_bytes=0))).headroom_bytes == 140 * 4096


def test_the_nodes_room_ends_at_the_watermarks() -> None:
    memory = replace(
        SWAP, free_bytes=100 * MIB, file_bytes=200 * MIB, anon_bytes=30 * MIB, watermark_min_bytes=10 * MIB
    )
    node = Domain(DomainKind.NODE, ROOT, 1)
    assert headroom(node, snapshot(memory)) == Headroom(1000 * MIB, 900 * MIB, 330 * MIB)
    assert headroom(node, snapshot(memory)).share == 0.33
    assert headroom(node, snapshot(memory)).demand_bytes == 670 * MIB


def test_zram_frees_half_of_what_the_node_puts_there_and_all_of_what_a_cgroup_does() -> None:
    memory = replace(SWAP, free_bytes=100 * MIB, file_bytes=0, zram_free_bytes=30 * MIB)
    node = Domain(DomainKind.NODE, ROOT, 1)
    assert headroom(node, snapshot(memory)).headroom_bytes == 125 * MIB
    assert headroom(POD, snapshot(memory, FULL)).headroom_bytes == 70 * MIB


def test_the_level_with_the_least_room_binds_and_of_equals_the_lower() -> None:
    def rooms(**bytes_left: int | None) -> dict[str, Headroom]:
        paths = {"node": ROOT, "pods": "/pods", "pod": "/pods/a", "box": "/pods/a/box"}
        return {paths[name]: Headroom(None, None, left) for name, left in bytes_left.items()}

    assert binding("/pods/a/box", rooms(box=5, pod=5, node=9)) == "/pods/a/box"
    assert binding("/pods/a/box", rooms(box=5, pod=3, pods=4, node=9)) == "/pods/a"
    assert binding("/pods/a/box", rooms(box=5, pod=None, node=2)) == ROOT
    assert binding("/pods/a/box", rooms(box=None, node=None)) == "/pods/a/box"
    assert binding(ROOT, rooms(box=1, node=2)) == ROOT
