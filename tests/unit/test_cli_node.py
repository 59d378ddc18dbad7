"""`oomsayer node`: what it prints, and how it behaves as a program."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from lab import pyz
from tests.fixtures.tree import unpack

from oomsayer.cli.columns import COLUMNS
from oomsayer.cli.document import document
from oomsayer.cli.main import main
from oomsayer.cli.table import table
from oomsayer.cli.text import width
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import Memcg, Memory, MemoryNode, Snapshot, Task
from oomsayer.kernel.verdict import verdicts

SOURCES = Path(__file__).parents[2] / "operator"
MIB = 1 << 20
BURSTABLE = "/kubepods.slice/kubepods-burstable.slice"
POD = f"{BURSTABLE}/kubepods-burstable-pod5f01413c_ffde_4d7b_9f7d_06158627f25e.slice"
CONTAINER = f"{POD}/cri-containerd-{'cb' * 32}.scope"
VICTIM_FIELDS = {"pid", "comm", "points", "oom_score_adj", "cgroup", "pod_uid", "container_id"}
DOMAIN_FIELDS = {
    "kind",
    "path",
    "totalpages",
    "limit_bytes",
    "usage_bytes",
    "headroom_bytes",
    "victim",
    "runner_up",
    "margin_pages",
    "kill_set",
    "order",
    "assumptions",
    "confidence",
}


def a_snapshot(*, comm: str = "nginx", room: int = 10 * MIB) -> Snapshot:
    memory = Memory(page_size=4096, total_bytes=4096 * MIB, free_bytes=1024 * MIB, file_bytes=0)
    boxes = [
        Memcg("/"),
        Memcg("/kubepods.slice"),
        Memcg(BURSTABLE),
        Memcg(POD, max_bytes=512 * MIB, usage_bytes=100 * MIB, reclaimable_bytes=0),
        Memcg(
            CONTAINER, max_bytes=256 * MIB, usage_bytes=256 * MIB - room, reclaimable_bytes=0, oom_group=True
        ),
        Memcg("/system.slice", max_bytes=1024 * MIB, usage_bytes=0, reclaimable_bytes=0),
    ]
    tasks = (
        Task(10, 10, comm, CONTAINER, 900, 5000, pgtables_bytes=8192),
        Task(11, 11, comm, CONTAINER, 900, 4000),
        Task(12, 12, "sshd", "/system.slice", 0, 9000),
    )
    return Snapshot("6.12.117", era_named("E6"), 2, memory, tasks, {memcg.path: memcg for memcg in boxes})


def lines_of(shot: Snapshot, *, wide: bool = False) -> list[str]:
    return table(shot, verdicts(shot), wide=wide).splitlines()


class TestDocument:
    def test_the_fields_that_scripts_rely_on(self) -> None:
        shot = a_snapshot()
        said = document(shot, verdicts(shot))
        assert said["kernel"] == "6.12.117"
        assert said["era"] == "E6"
        assert isinstance(said["memory"], dict)
        domains = said["domains"]
        assert isinstance(domains, list)
        assert [domain["path"] for domain in domains] == ["/", POD, CONTAINER, "/system.slice"]
        assert [domain["kind"] for domain in domains] == ["node", "memcg", "memcg", "memcg"]
        for domain in domains:
            assert domain.keys() >= DOMAIN_FIELDS
            for victim in (domain["victim"], domain["runner_up"], *domain["order"]):
                assert victim is None or victim.keys() >= VICTIM_FIELDS

    def test_a_container_in_full(self) -> None:
        shot = a_snapshot()
        (container,) = (
            d
            for d in json.loads(json.dumps(document(shot, verdicts(shot))))["domains"]
            if d["path"] == CONTAINER
        )
        assert container["totalpages"] == 65536
        assert container["limit_bytes"] == 256 * MIB
        assert container["headroom_bytes"] == 10 * MIB
        assert container["victim"] == {
            "pid": 10,
            "comm": "nginx",
            "points": 5002 + 900 * 65,
            "oom_score_adj": 900,
            "cgroup": CONTAINER,
            "pod_uid": "5f01413c-ffde-4d7b-9f7d-06158627f25e",
            "container_id": "cb" * 32,
        }
        assert container["runner_up"]["pid"] == 11
        assert container["margin_pages"] == 1002
        assert container["kill_set"] == [10, 11]
        assert [victim["pid"] for victim in container["order"]] == [10]
        assert container["confidence"] == "high"

    def test_a_name_that_is_no_text_is_still_valid_json(self) -> None:
        shot = a_snapshot(comm="a\udcff\n\x1b")
        text = json.dumps(document(shot, verdicts(shot)), ensure_ascii=False)
        text.encode()
        assert json.loads(text)["domains"][2]["victim"]["comm"] == "a\\xff\n\x1b"


class TestTable:
    def test_the_node_then_the_least_headroom_first(self) -> None:
        first_words = [line.split("  ")[0] for line in lines_of(a_snapshot())[3:7]]
        assert first_words == ["node", "container cbcbcbcbcbcb", "pod 5f01413c", "/system.slice"]

    def test_a_line_says_who_and_why(self) -> None:
        (line,) = (line for line in lines_of(a_snapshot()) if line.startswith("container"))
        assert re.split(r" {2,}", line) == [
            "container cbcbcbcbcbcb",
            "nginx (10)",
            "63502",
            "900",
            "nginx (11)",
            "3.9Mi",
            "1 in group",
            "10Mi",
        ]

    @pytest.mark.parametrize(
        "comm", ["x" * 15, "\x1b[2J\x1b[1;1H\x07", "\udcff" * 15, "漢字漢字漢", "\u202e" * 5, "a\nb\nc"]
    )
    def test_it_fits_and_no_name_breaks_it(self, comm: str) -> None:
        shot = a_snapshot(comm=comm)
        tasks = tuple(replace(task, pid=task.pid + 4_194_000) for task in shot.tasks)
        deep = Memcg("/" + "/".join(["very-long-cgroup-name-\u202e\x1b"] * 9), max_bytes=5 * MIB)
        above = {path: Memcg(path) for path in ("/".join(deep.path.split("/")[:n]) for n in range(2, 10))}
        shot = replace(shot, tasks=tasks, memcgs={**shot.memcgs, **above, deep.path: deep})
        lines = lines_of(shot)
        assert all(line.isprintable() for line in lines)
        assert all(width(line) <= COLUMNS for line in lines)

    def test_wide_hides_nothing(self) -> None:
        (line,) = (line for line in lines_of(a_snapshot(), wide=True) if line.startswith(CONTAINER))
        assert "nginx (11)" in line
        assert "5f01413c-ffde-4d7b-9f7d-06158627f25e" in line
        assert line.rstrip().endswith("high")

    def test_the_command_itself_may_be_the_victim(self) -> None:
        shot = a_snapshot()
        assert "pid 11 is this command itself" in table(shot, verdicts(shot), reader=11)
        assert "this command itself" not in table(shot, verdicts(shot), reader=99)

    def test_what_is_unknown_is_said_once(self) -> None:
        shot = replace(a_snapshot(), gaps=("something could not be read",), initial_pid_namespace=False)
        text = "\n".join(lines_of(shot))
        assert text.count("something could not be read") == 1
        assert "node: confidence partial: nested node" in text


class TestProgram:
    @pytest.fixture(scope="class")
    @staticmethod
    def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return unpack("v1-hybrid", tmp_path_factory.mktemp("program"))[0]

    @pytest.fixture
    @staticmethod
    def oomsayer(root: Path) -> Callable[..., "subprocess.Popen[str]"]:
        """Start `oomsayer node` with nothing but the standard library at hand."""

        def start(*words: str) -> "subprocess.Popen[str]":
            return subprocess.Popen(
                [sys.executable, "-S", "-m", "oomsayer", "node", "--root", str(root), *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"], "LC_ALL": "C"},
            )

        return start

    def test_the_standard_library_is_enough(self, oomsayer: Callable[..., "subprocess.Popen[str]"]) -> None:
        out, err = oomsayer("-o", "json").communicate(timeout=60)
        assert err == ""
        assert [domain["path"] for domain in json.loads(out)["domains"]] == ["/", "/demo", "/demo/web"]

    def test_what_dataclasses_may_want_is_loaded_when_it_is_used(self, root: Path) -> None:
        program = f"""
import runpy, sys
sys.argv = ["oomsayer", "node", "--root", {str(root)!r}, "--output", "json"]
try:
    runpy.run_module("oomsayer", run_name="__main__")
except SystemExit as end:
    print(end.code, "ast" in sys.modules, file=sys.stderr)
import inspect
print(inspect.getmodule(runpy.run_module).__name__, file=sys.stderr)
from inspect import signature
print(signature(lambda a, *, b: None), file=sys.stderr)
"""
        done = subprocess.run(
            [sys.executable, "-S", "-c", program],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(SOURCES)},
            check=True,
        )
        always_wanted = sys.version_info[:2] == (3, 13)
        assert done.stderr.splitlines() == [f"0 {always_wanted}", "runpy", "(a, *, b)"]

    def test_json_and_yaml_say_the_same(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        said = []
        for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
            assert main(["node", "--root", str(root), "--output", output]) == 0
            said.append({**load(capsys.readouterr().out), "taken_at": None})
        assert said[0] == said[1]

    @pytest.mark.parametrize("output", ["table", "wide"])
    def test_tables(self, root: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
        assert main(["node", "--root", str(root), "-o", output]) == 0
        out = capsys.readouterr().out
        assert "web (1) a (" in out
        assert r"web\x0ab\xff (" in out

    def test_watching_ends_quietly(self, oomsayer: Callable[..., "subprocess.Popen[str]"]) -> None:
        watching = oomsayer("--watch", "--interval", "0.05", "-o", "json")
        assert watching.stdout is not None
        for _ in range(2):
            assert json.loads(watching.stdout.readline())["era"] == "E6"
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
        assert (watching.returncode, err) == (0, "")

    def test_a_terminal_is_drawn_anew(self, root: Path) -> None:
        ours, theirs = os.openpty()
        words = ["node", "--root", str(root), "--watch", "--interval", "0.05"]
        watching = subprocess.Popen(
            [sys.executable, "-m", "oomsayer", *words],
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )
        os.close(theirs)
        seen = b""
        while b"DOMAIN" not in seen:
            seen += os.read(ours, 4096)
        assert re.match(rb"\x1b\[H\x1b\[J\d\d:\d\d:\d\d  Kernel ", seen)
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
        os.close(ours)
        assert (watching.returncode, err) == (0, b"")

    def test_a_reader_that_has_enough_is_no_error(
        self, oomsayer: Callable[..., "subprocess.Popen[str]"]
    ) -> None:
        watching = oomsayer("--watch", "--interval", "0.01", "-o", "json")
        assert watching.stdout is not None
        watching.stdout.readline()
        watching.stdout.close()
        assert watching.wait(60) == 0
        assert watching.stderr is not None
        assert watching.stderr.read() == ""
        watching.stderr.close()

    @pytest.mark.parametrize("words", [(), ("-o", "json"), ("--watch",)], ids=["table", "json", "watch"])
    def test_a_full_disk_is_said_in_one_line(self, root: Path, words: tuple[str, ...]) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "oomsayer", "node", "--root", str(root), *words],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
                timeout=60,
                check=False,
            )
        assert done.returncode == 2
        assert done.stderr == "oomsayer: cannot write the output: No space left on device\n"

    @pytest.mark.parametrize(
        ("line", "status", "says"),
        [
            ("node --root ROOT >&-", 0, ""),
            ("explain <&-", 2, "oomsayer explain: give a FILE, or pipe a log in"),
            ("explain - <&-", 2, "oomsayer explain: give a FILE, or pipe a log in"),
            ("explain ROOT/none 2>&-", 2, ""),
        ],
    )
    def test_a_stream_that_is_closed_is_no_traceback(
        self, root: Path, line: str, status: int, says: str
    ) -> None:
        done = subprocess.run(
            ["sh", "-c", f"'{sys.executable}' -m oomsayer {line.replace('ROOT', str(root))}"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr[: len(says) or None] == says

    def test_no_proc(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["node", "--root", str(tmp_path)]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"oomsayer node: {tmp_path}/proc: No such file or directory: ")
        assert err.count("\n") == 1

    def test_not_linux(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert main(["node"]) == 2
        assert capsys.readouterr().err == (
            "oomsayer node reads the memory of a Linux machine, and this one runs darwin.\n"
        )

    @pytest.mark.parametrize("words", [["node", "--interval", "0"], ["node", "-o", "xml"], ["nod"]])
    def test_wrong_words_are_named(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert words[-1] in capsys.readouterr().err

    def test_help_without_words(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 0
        assert "agent" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("columns", "first"),
        [("0", "usage: oomsayer [-h]"), ("-1", "usage: oomsayer [-h]"), ("20", "usage:")],
    )
    def test_help_is_as_wide_as_the_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str, first: str
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        assert main([]) == 0
        line = capsys.readouterr().out.splitlines()[0]
        assert line.startswith(first)
        assert len(line) <= 20 or columns != "20"

    def test_a_missing_library_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "oomsayer.controller.main", None)
        with pytest.raises(SystemExit, match="does not contain `operator`"):
            main(["operator"])

    def test_one_file_does_it_too(self, root: Path, tmp_path: Path) -> None:
        one, other = tmp_path / "one.pyz", tmp_path / "other.pyz"
        pyz.build(one)
        pyz.build(other)
        assert one.read_bytes() == other.read_bytes()
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(one), "node", "--root", str(root), "-o", "yaml"],
            capture_output=True,
            check=True,
            cwd=tmp_path,
            timeout=60,
        )
        assert yaml.safe_load(done.stdout)["era"] == "E6"
        assert done.stderr == b""


def test_memory_nodes_have_a_line_of_their_own() -> None:
    shot = a_snapshot()
    nodes = (MemoryNode(0, 524288, free_pages=131072), MemoryNode(1, 524288, free_pages=131072))
    shot = replace(shot, memory=replace(shot.memory, nodes=nodes), cpusets=(frozenset({1}),))
    told = verdicts(shot)
    assert any(line.startswith("cpuset.mems=1 ") for line in table(shot, told).splitlines())
    domain = json.loads(json.dumps(document(shot, told)))["domains"][1]
    assert (domain["kind"], domain["path"], domain["headroom_bytes"]) == (
        "cpuset",
        "cpuset.mems=1",
        512 * MIB,
    )
    assert set(domain) >= DOMAIN_FIELDS
