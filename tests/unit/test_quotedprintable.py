import quopri
import re

from hypothesis import example, given
from hypothesis import strategies as st

from oomsayer.kernel.logtext.quotedprintable import decoded

LINES = (
    "[12.5] java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    "[12.6] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a",
    "[12.7] Memory cgroup out of memory: Killed process 7 (caf\u00e9 =3D)",
    "",
    "x" * 200,
    "key=value",
    "=",
)


def in_blocks(data: bytes, size: int) -> bytes:
    return b"".join(decoded(data[at : at + size] for at in range(0, len(data), size)))


@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=20), st.integers(600, 3000))
def test_a_mail_is_read_as_it_was_written_wherever_a_block_ends(lines: list[str], size: int) -> None:
    text = "\n".join([LINES[0], *lines]).encode()
    assert in_blocks(quopri.encodestring(text), size) == text


@given(st.binary(max_size=400), st.integers(1, 50))
@example(b"=3D=\n=\n=", 1)
@example(b"=3D" + b"=0A=\n" * 60, 7)
def test_whatever_it_is_given_it_ends_and_adds_nothing(data: bytes, size: int) -> None:
    assert len(in_blocks(data, size)) <= len(data)


@given(st.lists(st.sampled_from(LINES), max_size=20), st.integers(1, 3000))
def test_another_log_stays_as_it_is(lines: list[str], size: int) -> None:
    text = re.sub("=3D", "", "\n".join(lines)).encode()
    assert in_blocks(text, size) == text
