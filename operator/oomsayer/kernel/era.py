"""Which rules of mm/oom_kill.c a kernel follows.

An era is a span of releases in which the choice of a victim is computed alike. Stable and
vendor kernels backport, so a feature that can be observed outranks the release number.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

SIGNED_SCORE_FLOOR = 666
"""/proc/PID/oom_score of a tiny process at oom_score_adj 0, where badness is signed (fs/proc/base.c, 5.9)."""
UNSIGNED_SCORE_CEILING = 600
"""A tiny process scores near 0 where badness is unsigned; below this there is no doubt."""


class Tie(StrEnum):
    """Which of two equally bad processes the scan keeps."""

    FIRST = "first"
    LAST = "last"


class RssSource(StrEnum):
    """Which /proc counter shows the resident pages that oom_badness() itself reads."""

    STATM = "statm"
    """/proc/PID/statm: the killer's own counter (<= 6.1), or the same exact sum (7.0+)."""
    STAT = "stat"
    """Field 24 of /proc/PID/stat: the global part of a per-CPU counter, all the killer of 6.2-6.19 reads."""


class RootBonus(StrEnum):
    """What a process with CAP_SYS_ADMIN is forgiven."""

    OF_PAGES = "3 % of its pages"
    """3.14 to 4.16."""
    OF_TOTALPAGES = "30 of its oom_score_adj"
    """Up to 3.13, which is 3 % of totalpages."""


@dataclass(frozen=True, slots=True)
class Era:
    """The rules of one span of kernels.

    Attributes:
        name: E0 to E7, oldest first.
        since: first mainline release, as (major, minor).
        releases: the span in words, for people.
        source: where this was read.
        signed: badness may go below zero and LONG_MIN marks the ineligible (5.9+); else the floor is 1.
        root_bonus: what a CAP_SYS_ADMIN process is forgiven (until 4.16).
        spares_sharers: one at oom_score_adj -1000 outlives those with whom it shares its memory (until 4.7).
        sacrifice_child: an eligible child with its own memory dies in its parent's place (until 5.0).
        tie: which of two equal scores wins.
        rss_source: the counter to read.
        counts_holes: totalpages of memory nodes has the holes between their pages in it (until 5.3).
        memcg_by_mems: a memory cgroup's OOM passes over processes that may use none of the memory nodes of
            the one that asks (until 5.2).
    """

    name: str
    since: tuple[int, int]
    releases: str
    source: str
    signed: bool = True
    root_bonus: RootBonus | None = None
    spares_sharers: bool = False
    sacrifice_child: bool = False
    tie: Tie = Tie.LAST
    rss_source: RssSource = RssSource.STATM
    counts_holes: bool = False
    memcg_by_mems: bool = False


ERAS: tuple[Era, ...] = (
    Era(
        "E0",
        (3, 6),
        "up to 4.7",
        "mm/oom_kill.c 3.10.0-1160.el7, 4.4.155",
        signed=False,
        root_bonus=RootBonus.OF_PAGES,
        spares_sharers=True,
        sacrifice_child=True,
        tie=Tie.FIRST,
        counts_holes=True,
        memcg_by_mems=True,
    ),
    Era(
        "E1",
        (4, 8),
        "4.8 to 4.16",
        "mm/oom_kill.c 4.9.154, 4.16.13",
        signed=False,
        root_bonus=RootBonus.OF_PAGES,
        sacrifice_child=True,
        tie=Tie.FIRST,
        counts_holes=True,
        memcg_by_mems=True,
    ),
    Era(
        "E2",
        (4, 17),
        "4.17 to 5.0",
        "mm/oom_kill.c 4.17.0, 4.19.222, 5.0.1",
        signed=False,
        sacrifice_child=True,
        tie=Tie.FIRST,
        counts_holes=True,
        memcg_by_mems=True,
    ),
    Era(
        "E3",
        (5, 1),
        "5.1 and 5.2",
        "mm/oom_kill.c 5.2.1",
        signed=False,
        tie=Tie.FIRST,
        counts_holes=True,
        memcg_by_mems=True,
    ),
    Era("E4", (5, 3), "5.3 to 5.8", "mm/oom_kill.c 5.3.1, 5.8.1", signed=False),
    Era("E5", (5, 9), "5.9 to 6.1", "mm/oom_kill.c 5.9.1, 6.1.158"),
    Era("E6", (6, 2), "6.2 to 6.19", "mm/oom_kill.c 6.2.1, 6.18.44", rss_source=RssSource.STAT),
    Era("E7", (7, 0), "7.0 and later", "mm/oom_kill.c 7.0-rc6, 7.1.5"),
)

NEWEST_KNOWN = (7, 2)
"""The newest mainline release whose rules were compared with a real kernel."""


@dataclass(frozen=True, slots=True)
class Detection:
    """An era and how it was arrived at; `doubts` are sentences for the verdict's assumptions."""

    era: Era
    doubts: tuple[str, ...] = ()


def release_version(release: str) -> tuple[int, int] | None:
    """Major and minor number of a `uname -r` string, None where it has none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else None


def stable_release(release: str) -> tuple[int, ...]:
    """The first three numbers of a release, such as 5.4.144; empty where it has fewer."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", release)
    return tuple(map(int, match.groups())) if match else ()


def detect(release: str, small_oom_score: int | None = None) -> Detection:
    """The era of a running kernel.

    Args:
        release: `uname -r`, e.g. "6.12.0-18-cloud-amd64".
        small_oom_score: /proc/PID/oom_score of a small process with oom_score_adj 0, where one was
            read. At least 666 proves signed badness, below 600 disproves it (5.4.144+ has it backported).
    """
    version = release_version(release)
    if version is None:
        return Detection(ERAS[-1], (f"kernel release {release!r} is not a version: taken as the newest era",))
    era = next((e for e in reversed(ERAS) if e.since <= version), ERAS[0])
    doubts: list[str] = []
    if version > NEWEST_KNOWN:
        doubts.append(
            f"kernel {release} is newer than any checked here: taken as {era.name} ({era.releases})"
        )
    score = small_oom_score
    if score is not None and score >= SIGNED_SCORE_FLOOR and not era.signed:
        era = era_named("E5")
        doubts.append(f"kernel {release} has signed badness backported: taken as E5")
    elif score is not None and score < UNSIGNED_SCORE_CEILING and era.signed:
        era = era_named("E4")
        doubts.append(f"kernel {release} shows unsigned badness: taken as E4")
    of_rhel8 = _el8(release)
    if era.sacrifice_child and of_rhel8 is not None:
        era = of_rhel8
        doubts.append(f"kernel {release} sacrifices no child, as from 5.1 on: taken as {era.name}")
    return Detection(era, tuple(doubts))


def _el8(release: str) -> Era | None:
    """What comes nearest to the 4.18 of RHEL 8, as far as it was read; None for any other kernel.

    From 8.1 on (4.18.0-147.el8) no child dies for its parent, and by 8.3 (4.18.0-240.22.1.el8_3) the last of
    equals wins; with memory nodes it still does as E3.
    """
    match = re.match(r"4\.18\.0-(\d{1,6})\b.*\.el8", release)
    build = int(match[1]) if match else 0
    if build < _EL8_NO_CHILD:
        return None
    return era_named("E4" if build >= _EL8_LAST_WINS else "E3")


_EL8_NO_CHILD = 147
_EL8_LAST_WINS = 240


def era_named(name: str) -> Era:
    """The era called `name`.

    Raises:
        ValueError: no era has that name.
    """
    for era in ERAS:
        if era.name == name:
            return era
    raise ValueError(f"no kernel era is called {name!r}: known are {', '.join(e.name for e in ERAS)}")
