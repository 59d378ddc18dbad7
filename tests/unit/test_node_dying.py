from tests.unit.made_up_process import a_process

from oomsayer.node.dying import REAPED_SECONDS, Dying


def test_a_victim_is_in_flight_until_its_memory_must_be_gone() -> None:
    dying, process = Dying(), a_process(10)
    assert dying.sort([process], 1, 100.0) == ({10}, set())
    assert dying.sort([process], 1, 100.0 + REAPED_SECONDS) == ({10}, set())
    assert dying.sort([process], 1, 100.1 + REAPED_SECONDS) == (set(), {10})
    assert dying.sort([], None, 200.0) == (set(), set())
    assert dying.sort([process], 1, 201.0) == ({10}, set())


def test_where_nobody_was_ever_killed_for_memory_nobody_is_a_victim() -> None:
    assert Dying().sort([a_process(10)], 0, 100.0) == (set(), set())


def test_where_kills_are_not_counted_a_dying_process_may_be_one() -> None:
    assert Dying().sort([a_process(10)], None, 100.0) == ({10}, set())
