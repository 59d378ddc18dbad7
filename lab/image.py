"""The project's image without a registry: the layout of the Dockerfile on a root of Debian's Python.

Two layers: Python with the dependencies of uv.lock, which is cached, and the project's code. All of it holds
compiled bytecode, because the containers' file systems are read-only. Needs no root: the image's own Python
is run in place to compile.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from lab import cache, packages
from lab.archive import Config, add_tree, write_image
from lab.errors import LabError
from lab.process import capture
from lab.progress import run_step, say

REPOSITORY = Path(__file__).resolve().parent.parent
BASE = "oomsayer.lab/base:1"
_SUITE = "trixie"
_PACKAGES = "base-files,python3"
_PYTHON = "3.13"
_PLATFORM = "x86_64-manylinux_2_28"
# What no program at run time reads.
_TRIMMED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/perl5",
    "usr/share/dpkg",
    "usr/share/debconf",
    "var/lib/dpkg",
    "var/cache",
    "etc/apt",
    "etc/dpkg",
    f"usr/lib/python{_PYTHON}/pydoc_data",
    f"usr/lib/python{_PYTHON}/ensurepip",
)
_USERS = "root:x:0:0:root:/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
_GROUPS = "root:x:0:\nnogroup:x:65534:\n"
# As in the Dockerfile.
_HOME = "opt/oomsayer"
_CONFIG = Config(
    entrypoint=["python3", "-m", "oomsayer"],
    environment={
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"/{_HOME}/app:/{_HOME}/lib",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    },
    user="65534:65534",
)


def version() -> str:
    """The project's version, from pyproject.toml."""
    found = re.search(r'^version = "([^"]+)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    if found is None:
        raise LabError(f"{REPOSITORY}/pyproject.toml has no version")
    return found[1]


def reference() -> str:
    """The name of the project's image."""
    return f"oomsayer:{version()}"


def project_image() -> Path:
    """The docker-archive of this checkout's image: a minute the first time, seconds after a code change."""
    base = _base()
    code = REPOSITORY / "operator" / "oomsayer"
    key = cache.key_of(base.name, code, reference(), repr(_CONFIG))
    return cache.artifact("image", key, lambda out: _build_image(out, base, code))


def base_image() -> Path:
    """The docker-archive of the lower layer alone, for nodes to have before the project's image comes."""
    base = _base()
    key = cache.key_of(base.name, BASE)
    return cache.artifact(
        "image-base.tar", key, lambda out: write_image(out, BASE, [base / "layer.tar"], Config())
    )


def _base() -> Path:
    """The lower layer: `root`, its tree, and `layer.tar`."""
    requirements = capture(
        [_uv(), "export", "--quiet", "--frozen", "--extra", "operator", "--no-dev", "--no-emit-project",
         "--no-header", "--project", REPOSITORY]
    )  # fmt: skip
    key = cache.key_of(requirements, _SUITE, _PACKAGES, _PYTHON, _PLATFORM, repr(_TRIMMED), _HOME)
    return cache.artifact("image-base", key, lambda out: _build_base(out, requirements))


def _build_base(out: Path, requirements: str) -> None:
    packages.require(["mmdebstrap"])
    out.mkdir()
    root, listed, archive = out / "root", out / "requirements.txt", out / "debian.tar"
    listed.write_text(requirements)
    run_step(
        f"fetching Debian's Python {_PYTHON} for the image",
        ["mmdebstrap", "--variant=extract", "--format=tar", f"--include={_PACKAGES}", _SUITE, archive,
         f"deb {packages.mirror()} {_SUITE} main"],
        log=cache.log_file("image-debian"),
    )  # fmt: skip
    root.mkdir()
    capture(["tar", "-xf", archive, "-C", root, "--no-same-owner", "--exclude=./dev/*"])
    archive.unlink()
    _trim(root)
    run_step(
        "fetching the image's Python packages",
        [_uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
         "--python-version", _PYTHON, "--python-platform", _PLATFORM, "--target", root / _HOME / "lib",
         "--requirement", listed],
        log=cache.log_file("image-packages"),
    )  # fmt: skip
    say("compiling the image's bytecode")
    _compile(root, root, [root / "usr/lib" / f"python{_PYTHON}", root / _HOME / "lib"])
    with tarfile.open(out / "layer.tar", "w", format=tarfile.GNU_FORMAT) as layer:
        add_tree(layer, root)


def _trim(root: Path) -> None:
    for name in _TRIMMED:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "etc/passwd").write_text(_USERS)
    (root / "etc/group").write_text(_GROUPS)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _build_image(out: Path, base: Path, code: Path) -> None:
    say(f"building {reference()}")
    tree = out.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    target = tree / _HOME / "app" / "oomsayer"
    shutil.copytree(code, target, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(base / "root", tree, [target])
    layer = out.with_suffix(".layer")
    with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as archive:
        add_tree(archive, tree)
    write_image(out, reference(), [base / "layer.tar", layer], _CONFIG)
    layer.unlink()
    shutil.rmtree(tree)


def _compile(root: Path, strip: Path, directories: Sequence[Path]) -> None:
    """Compile with the image's own Python, so that the bytecode is that of its version.

    The bytecode never looks at the source's time stamp, which the layers do not keep.
    """
    libraries = root / "usr/lib/x86_64-linux-gnu"
    command: list[str | Path] = [
        libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, root / f"usr/bin/python{_PYTHON}",
        "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
        "-s", strip, "-p", "/", *directories,
    ]  # fmt: skip
    done = subprocess.run(
        command, env={"PYTHONHOME": str(root / "usr")}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"the image's code does not compile:\n{done.stdout}{done.stderr}")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    candidates = [os.environ.get("UV"), shutil.which("uv"), str(beside) if beside.exists() else None]
    candidates += [str(path) for path in sorted(cache.root().glob("uv-*/bin/uv"))]
    found = next((each for each in candidates if each), None)
    if found is None:
        raise LabError("missing: uv. `make setup` fetches it, or: pip install uv")
    return found
