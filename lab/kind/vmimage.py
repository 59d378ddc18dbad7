"""What kind needs where there is no registry: a machine with Docker, kind, and a node image made here.

The node image is what kind's own is: a Debian that systemd starts in a container, with containerd, kubelet
and kubeadm. The programs of the control plane come as images of one program each, under the names that
kubeadm asks for. All is unpacked at this machine's own speed, since the emulated one has a tenth of it.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import binaries, cache, image, rootfs, tools, workloads
from lab.archive import Config, Entry, write_image, write_layer
from lab.native import nodeimage
from lab.process import capture
from lab.progress import run_step, say
from lab.qemu import image as machine_image
from lab.qemu.image import MachineImage, Recipe

STORES = "opt/kind"
"""Where the machine has the nodes' container stores; overlay.yaml gives each node its own."""
_PACKAGES = f"{machine_image.PACKAGES},docker-cli,docker.io,nftables"
_DISK_SIZE = "16G"
_HERE = Path(__file__).resolve().parent
_NODE_FILES, _VM_FILES, _DOCKER_LOAD = _HERE / "node", _HERE / "vm", _HERE / "dockerload.sh"
_NODE_PROGRAMS = ("kubeadm", "kubelet")
_STATIC_PODS = ("etcd", *binaries.CONTROL_PLANE)
_WORKERS = ("worker", "worker2")
# What the node's kube-proxy calls.
_PROXY_TOOLS = ("usr/sbin/nft", "usr/sbin/conntrack")
# What no node runs: the kernel is that of the machine, and it has a network and a shell already.
_LEFT_OUT = (
    "./boot",
    "./initrd.img*",
    "./vmlinuz*",
    "./usr/lib/modules",
    "./usr/share/doc",
    "./usr/share/locale",
    "./usr/share/man",
    "./etc/systemd/system/*.wants",
)
# The units that start in a node; all others of Debian wait for devices and networks that are not there.
_KEPT_UNITS = frozenset({
    "dbus.socket", "dev-mqueue.mount", "systemd-journald-dev-log.socket", "systemd-journald.service",
    "systemd-journald.socket", "systemd-tmpfiles-setup.service",
})  # fmt: skip
# Signals that interrupt a goroutine, threads that look for work, garbage collection and a key exchange
# of the time after next cost an emulated machine more than they give.
_GO_ENVIRONMENT = {"GOMAXPROCS": "1", "GOGC": "400", "GODEBUG": "asyncpreemptoff=1,tlsmlkem=0"}
# Everybody waits for this one: it may use both processors.
_PARALLEL = "kube-apiserver"
_NODE_CONFIG = Config(
    entrypoint=["/usr/local/bin/entrypoint", "/sbin/init"],
    environment={
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "container": "docker",
    },
    stop_signal="SIGRTMIN+3",
)


def node_reference() -> str:
    """The name of the node image."""
    return f"oomsayer.lab/kind-node:{binaries.kubernetes_version()}"


def vm_image() -> MachineImage:
    """The image of the machine, made when absent: two minutes once Kubernetes is built."""
    programs = binaries.kubernetes([*_NODE_PROGRAMS, *_STATIC_PODS, "kube-proxy", "kind"])
    # With the project's base there from the start, loading its image takes no more than its code.
    archives = [workloads.pause(), workloads.tools(), image.base_image()]
    steps = _Steps(programs, archives, nodeimage.node_root())
    recipe = Recipe(
        rootfs.debian("kind-root", _PACKAGES), _VM_FILES, ["containerd", "docker"], _DISK_SIZE, steps.finish
    )
    key = cache.key_of(
        recipe.key(), steps.node_root.name, *map(str, (*programs.values(), *archives)),
        _NODE_FILES, _DOCKER_LOAD, rootfs.PRELOAD, Path(__file__),
    )  # fmt: skip

    def make(out: Path) -> None:
        say("making the disk of the machine for kind")
        machine_image.build(out, recipe)

    return MachineImage(cache.artifact("kind-vm", key, make))


@dataclass(frozen=True, slots=True)
class _Steps:
    """What makes a Debian root the machine for kind.

    Attributes:
        programs: by name.
        archives: of the images that every node has.
        node_root: the tar of the root that nodes are made from.
    """

    programs: Mapping[str, Path]
    archives: Sequence[Path]
    node_root: Path

    def finish(self, tree: Path) -> None:
        """Add kind, the nodes' container stores and the node image."""
        self._add_program(tree / "usr/local/bin", "kind")
        _set_go_environment(tree)
        work = tree.with_name("work")
        node = work / "node"
        self._unpack_node(node)
        self._fill_stores(node, work, tree / STORES)
        self._load_node_image(node, work, tree)
        shutil.rmtree(work)

    def _unpack_node(self, node: Path) -> None:
        rootfs.unpack(self.node_root, node, without=_LEFT_OUT)
        shutil.copytree(_NODE_FILES, node, dirs_exist_ok=True)
        _set_go_environment(node)
        for name in _NODE_PROGRAMS:
            self._add_program(node / "usr/bin", name)
        shutil.copy(tools.tool("kubectl"), node / "usr/bin/kubectl")
        for unit in (node / "usr/lib/systemd/system").glob("*.wants/*"):
            if unit.name not in _KEPT_UNITS:
                unit.unlink()
        rootfs.set_units(node, enabled=["containerd", "kubelet"], masked=[])
        # The kubelet complains each second where it is absent.
        (node / "etc/kubernetes/manifests").mkdir(parents=True)
        (node / "kind/version").write_text(f"{binaries.kubernetes_version()}\n")
        (node / "etc/fstab").write_text("")

    def _fill_stores(self, node: Path, work: Path, stores: Path) -> None:
        stores.mkdir(parents=True)
        proxy = self._proxy_image(node, work)
        parts = [self._image_of(name, work) for name in _STATIC_PODS]
        for name in ("control-plane", *_WORKERS):
            own = parts if name == "control-plane" else []
            rootfs.preload(node, [*self.archives, proxy, *own])
            shutil.move(node / "var/lib/containerd", stores / name)
            (node / "var/lib/containerd").mkdir()

    def _load_node_image(self, node: Path, work: Path, tree: Path) -> None:
        layer, packed = work / "node.layer", work / "node.tar"
        capture(
            ["tar", "-C", node, "--numeric-owner", "--sort=name", "--exclude=./proc/*", "--exclude=./sys/*",
             "--exclude=./dev/*", "--exclude=./run/*", "-cf", layer, "."],
            timeout=None,
        )  # fmt: skip
        write_image(packed, node_reference(), [layer], _NODE_CONFIG)
        layer.unlink()
        run_step(
            "giving the node image to the machine's Docker",
            [*rootfs.alone(), "--net", _DOCKER_LOAD, tree, packed],
            log=cache.log_file("dockerload"),
        )

    def _image_of(self, name: str, work: Path, *libraries: Entry) -> Path:
        """The image of one program, named as kubeadm names it."""
        reference = next(each for each in self._references() if each.rpartition(":")[0].endswith(f"/{name}"))
        layer, packed = work / "part.layer", work / f"{name}.tar"
        entries = [
            Entry("tmp", mode=0o1777),
            Entry(f"usr/local/bin/{name}", self.programs[name].read_bytes()),
        ]
        write_layer(layer, [*entries, *libraries])
        environment = {"PATH": "/usr/local/bin:/usr/sbin", **_GO_ENVIRONMENT}
        if name == _PARALLEL:
            del environment["GOMAXPROCS"]
        program = Config(entrypoint=[f"/usr/local/bin/{name}"], environment=environment)
        write_image(packed, reference, [layer], program)
        layer.unlink()
        return packed

    def _proxy_image(self, node: Path, work: Path) -> Path:
        listed = capture(["chroot", node, "ldd", *(f"/{tool}" for tool in _PROXY_TOOLS)])
        needed = sorted(
            {word.lstrip("/") for word in listed.split() if word.startswith("/") and ":" not in word}
        )
        found = [Entry(path, (node / path).read_bytes()) for path in (*_PROXY_TOOLS, *needed)]
        return self._image_of("kube-proxy", work, *found)

    def _references(self) -> list[str]:
        """The images that this kubeadm asks for."""
        version = binaries.kubernetes_version()
        kubeadm = self.programs["kubeadm"]
        return capture([kubeadm, "config", "images", "list", "--kubernetes-version", version]).split()

    def _add_program(self, directory: Path, name: str) -> None:
        shutil.copy(self.programs[name], directory / name)
        (directory / name).chmod(0o755)


def _set_go_environment(root: Path) -> None:
    """For all that systemd starts there."""
    settings = " ".join(f"{name}={value}" for name, value in _GO_ENVIRONMENT.items())
    file = root / "etc/systemd/system.conf.d/emulated.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"[Manager]\nDefaultEnvironment={settings}\n")
