"""What `oomsayer explain --output json|yaml` prints: an object for a report; scripts rely on its fields."""

import json
from typing import TypeAlias

from oomsayer.cli.text import valid
from oomsayer.kernel.explain import Change, Explanation
from oomsayer.kernel.report.choice import Ranked

_Fields: TypeAlias = dict[str, object]


def document(index: int, explanation: Explanation) -> str:
    """One explanation as a JSON object in one line; `index` counts from 1."""
    return json.dumps(fields(index, explanation))


def fields(index: int, explanation: Explanation) -> _Fields:
    """One explanation, before it is made JSON; what is not known is None."""
    report = explanation.report
    return {
        "index": index,
        "kernel": report.kernel,
        "era": explanation.era_name,
        "domain": {
            "kind": explanation.kind.value if explanation.kind else "unknown",
            "path": explanation.path,
        },
        "totalpages": explanation.totalpages,
        "candidates": [_candidate(candidate) for candidate in explanation.candidates],
        "predicted": _who(explanation.predicted),
        "killed": [{"pid": pid, "comm": valid(comm)} for pid, comm in explanation.killed],
        "agrees": explanation.agrees,
        "because": explanation.because,
        "next": _next(explanation),
        "complete": explanation.complete,
        "missing": list(explanation.missing),
    }


def _candidate(candidate: Ranked) -> _Fields:
    row = candidate.row
    return {
        "pid": row.pid,
        "comm": valid(row.comm),
        "uid": None if row.uid < 0 else row.uid,
        "oom_score_adj": row.oom_score_adj,
        "rss_pages": row.rss_pages,
        "swap_pages": row.swap_pages,
        "pgtables_bytes": None if row.pgtables is None else candidate.task.pgtables_bytes,
        "points": candidate.points,
        "eligible": candidate.eligible,
    }


def _who(candidate: Ranked | None) -> _Fields | None:
    if candidate is None:
        return None
    return {"pid": candidate.row.pid, "comm": valid(candidate.row.comm), "points": candidate.points}


def _next(explanation: Explanation) -> _Fields | None:
    """Who was next; and what would have changed the choice, with the one it is reckoned against."""
    who = _who(explanation.next)
    if who is None or explanation.next is None:
        return None
    who["oom_score_adj"] = explanation.next.row.oom_score_adj
    who["changes"] = None if explanation.change is None else _change(explanation.change)
    return who


def _change(change: Change) -> _Fields:
    return {
        "runner_up": _who(change.runner_up),
        "victim_oom_score_adj_at_most": change.victim_oom_score_adj,
        "victim_bytes_less": change.victim_bytes,
        "next_oom_score_adj_at_least": change.next_oom_score_adj,
        "next_bytes_more": change.next_bytes,
    }
