"""QEMU machines: booting one, keeping it as it stood then, and going on from there.

Booting under emulation is slow, going on from a saved memory takes seconds. So what a machine is to be made
ready for is done once, and saved; each use begins from there, on a disk of its own over the saved one.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import cache, ports
from lab.errors import LabError
from lab.process import Daemon, capture
from lab.progress import run_step, tail, wait_until
from lab.qemu import qmp
from lab.qemu.image import MachineImage

_SSH_PORT = 2222
_CPUS = 2
_UNPLUG_SECONDS = 60
# The machines' own network: every machine's second interface hears what any other sends there.
_MESH = "230.0.0.1:23099"
# Everything the kernel says goes to the serial console, whole: the file is what tests read OOM reports from.
_KERNEL_ARGUMENTS = (
    "console=ttyS0 ignore_loglevel log_buf_len=4M panic=1 net.ifnames=0 audit=0 systemd.show_status=0 "
    "systemd.log_target=journal mitigations=off"
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine is made of; one that is saved can go on with the same only.

    Attributes:
        memory_mib: its memory.
        forwards: port on its loopback address here -> port inside; the shell's comes on top.
        mesh: whether it has a second interface, in the machines' own network.
    """

    memory_mib: int
    forwards: Mapping[int, int] = field(default_factory=dict)
    mesh: bool = False


@dataclass(frozen=True, slots=True)
class SavedMachine:
    """A machine that stands still: the directory with its disk, its memory and its console."""

    image: MachineImage
    hardware: Hardware
    directory: Path

    @property
    def disk(self) -> Path:
        """What it has written to its disk."""
        return self.directory / "disk.qcow2"

    @property
    def state(self) -> Path:
        """Memory and devices, in QEMU's form."""
        return self.directory / "state"

    @property
    def console(self) -> Path:
        """What its kernel said while it booted."""
        return self.directory / "machine.console"


@dataclass(frozen=True, slots=True)
class Machine:
    """A QEMU machine: its files `NAME.*` in a directory, and its loopback address on this machine."""

    image: MachineImage
    hardware: Hardware
    directory: Path
    name: str
    host_address: str

    @property
    def console(self) -> Path:
        """The file with everything the machine's kernel has said since it booted."""
        return self.directory / f"{self.name}.console"

    @property
    def daemon(self) -> Daemon:
        """QEMU's process."""
        return Daemon(self.directory, self.name)

    @property
    def _monitor(self) -> Path:
        return self.directory / f"{self.name}.qmp"

    def boot(self, disk: Path) -> None:
        """Start the machine from its kernel; `disk` takes what it writes."""
        self.console.unlink(missing_ok=True)
        _make_overlay(self.image.disk, "raw", disk)
        self._start(disk, [])

    def resume(self, saved: SavedMachine) -> None:
        """Start the machine from the memory of one that was saved."""
        disk = self.directory / f"{self.name}.qcow2"
        _make_overlay(saved.disk, "qcow2", disk)
        self.console.write_bytes(saved.console.read_bytes())
        self._start(disk, ["-incoming", f"exec:cat '{saved.state}'"])

    def settle(self) -> None:
        """Wait until the machine has started all it starts, and have it hold no more than it needs.

        Raises:
            LabError: one of its services has failed.
        """
        done = self.shell("systemctl is-system-running --wait; sync; echo 3 > /proc/sys/vm/drop_caches")
        if done.returncode != 0:
            raise LabError(f"{self.name} is not well: {done.stderr or done.stdout}")

    def save(self, state: Path) -> None:
        """Write the machine's memory to a file, and end the machine."""
        with qmp.monitor(self._monitor) as monitor:
            monitor.save_state(state)
        self.daemon.stop()

    def shell(
        self, command: str, *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell command line on the machine as root.

        Raises:
            LabError: it took longer than `timeout` seconds.
        """
        try:
            done = subprocess.run(
                [*self._ssh(), command], input=stdin, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: `{command}` took longer than {timeout} s") from error
        return subprocess.CompletedProcess(
            command,
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def step(self, label: str, command: str, log: Path) -> None:
        """Run a long shell command on the machine as root, and remind people that it is still at work.

        Raises:
            LabError: it failed; the text ends with the last lines of its output, which is in `log`.
        """
        run_step(label, [*self._ssh(), f"{{ {command}; }} 2>&1"], log=log)

    def read_file(self, file: Path, command: str, timeout: float) -> None:
        """Run a shell command on the machine with a file of this machine as its standard input.

        The file comes as a disk that is plugged in meanwhile: under emulation a disk is many times faster
        than the network. The command sees zeros after the file's end, up to a whole number of sectors.

        Raises:
            LabError: the command failed.
        """
        node, device = "lab-file", "lab-file-disk"
        with qmp.monitor(self._monitor) as monitor:
            monitor.execute(
                "blockdev-add", **{"driver": "raw", "node-name": node, "read-only": True,
                                   "file": {"driver": "file", "filename": str(file), "read-only": True}},
            )  # fmt: skip
            monitor.execute("device_add", driver="virtio-blk-pci", id=device, drive=node, serial=node)
        disk = f"/dev/disk/by-id/virtio-{node}"
        try:
            script = f"until [ -b {disk} ]; do sleep 0.1; done; {command} < {disk}"
            done = self.shell(f"set -e; {script}", timeout=timeout)
            if done.returncode != 0:
                raise LabError(f"{self.name}: `{command}` failed: {done.stderr.strip()}")
        finally:
            self._unplug(device, node)

    def _unplug(self, device: str, node: str) -> None:
        with qmp.monitor(self._monitor) as monitor:
            monitor.execute("device_del", id=device)

            def gone() -> bool:
                try:
                    monitor.execute("blockdev-del", **{"node-name": node})
                except LabError:
                    return False
                return True

            wait_until(f"unplugging a disk from {self.name}", gone, seconds=_UNPLUG_SECONDS)

    def wait_for(self, what: str, command: str, seconds: float) -> None:
        """Wait until a shell command succeeds on the machine.

        Raises:
            LabError: it did not within `seconds`, or QEMU has ended; with the end of the console.
        """

        def succeeded() -> bool:
            self.daemon.require()
            return self.shell(command).returncode == 0

        wait_until(what, succeeded, seconds=seconds, hint=lambda: f"{self.console}:\n{tail(self.console)}")

    def _start(self, disk: Path, arguments: Sequence[str]) -> None:
        forwards = {**self.hardware.forwards, _SSH_PORT: 22}
        for port in forwards:
            ports.require(self.host_address, port)
        forward = ",".join(
            f"hostfwd=tcp:{self.host_address}:{port}-:{inside}" for port, inside in forwards.items()
        )
        mesh: list[str | Path] = []
        if self.hardware.mesh:
            mesh = ["-netdev", f"socket,id=mesh,mcast={_MESH},localaddr=127.0.0.1",
                    "-device", "virtio-net-pci,netdev=mesh"]  # fmt: skip
        self._monitor.unlink(missing_ok=True)
        # /dev/kvm may exist and yet hang, so the processor is always emulated.
        self.daemon.start(
            ["qemu-system-x86_64", "-name", self.name, "-accel", "tcg,thread=multi", "-cpu", "max",
             "-smp", str(_CPUS), "-m", str(self.hardware.memory_mib), "-display", "none", "-no-reboot",
             "-qmp", f"unix:{self._monitor.name},server=on,wait=off",
             "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
             "-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append", _KERNEL_ARGUMENTS,
             "-drive", f"file={disk},if=virtio,cache=unsafe",
             "-netdev", f"user,id=outside,net=10.0.2.0/24,host=10.0.2.2,{forward}",
             "-device", "virtio-net-pci,netdev=outside",
             *mesh, "-device", "virtio-rng-pci", *arguments]
        )  # fmt: skip

    def _ssh(self) -> list[str]:
        options = {
            "IdentityFile": self.image.ssh_key,
            "UserKnownHostsFile": self.image.known_hosts,
            "HostKeyAlias": "lab",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": 20,
        }
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", *settings, "-p", str(_SSH_PORT), f"root@{self.host_address}"]


def saved_machine(
    name: str,
    image: MachineImage,
    hardware: Hardware,
    *,
    host_address: str,
    ready: Callable[[Machine], None],
    key: str = "",
) -> SavedMachine:
    """The saved machine of an image, booted and made ready when absent.

    Args:
        name: of the thing in the cache.
        image: what it boots.
        hardware: what it runs on.
        host_address: its loopback address here meanwhile.
        ready: brings the running machine to where it is to be saved.
        key: over what `ready` makes it from beyond the image.
    """
    # The state can be read back by the same QEMU only, started in the same way.
    version = capture(["qemu-system-x86_64", "--version"])
    key = cache.key_of(image.directory.name, version, Path(__file__), repr(hardware), key)

    def make(out: Path) -> None:
        out.mkdir()
        saved = SavedMachine(image, hardware, out)
        machine = Machine(image, hardware, out, "machine", host_address)
        try:
            machine.boot(saved.disk)
            ready(machine)
            machine.settle()
            machine.save(saved.state)
        finally:
            machine.daemon.stop()

    return SavedMachine(image, hardware, cache.artifact(name, key, make))


def _make_overlay(backing: Path, form: str, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    capture(["qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", backing, out])
