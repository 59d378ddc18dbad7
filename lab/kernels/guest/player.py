"""Plays scenarios in a guest, as its pid 1: processes, the prediction, the OOM kill by kill, who was left.

Reads /lab/scenarios.json and writes one JSON object a line to the second serial port, with what the kernel
logged meanwhile as /dev/kmsg has it.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

Scenario = dict[str, Any]
States = dict[int, dict[int, str]]
"""By process, the state of each of its threads."""

ACTOR = "/lab/actor"
V1 = Path("/sys/fs/cgroup/memory")
CGROUPS = V1 if V1.exists() else V1.parent
RESULTS = Path("/dev/ttyS1")
RAMFS_FILE, SHARED_FILE, FILL_FILE = Path("/ramfs/file"), Path("/tmp/shared"), Path("/tmp/fill")  # noqa: S108 - the guest is ours alone
MAPPED_BYTES = 16 << 20
FILL_STEP = 128 << 10
SWAP_DEVICE = "/dev/vda"
PREDICTION = Path("/run/prediction.json")
PATIENCE_SECONDS = 120.0
SIGKILL_BIT = 1 << (signal.SIGKILL - 1)
PF_KTHREAD = 0x00200000
# Reports of the OOM killer are rate limited by the kernel: ten in five seconds (mm/oom_kill.c, oom_rs).
REPORTS_LIMIT, REPORTS_SECONDS, REPORT = 10, 6.0, " invoked oom-killer:"
# How many there may be when the next kill is provoked: that may turn out to be several.
REPORTS = 5
PAGEFAULT = "VM_FAULT_OOM"
"""In what the kernel says of a page fault that it tries again and again."""
HUNGER_PAGES = 1 << 18
"""More than the machine has."""


class PlayError(Exception):
    """A scenario could not be played as written."""


class Child:
    """A process started by this one, spoken to through its standard input and output."""

    def __init__(self, program: str, *arguments: str, adj: int) -> None:
        """Start a program with that oom_score_adj."""
        theirs_in, self._in = os.pipe()
        self._out, theirs_out = os.pipe()
        self.pid = os.posix_spawn(
            program,
            [program, *arguments],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs_in, 0),
                (os.POSIX_SPAWN_DUP2, theirs_out, 1),
            ],
        )
        os.close(theirs_in)
        os.close(theirs_out)
        Path(f"/proc/{self.pid}/oom_score_adj").write_text(str(adj))

    def say(self, text: str) -> None:
        """Write to its standard input."""
        os.write(self._in, text.encode())

    def hear(self, deadline: float) -> str:
        """What it writes next."""
        ready, _, _ = select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))
        heard = os.read(self._out, 100).decode() if ready else ""
        if not heard:
            raise PlayError(
                f"pid {self.pid} {'ended' if ready else 'did not answer: ' + self._whereabouts()}"
            )
        return heard.strip()

    def _whereabouts(self) -> str:
        """In which state it is, and where in the kernel."""
        try:
            stack = Path(f"/proc/{self.pid}/stack").read_text().split("\n")
        except OSError as error:
            stack = [str(error)]
        return " ".join([*stat_fields(f"/proc/{self.pid}/stat")[:1], *stack])

    def close(self) -> None:
        """Let go of both ends."""
        os.close(self._in)
        os.close(self._out)


def main() -> None:
    """Play every scenario, then switch the machine off."""
    if CGROUPS == V1:
        (CGROUPS / "memory.use_hierarchy").write_text("1")
    else:
        (CGROUPS / "cgroup.subtree_control").write_text("+memory")
        (CGROUPS / "cgroup.subtree_control").write_text("+cpuset")
    for path in (RAMFS_FILE, SHARED_FILE):
        path.write_bytes(bytes(MAPPED_BYTES))
    player = Player()
    for scenario in json.loads(Path("/lab/scenarios.json").read_text()):
        report(player.play(scenario))
    os.sync()
    Path("/proc/sysrq-trigger").write_text("o")
    while True:
        signal.pause()


def report(result: dict[str, object]) -> None:
    """Tell the host; it is out when this returns."""
    with RESULTS.open("w") as results:
        results.write(json.dumps(result) + "\n")


class Player:
    """Plays one scenario after the other."""

    def __init__(self) -> None:
        """Start what all scenarios share. It stands outside the experiment at oom_score_adj -1000."""
        self._log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._predictor = Child(sys.executable, "/lab/predictor.py", adj=-1000)
        self._stage = frozenset({self._predictor.pid})
        self._records: list[str] = []
        self._reports: list[float] = []

    def play(self, scenario: Scenario) -> dict[str, object]:
        """Play one scenario; what happened, or the reason why it could not be played under "error"."""
        began = time.monotonic()
        self._listen()
        self._records = []
        actors: list[Child] = []
        result: dict[str, object] = {"index": scenario["index"], "release": os.uname().release}
        settings = {name: Path("/proc/sys", name).read_text() for name in scenario["sysctls"]}
        try:
            result.update(self._perform(scenario, actors))
        except (PlayError, OSError, ValueError) as error:
            result["error"] = f"{type(error).__name__}: {error}"
        self._listen()
        result["log"] = self._records
        try:
            self._clear(scenario, actors)
            write_settings(settings)
        except (PlayError, OSError) as error:
            result.setdefault("error", f"clearing: {error}")
        result["seconds"] = round(time.monotonic() - began, 2)
        return result

    def _perform(self, scenario: Scenario, actors: list[Child]) -> dict[str, object]:
        began = time.monotonic()
        set_up(scenario)
        self._start(scenario, actors)
        before = self._players()
        filler = self._filler(scenario, actors)
        ready = time.monotonic()
        told = {"check": self._ask("c"), "prediction": self._ask("?"), "filler": filler.pid}
        predicted = time.monotonic()
        seen = appearances(before)
        if scenario["end"] == "panic":
            self._listen()
            about = {"index": scenario["index"], "release": os.uname().release}
            report({**about, "awaits_panic": True, "seconds": 0.0, **told})
        play = self._cascade if scenario["hunger_adj"] is None else self._starve
        steps = play(filler, before, scenario)
        phases = {
            "ready": round(ready - began, 2),
            "predicted": round(predicted - ready, 2),
            "played": round(time.monotonic() - predicted, 2),
        }
        return {**told, **seen, "steps": steps, "phases": phases}

    def _filler(self, scenario: Scenario, actors: list[Child]) -> Child:
        """The process that will make the domain run out; it has filled what is to be full before that."""
        if scenario["hunger_adj"] is None:
            filler = Child(ACTOR, "fill", str(FILL_FILE), str(FILL_STEP), adj=-1000)
        else:
            filler = Child(ACTOR, "hold", f"anon={HUNGER_PAGES}", adj=scenario["hunger_adj"])
        actors.append(filler)
        (CGROUPS / scenario["filler"].lstrip("/") / "cgroup.procs").write_text(str(filler.pid))
        if scenario["prefill_bytes"]:
            filler.say(f"grow {scenario['prefill_bytes']}\n")
            if filler.hear(soon()) != "ok":
                raise PlayError("the kernel killed before it should")
        return filler

    def _start(self, scenario: Scenario, actors: list[Child]) -> None:
        """Create the processes, put each into its cgroup, and let them take their memory."""
        started = []
        for process in scenario["processes"]:
            actor = Child(ACTOR, "hold", *process["arguments"], adj=process["adj"])
            actors.append(actor)
            started.append(actor)
        for index in scenario["attach"]:
            procs = CGROUPS / scenario["processes"][index]["cgroup"].lstrip("/") / "cgroup.procs"
            procs.write_text(str(started[index].pid))
        for actor in started:
            actor.say("g")
        deadline = soon()
        for actor in started:
            actor.hear(deadline)
        until(lambda: calm(states(self._players())), "processes did not settle")

    def _cascade(self, filler: Child, before: list[int], scenario: Scenario) -> list[dict[str, object]]:
        """Fill the domain kill by kill; who had died after each."""
        steps: list[dict[str, object]] = []
        alive = set(before)
        still = states(before)
        while len(steps) < scenario["steps"] and len(alive) > scenario["leave"]:
            self._pace()
            kills = oom_kills()
            filler.say("until-kill\n")
            answer = filler.hear(soon())
            until(partial(settled, still, alive), "the dying did not end")
            self._listen()
            gone = {pid for pid in alive if dead(pid, still[pid])}
            alive -= gone
            steps.append(
                {
                    "answer": answer,
                    "oom_kill": oom_kills() - kills,
                    "dead": sorted(gone),
                    "lossy": self._recent_reports() >= REPORTS_LIMIT,
                }
            )
            if answer == "full":
                break
        return steps

    def _starve(self, hungry: Child, before: list[int], scenario: Scenario) -> list[dict[str, object]]:
        """Let a process take more memory than there is; how that ends, and who had died by then."""
        still = states(before)
        control = CGROUPS / scenario["filler"].lstrip("/") / "memory.oom_control"
        answer = ""

        def ended() -> bool:
            nonlocal answer
            self._listen()
            reap()
            if not Path(f"/proc/{hungry.pid}").exists():
                answer = "gone"
            elif any(PAGEFAULT in record for record in self._records):
                answer = "spins"
            elif control.exists() and "under_oom 1" in control.read_text():
                answer = "hangs"
            return bool(answer)

        hungry.say("g")
        until(ended, "nothing came of its hunger")
        gone = sorted(pid for pid in before if dead(pid, still[pid]))
        return [{"answer": answer, "oom_kill": oom_kills(), "dead": gone, "lossy": False}]

    def _listen(self) -> None:
        """Take what the kernel has logged since the last time."""
        new = list(records(self._log))
        self._records += new
        self._reports += [time.monotonic() for line in new if REPORT in line]

    def _pace(self) -> None:
        """Wait while one more report of the OOM killer could be dropped by the kernel's rate limit."""
        while self._recent_reports() > REPORTS:
            time.sleep(max(0.01, self._reports[0] + REPORTS_SECONDS - time.monotonic()))

    def _recent_reports(self) -> int:
        now = time.monotonic()
        self._reports = [each for each in self._reports if now - each < REPORTS_SECONDS]
        return len(self._reports)

    def _ask(self, what: str) -> object:
        self._predictor.say(what)
        if self._predictor.hear(soon()) != "y":
            raise PlayError("oomsayer node failed")
        return json.loads(PREDICTION.read_text())

    def _players(self) -> list[int]:
        return [pid for pid in processes() if pid not in self._stage]

    def _clear(self, scenario: Scenario, actors: list[Child]) -> None:
        """End what is left and take the cgroups, the swap and the filling away."""
        for actor in actors:
            actor.close()
        until(self._all_ended, "processes did not end")
        FILL_FILE.unlink(missing_ok=True)
        for cgroup in reversed(scenario["cgroups"]):
            path = CGROUPS / cgroup["path"].lstrip("/")
            until(partial(removed, path), f"{path} stays busy")
        if scenario["swap"]:
            run("/bin/busybox", "swapoff", SWAP_DEVICE)

    def _all_ended(self) -> bool:
        left = self._players()
        for pid in left:
            kill(pid)
        reap()
        return not left


def set_up(scenario: Scenario) -> None:
    """Swap, settings and cgroups."""
    Path("/proc/sys/vm/swappiness").write_text(str(scenario["swappiness"]))
    write_settings(scenario["sysctls"])
    if scenario["swap"]:
        run("/bin/busybox", "mkswap", SWAP_DEVICE)
        run("/bin/busybox", "swapon", SWAP_DEVICE)
    for cgroup in scenario["cgroups"]:
        path = CGROUPS / cgroup["path"].lstrip("/")
        path.mkdir()
        for name, value in cgroup["files"].items():
            (path / name).write_text(value)


def write_settings(settings: dict[str, str]) -> None:
    """Write files of /proc/sys."""
    for name, value in settings.items():
        Path("/proc/sys", name).write_text(value)


def appearances(pids: list[int]) -> dict[str, object]:
    """What the host compares a prediction with, by pid."""
    return {
        "names": {pid: Path(f"/proc/{pid}/comm").read_bytes()[:-1].decode("latin-1") for pid in pids},
        "cgroups": {pid: cgroup_of(pid) for pid in pids},
        "shmem_pages": {pid: shmem_pages(pid) for pid in pids},
        "threads": {pid: len(each) for pid, each in states(pids).items()},
    }


def cgroup_of(pid: int) -> str:
    """The memory cgroup of a process."""
    key = ":memory:" if CGROUPS == V1 else "0::"
    return Path(f"/proc/{pid}/cgroup").read_text().partition(key)[2].partition("\n")[0]


def kill(pid: int) -> None:
    """Send SIGKILL to a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def removed(path: Path) -> bool:
    """Remove a cgroup if it is empty by now."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def records(log: int) -> Iterator[str]:
    """What the kernel has logged since the last look, the messages alone, as /dev/kmsg escapes them."""
    while True:
        try:
            record = os.read(log, 8192).decode("latin-1")
        except BlockingIOError:
            return
        except BrokenPipeError:
            yield "the log was overwritten"
            continue
        yield record.partition(";")[2].partition("\n")[0]


def processes() -> list[int]:
    """Every process but this one and the kernel's own threads."""
    reap()
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - called often, and Path objects are slow
        if name.isdecimal() and name != "1":
            stat = stat_fields(f"/proc/{name}/stat")
            if stat and not int(stat[6]) & PF_KTHREAD:
                found.append(int(name))
    return sorted(found)


def states(pids: list[int]) -> States:
    """The state of each thread of each process; those that are gone have none."""
    return {pid: dict(thread_states(pid)) for pid in pids}


def thread_states(pid: int) -> Iterator[tuple[int, str]]:
    """Threads of one process with their states."""
    try:
        names = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - likewise
    except (FileNotFoundError, ProcessLookupError):
        return
    for name in names:
        stat = stat_fields(f"/proc/{pid}/task/{name}/stat")
        if stat:
            yield int(name), stat[0]


def stat_fields(path: str) -> list[str]:
    """The fields of a stat file from the state on, none if the process is gone."""
    try:
        return Path(path).read_bytes().rpartition(b")")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def calm(seen: States) -> bool:
    """Whether every thread sleeps, but for leaders that have exited."""
    return all(state in "SDZ" for threads in seen.values() for state in threads.values())


def dead(pid: int, still: dict[int, str]) -> bool:
    """Whether a process is gone or an unreaped rest."""
    now = dict(thread_states(pid))
    return not now or (now == {pid: "Z"} and still != now)


def settled(still: States, alive: set[int]) -> bool:
    """Whether each process is either gone or as it was, with no SIGKILL on its way."""
    reap()
    for pid in alive:
        now = dict(thread_states(pid))
        if not dead(pid, still[pid]) and (now != still[pid] or sigkill_pending(pid)):
            return False
    return True


def sigkill_pending(pid: int) -> bool:
    """Whether SIGKILL waits for a process as a whole."""
    try:
        text = Path(f"/proc/{pid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    pending = text.partition(b"\nShdPnd:\t")[2].partition(b"\n")[0]
    return bool(int(pending or b"0", 16) & SIGKILL_BIT)


def shmem_pages(pid: int) -> int:
    """How many pages of shared memory and tmpfs a process maps."""
    text = Path(f"/proc/{pid}/status").read_bytes()
    return int(text.partition(b"\nRssShmem:")[2].split()[0]) // 4 if b"\nRssShmem:" in text else 0


def reap() -> None:
    """Collect every child that has ended, adopted ones too."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


def oom_kills() -> int:
    """How many processes the OOM killer has taken since boot."""
    text = Path("/proc/vmstat").read_text()
    return int(text.partition("\noom_kill ")[2].partition("\n")[0])


def run(*command: str) -> None:
    """Run a program of the guest to its end."""
    null = (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)
    pid = os.posix_spawn(command[0], list(command), dict(os.environ), file_actions=[null])
    _, status = os.waitpid(pid, 0)
    if status:
        raise PlayError(f"{' '.join(command)} exited with {os.waitstatus_to_exitcode(status)}")


def until(done: Callable[[], bool], otherwise: str) -> None:
    """Poll until something holds."""
    deadline = soon()
    while not done():
        if time.monotonic() > deadline:
            raise PlayError(otherwise)
        time.sleep(0.01)


def soon() -> float:
    """The moment at which to stop waiting."""
    return time.monotonic() + PATIENCE_SECONDS


main()
