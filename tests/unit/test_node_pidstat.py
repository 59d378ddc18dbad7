import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.node.pidstat import PF_EXITING, PF_KTHREAD, PF_SIGNALED, SIGKILL_BIT, parse

CAT = (
    b"25778 (%s) R 25770 25770 23708 0 -1 4194304 101 0 7 0 0 0 0 0 20 0 3 0 145368 3133440 380 "
    b"18446744073709551615 93856377384960 93856377404841 140729058078720 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 "
    b"93856377420848 93856377422464 93856856465408 140729058085562 140729058085582 140729058085582 "
    b"140729058086891 0\n"
)


def test_fields_of_a_process() -> None:
    stat = parse(CAT % b"cat")
    assert stat is not None
    assert stat._asdict() == {
        "comm": "cat",
        "state": "R",
        "parent": 25770,
        "flags": 4194304,
        "faults": 108,
        "threads": 3,
        "start_time": 145368,
        "vsize_bytes": 3133440,
        "rss_pages": 380,
        "signals": 0,
        "stack": 140729058078720,
    }
    assert not stat.kernel_thread
    assert not stat.dying


@pytest.mark.parametrize(
    "comm", [b"a b", b")", b") S 1 (", b"", b"new\nline 1 2 3", b"((((", b"\xff\xfe", "größe".encode()]
)
def test_a_name_may_hold_anything(comm: bytes) -> None:
    stat = parse(CAT % comm)
    assert stat is not None
    assert stat.comm.encode("utf-8", "surrogateescape") == comm
    assert (stat.parent, stat.rss_pages) == (25770, 380)


@given(st.binary())
def test_any_name_that_is_not_cut_short_is_read(comm: bytes) -> None:
    stat = parse(CAT % comm)
    assert stat is not None
    assert stat.comm.encode("utf-8", "surrogateescape") == comm


@given(st.binary(), st.integers(0, 200))
def test_a_file_cut_short_is_unknown_and_never_an_error(noise: bytes, length: int) -> None:
    parse(noise)
    parse((CAT % b"cat")[:length] + noise)
    assert parse((CAT % b"cat")[:100]) is None


@pytest.mark.parametrize(
    ("flags", "signals", "dying"),
    [
        (0, SIGKILL_BIT, True),
        (PF_EXITING | PF_SIGNALED, 0, True),
        (PF_EXITING, 0, False),
        (PF_SIGNALED, 0, False),
        (0, 1 << 14, False),
    ],
)
def test_who_is_on_the_way_out(*, flags: int, signals: int, dying: bool) -> None:
    stat = parse(CAT % b"cat")
    assert stat is not None
    assert stat._replace(flags=flags, signals=signals).dying is dying


def test_kernel_threads_are_told_by_their_flag() -> None:
    stat = parse(CAT % b"kthreadd")
    assert stat is not None
    assert stat._replace(flags=PF_KTHREAD | 64).kernel_thread
