"""What an Event says: one sentence of who would die, where, why that one, and how much room is left. Pure."""

from oomsayer.api.duration import span
from oomsayer.api.forecast import Risk, ScoredKill
from oomsayer.api.quantity import binary
from oomsayer.api.words import capital
from oomsayer.controller.forecast import Outlook, room_bytes
from oomsayer.controller.names import Names
from oomsayer.forecast.match import MissReason, Outcome
from oomsayer.forecast.oomtime import Sureness
from oomsayer.kernel.badness import rss_swap_pgtables
from oomsayer.kernel.snapshot import ROOT, Snapshot, Task
from oomsayer.kernel.verdict import Candidate, Confidence, Verdict

NOTE_BYTES = 1024
"""The API server refuses a longer Event.note."""

_PATH_CHARACTERS = 160
_NAME_CHARACTERS = 200


def risk_note(outlook: Outlook, snapshot: Snapshot, names: Names, node: str) -> str:
    """The note of the Event with which a risk begins."""
    verdict = outlook.verdict
    victim = verdict.victim
    if victim is None:
        return fit(f"{_room(outlook)} left {_where(outlook, node)}, where no process can be killed.")
    return fit(
        f"With {_room(outlook)} left, the next OOM {_where(outlook, node)}{_when(outlook)} kills "
        f"{_who(victim.task, names)}{_together(verdict)}: {_why(verdict, snapshot, names)}"
        f"{_doubt(verdict)}."
    )


def ended_note(risk: Risk, outlook: Outlook | None, node: str) -> str:
    """The note of the Event with which a risk ends."""
    domain = _short(risk.domain_name or risk.domain, _NAME_CHARACTERS)
    if outlook is None:
        return fit(f"{domain} is gone, and the risk that {risk.comm} is killed there with it.")
    where = _where(outlook, node)
    victim = outlook.verdict.victim
    if victim is not None and victim.task.pid != risk.pid and victim.task.comm != risk.comm:
        return fit(f"{risk.comm} is no longer the next victim {where}: {_room(outlook)} is left there.")
    return fit(
        f"{capital(_room(outlook))} is left {where} again: {risk.comm} is no longer near being killed."
    )


def kill_note(kill: ScoredKill, node: str) -> str:
    """The note of the Event about a kill: what died, why it, what was foretold, what became of the rest."""
    return fit(
        f"The OOM killer took {_taken(kill)}{_ran_out(kill, node)}{_cause(kill)}. "
        f"{_verdict(kill)}. {_warned(kill)}{_container(kill)}"
    )


def _taken(kill: ScoredKill) -> str:
    place = f"container {kill.container} of pod {kill.pod}" if kill.container else f"pod {kill.pod}"
    if not kill.pod:
        path = _short(kill.cgroup, _PATH_CHARACTERS) if kill.cgroup else ""
        place = f"cgroup {path}" if path else "a cgroup that is not known"
    if kill.pid is None:
        name = f"{kill.comm} of" if kill.comm else "a process of"
        others = f" ({kill.deaths} processes are gone)" if kill.deaths > 1 else ""
        return f"{name} {place}{others}"
    others = f" and {kill.deaths - 1} more with it" if kill.deaths > 1 else ""
    return f"{kill.comm} (pid {kill.pid}, {place}){others}"


def _ran_out(kill: ScoredKill, node: str) -> str:
    if kill.domain is None:
        return ""
    if kill.domain == ROOT:
        return f" when node {_short(node, _NAME_CHARACTERS)} ran out of memory"
    return f" when {_short(kill.domain_name or kill.domain, _NAME_CHARACTERS)} ran out of memory"


def _cause(kill: ScoredKill) -> str:
    if kill.rss_bytes is None:
        return ""
    adj = "" if kill.oom_score_adj is None else f" at oom_score_adj {kill.oom_score_adj}"
    margin = kill.foretold.margin_bytes if kill.foretold and kill.outcome is Outcome.HIT else None
    lead = f", {binary(margin)} of badness ahead of the next" if margin and margin > 0 else ""
    return f": it held {binary(kill.rss_bytes)}{adj}{lead}"


def _verdict(kill: ScoredKill) -> str:
    if kill.outcome is Outcome.HIT:
        return "This was foretold"
    if kill.outcome is Outcome.KILL_SET_HIT:
        return "It was foretold to die with others"
    if kill.outcome is Outcome.UNFORESEEN:
        return "No forecast stood"
    if kill.outcome is Outcome.UNKNOWN:
        return "Whether it was foretold cannot be told"
    other = f"{kill.foretold.comm} (pid {kill.foretold.pid}) was" if kill.foretold else "another was"
    return f"Missed: {other} foretold{_MISSED[kill.reason]}"


_MISSED = {
    MissReason.NOT_SAMPLED_IN_TIME: ", and the victim started or grew after the last sample",
    MissReason.MARGIN_BELOW_PRECISION: ", and the two were too close to tell apart",
    MissReason.UNKNOWN_DOMAIN: " elsewhere, and no sample had seen what ran out of memory",
    MissReason.UNEXPLAINED: ", and it is not known why it came otherwise",
    None: "",
}


def _warned(kill: ScoredKill) -> str:
    if kill.warned_since is None:
        return "No warning had come before."
    event = f" (Event {_short(kill.warning, _NAME_CHARACTERS)})" if kill.warning else ""
    return f"A warning stood since {kill.warned_since:%H:%M:%S} UTC{event}."


def _container(kill: ScoredKill) -> str:
    if not kill.container:
        return ""
    if kill.exit_code is None:
        return " The container goes on: its status does not show this."
    return f" The container ended with exit code {kill.exit_code}."


def _room(outlook: Outlook) -> str:
    room, limit = room_bytes(outlook.room), outlook.room.limit_bytes
    if room is None or not limit:
        return "an unknown amount"
    return f"{binary(room)} of {binary(limit)}"


def _when(outlook: Outlook) -> str:
    time = outlook.time
    if time.earliest is None or time.open:
        return ""
    sure = "" if time.sureness is Sureness.HIGH else ", with low confidence"
    return f" (at the present growth {span(time.earliest, time.latest)}{sure})"


def _where(outlook: Outlook, node: str) -> str:
    if outlook.kind == "node":
        return f"of node {_short(node, _NAME_CHARACTERS)}"
    if outlook.kind == "cpuset":
        return f"in {_short(outlook.path, _PATH_CHARACTERS)} of node {_short(node, _NAME_CHARACTERS)}"
    if outlook.kind == "cgroup":
        return f"in cgroup {_short(outlook.path, _PATH_CHARACTERS)}"
    return f"in {_short(outlook.name, _NAME_CHARACTERS)}"


def _who(task: Task, names: Names) -> str:
    place = names.place(task.memcg)
    if place.container:
        where = f"container {place.container} of pod {place.pod_name}"
    elif place.pod_uid:
        where = place.whose
    else:
        where = f"a host process outside pods, in {_short(task.memcg, _PATH_CHARACTERS)}"
    return f"{task.comm} (pid {task.pid}, {where})"


def _together(verdict: Verdict) -> str:
    others = verdict.kill_set.deaths - 1
    if not others:
        return ""
    return f" and {others} more with it"


def _why(verdict: Verdict, snapshot: Snapshot, names: Names) -> str:
    victim, other = verdict.victim, verdict.runner_up
    if victim is None or other is None:
        return "it is the only process there that can be killed"
    if verdict.chosen is not None:
        parent = verdict.chosen.task
        return f"it dies for its parent {parent.comm} (pid {parent.pid}), the worst there, as up to Linux 5.0"
    return _compared(victim, other, snapshot, names)


def _compared(victim: Candidate, other: Candidate, snapshot: Snapshot, names: Names) -> str:
    rival = _rival(other, victim, names)
    mine, its = _held(victim, snapshot), _held(other, snapshot)
    adj, its_adj = victim.task.oom_score_adj, other.task.oom_score_adj
    if victim.points == other.points:
        return f"it and {rival} are level, and the kernel's order of scan decides"
    if adj == its_adj:
        return f"it holds {binary(mine)}, {binary(mine - its)} more than {rival}"
    if adj < its_adj:
        return (
            f"its {binary(mine)} outweigh the {binary(its)} and higher oom_score_adj ({its_adj}) of {rival}"
        )
    if mine >= its:
        return (
            f"it holds {binary(mine)} at oom_score_adj {adj}, "
            f"more of both than the {binary(its)} at {its_adj} of {rival}"
        )
    return f"its oom_score_adj {adj} outweighs that {rival} holds more ({binary(its)} to its {binary(mine)})"


def _rival(other: Candidate, victim: Candidate, names: Names) -> str:
    name = f"runner-up {other.task.comm} (pid {other.task.pid}"
    place = names.place(other.task.memcg)
    mine = names.place(victim.task.memcg)
    if place.pod_uid != mine.pod_uid:
        return f"{name}, {place.whose})"
    if place.container != mine.container and place.container:
        return f"{name}, container {place.container})"
    return f"{name})"


def _held(candidate: Candidate, snapshot: Snapshot) -> int:
    page_size = snapshot.memory.page_size
    return rss_swap_pgtables(candidate.task, snapshot.era, page_size) * page_size


def _doubt(verdict: Verdict) -> str:
    if verdict.confidence is Confidence.HIGH:
        return ""
    return f" (confidence {verdict.confidence})"


def _short(text: str, characters: int) -> str:
    """Keep both ends: the front of a path says whose it is, the end what it is."""
    if len(text) <= characters:
        return text
    half = (characters - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def fit(note: str) -> str:
    """As much of a note as an Event may have."""
    encoded = note.encode("utf-8", "replace")
    if len(encoded) <= NOTE_BYTES:
        return encoded.decode()
    return encoded[: NOTE_BYTES - 3].decode("utf-8", "ignore") + "..."
