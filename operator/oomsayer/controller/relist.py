"""What was deleted while nobody watched: after a gap, or a restart, a watch tells only what there is."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from oomsayer.api.vocabulary import API_VERSION, FORECAST_PLURAL, POLICY_PLURAL
from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.state import State

log = logging.getLogger(__name__)

SETTLED_SECONDS = 10.0
"""By then the watches have told what there is."""
RELIST_SECONDS = 120.0
"""How often the names of policies and forecasts are listed."""


class Relist:
    """Lists names, and says which are gone.

    Args:
        api: the API server.
        state: what the watches have told; policies that are gone are taken out of it.
        node_gone: called with the name of a node that has a forecast and no report, once.
        policies_changed: called when a policy that is gone was in force.
    """

    def __init__(
        self,
        api: ApiServer,
        state: State,
        node_gone: Callable[[str], None],
        policies_changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._state = state
        self._node_gone = node_gone
        self._policies_changed = policies_changed
        self._told: set[str] = set()

    async def run(self) -> None:
        """Again and again, for ever."""
        await asyncio.sleep(SETTLED_SECONDS)
        while True:
            with suppress(ApiError):
                await self.once()
            await asyncio.sleep(RELIST_SECONDS)

    async def once(self) -> None:
        """List once.

        Raises:
            ApiError: the API server does not answer.
        """
        held = set(self._state.policy_objects)
        for name in held - set(await self._api.names(f"/apis/{API_VERSION}/{POLICY_PLURAL}")):
            log.info("policy %s is gone", name)
            if self._state.lost_policy(name):
                self._policies_changed()
        # Big, and one for each node: a name that is a moment old does no harm, since the report is asked for.
        forecasts = set(await self._api.names(f"/apis/{API_VERSION}/{FORECAST_PLURAL}", cached=True))
        gone = forecasts - self._state.reports.keys()
        for node in gone - self._told:
            self._node_gone(node)
        self._told = gone
