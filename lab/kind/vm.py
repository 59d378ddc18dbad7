"""A kind cluster in a QEMU machine with Docker, where this machine cannot run Docker or pull images.

The machine is booted and the cluster made in it once; then the machine is saved as it stands, nodes Ready.
Every `up` goes on from there in seconds.
"""

import io
import json
import os
import shlex
import shutil
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import archive as archives
from lab import binaries, cache, image, packages, tools
from lab.errors import LabError
from lab.kind import configuration
from lab.kind.cluster import NAME, Cluster
from lab.kind.vmimage import node_reference, vm_image
from lab.process import capture, stop_all
from lab.progress import say, tail, wait_until
from lab.qemu.image import MachineImage
from lab.qemu.machine import Hardware, Machine, SavedMachine, saved_machine
from lab.readiness import other_versions, wait_ready

_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs", "ssh", "ssh-keygen", "gcc", "unshare")
_API_PORT = 6443
_HARDWARE = Hardware(memory_mib=5120, forwards={_API_PORT: _API_PORT})
# What QEMU and the rest of this machine need beside the machine's own memory.
_SPARE_MIB = 512
_HOST_ADDRESS = "127.0.1.30"
_BOOT_SECONDS = 300
_SHELL_SECONDS = 60
_HOME = "/root/kind"
_IMAGE = "/root/image.tar"
_CONFIG = "config.yaml"
_NODES = (f"{NAME}-control-plane", f"{NAME}-worker", f"{NAME}-worker2")
_RUNNING_SECONDS = 600
# Workers that take their time cost little; an API server that does makes everybody try again.
_PREFER_CONTROL_PLANE = f"until docker update --cpu-shares 8192 {_NODES[0]}; do sleep 1; done"


@dataclass(frozen=True, slots=True)
class KindVmProvider:
    """The cluster of kind-config.yaml in a machine of its own; needs root, apt and Go."""

    directory: Path = field(default_factory=lambda: cache.run_directory("kind-vm"))
    name: str = "kind-vm"

    @property
    def kubeconfig(self) -> Path:
        """See Provider."""
        self._machine()
        return self._kubeconfig

    @property
    def _kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def _record(self) -> Path:
        return self.directory / "machine.json"

    def nodes(self) -> list[str]:
        """See Provider."""
        self._machine()
        return list(_NODES)

    def running(self) -> bool:
        """See Provider."""
        machine = self._recorded()
        return machine is not None and machine.daemon.pid() is not None and self._kubeconfig.exists()

    def prepare(self) -> None:
        """See Provider."""
        _prepared()
        tools.tool("kubectl")
        image.project_image()

    def up(self, nodes: int) -> None:
        """See Provider; the number of nodes is that of kind-config.yaml."""
        del nodes
        if self.running():
            say("the kind cluster is up already")
            _wait_ready(self._machine(), self._kubeconfig)
            return
        saved = _prepared()
        require_memory()
        self.down()
        self.directory.mkdir(parents=True, exist_ok=True)
        machine = self._machine_of(saved.image)
        try:
            say("starting the machine with the kind cluster")
            machine.resume(saved)
            self._record.write_text(json.dumps({"image": str(saved.image.directory)}))
            machine.wait_for("the machine's shell", f"date --utc --set @{time.time():.3f}", _SHELL_SECONDS)
            _write_kubeconfig(machine, self._kubeconfig)
            _wait_ready(machine, self._kubeconfig)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """See Provider."""
        stop_all(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    def load_image(self, archive: Path) -> None:
        """See Provider."""
        machine, sent = self._machine(), self.directory / "image.tar"
        say(f"loading {archives.reference_of(archive)} into {', '.join(_NODES)}")
        # Emulated nodes take minutes over a layer that they have already.
        archives.write_oci(archive, sent, without=_cluster(machine).layers())
        machine.read_file(sent, f"cat > {_IMAGE}", timeout=300)
        sent.unlink()
        _cluster(machine).load(_IMAGE)
        machine.shell(f"rm {_IMAGE}")
        say("loaded")

    def node_shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """See Provider."""
        return _cluster(self._machine()).shell(node, argv, stdin=stdin, timeout=timeout)

    def kernel_pid(self, node: str, pid: int) -> int | None:
        """See Provider."""
        return _cluster(self._machine()).kernel_pid(node, pid)

    def kernel_path(self, node: str, path: str) -> str:
        """See Provider."""
        return _cluster(self._machine()).kernel_path(node, path)

    def kernel_log(self, node: str) -> str:
        """See Provider; all nodes share the machine's kernel."""
        del node
        return self._machine().console.read_text(errors="replace").replace("\r", "")

    def _machine_of(self, booted: MachineImage) -> Machine:
        return Machine(booted, _HARDWARE, self.directory, "machine", _HOST_ADDRESS)

    def _recorded(self) -> Machine | None:
        try:
            return self._machine_of(MachineImage(Path(json.loads(self._record.read_text())["image"])))
        except (OSError, ValueError, KeyError):
            return None

    def _machine(self) -> Machine:
        machine = self._recorded()
        if machine is None or not self.running():
            raise LabError("no kind cluster is up: start one with `python -m lab --provider kind up`")
        return machine


def require_memory(meminfo: Path = Path("/proc/meminfo")) -> None:
    """Make sure that this machine has the memory for the one that kind runs in.

    Raises:
        LabError: it has not.
    """
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    available = int(lines["MemAvailable"].split()[0]) >> 10
    needed = _HARDWARE.memory_mib + _SPARE_MIB
    if available < needed:
        raise LabError(
            f"the machine for kind needs {needed} MiB of memory and {available} MiB are available: end what "
            "takes it (`python -m lab down` for the native lab), or run kind where Docker runs"
        )


def _prepared() -> SavedMachine:
    """The machine with the cluster in it, made when absent: some five minutes."""
    if os.geteuid() != 0:
        raise LabError(
            "neither kind nor Docker or Podman is here, and kind in a machine of its own needs root, to make "
            "its disk: install kind (https://kind.sigs.k8s.io) and start Docker, or run the same with sudo"
        )
    packages.require(_PROGRAMS)
    try:
        return _saved()
    except _BootError as error:
        # An emulated processor now and then faults as Linux sets up its timers.
        say(f"the machine for kind did not boot, once more: {str(error).splitlines()[0]}")
        return _saved()


class _BootError(LabError):
    """The machine did not come up."""


def _saved() -> SavedMachine:
    return saved_machine(
        "kind-ready",
        vm_image(),
        _HARDWARE,
        host_address=_HOST_ADDRESS,
        ready=_make_cluster,
        key=cache.key_of(configuration.configuration(), *configuration.mounted_directories(), Path(__file__)),
    )


def _make_cluster(machine: Machine) -> None:
    """Boot the machine up to a cluster whose nodes are Ready."""
    require_memory()
    say("booting the machine for kind, once for all (QEMU without KVM: about a minute)")
    try:
        machine.wait_for("the boot", "systemctl is-active docker ssh", _BOOT_SECONDS)
    except LabError as error:
        raise _BootError(str(error)) from error
    sent = machine.shell(f"mkdir -p {_HOME} && tar -x -C {_HOME}", stdin=_files())
    if sent.returncode != 0:
        raise LabError(f"the machine did not take kind's configuration: {sent.stderr}")
    machine.step(
        "creating the kind cluster in it (minutes)",
        f"cd {_HOME}; ({_PREFER_CONTROL_PLANE}) > /dev/null 2>&1 & "
        f"kind create cluster --name {NAME} --image {node_reference()} --config {_CONFIG}",
        cache.log_file("kind-vm"),
    )
    kubeconfig = machine.directory / "kubeconfig"
    _write_kubeconfig(machine, kubeconfig)
    _wait_ready(machine, kubeconfig)
    listing = capture([*tools.kubectl(kubeconfig), "get", "nodes", "--output", "json"])
    expected = binaries.kubernetes_version()
    others = other_versions(listing, lambda version: expected.startswith("v{}.{}.".format(*version)))
    if others:
        raise LabError(f"the node image should have Kubernetes {expected}, and has: {others}")
    _route_pods(machine, listing)
    _wait_running(kubeconfig)
    _wait_services(machine)


def _files() -> bytes:
    """The tar of what `kind create cluster` reads: the configuration, and the directories that it mounts."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        content = configuration.configuration().encode()
        member = tarfile.TarInfo(_CONFIG)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
        for directory in configuration.mounted_directories():
            archive.add(directory, arcname=str(directory.relative_to(configuration.FILE.parent)))
    return out.getvalue()


def _write_kubeconfig(machine: Machine, out: Path) -> None:
    """Write kind's kubeconfig, with the address on which this machine reaches the API server."""
    written = _cluster(machine).kubeconfig()
    inside = f"server: https://10.0.2.15:{_API_PORT}"
    # The certificate is for the address inside, and for localhost.
    here = f"server: https://{machine.host_address}:{_API_PORT}\n    tls-server-name: localhost"
    out.write_text(written.replace(inside, here))
    out.chmod(0o600)


def _route_pods(machine: Machine, listing: str) -> None:
    """Let pods of different nodes reach each other, as kind's own network does: by a route to each node."""
    nodes = json.loads(listing)["items"]
    routes = {
        node["metadata"]["name"]: (
            node["spec"]["podCIDR"],
            next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"),
        )
        for node in nodes
    }
    for name in routes:
        for other, (pods, address) in routes.items():
            if other != name:
                done = _cluster(machine).shell(name, ["ip", "route", "replace", pods, "via", address])
                if done.returncode != 0:
                    raise LabError(f"{name} did not take a route to the pods of {other}: {done.stderr}")


def _wait_running(kubeconfig: Path) -> None:
    """Wait until every pod of the cluster itself runs, so that none starts when the machine goes on."""

    def running() -> bool:
        try:
            listing = capture([*tools.kubectl(kubeconfig), "get", "pods", "-A", "--output", "json"])
        except LabError:
            return False  # an API server that has just started may be too busy to answer
        return all(pod["status"].get("phase") == "Running" for pod in json.loads(listing)["items"])

    wait_until("the start of the cluster's own pods", running, seconds=_RUNNING_SECONDS, every=1)


def _wait_services(machine: Machine) -> None:
    """Wait until kube-proxy has told every node the way to the API server's service.

    Until then a pod's request to it leaves the machine, and whoever is behind this address there may answer.
    """
    look = ["sh", "-c", "nft list map ip kube-proxy service-ips | grep --quiet ' 443 :'"]

    def told() -> bool:
        return all(_cluster(machine).shell(node, look).returncode == 0 for node in _NODES)

    wait_until("kube-proxy of every node", told, seconds=_RUNNING_SECONDS, every=1)


def _wait_ready(machine: Machine, kubeconfig: Path) -> None:
    wait_ready(
        kubeconfig,
        _NODES,
        require=machine.daemon.require,
        hint=lambda: f"the machine's console:\n{tail(machine.console)}",
    )


def _cluster(machine: Machine) -> Cluster:
    def run(
        argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        return machine.shell(shlex.join(argv), stdin=stdin, timeout=timeout)

    return Cluster(run)
