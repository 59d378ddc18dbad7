"""One pod and its node, as the newest report and the API have them."""

from dataclasses import dataclass, replace
from functools import cached_property

from oomsayer.cli.cluster import Cluster, ClusterError
from oomsayer.controller import eviction as evictions
from oomsayer.controller.advice import subject
from oomsayer.controller.forecast import Outlook, judge, outlooks
from oomsayer.controller.names import Names, read_pods
from oomsayer.controller.snapshot import Report, ReportError, read_report
from oomsayer.forecast.prospect import prospects
from oomsayer.forecast.whatif import Change, Subject, changed


@dataclass(frozen=True)
class Scene:
    """A pod on its node, now or changed.

    Attributes:
        pod: NAMESPACE/NAME.
        report: what the node's agent last reported, with the snapshot that this scene is of.
        names: the node's pods.
        subject: the pod.
    """

    pod: str
    report: Report
    names: Names
    subject: Subject

    @cached_property
    def outlooks(self) -> list[Outlook]:
        """Every domain's verdict, the node's first; worked out once."""
        snapshot, judged = self.report.snapshot, judge(self.report.snapshot)
        rooms = {verdict.domain.path: room for verdict, room in judged}
        coming = prospects(snapshot, rooms, self.report.watched)
        return outlooks(judged, self.names, coming, self.report.sampled_at)

    def side(self) -> evictions.NodeSide:
        """What eviction is worked out from."""
        report = self.report
        return evictions.NodeSide(report.snapshot, self.names, report.kubelet, self.outlooks, report.watched)

    def after(self, change: Change) -> "Scene":
        """The scene with the pod changed.

        Raises:
            ImpossibleChangeError: there could be no such pod.
        """
        snapshot, target = changed(self.report.snapshot, self.subject, change)
        pods = {
            key: replace(pod, spec=target.spec) if pod.uid == target.uid else pod
            for key, pod in self.names.pods.items()
        }
        return replace(
            self,
            report=replace(self.report, snapshot=snapshot),
            names=replace(self.names, pods=pods),
            subject=target,
        )


def scene(cluster: Cluster, pod: str) -> Scene:
    """Look a pod and its node up.

    Args:
        cluster: where.
        pod: NAME, or NAMESPACE/NAME.

    Raises:
        ClusterError: the pod does not run, its node has no report, or the report does not know the pod.
    """
    namespace, _, name = pod.rpartition("/")
    namespace = namespace or cluster.namespace
    found = cluster.pod(namespace, name)
    if found is None:
        raise ClusterError(f"no pod {name} in namespace {namespace}")
    node = (found.get("spec") or {}).get("nodeName")
    if not node:
        raise ClusterError(f"pod {namespace}/{name} is on no node yet")
    report = node_report(cluster, node)
    names = Names(read_pods(cluster.pods_on(node)))
    target = subject(report.snapshot, names, found["metadata"]["uid"])
    if target is None:
        raise ClusterError(
            f"the last report of node {node} ({report.sampled_at:%H:%M:%S} UTC) does not know pod "
            f"{namespace}/{name}: does it run, and for more than some seconds?"
        )
    return Scene(f"{namespace}/{name}", report, names, target)


def node_report(cluster: Cluster, node: str) -> Report:
    """What a node's agent last reported.

    Raises:
        ClusterError: there is no report, or none of use.
    """
    obj = cluster.report(node)
    if obj is None:
        raise ClusterError(f"node {node} has no NodeMemoryReport: does oomsayer's agent run there?")
    try:
        return read_report(obj)
    except ReportError as error:
        raise ClusterError(f"the report of node {node} cannot be used: {error}") from error
