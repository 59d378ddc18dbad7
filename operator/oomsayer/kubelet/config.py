"""The part of a KubeletConfiguration that decides about memory.

Source: k8s.io/kubelet/config/v1beta1/types.go; pkg/kubelet/eviction/helpers.go and defaults_linux.go of
Kubernetes 1.36.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oomsayer.kubelet.quantity import parse_quantity

MEMORY_AVAILABLE = "memory.available"
"""The eviction signal that is about the node's memory."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_DURATION = re.compile(f"(?:{_PART.pattern})+")


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """What the kubelet was told.

    Attributes:
        eviction_hard: threshold of memory.available, a quantity or a percentage; "" for none.
        eviction_soft: the same, that must be met for the grace period.
        eviction_soft_grace_seconds: that period.
        enforce_pods: whether kubepods has a limit, with a threshold of its own.
        single_process_oom_kill: whether containers are without memory.oom.group; None where it is not said.
        known: whether this was read from the node, rather than taken from the defaults.
    """

    eviction_hard: str = "100Mi"
    eviction_soft: str = ""
    eviction_soft_grace_seconds: float = 0.0
    enforce_pods: bool = True
    single_process_oom_kill: bool | None = None
    known: bool = False


DEFAULTS = KubeletConfig()
"""What a kubelet does that was told nothing."""


def read_configz(answer: Mapping[str, Any]) -> KubeletConfig:
    """The configuration in the answer of the kubelet's /configz.

    Raises:
        ValueError: it is none.
    """
    config = answer.get("kubeletconfig")
    if not isinstance(config, Mapping):
        raise ValueError("the answer of /configz has no kubeletconfig")  # noqa: TRY004 - it is content, no type
    hard = config.get("evictionHard")
    soft = str((config.get("evictionSoft") or {}).get(MEMORY_AVAILABLE, ""))
    grace = str((config.get("evictionSoftGracePeriod") or {}).get(MEMORY_AVAILABLE, "0s"))
    single = config.get("singleProcessOOMKill")
    result = KubeletConfig(
        eviction_hard=DEFAULTS.eviction_hard if hard is None else str(hard.get(MEMORY_AVAILABLE, "")),
        eviction_soft=soft,
        eviction_soft_grace_seconds=duration_seconds(grace),
        enforce_pods="pods" in (config.get("enforceNodeAllocatable") or ()),
        single_process_oom_kill=None if single is None else bool(single),
        known=True,
    )
    for threshold in (result.eviction_hard, result.eviction_soft):
        threshold_bytes(threshold, 1)
    return result


def threshold_bytes(threshold: str, capacity_bytes: int) -> int | None:
    """A threshold in bytes; None for one that never is met: "", 0 % and 100 %.

    Raises:
        ValueError: it is neither a quantity nor a percentage.
    """
    if threshold in ("", "0%", "100%"):
        return None
    if threshold.endswith("%"):
        percent = float(threshold[:-1])
        if not 0 <= percent <= 100:  # noqa: PLR2004 - of the whole
            raise ValueError(f"{threshold!r} is no percentage from 0% to 100%")
        return int(percent / 100 * capacity_bytes)
    return parse_quantity(threshold)


def duration_seconds(text: str) -> float:
    """A duration as Go writes it: "1m30s", "250ms", "0".

    Raises:
        ValueError: it is none.
    """
    if text != "0" and not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration, such as 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
