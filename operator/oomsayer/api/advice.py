"""What an OOMForecast advises: the smallest change of a pod that would move a killer's choice to another."""

from typing import Annotated, Literal

from pydantic import Field

from oomsayer.api.model import ContainerName, Model, PodName, PodUid, Sentence

MAX_ADVICE = 32

Word = Annotated[str, Field(max_length=64)]


class Advice(Model):
    """One change, and what the model says would follow."""

    pod: PodName = ""
    pod_uid: PodUid = ""
    container: ContainerName = ""
    killer: Literal["kernel", "kubelet"] = Field(description="Whose choice it moves.")
    domain: str = Field(default="", max_length=4096, description="Where memory runs out, as people read it.")
    field: Word = Field(
        description="What to change: requests.memory, limits.memory, both where the class demands it, "
        "qosClass, priority or singleProcessOOMKill."
    )
    before: Word = Field(default="", description="What it is now.")
    value: Word = Field(description="The smallest value that moves the choice.")
    takes_effect: Literal["resize", "restart", "new pod", "kubelet restart"] = Field(
        description="What has to happen before it counts: a resize in place, a restart of the container, "
        "another pod, or another configuration of the node's kubelet, which containers have once they "
        "start anew."
    )
    then: Sentence = Field(default="", description="What the same model says after the change.")
