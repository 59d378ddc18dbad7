"""What `oomsayer node --check` prints: our oom_score of every process against the kernel's."""

from collections.abc import Iterator

from oomsayer.cli.columns import aligned
from oomsayer.cli.text import harmless, valid
from oomsayer.node.selfcheck import SelfCheck

_HEADER = ("PID", "NAME", "OURS", "KERNEL", "WHY")
_RIGHT = frozenset({"PID", "OURS", "KERNEL"})


def check_table(check: SelfCheck) -> str:
    """For people."""
    return "\n".join(_lines(check)) + "\n"


def _lines(check: SelfCheck) -> Iterator[str]:
    snapshot = check.snapshot
    yield harmless(f"Kernel {snapshot.kernel} (rules of {snapshot.era.releases})")
    same = check.compared - len(check.mismatches)
    again = f" ({check.again} of them when looked at again)" if check.again else ""
    yield f"{same} of {check.compared} processes have the oom_score that we compute{again}."
    if check.mismatches:
        yield ""
        rows = [
            (str(m.task.pid), harmless(m.task.comm), str(m.ours), str(m.kernels), m.because.value)
            for m in check.mismatches
        ]
        yield from aligned([_HEADER, *rows], _RIGHT)
    if check.unexplained:
        yield ""
        yield "Forecasts for this kernel may be wrong. Please report it, with this output and `uname -a`."


def check_document(check: SelfCheck) -> dict[str, object]:
    """For scripts."""
    return {
        "kernel": valid(check.snapshot.kernel),
        "era": check.snapshot.era.name,
        "compared": check.compared,
        "agreed_later": check.again,
        "unexplained": check.unexplained,
        "mismatches": [
            {
                "pid": m.task.pid,
                "comm": valid(m.task.comm),
                "oom_score_adj": m.task.oom_score_adj,
                "ours": m.ours,
                "kernel": m.kernels,
                "because": m.because.name.lower(),
            }
            for m in check.mismatches
        ],
    }
