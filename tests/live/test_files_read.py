"""Which files of a process a look at this machine opens: those that SECURITY.md names, and no other."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WATCHED = """
import sys
from oomsayer.cli.main import main

def opened(event, arguments):
    if event == "open":
        print("OPENED", arguments[0], file=sys.stderr)

sys.addaudithook(opened)
for arguments in (["node"], ["node", "--check"]):
    main(arguments)
"""


def test_no_file_of_a_process_is_opened_but_those_that_are_named() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        env=os.environ | {"PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    opened = set(re.findall(r"^OPENED (?:/proc/)?\d+/(?:task/\d+/)?(\w.*)$", done.stderr, re.MULTILINE))
    sentence = (ROOT / "SECURITY.md").read_text().partition("the agent opens the files ")[2].partition(":")[0]

    assert {"stat", "status", "oom_score_adj"} <= opened
    assert opened <= set(re.findall(r"`(\w+)`", sentence))
