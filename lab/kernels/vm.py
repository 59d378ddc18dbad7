"""One boot of a kernel under test: QEMU with two serial ports, one for what goes wrong, one for results."""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lab import packages
from lab.errors import LabError
from lab.kernels.guestimage import guest_image
from lab.kernels.scenario import MACHINE_MIB, SWAP_MIB, Machine, Scenario
from lab.progress import tail

Result = dict[str, Any]
"""What the player in the guest reports of one scenario (guest/player.py)."""

_SILENCE_SECONDS = 240.0
_POLL_SECONDS = 0.1
# Huge pages only where an actor asks: a daemon that merges pages behind its back would move its counters.
_KERNEL_ARGUMENTS = (
    "console=ttyS0 loglevel=3 log_buf_len=4M panic=-1 audit=0 mitigations=off transparent_hugepage=madvise"
)

_HALF = f"{MACHINE_MIB // 2}M"
_MACHINES = {
    Machine.PLAIN: ((), ""),
    Machine.NUMA: (
        (
            "-object", f"memory-backend-ram,id=m0,size={_HALF}", "-numa", "node,memdev=m0,cpus=0",
            "-object", f"memory-backend-ram,id=m1,size={_HALF}", "-numa", "node,memdev=m1,cpus=1",
        ),
        "",
    ),
    # Before 5.18 the kernel counts swap by cgroup only if asked to.
    Machine.V1: ((), " lab.cgroup=v1 swapaccount=1"),
    Machine.SPARE: ((), ""),
}  # fmt: skip
"""What each adds for QEMU and for the kernel."""
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")


def play(
    kernel: str, scenarios: Sequence[Scenario], directory: Path, machine: Machine = Machine.PLAIN
) -> Iterator[Result]:
    """Boot a kernel and play scenarios; each result as it comes.

    The iteration ends early when the guest dies: what is missing then was not played. A result that is to end
    in a panic has the kernel's words for it under "panic".

    Raises:
        LabError: the guest says nothing at all; the text shows the end of its console.
    """
    packages.require(["qemu-system-x86_64"])
    directory.mkdir(parents=True, exist_ok=True)
    document = json.dumps([scenario.document() for scenario in scenarios]).encode()
    image = guest_image(kernel, {"scenarios.json": document}, directory / "initrd")
    console, results, swap = directory / "console", directory / "results", directory / "swap"
    for path in (console, results, swap):
        path.unlink(missing_ok=True)
    with swap.open("wb") as file:
        file.truncate(SWAP_MIB << 20)
    results.touch()
    # /dev/kvm may exist and yet hang, so the processor is always emulated. Both in one thread: emulated side
    # by side, one can run into the other's half-patched code (7.2 dies of an int3 then).
    arguments, kernel_arguments = _MACHINES[machine]
    command: list[str | Path] = [
        "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2",
        "-m", str(MACHINE_MIB), "-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none",
        "-serial", f"file:{console}", "-serial", f"file:{results}",
        "-kernel", image.kernel, "-initrd", image.initrd, "-append", _KERNEL_ARGUMENTS + kernel_arguments,
        "-drive", f"file={swap},if=virtio,format=raw,cache=unsafe", *arguments,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield from _results(process, results, console)
    finally:
        process.kill()
        process.wait()
        swap.unlink()
        image.initrd.unlink()


def _results(process: subprocess.Popen[bytes], path: Path, console: Path) -> Iterator[Result]:
    """What the guest tells. Of a panic it tells beforehand, and the console says afterwards which it was."""
    told, awaited = False, None
    for line in _lines(process, path):
        told, result = True, json.loads(line)
        awaited = result if result.get("awaits_panic") else None
        if awaited is None:
            yield result
    if awaited is not None:
        panic = _PANIC.search(console.read_text("utf-8", "replace"))
        yield awaited | {"panic": panic[1].strip() if panic else ""}
    if not told:
        raise LabError(f"the guest reported nothing; the end of {console}:\n{tail(console)}")


def _lines(process: subprocess.Popen[bytes], path: Path) -> Iterator[bytes]:
    """The lines of a file as a process writes them, until it has ended or been silent for too long."""
    heard = time.monotonic()
    rest = b""
    with path.open("rb") as file:
        while True:
            ended = process.poll() is not None
            new = file.read()
            if new:
                heard = time.monotonic()
                *lines, rest = (rest + new).split(b"\n")
                yield from lines
            elif ended or time.monotonic() - heard > _SILENCE_SECONDS:
                return
            else:
                time.sleep(_POLL_SECONDS)
