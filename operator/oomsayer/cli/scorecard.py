"""`oomsayer scorecard`: how forecasts have come out, by node, and the last kills one by one."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from oomsayer.api.quantity import binary
from oomsayer.cli import cluster
from oomsayer.cli.columns import aligned
from oomsayer.cli.output import data
from oomsayer.cli.text import harmless, shortened

Json = dict[str, Any]

_COUNTS = ("kills", "hits", "killSetHits", "misses", "unforeseen", "unknown", "warned")
_HEADER = ("NODE", "RIGHT", "KILLS", "HITS", "KILL-SET", "MISSES", "UNFORESEEN", "UNKNOWN", "WARNED", "SINCE")
_RIGHT_ALIGNED = frozenset(_HEADER[1:9])
_KILLS_HEADER = ("WHEN", "NODE", "KILLED", "CONTAINER", "RAN OUT", "HELD", "OUTCOME", "FORETOLD")
_NONE = "-"
_KILLS_SHOWN = 20
_NAME_COLUMNS = 44
_OUTCOMES = {
    "Hit": "hit",
    "KillSetHit": "kill-set hit",
    "Miss": "miss",
    "Unforeseen": "unforeseen",
    "Unknown": "unknown",
}
_REASONS = {
    "NotSampledInTime": "not sampled in time",
    "MarginBelowPrecision": "margin below precision",
    "UnknownDomain": "unknown domain",
    "Unexplained": "unexplained",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `oomsayer scorecard` takes."""
    parser.add_argument("node", nargs="?", metavar="NODE", help="one node (default: all)")
    cluster.add_arguments(parser)


def run(args: Namespace) -> int:
    """Print the scorecards; the exit status."""
    try:
        forecasts = cluster.Cluster(args).forecasts()
    except cluster.ClusterError as error:
        print(f"oomsayer scorecard: {error}", file=sys.stderr)
        return 1
    cards = scorecards(forecasts)
    if args.node is not None:
        if args.node not in cards:
            print(f"oomsayer scorecard: no forecast of a node {args.node}", file=sys.stderr)
            return 1
        cards = {args.node: cards[args.node]}
    print(table(cards) if args.output == "table" else data(cards, args.output), end="")
    return 0


def scorecards(forecasts: Sequence[Json]) -> dict[str, Json]:
    """The scorecard of each node as the API has it, empty where nothing was counted yet."""
    return {
        str(forecast["metadata"]["name"]): (forecast.get("status") or {}).get("scorecard") or {}
        for forecast in sorted(forecasts, key=lambda forecast: str(forecast["metadata"]["name"]))
    }


def table(cards: dict[str, Json]) -> str:
    """Scorecards for people: a line a node and one for all, then the last kills, newest first."""
    rows = [_HEADER, *(_row(node, card) for node, card in cards.items())]
    if len(cards) > 1:
        rows.append(_row("all", _sum(cards.values())))
    lines = list(aligned(rows, _RIGHT_ALIGNED))
    kills = [(str(kill["at"]), node, kill) for node, card in cards.items() for kill in card.get("last", ())]
    if kills:
        kills.sort(key=lambda entry: entry[0], reverse=True)
        shown = kills[:_KILLS_SHOWN]
        lines += ["", *aligned([_KILLS_HEADER, *(_kill(node, kill) for _, node, kill in shown)], {"HELD"})]
    if len(kills) > _KILLS_SHOWN:
        lines.append(f"and {len(kills) - _KILLS_SHOWN} more: give a NODE for its own")
    return "\n".join([*lines, *_notes(cards)]) + "\n"


def _row(node: str, card: Json) -> tuple[str, ...]:
    return (
        node,
        str(card.get("right") or _NONE),
        *(str(card.get(name, 0)) for name in _COUNTS),
        _moment(str(card.get("since", "")))[:10] or _NONE,
    )


def _sum(cards: Any) -> Json:  # noqa: ANN401 - a view of dicts
    total: Json = {name: sum(card.get(name, 0) for card in cards) for name in _COUNTS}
    right = total["hits"] + total["killSetHits"]
    scored = right + total["misses"]
    return {**total, "right": f"{right}/{scored}" if scored else ""}


def _kill(node: str, kill: Json) -> tuple[str, ...]:
    place = "/".join(part for part in (kill.get("pod", ""), kill.get("container", "")) if part)
    outcome = _OUTCOMES.get(kill["outcome"], str(kill["outcome"]))
    if kill.get("reason"):
        outcome += f": {_REASONS.get(kill['reason'], kill['reason'])}"
    foretold = kill.get("foretold")
    return (
        _moment(str(kill["at"])),
        node,
        _who(kill),
        shortened(harmless(place or str(kill.get("cgroup", _NONE))), _NAME_COLUMNS),
        shortened(harmless(_domain(kill, place)), _NAME_COLUMNS),
        binary(kill["rssBytes"]) if kill.get("rssBytes") is not None else _NONE,
        outcome,
        _who(foretold) if foretold else _NONE,
    )


def _domain(kill: Json, place: str) -> str:
    """What ran out, in one word where it is the victim's own."""
    name = str(kill.get("domainName") or kill.get("domain") or _NONE)
    kind, _, rest = name.partition(" ")
    return kind if rest and place.startswith(rest) else name


def _who(process: Json) -> str:
    if process.get("pid") is None:
        return f"{harmless(str(process.get('comm', '')))} (?)".strip() if process.get("comm") else "?"
    return f"{harmless(str(process.get('comm', '')))} ({process['pid']})"


def _moment(text: str) -> str:
    """2026-11-26T22:14:03.512Z without its fraction, for people."""
    return text[:19].replace("T", " ")


def _notes(cards: dict[str, Json]) -> Iterator[str]:
    if any(kill.get("pid") is None for card in cards.values() for kill in card.get("last", ())):
        yield ""
        yield "? is a process that the counters alone do not tell; the kernel's log would (agent.kernelLog)."
