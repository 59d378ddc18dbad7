"""What a node boots: a disk, a kernel and a first file system, the same for every node."""

import gzip
import lzma
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import cache, image, packages, workloads
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
depends=$(apt-cache depends linux-image-cloud-amd64)
apt-get download "$(echo "$depends" | sed -n 's/.*Depends: \\(linux-image-[0-9]\\)/\\1/p')"
dpkg-deb --extract linux-image-*.deb /
rm linux-image-*.deb
depmod "$(ls /usr/lib/modules)"
"""
# What a machine that lives for an hour, without a screen or another network, does not need.
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "cni-dhcp.service",
    "cni-dhcp.socket",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "nftables.service",
    "serial-getty@ttyS0.service",
    "systemd-firstboot.service",
    "systemd-network-generator.service",
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-pcrlock-make-policy.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
)
_ENABLED = ("containerd", "lab-network", "ssh")
_DISK_SIZE = "8G"
_FILES = Path(__file__).resolve().parent / "node"
_PRELOAD = Path(__file__).resolve().parent / "preload.sh"


@dataclass(frozen=True, slots=True)
class NodeImage:
    """The directory with what QEMU boots, and the keys to the machine."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The disk, raw; never written to."""
        return self.directory / "disk.img"

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial file system."""
        return self.directory / "initrd"

    @property
    def ssh_key(self) -> Path:
        """The key that opens a shell on the node."""
        return self.directory / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        """The node's own key, under the name `lab`."""
        return self.directory / "known_hosts"


def node_image() -> NodeImage:
    """The image of this checkout's nodes, made when absent: under two minutes once Kubernetes is built."""
    packages.require(["mmdebstrap", "mke2fs", "ssh-keygen"])
    programs = binaries.kubernetes(binaries.NODE)
    # With the project's base there from the start, loading its image takes no more than its code.
    archives = [workloads.pause(), workloads.tools(), image.base_image()]
    root = cache.artifact("node-root", cache.key_of(_SUITE, _PACKAGES, _FETCH_KERNEL), _build_root)
    key = cache.key_of(
        root.name, _FILES, _PRELOAD, *_MASKED, *_ENABLED, _DISK_SIZE,
        *map(str, (*programs.values(), *archives)),
    )  # fmt: skip
    return NodeImage(cache.artifact("node", key, lambda out: _build(out, root, programs, archives)))


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


def _build(out: Path, root: Path, programs: Mapping[str, Path], archives: Sequence[Path]) -> None:
    say("making the nodes' disk")
    out.mkdir(mode=0o700)
    image = NodeImage(out)
    tree = out / "root"
    tree.mkdir()
    capture(["tar", "-xf", root, "-C", tree, "--exclude=./dev/*", "--numeric-owner"], timeout=None)
    shutil.copytree(_FILES, tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns("init"))
    for name, program in programs.items():
        shutil.copy(program, tree / "usr/local/bin" / name)
        (tree / "usr/local/bin" / name).chmod(0o755)
    _set_units(tree / "etc/systemd/system")
    _make_ssh_keys(image, tree)
    (tree / "etc/fstab").write_text("")
    (tree / "etc/machine-id").write_text("uninitialized\n")
    (tree / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")
    shutil.copy(next(tree.glob("boot/vmlinuz-*")), image.kernel)
    _write_initrd(image.initrd, tree)
    run_step(
        "filling the nodes' container store",
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            _PRELOAD,
            tree,
            *archives,
        ],
        log=cache.log_file("preload"),
    )
    capture(
        ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, image.disk, _DISK_SIZE], timeout=None
    )
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


def _make_ssh_keys(image: NodeImage, tree: Path) -> None:
    host_key = tree / "etc/ssh/lab_host_key"
    for key in (image.ssh_key, host_key):
        capture(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "oomsayer-lab", "-f", key])
    image.known_hosts.write_text(f"lab {host_key.with_suffix('.pub').read_text()}")
    authorized = tree / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    authorized.write_text(image.ssh_key.with_suffix(".pub").read_text())
    authorized.chmod(0o600)


def _write_initrd(out: Path, tree: Path) -> None:
    module = next(tree.glob("usr/lib/modules/*/kernel/drivers/block/virtio_blk.ko*"))
    content = lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes()
    members = [
        *(Member(name) for name in ("bin", "dev", "proc", "sys", "root")),
        Member("bin/busybox", (tree / "usr/bin/busybox").read_bytes(), 0o755),
        Member("virtio_blk.ko", content),
        Member("init", (_FILES / "init").read_bytes(), 0o755),
    ]
    out.write_bytes(gzip.compress(write_archive(members), compresslevel=1))
