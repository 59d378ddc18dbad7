from typing import Any

import pytest

from oomsayer.kubelet.config import DEFAULTS, KubeletConfig, duration_seconds, read_configz, threshold_bytes

MI = 1 << 20


def configz(**config: Any) -> KubeletConfig:  # noqa: ANN401 - any part of a KubeletConfiguration
    return read_configz({"kubeletconfig": config})


def test_what_decides_about_memory_is_read() -> None:
    assert configz(
        evictionHard={"memory.available": "400Mi", "nodefs.available": "10%"},
        evictionSoft={"memory.available": "10%"},
        evictionSoftGracePeriod={"memory.available": "1m30s"},
        enforceNodeAllocatable=["pods"],
        singleProcessOOMKill=True,
    ) == KubeletConfig("400Mi", "10%", 90.0, enforce_pods=True, single_process_oom_kill=True, known=True)


def test_what_a_kubelet_does_not_say_is_not_known() -> None:
    assert configz() == KubeletConfig(enforce_pods=False, single_process_oom_kill=None, known=True)


def test_a_hard_threshold_that_is_left_out_of_a_list_is_none() -> None:
    assert configz(evictionHard={"nodefs.available": "10%"}).eviction_hard == ""
    assert configz().eviction_hard == DEFAULTS.eviction_hard == "100Mi"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, "no kubeletconfig"),
        ({"kubeletconfig": []}, "no kubeletconfig"),
        ({"kubeletconfig": {"evictionHard": {"memory.available": "much"}}}, "'much' is no quantity"),
        (
            {"kubeletconfig": {"evictionSoftGracePeriod": {"memory.available": "soon"}}},
            "'soon' is no",
        ),
    ],
)
def test_an_answer_of_no_use_is_refused(answer: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_configz(answer)


@pytest.mark.parametrize(
    ("threshold", "count"),
    [("100Mi", 100 * MI), ("5%", 50 * MI), ("12.5%", 125 * MI), ("", None), ("0%", None), ("100%", None)],
)
def test_thresholds_are_quantities_or_shares(threshold: str, count: int | None) -> None:
    assert threshold_bytes(threshold, 1000 * MI) == count


@pytest.mark.parametrize("threshold", ["inf%", "nan%", "-5%", "101%", "%", "much"])
def test_no_threshold(threshold: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        threshold_bytes(threshold, 1000 * MI)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("90s", 90), ("1m30s", 90), ("1h0m0.5s", 3600.5), ("250ms", 0.25)],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert duration_seconds(text) == seconds
