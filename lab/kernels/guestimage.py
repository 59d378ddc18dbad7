"""What a kernel under test boots: its image, and a first file system that is the whole user space.

The file system comes in parts that the kernel unpacks one over the other: Python, busybox and the actor (made
once), the kernel's own modules (once a kernel), and the shipped oomsayer with the scenarios (every run).
"""

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import cache, packages
from lab.errors import LabError
from lab.kernels.debian import Suite, module_files
from lab.process import capture
from lab.progress import say
from lab.qemu.cpio import Member, write_archive

KERNELS: Mapping[str, str] = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7": "forky"}
"""The kernels under test, and the Debian release that carries each. "7" is the newest 7.x."""
V1_KERNELS = ("5.10", "6.1")
"""Those with the memory controller of cgroup v1: Debian builds later ones without (CONFIG_MEMCG_V1)."""

_USER_SPACE_SUITE = "trixie"
_USER_SPACE = (
    "busybox-static", "libc6", "libexpat1", "libffi8", "libpython3.13-minimal", "libpython3.13-stdlib",
    "python3.13-minimal", "zlib1g",
)  # fmt: skip
_PYTHON = "usr/bin/python3.13"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_LOADER = "lib64/ld-linux-x86-64.so.2"
_SHARED_OBJECTS = ("libc.so.6", "libm.so.6", "libz.so.1", "libexpat.so.1", "libffi.so.8")
_STDLIB = "usr/lib/python3.13"
_LEFT_OUT = frozenset({
    "__pycache__", "_pyrepl", "asyncio", "curses", "dbm", "ensurepip", "idlelib", "lib2to3",
    "multiprocessing", "pydoc_data", "sqlite3", "test", "tkinter", "tomllib", "turtledemo", "unittest",
    "venv", "wsgiref", "xml", "xmlrpc", "zoneinfo",
})  # fmt: skip
_EXTENSIONS = ("_ctypes.", "mmap.", "resource.", "termios.")
_DIRECTORIES = ("bin", "dev", "lab", "lib64", "modules", "proc", "ramfs", "run", "sys", "tmp")
_MODULES = ("virtio_pci", "virtio_blk")
_GUEST = Path(__file__).resolve().parent / "guest"
_PACKAGE = Path(__file__).resolve().parents[2] / "operator" / "oomsayer"
_SHIPPED = ("kernel", "kubelet", "node", "forecast", "agent", "api", "cli")


@dataclass(frozen=True, slots=True)
class GuestImage:
    """What QEMU starts a kernel under test from."""

    kernel: Path
    initrd: Path


def guest_image(kernel: str, files: Mapping[str, bytes], out: Path) -> GuestImage:
    """Put together the guest of one run.

    Args:
        kernel: a name of KERNELS.
        files: further files, by path under /lab in the guest.
        out: where to write the first file system.
    """
    user_space, made = prepare(kernel)
    with cache.locked("kernels"):
        actor = cache.artifact("actor", cache.key_of(_GUEST / "actor.c"), _build_actor)
        package = _compiled(user_space)
    members = [
        Member("lab/actor", actor.read_bytes(), 0o755),
        *(Member(f"lab/{name}", content) for name, content in files.items()),
        *_tree(package, "lab/oomsayer"),
        *_scripts(),
    ]
    parts = [user_space / "root.cpio", made / "modules.cpio"]
    out.write_bytes(b"".join([*(part.read_bytes() for part in parts), write_archive(members)]))
    return GuestImage(made / "vmlinuz", out)


def prepare(kernel: str) -> tuple[Path, Path]:
    """Fetch what is missing in the cache: the user space of all guests, and a kernel; where they are."""
    packages.require(["gcc"])
    inputs = (*_USER_SPACE, *_SHARED_OBJECTS, *sorted(_LEFT_OUT), *_EXTENSIONS, *_DIRECTORIES)
    suite = KERNELS[kernel]
    with cache.locked("kernels"):
        user_space = cache.artifact("guest-root", cache.key_of(*inputs), _build_user_space)
        made = cache.artifact(
            f"kernel-{kernel}", cache.key_of(suite, *_MODULES), lambda at: _fetch(suite, at)
        )
    return user_space, made


def release(kernel: str) -> str:
    """The full version of a kernel, e.g. "6.12.117+deb13-cloud-amd64"."""
    return (prepare(kernel)[1] / "release").read_text().strip()


def _scripts() -> Iterator[Member]:
    yield Member("init", (_GUEST / "init").read_bytes(), 0o755)
    for path in sorted(_GUEST.glob("p*.py")):
        yield Member(f"lab/{path.name}", path.read_bytes())


def _build_actor(out: Path) -> None:
    say("compiling the actor")
    capture(["gcc", "-O2", "-static", "-pthread", "-o", out, _GUEST / "actor.c"])


def _fetch(suite: str, out: Path) -> None:
    debian = Suite(suite)
    debian.update()
    names = debian.required_by("linux-image-cloud-amd64", r"linux-(image|binary|modules)-\d")
    tree = out.with_suffix(".tree")
    debian.unpack(names, tree)
    out.mkdir()
    image = next((path for path in sorted(tree.rglob("vmlinuz*")) if path.is_file()), None)
    if image is None:
        raise LabError(f"no kernel in {', '.join(names)} of Debian {suite}")
    shutil.copy(image, out / "vmlinuz")
    modules = module_files(tree, _MODULES)
    members = [
        Member("modules"),
        *(Member(f"modules/{number:02}-{name}.ko", each) for number, (name, each) in enumerate(modules)),
    ]
    (out / "modules.cpio").write_bytes(write_archive(members))
    version = next(path.parent.name for path in sorted(tree.rglob("modules/*/kernel")))
    (out / "release").write_text(version)
    shutil.rmtree(tree)


def _build_user_space(out: Path) -> None:
    debian = Suite(_USER_SPACE_SUITE)
    debian.update()
    out.mkdir()
    tree = out / "tree"
    debian.unpack(_USER_SPACE, tree)
    libraries = [(tree / _LIBRARIES / name, f"{_LIBRARIES}/{name}") for name in _SHARED_OBJECTS]
    programs = [
        (tree / "usr" / _LOADER, _LOADER),
        (tree / _PYTHON, "bin/python3"),
        (_busybox(tree), "bin/busybox"),
    ]
    root = out / "root"
    for source, target in [*programs, *libraries]:
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / target)
    for path in _stdlib(tree / _STDLIB):
        copy = root / path.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    _compile(root, root / _STDLIB, _STDLIB)
    for name in _DIRECTORIES:
        (root / name).mkdir(exist_ok=True)
    (out / "root.cpio").write_bytes(write_archive(_tree(root, "")))
    shutil.rmtree(tree)


def _busybox(tree: Path) -> Path:
    return next(path for path in (tree / "bin/busybox", tree / "usr/bin/busybox") if path.exists())


def _stdlib(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or _LEFT_OUT & set(path.relative_to(directory).parts):
            continue
        if path.parent.name != "lib-dynload" or path.name.startswith(_EXTENSIONS):
            yield path


def _compile(root: Path, directory: Path, shown: str) -> None:
    """Compile with the guest's own Python: emulated processors are slow at it."""
    # The guest's loader and C library run on this machine's kernel as well as on any other.
    command: list[str | Path] = [
        root / _LOADER, "--library-path", root / _LIBRARIES, root / "bin/python3", "-s", "-P",
        "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
        "-s", str(directory), "-p", f"/{shown}", directory,
    ]  # fmt: skip
    env = {"PYTHONHOME": str(root / "usr"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    if done.returncode != 0:
        raise LabError(
            f"compiling {directory}: {(done.stdout + done.stderr).decode(errors='replace').strip()}"
        )


def _compiled(user_space: Path) -> Path:
    def build(out: Path) -> None:
        sources = [_PACKAGE / "__init__.py", _PACKAGE / "__main__.py"]
        sources += [path for name in _SHIPPED for path in sorted((_PACKAGE / name).rglob("*.py"))]
        for path in sources:
            if path.exists():
                target = out / path.relative_to(_PACKAGE)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        _compile(user_space / "root", out, "lab/oomsayer")

    return cache.artifact("guest-oomsayer", cache.key_of(_PACKAGE, *_SHIPPED), build)


def _tree(directory: Path, prefix: str) -> Iterable[Member]:
    if prefix:
        yield Member(prefix)
    for path in sorted(directory.rglob("*")):
        name = str(Path(prefix) / path.relative_to(directory))
        if path.is_dir():
            yield Member(name)
        else:
            yield Member(name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)
