"""What is explained of a log, for the tests of `explain`."""

from tests.unit.oom_report_text import Text

from oomsayer.kernel.explain import Explanation, explain
from oomsayer.kernel.oomscan import oom_reports


def explained(text: str | bytes) -> list[Explanation]:
    raw = text.encode() if isinstance(text, str) else text
    return [explain(report) for report in oom_reports([raw])]


def only(text: Text | str) -> Explanation:
    (explanation,) = explained(text if isinstance(text, str) else text.text())
    return explanation


def predicted(explanation: Explanation) -> int | None:
    return explanation.predicted.row.pid if explanation.predicted else None
