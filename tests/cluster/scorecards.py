"""A pod that dies once it is told to, the warning about it, and what its node's scorecard then says."""

from tests.cluster.container_stories import FLOODER
from tests.cluster.story import Json, Stage, container, eventually, pod

COUNTS = ("kills", "hits", "killSetHits", "misses", "warned")

WORKERS = "child name worker-a hold 54 say holding end child name worker-b hold 35 say holding end"


def near_its_limit(name: str, node: str) -> Json:
    """A pod whose container has two workers, little room, and a flood that waits for its sign."""
    app = container("app", f"{FLOODER} {WORKERS}", limit="100Mi")
    return pod(name, node, app, container("idle", "name idle"))


def give_the_sign(stage: Stage, node: str, uid: str) -> None:
    """Let a pod's flood go, from outside: a process run in the container would need the room that is left."""
    path = f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/fill/go"
    done = stage.cluster.node_shell(node, ["touch", path])
    assert done.returncode == 0, done.stderr


def card(stage: Stage, node: str) -> Json:
    """The scorecard of a node; the counts of nothing where there is none yet."""
    status = stage.get("oomforecast", node).get("status", {})
    found: Json = status.get("scorecard", {})
    return {**dict.fromkeys(COUNTS, 0), "last": [], **found}


def scored(stage: Stage, node: str, name: str) -> Json:
    """The kill of a pod's process in its node's scorecard, once its Event is written."""

    def look() -> Json | None:
        kills = [k for k in card(stage, node)["last"] if k.get("pod") == f"default/{name}"]
        return next((k for k in kills if k.get("announced")), None)

    return eventually(f"the kill in {name} to be scored and announced", look)


def warned(stage: Stage, name: str) -> str:
    """The name of the Event that warns of a pod's risk."""
    [event] = eventually(f"the warning about {name}", lambda: stage.events(name, "OOMRisk"))
    print(event["message"])
    found: str = event["metadata"]["name"]
    return found
