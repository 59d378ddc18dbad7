import ssl
from pathlib import Path

import pytest

from oomsayer.agent import kubelet as asking
from oomsayer.agent.apiserver import ApiServer
from oomsayer.agent.https import Response
from oomsayer.agent.kubelet import RENEW_SECONDS, ConfigNotReadError, ConfigReader, Kubelet, reported
from oomsayer.kubelet.config import DEFAULTS, KubeletConfig

CONFIG = KubeletConfig("400Mi", "10%", 90.0, single_process_oom_kill=False, known=True)


class Scripted(Kubelet):
    """A kubelet that answers as it is told to, the last for ever."""

    def config(self) -> KubeletConfig:
        answer = SCRIPT[min(len(ASKED), len(SCRIPT) - 1)]
        ASKED.append(answer)
        if isinstance(answer, str):
            raise ConfigNotReadError(answer)
        return answer


SCRIPT: list[KubeletConfig | str] = []
ASKED: list[KubeletConfig | str] = []


def reader(*answers: KubeletConfig | str) -> tuple[ConfigReader, list[float], list[str]]:
    SCRIPT[:], ASKED[:] = answers, []
    clock = [0.0]
    said: list[str] = []
    kubelet = Scripted("127.0.0.1", ApiServer("127.0.0.1", 1))
    return ConfigReader(kubelet, lambda: clock[0], said.append), clock, said


def test_a_configuration_is_reported_without_what_is_at_its_default() -> None:
    assert reported(CONFIG) == {
        "evictionHard": "400Mi",
        "evictionSoft": "10%",
        "evictionSoftGraceSeconds": 90.0,
        "enforcePods": True,
        "singleProcessOOMKill": False,
    }
    assert reported(KubeletConfig("", enforce_pods=False)) == {}


def test_it_is_asked_for_again_only_when_it_is_old() -> None:
    config, clock, _ = reader(CONFIG, KubeletConfig("1Gi", known=True))
    assert config.known == DEFAULTS
    assert config.reported() == config.reported() == {"kubelet": reported(CONFIG)}
    clock[0] = RENEW_SECONDS
    assert config.reported()["kubelet"]["evictionHard"] == "1Gi"
    assert config.known.eviction_hard == "1Gi"
    assert len(ASKED) == 2


def test_what_was_known_outlives_a_kubelet_that_is_away_and_the_trouble_is_told_once() -> None:
    config, clock, said = reader(CONFIG, "away", "away", CONFIG, "away")
    for turn in range(5):
        clock[0] = turn * RENEW_SECONDS
        assert config.reported() == {"kubelet": reported(CONFIG)}
    assert said == ["evictions are foretold by what was known before, or defaults: away"] * 2


def test_without_a_kubelet_to_ask_nothing_is_asked() -> None:
    config = ConfigReader(None, lambda: 0.0, pytest.fail)
    assert (config.reported(), config.known) == ({}, DEFAULTS)


def test_a_kubelet_that_does_not_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    kubelet = Kubelet("127.0.0.1", ApiServer("127.0.0.1", 1, tmp_path), insecure=True, port=1)
    with pytest.raises(ConfigNotReadError, match=r"the kubelet at 127\.0\.0\.1:1: ConnectionRefusedError"):
        kubelet.config()


class Telling:
    """In place of a connection: it tells what it is made to."""

    open = True

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.contexts: list[ssl.SSLContext] = []

    def connect(self, _host: str, _port: int, context: ssl.SSLContext, _timeout: float) -> "Telling":
        self.contexts.append(context)
        return self

    def request(self, *_: object) -> Response:
        return Response(200, "OK", {}, self.body)

    def close(self) -> None:
        self.open = False


def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes) -> tuple[Kubelet, Telling]:
    telling = Telling(body)
    monkeypatch.setattr(asking, "HttpsConnection", telling.connect)
    (tmp_path / "token").write_text("t")
    return Kubelet("h", ApiServer("h", 1, tmp_path), insecure=True), telling


@pytest.mark.parametrize(
    "body",
    [b"ok", b"[]", b"[" * 65536, b"{}", b'{"kubeletconfig": {"evictionHard": "1Gi"}}',
     b'{"kubeletconfig": {"enforceNodeAllocatable": 1}}'],
)  # fmt: skip
def test_an_answer_of_another_form_is_no_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes
) -> None:
    kubelet, telling = told(monkeypatch, tmp_path, body)
    with pytest.raises(ConfigNotReadError, match="the kubelet at h:10250 told no configuration: "):
        kubelet.config()
    assert not telling.open


def test_who_trusts_any_certificate_reads_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kubelet, telling = told(monkeypatch, tmp_path, b'{"kubeletconfig": {}}')
    kubelet.config()
    (context,) = telling.contexts

    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname
    assert context.cert_store_stats()["x509"] == 0
