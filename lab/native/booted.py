"""The machine that every node of the native cluster starts from: booted once, without a name or a cluster.

It is saved when containerd has its images; a node gets its name, address and keys when it goes on from there.
It takes seconds, and no connection to a former cluster is left in it.
"""

from lab.native.nodeimage import node_image
from lab.progress import say
from lab.qemu.machine import Hardware, Machine, SavedMachine, saved_machine

KUBELET_PORT = 10250
HARDWARE = Hardware(memory_mib=2048, forwards={KUBELET_PORT: KUBELET_PORT}, mesh=True)
_BOOT_ADDRESS = "127.0.1.20"
_BOOT_SECONDS = 300


def booted_node() -> SavedMachine:
    """The booted machine, booted when absent: less than a minute, and as long again when busy."""
    return saved_machine("node-booted", node_image(), HARDWARE, host_address=_BOOT_ADDRESS, ready=_wait)


def _wait(machine: Machine) -> None:
    say("booting a node, once for all (QEMU without KVM: about a minute)")
    machine.wait_for("the boot", "systemctl is-active containerd ssh", _BOOT_SECONDS)
