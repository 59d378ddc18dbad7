"""Files out of Debian packages of any release, without installing them and without root."""

import lzma
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab import cache, packages
from lab.errors import LabError
from lab.process import capture
from lab.progress import run_step

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Suite:
    """One Debian release on the mirror that this machine's own sources name, with its own package lists."""

    def __init__(self, name: str) -> None:
        """Name a release, e.g. "trixie"."""
        self.name = name
        self._directory = cache.root() / "apt" / name
        self._options: list[str] = []

    def update(self) -> None:
        """Fetch the package lists.

        Raises:
            LabError: the mirror does not answer, or Debian's keys are missing.
        """
        for program in ("apt-get", "dpkg-deb"):
            if shutil.which(program) is None:
                raise LabError(f"missing: {program}. The kernel lab takes its kernels from Debian's packages")
        if not _KEYRING.exists():
            raise LabError(f"missing: {_KEYRING}. On Debian: sudo apt-get install debian-archive-keyring")
        for part in ("lists/partial", "archives/partial"):
            (self._directory / part).mkdir(parents=True, exist_ok=True)
        (self._directory / "status").touch()
        sources = self._directory / "sources.list"
        sources.write_text(f"deb [arch=amd64 signed-by={_KEYRING}] {packages.mirror()} {self.name} main\n")
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": self._directory / "lists",
            "Dir::State::status": self._directory / "status",
            "Dir::Cache": self._directory,
            "Acquire::Languages": "none",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "",
        }
        self._options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        log = cache.log_file(f"apt-{self.name}")
        run_step(
            f"reading the package lists of Debian {self.name}",
            ["apt-get", *self._options, "update"],
            log=log,
        )

    def required_by(self, package: str, pattern: str) -> list[str]:
        """The packages that `package` needs, directly or not, whose names match a pattern."""
        leave_out = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        listing = capture(
            ["apt-cache", *self._options, "depends", "--recurse", *(f"--no-{kind}" for kind in leave_out),
             package]
        )  # fmt: skip
        return sorted(
            {name for name in re.findall(r"^(\S+)$", listing, re.MULTILINE) if re.match(pattern, name)}
        )

    def unpack(self, names: Sequence[str], out: Path) -> None:
        """Fetch packages and unpack their files at `out`."""
        archives = self._directory / "archives"
        run_step(
            f"fetching {' '.join(names)}",
            ["apt-get", *self._options, "download", *names],
            log=cache.log_file(f"apt-{self.name}-download"),
            cwd=archives,
        )
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            for archive in archives.glob(f"{name}_*.deb"):
                capture(["dpkg-deb", "--extract", archive, out])
                archive.unlink()


def module_files(tree: Path, wanted: Sequence[str]) -> list[tuple[str, bytes]]:
    """Kernel modules by name with all that they depend on, in the order to load them, uncompressed.

    A module that is not there is taken to be built in.
    """
    found = {path.name.partition(".")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    loaded: dict[str, bytes] = {}
    for name in wanted:
        _load(name, found, loaded)
    return list(loaded.items())


def _load(name: str, found: dict[str, Path], loaded: dict[str, bytes]) -> None:
    path = found.get(name)
    if path is None or name in loaded:
        return
    content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    depends = re.search(rb"\0depends=([^\0]*)\0", content)
    for needed in (depends[1].decode() if depends else "").split(","):
        _load(needed.replace("-", "_"), found, loaded)
    loaded[name] = content
