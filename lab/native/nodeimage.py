"""What a node boots: one disk, kernel and first file system for all nodes, and a little archive for each.

The disk is the same for every node and never written to; what makes a node itself (name, address, keys) comes
in a second archive behind the initial file system, so that making a node takes no disk build.
"""

import gzip
import lzma
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import cache, packages, workloads
from lab.native import binaries
from lab.native.cpio import Member, write_archive
from lab.process import capture
from lab.progress import run_step, say

_SUITE = "trixie"
_PACKAGES = (
    "busybox-static,ca-certificates,conntrack,containerd,containernetworking-plugins,dbus,ethtool,iproute2,"
    "iptables,kmod,nftables,openssh-server,procps,python3-minimal,runc,systemd-sysv,udev,util-linux"
)
# The kernel's files without its package: the package would build an initial file system of its own.
_FETCH_KERNEL = """
set -e
cd /tmp
apt-get download "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9]\\)/\\1/p')"
dpkg-deb --extract linux-image-*.deb /
rm linux-image-*.deb
depmod "$(ls /usr/lib/modules)"
"""
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
    "e2scrub_reap.service", "serial-getty@ttyS0.service", "getty@tty1.service", "systemd-networkd.service",
    "systemd-networkd.socket", "systemd-networkd-wait-online.service", "systemd-resolved.service",
    "systemd-timesyncd.service", "systemd-pcrlock-make-policy.service", "systemd-firstboot.service",
)  # fmt: skip
_ENABLED = ("containerd", "kube-proxy", "kubelet", "lab-images", "lab-network", "ssh")
_DISK_SIZE = "8G"
_FILES = Path(__file__).resolve().parent / "node"


@dataclass(frozen=True, slots=True)
class NodeImage:
    """What QEMU starts a node from."""

    disk: Path
    kernel: Path
    initrd: Path


def node_image() -> NodeImage:
    """The image of this checkout's nodes, made when absent: under two minutes once Kubernetes is built."""
    packages.require(["mmdebstrap", "mke2fs"])
    programs = binaries.kubernetes(binaries.NODE)
    archives = {"pause": workloads.pause(), "tools": workloads.tools()}
    root = cache.artifact("node-root", cache.key_of(_SUITE, _PACKAGES, _FETCH_KERNEL), _build_root)
    key = cache.key_of(
        root.name, _FILES, *_MASKED, *_ENABLED, _DISK_SIZE,
        *(path.parent.name + path.name for path in (*programs.values(), *archives.values())),
    )  # fmt: skip
    made = cache.artifact("node", key, lambda out: _build_node(out, root, programs, archives))
    return NodeImage(made / "disk.img", made / "vmlinuz", made / "initrd")


def _build_root(out: Path) -> None:
    run_step(
        f"making a Debian {_SUITE} root for the nodes",
        [
            "mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", f"--include={_PACKAGES}",
            '--customize-hook=chroot "$1" sh -c "$FETCH_KERNEL"',
            _SUITE, out, f"deb {packages.mirror()} {_SUITE} main",
        ],
        log=cache.log_file("node-root"),
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "FETCH_KERNEL": _FETCH_KERNEL},
    )  # fmt: skip


def _build_node(out: Path, root: Path, programs: Mapping[str, Path], archives: Mapping[str, Path]) -> None:
    say("making the nodes' disk")
    out.mkdir()
    tree = out / "root"
    tree.mkdir()
    capture(["tar", "-xf", root, "-C", tree, "--exclude=./dev/*", "--numeric-owner"])
    shutil.copytree(_FILES, tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns("init"))
    for name, program in programs.items():
        shutil.copy(program, tree / "usr/local/bin" / name)
        (tree / "usr/local/bin" / name).chmod(0o755)
    (tree / "opt/images").mkdir(parents=True)
    for name, archive in archives.items():
        shutil.copy(archive, tree / "opt/images" / f"{name}.tar")
    _set_units(tree / "etc/systemd/system")
    (tree / "etc/fstab").write_text("")
    (tree / "etc/machine-id").write_text("uninitialized\n")
    (tree / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")
    kernel = next(tree.glob("boot/vmlinuz-*"))
    shutil.copy(kernel, out / "vmlinuz")
    _write_initrd(out / "initrd", tree)
    capture(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, out / "disk.img", _DISK_SIZE])
    shutil.rmtree(tree)


def _set_units(directory: Path) -> None:
    wanted = directory / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    for unit in _ENABLED:
        own = directory / f"{unit}.service"
        target = (
            f"/etc/systemd/system/{unit}.service"
            if own.exists()
            else f"/usr/lib/systemd/system/{unit}.service"
        )
        link = wanted / f"{unit}.service"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    for unit in _MASKED:
        (directory / unit).unlink(missing_ok=True)
        (directory / unit).symlink_to("/dev/null")


def _write_initrd(out: Path, tree: Path) -> None:
    module = next(tree.glob("usr/lib/modules/*/kernel/drivers/block/virtio_blk.ko*"))
    content = lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes()
    members = [
        *(Member(name) for name in ("bin", "dev", "proc", "sys", "root", "node")),
        Member("bin/busybox", (tree / "usr/bin/busybox").read_bytes(), 0o755),
        Member("virtio_blk.ko", content),
        Member("init", (_FILES / "init").read_bytes(), 0o755),
    ]
    out.write_bytes(gzip.compress(write_archive(members), compresslevel=1))


def with_node_files(image: NodeImage, files: Mapping[str, bytes], out: Path) -> None:
    """Write the initial file system of one node: the image's, and `files` (path in the node -> content).

    Keys are readable by root alone, like every file given here.
    """
    directories = sorted({parent for path in files for parent in Path(path).parents if parent != Path()})
    members = [Member(f"node/{each}") for each in directories]
    members += [Member(f"node/{path}", content, 0o600) for path, content in files.items()]
    base = image.initrd.read_bytes()
    # The kernel looks for the next archive at a multiple of four.
    out.write_bytes(base + bytes(-len(base) % 4) + write_archive(members))


def overlay(image: NodeImage, out: Path) -> None:
    """Make a disk that starts as the image's and takes a node's own writes."""
    capture(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.disk, out])
