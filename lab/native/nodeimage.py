"""The image of a node: a machine with containerd, kubelet and kube-proxy, the same for every node."""

import shutil
from pathlib import Path

from lab import binaries, cache, image, rootfs, workloads
from lab.progress import say
from lab.qemu import image as machine_image
from lab.qemu.image import MachineImage, Recipe

PACKAGES = (
    f"{machine_image.PACKAGES},conntrack,containerd,containernetworking-plugins,ethtool,nftables,"
    "python3-minimal,runc"
)
"""What a node is made of, here and in kind."""
_DISK_SIZE = "8G"
_FILES = Path(__file__).resolve().parent / "node"


def node_image() -> MachineImage:
    """The image of this checkout's nodes, made when absent: under two minutes once Kubernetes is built."""
    programs = binaries.kubernetes(binaries.NODE)
    # With the project's base there from the start, loading its image takes no more than its code.
    archives = [workloads.pause(), workloads.tools(), image.base_image()]

    def finish(tree: Path) -> None:
        for name, program in programs.items():
            shutil.copy(program, tree / "usr/local/bin" / name)
            (tree / "usr/local/bin" / name).chmod(0o755)
        rootfs.preload(tree, archives)

    recipe = Recipe(node_root(), _FILES, ["containerd"], _DISK_SIZE, finish)
    key = cache.key_of(
        recipe.key(), rootfs.PRELOAD, Path(__file__), *map(str, (*programs.values(), *archives))
    )

    def make(out: Path) -> None:
        say("making the nodes' disk")
        machine_image.build(out, recipe)

    return MachineImage(cache.artifact("node", key, make))


def node_root() -> Path:
    """The tar of the Debian root that nodes are made from."""
    return rootfs.debian("node-root", PACKAGES)
