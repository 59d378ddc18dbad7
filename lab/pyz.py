"""Builds oomsayer.pyz: the commands that need only Python, as one file that can be copied to any host.

    python3 -m lab.pyz [OUTPUT]        (default: oomsayer.pyz)

The same sources give the same bytes: entries are sorted, uncompressed and without times.
"""

import stat
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "operator"
FOLDERS = ("kernel", "kubelet", "forecast", "node", "agent", "cli")
"""What runs on the standard library alone."""
FILES = ("oomsayer/__init__.py", "oomsayer/__main__.py", "oomsayer/api/__init__.py")
API = ("budget", "flags", "quantity", "vocabulary")
"""The modules of api that need no pydantic."""
MAIN = b"""import sys
if sys.version_info < (3, 11):
    sys.exit("oomsayer needs Python 3.11 or newer, and this is Python %d.%d" % sys.version_info[:2])
from oomsayer.cli.main import main
sys.exit(main())
"""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold."""


def sources() -> Iterator[Path]:
    """The Python files to pack, relative to the source root."""
    yield from (Path(name) for name in FILES)
    yield from (Path(f"oomsayer/api/{name}.py") for name in API)
    for folder in FOLDERS:
        for path in (SOURCES / "oomsayer" / folder).rglob("*.py"):
            yield path.relative_to(SOURCES)


def build(output: Path) -> None:
    """Write the archive, executable."""
    with output.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo("__main__.py", EPOCH), MAIN)
            for path in sorted(sources()):
                archive.writestr(zipfile.ZipInfo(path.as_posix(), EPOCH), (SOURCES / path).read_bytes())
    output.chmod(output.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "oomsayer.pyz"))
