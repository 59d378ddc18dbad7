"""The shipped `oomsayer node`, imported once: emulated processors take seconds to start it.

For each byte on standard input it runs the command in a fork of its own, with what it prints in
/run/prediction.json, and answers with one byte: "y" if the exit status was 0.
"""

import os
import sys
import traceback

import oomsayer.cli.node  # noqa: F401 - imported here once, by main() later
from oomsayer.cli.main import main

OUT = "/run/prediction.json"


def predict() -> bool:
    """Run the command once."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            descriptor = os.open(OUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, 1)
            status = main(["node", "--output", "json", "--root", "/"])
            sys.stdout.flush()
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


while os.read(0, 1):
    os.write(1, b"y" if predict() else b"n")
