"""Debian root file systems: fetched whole, and their container stores filled at this machine's own speed."""

from collections.abc import Sequence
from pathlib import Path

from lab import cache, packages
from lab.process import capture
from lab.progress import run_step

SUITE = "trixie"
PRELOAD = Path(__file__).resolve().parent / "preload.sh"
_PROGRAMS_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# The kernel's files without its package: the package would build an initial file system of its own.
_FETCH_KERNEL = """
set -e
cd /tmp
depends=$(apt-cache depends linux-image-cloud-amd64)
apt-get download "$(echo "$depends" | sed -n 's/.*Depends: \\(linux-image-[0-9]\\)/\\1/p')"
dpkg-deb --extract linux-image-*.deb /
rm linux-image-*.deb
depmod "$(ls /usr/lib/modules)"
"""


def debian(name: str, included: str) -> Path:
    """The tar of a Debian root with a kernel and its modules, made when absent: half a minute.

    Args:
        name: of the thing in the cache.
        included: its packages beyond the minimum, separated by commas.
    """
    key = cache.key_of(SUITE, included, _FETCH_KERNEL)
    return cache.artifact(name, key, lambda out: _fetch(name, included, out))


def _fetch(name: str, included: str, out: Path) -> None:
    packages.require(["mmdebstrap"])
    run_step(
        f"making a Debian {SUITE} root ({name})",
        [
            "mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", f"--include={included}",
            '--customize-hook=chroot "$1" sh -c "$FETCH_KERNEL"',
            SUITE, out, f"deb {packages.mirror()} {SUITE} main",
        ],
        log=cache.log_file(name),
        env={"PATH": _PROGRAMS_PATH, "FETCH_KERNEL": _FETCH_KERNEL},
    )  # fmt: skip


def unpack(tar: Path, tree: Path, *, without: Sequence[str] = ()) -> None:
    """Unpack a root as a tree, without devices and without what `without` names ("./boot")."""
    tree.mkdir(parents=True)
    excluded = [f"--exclude={path}" for path in ("./dev/*", *without)]
    capture(["tar", "-xf", tar, "-C", tree, *excluded, "--numeric-owner"], timeout=None)


def set_units(tree: Path, *, enabled: Sequence[str], masked: Sequence[str]) -> None:
    """Have a tree's systemd start services at boot, and never start other units."""
    directory = tree / "etc/systemd/system"
    wanted = directory / "multi-user.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    for unit in enabled:
        own = (directory / f"{unit}.service").exists()
        link = wanted / f"{unit}.service"
        link.unlink(missing_ok=True)
        link.symlink_to(f"{'/etc' if own else '/usr/lib'}/systemd/system/{unit}.service")
    for unit in masked:
        (directory / unit).unlink(missing_ok=True)
        (directory / unit).symlink_to("/dev/null")


def preload(tree: Path, archives: Sequence[Path]) -> None:
    """Fill the container store of a tree with images, through the tree's own containerd; needs root."""
    run_step(
        "filling a container store",
        [*alone(), PRELOAD, tree, *archives],
        log=cache.log_file("preload"),
    )


def alone() -> list[str]:
    """The beginning of a command with mounts and processes of its own, which end with it."""
    return ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
