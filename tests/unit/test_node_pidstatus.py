import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.node.pidstatus import parse

STATUS = b"""Name:\tcat\\nVmPTE:
State:\tR (running)
PPid:\t25614
Groups:\t %s
NStgid:\t25623\t17\t1
NSpid:\t25623
VmPeak:\t    3060 kB
VmSize:\t    3060 kB
VmHWM:\t    1620 kB
VmRSS:\t    1620 kB
VmData:\t     360 kB
VmPTE:\t      56 kB
%sVmSwap:\t       12 kB
HugetlbPages:\t       0 kB
Threads:\t1
SigPnd:\t%s
ShdPnd:\t%s
SigBlk:\t0000000000000100
CapEff:\t%s
Mems_allowed_list:\t0
"""
NONE = b"0" * 16
KILL = b"0000000000000100"


def status(
    groups: bytes = b"", pmd: bytes = b"", own: bytes = NONE, shared: bytes = NONE, caps: bytes = NONE
) -> bytes:
    return STATUS % (groups, pmd, own, shared, caps)


def test_fields_of_a_process() -> None:
    found = parse(status())
    assert found is not None
    assert found.namespace_pids == (25623, 17, 1)
    assert (found.swap_bytes, found.pgtables_bytes) == (12 * 1024, 56 * 1024)
    assert not found.sigkill_pending
    assert not found.cap_sys_admin


def test_one_namespace_is_none_to_speak_of() -> None:
    found = parse(status().replace(b"\t17\t1\n", b"\n"))
    assert found is not None
    assert found.namespace_pids == ()


def test_memory_nodes_are_told_where_they_matter() -> None:
    found, asked = parse(status()), parse(status(), mems=True)
    assert found is not None
    assert asked is not None
    assert (found.mems_allowed, asked.mems_allowed) == (None, frozenset({0}))


def test_page_middle_directories_count_where_the_kernel_tells_them_apart() -> None:
    found = parse(status(pmd=b"VmPMD:\t      12 kB\n"))
    assert found is not None
    assert found.pgtables_bytes == 68 * 1024


@pytest.mark.parametrize("pending", [{"own": KILL}, {"shared": KILL}])
def test_a_pending_sigkill_is_seen_wherever_it_pends(pending: dict[str, bytes]) -> None:
    found = parse(status(**pending))
    assert found is not None
    assert found.sigkill_pending


def test_the_capability_that_old_kernels_forgive() -> None:
    found = parse(status(caps=b"0000000000200000"))
    assert found is not None
    assert found.cap_sys_admin


def test_many_groups_do_not_push_memory_out_of_sight() -> None:
    found = parse(status(groups=b"65534 " * 60000))
    assert found is not None
    assert found.pgtables_bytes == 56 * 1024


def test_only_equal_memories_have_equal_counters() -> None:
    one, same, other = parse(status()), parse(status(own=KILL)), parse(status().replace(b"360 kB", b"364 kB"))
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.mm_counters == same.mm_counters != other.mm_counters


@given(st.binary(), st.integers(0, 500))
def test_a_file_cut_short_is_never_an_error(noise: bytes, length: int) -> None:
    parse(noise)
    parse(status()[:length] + noise)


def test_a_process_without_memory_is_none() -> None:
    assert parse(b"Name:\tkthreadd\nState:\tS (sleeping)\nThreads:\t1\n") is None
