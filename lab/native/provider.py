"""The native cluster: control plane processes on this machine, nodes in QEMU, every part real."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab import archive as archives
from lab import cache, image, packages, tools
from lab.errors import LabError
from lab.native import binaries, nodeimage
from lab.native.controlplane import ControlPlane
from lab.native.join import Place, join
from lab.native.nodeimage import NodeImage
from lab.native.vm import BootedImage, Machine, booted_image
from lab.process import capture, stop_all
from lab.progress import say, tail, wait_until

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
_READY_SECONDS = 300
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

    def kernel_log(self, node: str) -> str:
        """See Provider."""
        return self._machine(node).console.read_text(errors="replace").replace("\r", "")

    @property
    def _control_plane(self) -> ControlPlane:
        return ControlPlane(self.directory / "control-plane")

    @property
    def _machine_directory(self) -> Path:
        return self.directory / "nodes"

    @property
    def _record(self) -> Path:
        return self.directory / "cluster.json"

    def _start(self, booted: BootedImage, places: Sequence[Place]) -> None:
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

    def _machine_at(self, node_image: NodeImage, place: Place) -> Machine:
        return Machine(node_image, self._machine_directory, place.name, place.host_address)

    def _recorded(self) -> list[Machine]:
        try:
            record = json.loads(self._record.read_text())
            count, node_image = int(record["nodes"]), NodeImage(Path(record["image"]))
        except (OSError, ValueError, KeyError):
            return []
        return [self._machine_at(node_image, Place(number)) for number in range(1, count + 1)]

    def _machines(self) -> list[Machine]:
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
        kubectl = tools.kubectl(self._control_plane.kubeconfig)
        names = {machine.name for machine in machines}
        say(f"waiting for {', '.join(sorted(names))} to be Ready")

        def ready() -> bool:
            for machine in machines:
                machine.daemon.require()
            try:
                return _ready_nodes(capture([*kubectl, "get", "nodes", "--output", "json"])) >= names
            except LabError:
                return False

        def hint() -> str:
            return "\n".join(f"{each.name}'s console:\n{tail(each.console)}" for each in machines)

        wait_until("the nodes' start", ready, seconds=_READY_SECONDS, every=1, hint=hint)
        say(f"{len(names)} nodes are Ready")


def _booted() -> BootedImage:
    """What nodes start from, made when absent."""
    if os.geteuid() != 0:
        raise LabError("the native cluster needs root, to make the nodes' disks: run the same with sudo")
    packages.require(_PROGRAMS)
    return booted_image(nodeimage.node_image())


def _import_image(machine: Machine, archive: Path) -> None:
    """Import an image, sending only those layers that the machine does not have."""
    listed = machine.shell("ctr -n k8s.io content ls -q")
    if listed.returncode != 0:
        raise LabError(f"{machine.name} does not list its images: {listed.stderr.strip()}")
    sent = machine.directory / f"{machine.name}-image.tar"
    archives.write_oci(archive, sent, without=frozenset(listed.stdout.split()))
    machine.read_file(sent, "ctr -n k8s.io images import -", _IMPORT_SECONDS)
    sent.unlink()


def _ready_nodes(listing: str) -> set[str]:
    return {
        item["metadata"]["name"]
        for item in json.loads(listing)["items"]
        for condition in item["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
