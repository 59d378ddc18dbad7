"""What to play is asked for in the environment: OOMSAYER_KERNELS, _SCENARIOS, _SEED and _JOBS."""

import os
from collections.abc import Sequence

import pytest
from lab.kernels.guestimage import KERNELS
from lab.kernels.report import table
from lab.kernels.runner import JOBS, SCENARIOS, SEED, Run, all_numbers, run

_RUNS = pytest.StashKey[Sequence[Run]]()


KERNELS_ASKED_FOR = os.environ.get("OOMSAYER_KERNELS", "").split() or list(KERNELS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel" in metafunc.fixturenames:
        metafunc.parametrize("kernel", KERNELS_ASKED_FOR)


@pytest.fixture(scope="session")
def runs(pytestconfig: pytest.Config) -> dict[str, Run]:
    seed = int(os.environ.get("OOMSAYER_SEED") or SEED)
    scenarios = int(os.environ.get("OOMSAYER_SCENARIOS") or SCENARIOS)
    jobs = int(os.environ.get("OOMSAYER_JOBS") or JOBS)
    done = run(KERNELS_ASKED_FOR, seed, all_numbers(scenarios), jobs)
    pytestconfig.stash[_RUNS] = done
    return {each.kernel: each for each in done}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    done = config.stash.get(_RUNS, None)
    if done:
        terminalreporter.section("real kernels")
        terminalreporter.write_line(table(done))
