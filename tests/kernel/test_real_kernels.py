"""The prediction of the shipped code, taken on kernels that then really kill."""

import pytest
from lab.kernels.compare import Match
from lab.kernels.runner import Run

pytestmark = pytest.mark.timeout(3600)  # the first test waits for all kernels


def test_the_kernel_kills_whom_we_said(kernel: str, runs: dict[str, Run]) -> None:
    run = runs[kernel]
    assert list(run.complaints()) == []
    assert any(outcome.kills for outcome in run.outcomes)


def test_hardly_anything_is_too_close_to_tell(kernel: str, runs: dict[str, Run]) -> None:
    outcomes = runs[kernel].generated
    excluded = [outcome for outcome in outcomes if Match.EXCLUDED in (outcome.first, outcome.order)]
    assert len(excluded) <= len(outcomes) // 10
