"""`oomsayer advise`: the smallest change that would move a killer's choice away from a pod."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from oomsayer.api.advice import Advice
from oomsayer.api.forecast import OOMForecastStatus
from oomsayer.cli import cluster
from oomsayer.cli.cluster import Cluster, ClusterError
from oomsayer.cli.columns import aligned
from oomsayer.cli.output import data
from oomsayer.cli.scene import Scene, scene
from oomsayer.cli.text import harmless
from oomsayer.controller.advice import kernel_advice, kubelet_advice
from oomsayer.controller.status import wire
from oomsayer.kernel.domain import within

_HEADER = ("POD", "CONTAINER", "KILLER", "DOMAIN", "CHANGE", "NOW", "TO", "TAKES")


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `oomsayer advise` takes."""
    parser.add_argument(
        "--pod",
        type=cluster.pod_name,
        metavar="[NAMESPACE/]NAME",
        help="work it out for this pod, at risk or not (default: what the forecasts advise for pods at risk)",
    )
    cluster.add_arguments(
        parser, namespace="only pods of this namespace (default: all; of --pod, the context's)"
    )


def run(args: Namespace) -> int:
    """Print the advice; the exit status."""
    try:
        reached = Cluster(args)
        advice = _for_pod(scene(reached, args.pod)) if args.pod else _of_forecasts(reached, args.namespace)
    except ClusterError as error:
        print(f"oomsayer advise: {error}", file=sys.stderr)
        return 1
    if args.output == "table":
        print("\n".join(_lines(advice, args.pod)))
        return 0
    items: list[dict[str, Any]] = [wire(each) for each in advice]
    print(data(items, args.output), end="")
    return 0


def _for_pod(here: Scene) -> list[Advice]:
    """Against the kernel in every domain where it would take this pod, and against the kubelet."""
    snapshot = here.report.snapshot
    found: list[Advice] = []
    for outlook in here.outlooks:
        if within(here.subject.path, outlook.path) or within(outlook.path, here.subject.path):
            found += kernel_advice(here.subject, outlook.path, snapshot, here.names)
    return found + list(kubelet_advice(here.subject, snapshot, here.names))


def _of_forecasts(reached: Cluster, namespace: str | None) -> list[Advice]:
    found: list[Advice] = []
    for forecast in reached.forecasts():
        try:
            found += OOMForecastStatus.model_validate(forecast.get("status") or {}).advice
        except ValidationError as error:
            name = forecast["metadata"]["name"]
            raise ClusterError(f"the forecast of {name} is not understood: is the operator newer?") from error
    return [each for each in found if namespace is None or each.pod.startswith(f"{namespace}/")]


def _lines(advice: Sequence[Advice], pod: str | None) -> Iterator[str]:
    if not advice:
        yield (
            f"Nothing to advise: no killer would take {f'pod {pod}' if pod else 'a pod at risk'} first, "
            "or no change would spare it."
        )
        return
    yield from aligned([_HEADER, *map(_row, advice)], frozenset())
    yield ""
    for each in advice:
        yield harmless(f"{each.field} {each.value}: then {each.then}.")


def _row(each: Advice) -> tuple[str, ...]:
    return (
        each.pod,
        each.container or "-",
        each.killer,
        each.domain or "-",
        each.field,
        each.before or "none",
        each.value,
        each.takes_effect,
    )
