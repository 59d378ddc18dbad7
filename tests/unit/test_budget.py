from hypothesis import given
from hypothesis import strategies as st

from oomsayer.api.budget import Bucket

WAITS = st.lists(st.floats(0, 100), min_size=1, max_size=60)


@given(WAITS)
def test_a_bucket_never_gives_more_than_its_capacity_and_what_came_back(waits: list[float]) -> None:
    bucket = Bucket(3, 10.0)
    now = taken = 0.0
    for wait in waits:
        now += wait
        taken += bucket.take(now)
    assert taken <= 3 + now / 10 + 1e-6


@given(WAITS)
def test_there_is_a_token_after_the_wait_that_a_bucket_tells(waits: list[float]) -> None:
    bucket = Bucket(2, 30.0)
    now = 1000.0
    for wait in waits:
        now += wait
        told = bucket.wait(now)
        assert (told == 0.0) is bucket.take(now)
        if told:
            now += told + 1e-6
            assert bucket.take(now)
