"""History from a real Prometheus: what it remembers, and what happens when it does not answer."""

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from lab.native.pki import Authority
from lab.ports import any_free
from lab.prometheus import Prometheus
from tests.api.prometheus import remember
from tests.api.running_operator import Operator
from tests.api.server import ApiServer, Installation, eventually
from tests.api.shop import MI, Container, Process, Shop, node_status

from oomsayer.controller import history
from oomsayer.controller.history import PrometheusHistory
from oomsayer.forecast.growth import Growth
from oomsayer.forecast.headroom import Headroom
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel.snapshot import ROOT

BURSTABLE = "/kubepods.slice/kubepods-burstable.slice"
POD = f"{BURSTABLE}/kubepods-burstable-pod0d5c9a2e_3b1f_4c7a_9e8d_112233445566.slice"
OLD, NEW = (f"{POD}/cri-containerd-{digit * 64}.scope" for digit in "ab")
OTHER = POD.replace("112233445566", "112233445577")
LEAK = Growth(0.9 * MI, 1.0 * MI, 1.1 * MI, 120.0, 400 * MI)
"""What the agent sees of a tooth."""
ROOMS = {path: Headroom(1024 * MI, 400 * MI, 624 * MI) for path in (POD, OLD, NEW, OTHER, f"{OTHER}/x", ROOT)}


def tooth(seconds: float) -> float:
    """A sawtooth of half an hour between 100 and 500 MiB."""
    return (100 + (seconds % 1800) / 1800 * 400) * MI


def last(minutes: int, value: Callable[[float], float], until: float = 0.0) -> list[tuple[float, float]]:
    """Points every 30 seconds of the last so many minutes, by the time before now."""
    now = int(time.time())
    return [(now - ago, value(now - ago)) for ago in range(minutes * 60, int(until), -30) if now - ago < now]


def used(path: str, metric: str = "working_set_bytes", instance: str = "n1") -> str:
    return f'container_memory_{metric}{{id="{path}",instance="{instance}"}}'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), any_free())
    remember(
        server,
        {
            # The old container leaked and was killed an hour ago; the new one breathes.
            used(OLD): last(118, lambda at: (at % 3600) / 10 * MI, until=3600),
            used(NEW): last(100, tooth),
            used(NEW, instance="a second scrape"): last(100, tooth),
            used(POD): last(118, tooth),
            used(OTHER): last(60, lambda at: (at - time.time() + 3600) / 10 * MI),
            used(f"{OTHER}/x"): last(60, lambda _: 900 * MI),
            used(f"{OTHER}/x", "total_active_file_bytes"): last(60, lambda at: (900 - at % 60) * MI),
            'oomsayer_forecast_headroom_bytes{domain="node",node="n1"}': last(
                110, lambda at: 8192 * MI - tooth(at)
            ),
            'oomsayer_forecast_headroom_bytes{domain="closest",node="n1"}': last(110, lambda _: 1.0),
        },
    )
    server.start()
    yield server
    server.stop()


def extended(
    url: str, paths: tuple[str, ...], node: str = "n1", ca_file: Path | None = None
) -> tuple[Watched, str | None]:
    """What is told once Prometheus was asked, and what the trouble was."""
    watched = Watched(dict.fromkeys(paths, LEAK), seconds=120)

    async def ask() -> tuple[Watched, str | None]:
        answered = asyncio.Event()
        known = PrometheusHistory(url, lambda _: answered.set(), ca_file=ca_file)
        assert known.extend(node, watched, ROOMS) == watched
        await asyncio.wait_for(answered.wait(), 15)
        told = known.extend(node, watched, ROOMS)
        await known.close()
        return told, known.trouble

    return asyncio.run(ask())


def test_a_sawtooth_that_the_agent_took_for_a_leak(prometheus: Prometheus) -> None:
    told, trouble = extended(prometheus.url, (NEW,))
    growth = told.growths[NEW]
    assert trouble == ""
    assert growth.returns >= 3
    assert growth.low <= 0
    assert growth.middle < LEAK.middle / 20
    assert growth.level_bytes >= (400 + 50) * MI or math.isclose(growth.level_bytes, 400 * MI, rel_tol=0.2)


def test_a_certificate_of_an_authority_of_ones_own(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    authority.create()
    server = Prometheus(tmp_path / "prometheus", any_free(), authority)
    server.directory.mkdir()
    remember(server, {used(NEW): last(100, tooth)})
    server.start()
    try:
        _, trouble = extended(server.url, (NEW,))
        assert trouble is not None
        assert trouble.endswith("its certificate is not trusted (unable to get local issuer certificate)")
        told, trouble = extended(server.url, (NEW,), ca_file=authority.certificate)
        assert trouble == ""
        assert told.growths[NEW].returns >= 3
        _, trouble = extended(server.url, (NEW,), ca_file=tmp_path / "gone.crt")
        assert trouble is not None
        assert "gone.crt" in trouble
    finally:
        server.stop()


def test_a_pod_is_told_of_since_its_youngest_container_began(prometheus: Prometheus) -> None:
    told, _ = extended(prometheus.url, (POD,))
    assert told.growths[POD].returns >= 3
    assert told.growths[POD].seconds <= 101 * 60


def test_a_leak_that_goes_on_for_an_hour_is_sure(prometheus: Prometheus) -> None:
    slow = replace(LEAK, low=0.05 * MI, middle=0.1 * MI, high=0.2 * MI)
    watched = Watched({OTHER: slow}, seconds=120)

    async def ask() -> Watched:
        answered = asyncio.Event()
        known = PrometheusHistory(prometheus.url, lambda _: answered.set())
        known.extend("n1", watched, ROOMS)
        await asyncio.wait_for(answered.wait(), 15)
        return known.extend("n1", watched, ROOMS)

    growth = asyncio.run(ask()).growths[OTHER]
    assert growth.seconds > 3000
    assert growth.low <= 0.1 * MI <= growth.high
    assert growth.high - growth.low < 0.05 * MI


def test_active_page_cache_is_no_demand(prometheus: Prometheus) -> None:
    told, _ = extended(prometheus.url, (f"{OTHER}/x",))
    assert told.growths[f"{OTHER}/x"].middle < MI


def test_the_nodes_own_series_tells_of_the_node(prometheus: Prometheus) -> None:
    told, trouble = extended(prometheus.url, (ROOT,))
    assert trouble == ""
    assert told.growths[ROOT].returns >= 3
    unknown, trouble = extended(prometheus.url, (ROOT,), node='n"2')
    assert (unknown.growths[ROOT], trouble) == (LEAK, "")


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>a login page</html>", "Expecting value"),
        (b"{}", "'data'"),
        (b'{"data": {"result": "much"}}', "no series by id"),
        (b'{"data": {"result": [{"metric": {}, "values": []}]}}', "no series by id"),
        (b'{"data": {"result": [{"metric": {"id": "/x"}, "values": [[1, "many"]]}]}}', "no series by id"),
    ],
)
def test_nonsense_is_told_as_such(body: bytes, said: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    with serving(answer) as url:
        told, trouble = extended(url, (NEW,))
    assert told.growths == {NEW: LEAK}
    assert trouble is not None
    assert said in trouble


def test_what_is_no_number_is_no_point() -> None:
    body = b'{"data": {"result": [{"metric": {"id": "%s"}, "values": [%s]}]}}' % (
        NEW.encode(),
        b",".join(b'[%d, "NaN"]' % second for second in range(20)),
    )

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)

    with serving(answer) as url:
        assert extended(url, (NEW,)) == (Watched({NEW: LEAK}, seconds=120), "")


def test_a_prometheus_that_is_away_or_overloaded_is_left_alone_for_a_while() -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        handler.send_response(503)
        handler.end_headers()

    async def ask_twice(url: str) -> str | None:
        answered = asyncio.Event()
        known = PrometheusHistory(url, lambda _: answered.set())
        for node in ("n1", "n2", "n1"):
            known.extend(node, Watched({NEW: LEAK}, seconds=120), ROOMS)
            await asyncio.wait_for(answered.wait(), 15)
            if (query := known.query) is not None:
                await asyncio.wait([query])
        await known.close()
        return known.trouble

    with serving(answer) as url:
        trouble = asyncio.run(ask_twice(url))
    assert len(asked) == 1
    assert trouble is not None
    assert "503" in trouble
    _, trouble = extended(f"http://127.0.0.1:{any_free()}", (NEW,))
    assert trouble is not None
    assert trouble.endswith("cannot be reached ([Errno 111] Connection refused)")


def test_nobody_waits_for_one_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        told, trouble = extended(f"http://127.0.0.1:{mute.getsockname()[1]}", (NEW,))
    assert time.monotonic() - began < 5
    assert told.growths == {NEW: LEAK}
    assert trouble is not None
    assert "no answer within 0.5 s" in trouble


@pytest.fixture
def shop(api_server: ApiServer, installed: Installation) -> Shop:
    del installed
    return Shop(api_server)


def test_forecasts_use_what_prometheus_remembers_and_go_on_without_it(
    shop: Shop, installed: Installation, tmp_path: Path
) -> None:
    redis = Container("redis", 512, 150, (Process(101, "redis", 140),))
    memcgs = node_status(shop.uid, (redis,), 6000)["memcgs"]
    memcgs[-1]["growth"] = {"low": 900_000, "middle": 1_000_000, "high": 1_100_000, "seconds": 120}
    scope = f"cri-containerd-{redis.id}.scope"
    pod = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{shop.uid.replace('-', '_')}.slice"
    memory = Prometheus(tmp_path, any_free())
    remember(memory, {used(f"{pod}/{scope}"): last(100, lambda at: tooth(at) / 2)})
    memory.start()
    operator = Operator(
        installed.operator().kubeconfig, tmp_path / "operator.log", "op-h", "--prometheus-url", memory.url
    )

    def trend() -> str:
        return next(
            (
                str(domain["timeToOOM"]["trend"])
                for domain in shop.status().get("domains", ())
                if domain["path"].endswith(scope)
            ),
            "",
        )

    try:
        operator.lead()
        shop.report(memcgs=memcgs, tasks=[], watchedSeconds=120)
        eventually(lambda: shop.condition("History") == ("True", "PrometheusAnswers"), "history")
        eventually(lambda: trend() == "not growing", "the sawtooth to be known for one")
        memory.stop()
    finally:
        operator.terminate()
        memory.stop()
    operator.lead()
    shop.report(memcgs=memcgs, tasks=[], watchedSeconds=121)
    eventually(lambda: shop.condition("History") == ("False", "PrometheusFails"), "the trouble is told")
    assert trend() == "growing"
    operator.terminate()
