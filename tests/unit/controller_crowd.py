"""The controller's test node with a second pod beside the first, in memory that is short for both."""

from dataclasses import replace

from tests.unit.controller_node import CART, KUBEPODS, MI, POD, UID, node, task

from oomsayer.controller.names import Names, Pod
from oomsayer.kernel.snapshot import ROOT, Memcg, Snapshot
from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.podspec import Container, PodSpec

BATCH_UID = "ffffffff-3b1f-4c7a-9e8d-112233445566"
BATCH_ID = "c" * 64
BATCH = f"{KUBEPODS}/kubepods-besteffort-pod{BATCH_UID.replace('-', '_')}.slice"
BATCH_MAIN = f"{BATCH}/cri-containerd-{BATCH_ID}.scope"
# What the test node's processes have: 900 is the score of a request of 819 to 827 MiB of its 8192.
SPEC = PodSpec(Qos.BURSTABLE, (Container("redis", 820 * MI), Container("web", 820 * MI)), priority=100)
PODS = Names(
    {
        UID: replace(CART, spec=SPEC),
        BATCH_UID: Pod(
            "shop", "batch-0", BATCH_UID, {BATCH_ID: "main"}, PodSpec(Qos.BEST_EFFORT, (Container("main"),))
        ),
    }
)


def crowd(cart: int = 3000, batch: int = 200, available: int = 700, free: int = 1000) -> Snapshot:
    """Both pods in the node's memory; all in MiB."""
    before = node(redis=400, web=1000, free=free)
    sets = {ROOT: 8192 - available, KUBEPODS: cart + batch, POD: cart, BATCH: batch}
    memcgs = {**before.memcgs, BATCH: Memcg(BATCH), BATCH_MAIN: Memcg(BATCH_MAIN)}
    memcgs |= {path: replace(memcgs[path], working_set_bytes=used * MI) for path, used in sets.items()}
    tasks = (*before.tasks, task(300, "batch", BATCH_MAIN, batch, 1000))
    return replace(before, memcgs=memcgs, tasks=tasks)


def inverted(available: int = 1500) -> Snapshot:
    """The kernel's victim is the cart's nginx, of priority 100; the kubelet's is batch."""
    snapshot = crowd(available=available)
    tasks = tuple(replace(t, oom_score_adj=1000) if t.comm == "nginx" else t for t in snapshot.tasks)
    return replace(snapshot, tasks=tasks)
