"""Debian's packages: where this machine gets them, and the programs that the lab needs from them."""

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from lab import cache
from lab.errors import LabError
from lab.process import capture
from lab.progress import run_step

_DEFAULT_MIRROR = "http://deb.debian.org/debian"
# program -> Debian package
_PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
    "gcc": "gcc",
    "go": "golang-go",
    "unshare": "util-linux",
    "busybox": "busybox-static",
}
# gcc -static needs the C library's archive, and mmdebstrap Debian's keys: neither is a program.
_COMPANIONS = {"gcc": ["libc6-dev"], "mmdebstrap": ["debian-archive-keyring"]}


def require(programs: Iterable[str]) -> None:
    """Make sure that programs are on PATH, installing their Debian packages where that is possible.

    Raises:
        LabError: one is missing and cannot be installed; the text names the command that would.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    wanted = sorted({name for each in missing for name in [_PACKAGES[each], *_COMPANIONS.get(each, [])]})
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *wanted]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(f"missing: {', '.join(missing)}. On Debian: sudo {' '.join(command)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = cache.log_file("apt")
    run_step("reading the package lists", ["apt-get", "update"], log=log, env=env)
    run_step(f"installing {' '.join(wanted)}", command, log=log, env=env)


def unpacked(package: str) -> Path:
    """The files of a Debian package, which is not installed: the programs of some start services.

    Raises:
        LabError: it cannot be fetched; the text says what helps.
    """
    return cache.artifact(package, cache.key_of(package), lambda out: _unpack(package, out))


def _unpack(package: str, out: Path) -> None:
    if shutil.which("apt-get") is None:
        raise LabError(f"missing: {package}. Install what this package is on Debian, so that it is on PATH")
    out.mkdir()
    log = cache.log_file(package)
    try:
        run_step(f"fetching Debian's {package}", ["apt-get", "download", package], log=log, cwd=out)
    except LabError as error:
        raise LabError(
            f"{error}\nRemedy: sudo apt-get update, or install {package} so that it is on PATH"
        ) from error
    archive = next(out.glob(f"{package}_*.deb"))
    capture(["dpkg-deb", "--extract", archive, out])
    archive.unlink()


def mirror(etc: Path = Path("/etc/apt")) -> str:
    """The Debian mirror that this machine's own sources name; Debian's general one when they name none."""
    for path in sorted(etc.glob("sources.list.d/*.sources")):
        for found in re.finditer(r"^URIs:\s*(\S+/debian)/?(?:\s|$)", path.read_text(), re.MULTILINE):
            return found[1]
    for path in [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]:
        if not path.exists():
            continue
        for found in re.finditer(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+/debian)/?\s", path.read_text(), re.MULTILINE):
            return found[1]
    return _DEFAULT_MIRROR
