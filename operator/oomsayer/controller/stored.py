"""The OOMForecasts as the API server has them: read, and written where they say something new."""

import logging
from typing import Any

from pydantic import ValidationError

from oomsayer.api.forecast import OOMForecastStatus
from oomsayer.api.vocabulary import API_VERSION, FORECAST_KIND, FORECAST_PLURAL, JSON_PATCH
from oomsayer.controller import status
from oomsayer.controller.apiserver import ApiError, ApiServer

log = logging.getLogger(__name__)

_FORECASTS = f"/apis/{API_VERSION}/{FORECAST_PLURAL}"


class Forecasts:
    """Reads and writes them, by the name of their node."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    async def get(self, name: str) -> dict[str, Any] | None:
        """A node's forecast, None where there is none.

        Raises:
            ApiError: it could not be read.
        """
        try:
            return await self._api.get(f"{_FORECASTS}/{name}")
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def write(
        self,
        stored: dict[str, Any] | None,
        before: OOMForecastStatus | None,
        after: OOMForecastStatus,
        node_uid: str | None,
    ) -> dict[str, Any]:
        """Write a status where it says something new; the forecast as it is stored then.

        Args:
            stored: the forecast, None where there is none.
            before: its status.
            after: what it should be.
            node_uid: of the Node that a new forecast goes with, None where that is not known.

        Raises:
            ApiError: it could not be written, or somebody else has written it since it was read.
        """
        if stored is not None and not status.worth_writing(before, after):
            return stored
        if stored is None:
            stored = await self._api.create(_FORECASTS, _new(after.node, node_uid))
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": _version(stored)},
            {"op": "add", "path": "/status", "value": status.wire(after)},
        ]
        return await self._api.patch(f"{_FORECASTS}/{after.node}/status", body, JSON_PATCH)


def status_of(stored: dict[str, Any] | None) -> OOMForecastStatus | None:
    """The status of a stored forecast; one that cannot be read is as good as none."""
    if stored is None or not stored.get("status"):
        return None
    try:
        return OOMForecastStatus.model_validate(stored["status"])
    except ValidationError as error:
        log.warning("forecast %s cannot be read and is made anew: %s", stored["metadata"]["name"], error)
        return None


def _new(name: str, node_uid: str | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if node_uid:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}]
    return {"apiVersion": API_VERSION, "kind": FORECAST_KIND, "metadata": metadata}


def _version(stored: dict[str, Any]) -> str:
    return str(stored["metadata"]["resourceVersion"])
