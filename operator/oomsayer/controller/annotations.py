"""The annotations of pods at risk."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

from oomsayer.api.forecast import Risk
from oomsayer.api.vocabulary import Annotation
from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.events import pod_subject
from oomsayer.controller.policy import Policies
from oomsayer.controller.risk import Scope, rules_for, scope

log = logging.getLogger(__name__)


class Annotations:
    """Annotates pods, and remembers how: what is as it should be is not written again."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._written: defaultdict[str, dict[str, Mapping[str, str | None]]] = defaultdict(dict)

    def forget(self) -> None:
        """Take nothing for written."""
        self._written.clear()

    def forget_node(self, node: str) -> None:
        """Take nothing of that node's pods for written; nodes come and go."""
        self._written.pop(node, None)

    async def annotate(
        self, node: str, current: Iterable[Risk], policies: Policies, problems: list[ApiError]
    ) -> None:
        """Annotate each pod at risk on a node with the oldest of its risks, those of its own limits first."""
        pressing: dict[str, Risk] = {}
        for risk in sorted(current, key=lambda r: (scope(r.domain) is not Scope.POD, r.since)):
            pressing.setdefault(risk.pod_uid, risk)
        for risk in pressing.values():
            try:
                await self._put(node, risk, _told(risk) if _wanted(risk, policies) else {})
            except ApiError as error:
                problems.append(error)

    async def clear(self, node: str, risk: Risk) -> None:
        """Take the annotations of a pod away whose risk has ended.

        Raises:
            ApiError: they are still there.
        """
        await self._put(node, risk, {})
        self._written[node].pop(risk.pod_uid, None)

    async def _put(self, node: str, risk: Risk, values: Mapping[Annotation, str]) -> None:
        pod = pod_subject(risk)
        if pod is None:
            return
        wanted = {key.value: values.get(key) for key in Annotation}
        if self._written[node].get(pod.uid) == wanted:
            return
        # The UID makes the API server refuse a new pod that has taken the old one's name.
        body = {"metadata": {"uid": pod.uid, "annotations": wanted}}
        try:
            await self._api.patch(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", body)
        except ApiError as error:
            if not (error.not_found or error.another_object or (error.refused and not values)):
                raise
            if error.refused and not error.another_object:
                log.warning("pod %s/%s keeps its annotations: %s", pod.namespace, pod.name, error)
        self._written[node][pod.uid] = wanted


def _wanted(risk: Risk, policies: Policies) -> bool:
    """Whether the policy of the pod's own namespace, and for a node-wide risk the node's too, says so."""
    namespace = risk.pod.partition("/")[0]
    return rules_for(risk, policies).annotations and policies.for_pod(namespace).annotations


def _told(risk: Risk) -> dict[Annotation, str]:
    return {
        Annotation.RISK: risk.domain_name,
        Annotation.VICTIM: f"{risk.container}/{risk.comm}" if risk.container else risk.comm,
        Annotation.SINCE: risk.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
