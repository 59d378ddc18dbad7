import asyncio
from typing import cast

from tests.unit.controller_objects import policy, report

from oomsayer.controller.apiserver import ApiServer
from oomsayer.controller.relist import Relist
from oomsayer.controller.state import State


class Api:
    """Lists what there is."""

    def __init__(self, policies: list[str], forecasts: list[str]) -> None:
        self.policies = policies
        self.forecasts = forecasts

    async def names(self, path: str, *, cached: bool = False) -> list[str]:
        assert cached is path.endswith("/oomforecasts")  # a policy that is new must not look deleted
        return self.policies if path.endswith("/oompolicies") else self.forecasts


def test_what_was_deleted_while_nobody_watched_is_found_once() -> None:
    state, gone, changes = State(), list[str](), list[int]()
    state.saw_policy(policy("silent", 20))
    state.saw_policy(policy("kept", 10))
    state.saw_report(report(), change=False)
    api = Api(["kept"], ["n1", "n2"])
    relist = Relist(cast("ApiServer", api), state, gone.append, lambda: changes.append(1))

    asyncio.run(relist.once())
    assert (set(state.policy_objects), changes, gone) == ({"kept"}, [1], ["n2"])
    asyncio.run(relist.once())
    assert (changes, gone) == ([1], ["n2"])
    state.lost_report("n1")
    asyncio.run(relist.once())
    assert gone == ["n2", "n1"]
