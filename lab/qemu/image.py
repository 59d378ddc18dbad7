"""What a QEMU machine boots: a disk, a kernel and a first file system."""

import gzip
import lzma
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import cache, packages, rootfs
from lab.process import capture
from lab.qemu.cpio import Member, write_archive

FILES = Path(__file__).resolve().parent / "files"
"""What every machine has: its network, its shell, its modules."""
INIT = Path(__file__).resolve().parent / "init"
PACKAGES = (
    "busybox-static,ca-certificates,dbus,iproute2,iptables,kmod,openssh-server,procps,systemd-sysv,udev,"
    "util-linux"
)
"""What every machine is made of."""
MASKED = (
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
"""What a machine that lives for an hour, without a screen or another network, does not need."""
_ENABLED = ("lab-network", "ssh")


@dataclass(frozen=True, slots=True)
class MachineImage:
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
        """The key that opens a shell on the machine."""
        return self.directory / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        """The machine's own key, under the name `lab`."""
        return self.directory / "known_hosts"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made of.

    Attributes:
        root: the tar of the Debian root.
        files: laid over the root, and over FILES.
        enabled: services to start at boot, beyond those of every machine.
        size: of the disk, as mke2fs takes it.
        finish: does the rest on the unpacked tree.
    """

    root: Path
    files: Path
    enabled: Sequence[str]
    size: str
    finish: Callable[[Path], None]

    def key(self) -> str:
        """A key over all of it but what `finish` does, and over what every image has."""
        return cache.key_of(
            self.root.name, self.files, *self.enabled, self.size, FILES, INIT, Path(__file__), *MASKED
        )


def build(out: Path, recipe: Recipe) -> None:
    """Make an image in the directory `out`."""
    packages.require(["mke2fs", "ssh-keygen"])
    out.mkdir(mode=0o700)
    image, tree = MachineImage(out), out / "root"
    rootfs.unpack(recipe.root, tree)
    for layer in (FILES, recipe.files):
        shutil.copytree(layer, tree, dirs_exist_ok=True)
    rootfs.set_units(tree, enabled=(*_ENABLED, *recipe.enabled), masked=MASKED)
    _make_ssh_keys(image, tree)
    (tree / "etc/fstab").write_text("")
    (tree / "etc/machine-id").write_text("uninitialized\n")
    (tree / "etc/resolv.conf").write_text("nameserver 10.0.2.3\n")
    shutil.copy(next(tree.glob("boot/vmlinuz-*")), image.kernel)
    _write_initrd(image.initrd, tree)
    recipe.finish(tree)
    capture(
        ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, image.disk, recipe.size],
        timeout=None,
    )
    shutil.rmtree(tree)


def _make_ssh_keys(image: MachineImage, tree: Path) -> None:
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
        Member("init", INIT.read_bytes(), 0o755),
    ]
    out.write_bytes(gzip.compress(write_archive(members), compresslevel=1))
