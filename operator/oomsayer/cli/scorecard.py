"""`oomsayer scorecard`: how forecasts have come out, by node, and the last kills one by one."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from oomsayer.api.forecast import ForecastVictim, Scorecard, ScoredKill
from oomsayer.api.quantity import binary
from oomsayer.cli import cluster
from oomsayer.cli.cluster import ClusterError
from oomsayer.cli.columns import aligned
from oomsayer.cli.output import data
from oomsayer.cli.text import harmless, shortened
from oomsayer.controller.scorecard import right
from oomsayer.forecast.match import MissReason, Outcome

Json = dict[str, Any]

_COUNTS = ("kills", "hits", "kill_set_hits", "misses", "unforeseen", "unknown", "warned")
_HEADER = ("NODE", "RIGHT", "KILLS", "HITS", "KILL-SET", "MISSES", "UNFORESEEN", "UNKNOWN", "WARNED", "SINCE")
_RIGHT_ALIGNED = frozenset(_HEADER[1:9])
_KILLS_HEADER = ("WHEN", "NODE", "KILLED", "CONTAINER", "RAN OUT", "HELD", "OUTCOME", "FORETOLD")
_NONE = "-"
_KILLS_SHOWN = 20
_NAME_COLUMNS = 44
_OUTCOMES = {
    Outcome.HIT: "hit",
    Outcome.KILL_SET_HIT: "kill-set hit",
    Outcome.MISS: "miss",
    Outcome.UNFORESEEN: "unforeseen",
    Outcome.UNKNOWN: "unknown",
}
_REASONS = {
    MissReason.NOT_SAMPLED_IN_TIME: "not sampled in time",
    MissReason.MARGIN_BELOW_PRECISION: "margin below precision",
    MissReason.UNKNOWN_DOMAIN: "unknown domain",
    MissReason.UNEXPLAINED: "unexplained",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `oomsayer scorecard` takes."""
    parser.add_argument("node", nargs="?", metavar="NODE", help="one node (default: all)")
    cluster.add_arguments(parser)


def run(args: Namespace) -> int:
    """Print the scorecards; the exit status."""
    try:
        cards = scorecards(cluster.Cluster(args).forecasts())
        if args.node is not None:
            cards = _only(args.node, cards)
        answer = table(understood(cards)) if args.output == "table" else data(cards, args.output)
    except ClusterError as error:
        print(f"oomsayer scorecard: {error}", file=sys.stderr)
        return 1
    print(answer, end="")
    return 0


def scorecards(forecasts: Sequence[Json]) -> dict[str, Json]:
    """The scorecard of each node as the API has it, empty where nothing was counted yet."""
    return {
        str(forecast["metadata"]["name"]): (forecast.get("status") or {}).get("scorecard") or {}
        for forecast in sorted(forecasts, key=lambda forecast: str(forecast["metadata"]["name"]))
    }


def _only(node: str, cards: Mapping[str, Json]) -> dict[str, Json]:
    if node not in cards:
        raise ClusterError(f"no forecast of a node {node}")
    return {node: cards[node]}


def understood(cards: Mapping[str, Json]) -> dict[str, Scorecard | None]:
    """The same as models, None where nothing was counted yet.

    Raises:
        ClusterError: one does not validate.
    """
    found: dict[str, Scorecard | None] = {}
    for node, card in cards.items():
        try:
            found[node] = Scorecard.model_validate(card) if card else None
        except ValidationError as error:
            raise ClusterError(
                f"the scorecard of {node} is not understood: is the operator newer?"
            ) from error
    return found


def table(cards: Mapping[str, Scorecard | None]) -> str:
    """Scorecards for people: a line a node and one for all, then the last kills, newest first."""
    counted = {node: card for node, card in cards.items() if card is not None}
    rows = [_HEADER, *(_row(node, card) for node, card in cards.items())]
    if len(cards) > 1:
        rows.append(_total(counted.values()))
    kills = [(node, kill) for node, card in counted.items() for kill in card.last]
    kills.sort(key=lambda entry: entry[1].at, reverse=True)
    lines = list(aligned(rows, _RIGHT_ALIGNED))
    if kills:
        shown = [_kill(node, kill) for node, kill in kills[:_KILLS_SHOWN]]
        lines += ["", *aligned([_KILLS_HEADER, *shown], {"HELD"})]
    if len(kills) > _KILLS_SHOWN:
        lines.append(f"and {len(kills) - _KILLS_SHOWN} more: give a NODE for its own")
    return "\n".join([*lines, *_notes(kill for _, kill in kills)]) + "\n"


def _row(node: str, card: Scorecard | None) -> tuple[str, ...]:
    if card is None:
        return (node, _NONE, *("0" for _ in _COUNTS), _NONE)
    counts = (str(getattr(card, name)) for name in _COUNTS)
    return (node, card.right or _NONE, *counts, f"{card.since.astimezone(UTC):%Y-%m-%d}")


def _total(cards: Collection[Scorecard]) -> tuple[str, ...]:
    total = {name: sum(getattr(card, name) for card in cards) for name in _COUNTS}
    ratio = right(total["hits"], total["kill_set_hits"], total["misses"])
    return ("all", ratio or _NONE, *map(str, total.values()), _NONE)


def _kill(node: str, kill: ScoredKill) -> tuple[str, ...]:
    place = "/".join(part for part in (kill.pod, kill.container) if part)
    outcome = _OUTCOMES[kill.outcome]
    if kill.reason is not None:
        outcome += f": {_REASONS[kill.reason]}"
    return (
        _moment(kill.at),
        node,
        _who(kill),
        shortened(harmless(place or kill.cgroup or _NONE), _NAME_COLUMNS),
        shortened(harmless(_domain(kill, place)), _NAME_COLUMNS),
        _NONE if kill.rss_bytes is None else binary(kill.rss_bytes),
        outcome,
        _NONE if kill.foretold is None else _who(kill.foretold),
    )


def _domain(kill: ScoredKill, place: str) -> str:
    """What ran out, in one word where it is the victim's own."""
    name = kill.domain_name or kill.domain or _NONE
    kind, _, rest = name.partition(" ")
    return kind if rest and place.startswith(rest) else name


def _who(process: ScoredKill | ForecastVictim) -> str:
    if process.pid is not None:
        return f"{harmless(process.comm)} ({process.pid})"
    return f"{harmless(process.comm)} (?)" if process.comm else "?"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _notes(kills: Iterable[ScoredKill]) -> Iterator[str]:
    if any(kill.pid is None for kill in kills):
        yield ""
        yield "? is a process that the counters alone do not tell; the kernel's log would (agent.kernelLog)."
