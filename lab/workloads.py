"""The images of the lab's own: pause, and busybox with the memory tool."""

import shutil
from pathlib import Path

from lab import cache, packages
from lab.archive import Config, Entry, write_image, write_layer
from lab.errors import LabError
from lab.process import capture

PAUSE = "oomsayer.lab/pause:1"
TOOLS = "oomsayer.lab/tools:1"
_SOURCES = Path(__file__).resolve().parent / "images"
_APPLETS = (
    "cat",
    "dd",
    "env",
    "free",
    "grep",
    "head",
    "kill",
    "ls",
    "nc",
    "ps",
    "rm",
    "sh",
    "sleep",
    "tail",
    "touch",
    "true",
    "wget",
)


def program(name: str) -> Path:
    """A static program compiled from lab/images/NAME.c."""
    source = _SOURCES / f"{name}.c"
    packages.require(["gcc"])

    def compile_it(out: Path) -> None:
        capture(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", out, source])

    return cache.artifact(name, cache.key_of(source), compile_it)


def pause() -> Path:
    """The archive of the pause image."""
    binary = program("pause")
    return _image("pause.tar", PAUSE, [Entry("pause", binary.read_bytes())], Config(entrypoint=["/pause"]))


def tools() -> Path:
    """The archive of the busybox image with /bin/memtool."""
    entries = [
        Entry("bin"),
        Entry("tmp", mode=0o1777),
        Entry("etc"),
        Entry(
            "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", mode=0o644
        ),
        Entry("bin/busybox", busybox().read_bytes()),
        Entry("bin/memtool", program("memtool").read_bytes()),
        *(Entry(f"bin/{applet}", link="busybox") for applet in _APPLETS),
    ]
    return _image("tools.tar", TOOLS, entries, Config(command=["/bin/sh"], environment={"PATH": "/bin"}))


def busybox() -> Path:
    """A static busybox: this machine's."""
    packages.require(["busybox"])
    found = Path(shutil.which("busybox") or "/bin/busybox")
    if b"/ld-linux" in found.read_bytes():
        raise LabError(f"{found} is not static. On Debian: sudo apt-get install busybox-static")
    return found


def _image(name: str, reference: str, entries: list[Entry], config: Config) -> Path:
    key = cache.key_of(reference, repr(entries), repr(config))

    def build(out: Path) -> None:
        layer = out.with_suffix(".layer")
        write_layer(layer, entries)
        write_image(out, reference, [layer], config)
        layer.unlink()

    return cache.artifact(name, key, build)
