import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.unit.oom_report_text import CONTAINER, CONTAINER_PATH, POD, Row, Text

SOURCE = Path(__file__).parents[2] / "operator"
REPORT = Text((Row(100, "big\x1b[31m", 90_000), Row(200, "small", 400)), (100,), memcg=CONTAINER_PATH)
FIELDS = {
    "index",
    "kernel",
    "era",
    "domain",
    "totalpages",
    "candidates",
    "predicted",
    "killed",
    "agrees",
    "because",
    "next",
    "complete",
    "missing",
}


def explain(*args: str | Path, stdin: bytes | int = b"") -> subprocess.CompletedProcess[bytes]:
    # -S: nothing but the standard library is at hand.
    command = [sys.executable, "-S", "-m", "oomsayer", "explain", *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    text, descriptor = (stdin, None) if isinstance(stdin, bytes) else (None, stdin)
    return subprocess.run(
        command,
        env=environment,
        input=text,
        stdin=descriptor,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_json_is_one_object_with_the_promised_fields(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(REPORT.text() + REPORT.text().replace("100", "300"))
    done = explain(log, "--output", "json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert [report["index"] for report in document["reports"]] == [1, 2]
    first = document["reports"][0]
    assert first.keys() == FIELDS
    assert first["domain"] == {"kind": "memcg", "path": CONTAINER_PATH}
    assert first["candidates"][0] == {
        "pid": 100,
        "comm": "big",
        "uid": 1000,
        "oom_score_adj": 0,
        "rss_pages": 90_000,
        "swap_pages": 0,
        "pgtables_bytes": 4096,
        "points": 90_001,
        "eligible": True,
    }
    assert first["predicted"] == {"pid": 100, "comm": "big", "points": 90_001}
    assert first["killed"] == [{"pid": 100, "comm": "big"}]
    assert first["next"]["changes"]["next_bytes_more"] == (90_001 - 401) * 4096


def test_yaml_says_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(REPORT.text() + REPORT.text().replace("100", "300"))
    told = json.loads(explain(log, "-o", "json").stdout)
    assert len(told["reports"]) == 2
    assert yaml.safe_load(explain(log, "-o", "yaml").stdout) == told


def test_the_table_names_pod_and_container_and_fits_120_columns() -> None:
    done = explain("-", stdin=REPORT.text().encode())
    lines = done.stdout.decode().splitlines()
    assert lines[1].startswith(
        f"big (pid 100) was killed because container {CONTAINER[:12]} of pod {POD} reached"
    )
    assert max(map(len, lines)) <= 120
    assert any(line.split()[-1:] == ["killed"] for line in lines)


def test_control_characters_of_a_name_never_reach_the_terminal() -> None:
    log = Text((Row(100, "a\x07\x9bb", 900), Row(200, "x", 1)), (100,)).text()
    out = explain(stdin=log.encode()).stdout.decode()
    assert "a\\x07" in out
    assert all(c.isprintable() or c == "\n" for c in out)


@pytest.mark.parametrize(
    ("output", "nothing"),
    [("table", b""), ("json", b'{"reports": []}\n'), ("yaml", b"reports: []\n")],
)
def test_a_log_without_reports_is_exit_1(output: str, nothing: bytes) -> None:
    done = explain("-", "-o", output, stdin=b"nothing here\n")
    assert done.returncode == 1
    assert b"no OOM report in standard input" in done.stderr
    assert done.stdout == nothing


def test_an_empty_log_is_a_log_without_reports() -> None:
    assert explain(stdin=b"").returncode == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"LPKSHHRH" + bytes(100), b"journalctl --file"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), b"zstdcat"),
        (b"\xfd7zXZ\x00" + bytes(100), b"xzcat"),
        (b"\x7fELF" + bytes(100), b"program"),
        (bytes(range(8)) * 600, b"binary"),
        (b"\x1f\x8b" + b"no gzip at all", b"gzip"),
        (gzip.compress(bytes(8000)), b"binary"),
    ],
    ids=["journal", "zstd", "xz", "ELF", "binary", "no gzip", "binary in gzip"],
)
def test_what_is_no_log_is_exit_2_with_one_line(tmp_path: Path, content: bytes, message: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    done = explain(path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr
    assert str(path).encode() in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_directory_and_a_missing_file_are_exit_2(tmp_path: Path) -> None:
    for path, message in ((tmp_path, b"is a directory"), (tmp_path / "none", b"no such file")):
        done = explain(path)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_a_terminal_without_a_file_is_asked_for_one() -> None:
    leader, follower = pty.openpty()
    try:
        done = explain(stdin=follower)
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 2
    assert b"give a FILE" in done.stderr


def test_gzip_is_read_by_its_content_whole_in_members_or_cut(tmp_path: Path) -> None:
    other = Text((Row(300, "third", 900), Row(400, "x", 1)), (300,)).text()
    whole = gzip.compress(REPORT.text().encode()) + gzip.compress(other.encode())
    path = tmp_path / "kern.log.1"
    path.write_bytes(whole)
    reports = json.loads(explain(path, "-o", "json").stdout)["reports"]
    assert [report["killed"][0]["pid"] for report in reports] == [100, 300]
    path.write_bytes(whole[:-20])
    assert json.loads(explain(path, "-o", "json").stdout)["reports"][0]["killed"][0]["pid"] == 100


def test_utf_16_as_powershell_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(REPORT.text().replace("\n", "\r\n").encode("utf-16"))
    (report,) = json.loads(explain(path, "-o", "json").stdout)["reports"]
    assert report["agrees"] is True
