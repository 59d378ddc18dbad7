"""The native cluster: control plane processes on this machine, nodes in QEMU, every part real."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import archive as archives
from lab import binaries, cache, image, packages, tools
from lab.errors import LabError
from lab.native.booted import HARDWARE, booted_node
from lab.native.controlplane import ControlPlane
from lab.native.gateway import Gateway
from lab.native.join import Place, join
from lab.native.scraping import scrape_configs
from lab.process import stop_all
from lab.progress import say, tail
from lab.qemu.image import MachineImage
from lab.qemu.machine import Machine, SavedMachine
from lab.readiness import wait_ready

_PROGRAMS = (
    "qemu-system-x86_64",
    "qemu-img",
    "mmdebstrap",
    "mke2fs",
    "ssh",
    "ssh-keygen",
    "openssl",
    "gcc",
    "unshare",
)
_MAX_NODES = 9
_IMPORT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class NativeProvider:
    """A cluster on a machine that has neither Docker nor KVM nor a registry; needs root, apt and Go."""

    directory: Path = field(default_factory=lambda: cache.run_directory("native"))
    name: str = "native"

    @property
    def kubeconfig(self) -> Path:
        """See Provider."""
        self._machines()
        return self._control_plane.kubeconfig

    def nodes(self) -> list[str]:
        """See Provider."""
        return [machine.name for machine in self._machines()]

    def running(self) -> bool:
        """See Provider."""
        machines = self._recorded()
        return (
            bool(machines)
            and self._control_plane.running()
            and all(machine.daemon.pid() is not None for machine in machines)
        )

    def prepare(self) -> None:
        """See Provider."""
        _booted()
        binaries.kubernetes(binaries.CONTROL_PLANE)
        binaries.etcd()
        tools.tool("kubectl")
        image.project_image()

    def up(self, nodes: int) -> None:
        """See Provider."""
        if not 1 <= nodes <= _MAX_NODES:
            raise LabError(f"--nodes must be 1 to {_MAX_NODES}, not {nodes}")
        if self.running():
            if len(self._recorded()) != nodes:
                raise LabError(
                    f"a lab cluster of {len(self._recorded())} nodes is up: `python -m lab down` first"
                )
            say("the lab cluster is up already")
            self._wait_ready()
            return
        booted = _booted()
        self.down()
        self._start(booted, [Place(number) for number in range(1, nodes + 1)])
        self._wait_ready()

    def down(self) -> None:
        """See Provider."""
        stop_all(self._machine_directory)
        self._control_plane.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def load_image(self, archive: Path) -> None:
        """See Provider."""
        machines = self._machines()
        reference = archives.reference_of(archive)
        say(f"loading {reference} into {', '.join(machine.name for machine in machines)}")
        with ThreadPoolExecutor(len(machines)) as pool:
            list(pool.map(lambda machine: _import_image(machine, archive), machines))
        say("loaded")

    def node_shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """See Provider."""
        return self._machine(node).shell(shlex.join(argv), stdin=stdin, timeout=timeout)

    def kernel_pid(self, node: str, pid: int) -> int | None:
        """See Provider; a node is a machine of its own."""
        return pid if self.node_shell(node, ["test", "-d", f"/proc/{pid}"]).returncode == 0 else None

    def kernel_path(self, node: str, path: str) -> str:
        """See Provider; a node is a machine of its own."""
        del node
        return path

    def kernel_log(self, node: str) -> str:
        """See Provider."""
        return self._machine(node).console.read_text(errors="replace").replace("\r", "")

    @contextmanager
    def scraped(self, pods: Path) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Scrape configurations for a Prometheus on this machine, good for as long as the block.

        The first node is its way to the addresses of all nodes and pods.

        Args:
            pods: the file in which the pods will stand; see lab/native/scraping.py.
        """
        machines = self._machines()
        places = [Place(number) for number in range(1, len(machines) + 1)]
        with machines[0].proxy() as proxy_url:
            yield scrape_configs(self._control_plane, places, pods, proxy_url)

    @property
    def _control_plane(self) -> ControlPlane:
        return ControlPlane(self.directory / "control-plane")

    @property
    def _machine_directory(self) -> Path:
        return self.directory / "nodes"

    @property
    def _record(self) -> Path:
        return self.directory / "cluster.json"

    def _start(self, booted: SavedMachine, places: Sequence[Place]) -> None:
        machines = [self._machine_at(booted.image, place) for place in places]
        self._machine_directory.mkdir(parents=True)
        say("starting the control plane")
        hosts = {place.name: place.host_address for place in places}
        api_port = self._control_plane.start(hosts=hosts, controllers=True)
        say(f"starting {len(machines)} nodes")
        for machine in machines:
            machine.resume(booted)
        for machine, place in zip(machines, places, strict=True):
            join(machine, place, len(places), self._control_plane.authority, api_port)
        self._record.write_text(json.dumps({"nodes": len(places), "image": str(booted.image.directory)}))

    def _machine_at(self, node_image: MachineImage, place: Place) -> Gateway:
        return Gateway(node_image, HARDWARE, self._machine_directory, place.name, place.host_address)

    def _recorded(self) -> list[Gateway]:
        try:
            record = json.loads(self._record.read_text())
            count, node_image = int(record["nodes"]), MachineImage(Path(record["image"]))
        except (OSError, ValueError, KeyError):
            return []
        return [self._machine_at(node_image, Place(number)) for number in range(1, count + 1)]

    def _machines(self) -> list[Gateway]:
        if not self.running():
            raise LabError("no lab cluster is up: start one with `python -m lab up`")
        return self._recorded()

    def _machine(self, node: str) -> Machine:
        for machine in self._machines():
            if machine.name == node:
                return machine
        raise LabError(f"no node {node!r}; there are: {', '.join(self.nodes())}")

    def _wait_ready(self) -> None:
        machines = self._machines()

        def require() -> None:
            for machine in machines:
                machine.daemon.require()

        def hint() -> str:
            return "\n".join(f"{each.name}'s console:\n{tail(each.console)}" for each in machines)

        wait_ready(
            self._control_plane.kubeconfig, [each.name for each in machines], require=require, hint=hint
        )


def _booted() -> SavedMachine:
    """What nodes start from, made when absent."""
    if os.geteuid() != 0:
        raise LabError("the native cluster needs root, to make the nodes' disks: run the same with sudo")
    packages.require(_PROGRAMS)
    return booted_node()


def _import_image(machine: Machine, archive: Path) -> None:
    """Import an image, sending only those layers that the machine does not have."""
    listed = machine.shell("ctr -n k8s.io content ls -q")
    if listed.returncode != 0:
        raise LabError(f"{machine.name} does not list its images: {listed.stderr.strip()}")
    sent = machine.directory / f"{machine.name}-image.tar"
    archives.write_oci(archive, sent, without=frozenset(listed.stdout.split()))
    machine.read_file(sent, "ctr -n k8s.io images import -", _IMPORT_SECONDS)
    sent.unlink()
