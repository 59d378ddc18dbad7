"""What of the operator's requests needs no API server to be shown."""

import asyncio
from typing import cast

import aiohttp
import kopf

from oomsayer.controller.apiserver import ApiServer


def test_no_request_takes_up_connections_that_are_being_closed() -> None:
    async def closing() -> bool:
        api = ApiServer(lambda: kopf.ConnectionInfo(server="http://127.0.0.1:1"))
        begun, go_on = asyncio.Event(), asyncio.Event()

        class Session:
            async def close(self) -> None:
                begun.set()
                await go_on.wait()

        old = cast("aiohttp.ClientSession", Session())
        api._session = old  # noqa: SLF001 - no other way
        task = asyncio.create_task(api.close())
        await begun.wait()
        session, _ = api._connect()  # noqa: SLF001 - as another request would
        go_on.set()
        await task
        fresh = session is not old and api._session is session  # noqa: SLF001 - likewise
        await api.close()
        return fresh

    assert asyncio.run(closing())
