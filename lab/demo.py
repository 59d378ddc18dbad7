"""The demo: a real cluster, oomsayer in it, a forecast, and then the OOM that was forecast."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from lab import cache, image, rollout, tools
from lab.errors import LabError
from lab.process import capture
from lab.progress import say, wait_until
from lab.provider import Provider
from oomsayer.kernel.oomlog import OomKill, oom_kills

NAMESPACE = "oomsayer"
EXAMPLES = "oomsayer-examples"
NODES = 2
_PATIENCE_SECONDS = 420.0
_IMAGE_VARIABLE = "OOMSAYER_IMAGE"
_RELEASE = "oomsayer"
_DESCRIPTION = "make demo"
"""Of the release, so that no other is taken away."""
_KILLED = 128 + 9
_LEAK = 'open("/tmp/leak", "w")'
_LEAKY_PROCESSES = ("app", "cache", "worker-1", "worker-2", "batch")
_CRDS = ("nodememoryreports.oomsayer.dev", "oomforecasts.oomsayer.dev", "oompolicies.oomsayer.dev")

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of it on one cluster."""

    provider: Provider

    def play(self) -> None:
        """From nothing to a kill that was foretold; what it made stays until clear()."""
        with cache.locked("lab"):
            self.provider.up(NODES)
        self._refuse_anothers()
        reference = self._image()
        self._install(reference)
        self._examples(reference)
        node, _ = self._forecast()
        self.show("get", "oomforecasts")
        before, stale = len(self._kills(node)), {event["metadata"]["uid"] for event in self._warnings()}
        say("worker-2 leaks into shared memory, a MiB a second, until the container is full")
        self.kubectl("-n", EXAMPLES, "exec", "deploy/leaky", "--", "python3", "-c", _LEAK)
        self._wait("the warning", lambda: [e for e in self._warnings() if e["metadata"]["uid"] not in stale])
        node, domain = self._forecast()
        expected = self._as_the_kernel_names_it(node, domain)
        self.show("get", "oomforecasts")
        self.show("get", "events", "-n", EXAMPLES, "--field-selector", "reason=OOMRisk")
        self._compare(domain, node, before, expected)
        say(f"look around: export KUBECONFIG={self.provider.kubeconfig}; `make demo-down` takes it all away")

    def clear(self) -> None:
        """Take away what play() made: the whole cluster where it is the lab's, else what was installed."""
        if self.provider.running() and self.provider.name == "existing":
            self._refuse_anothers()
            say("removing the examples, the chart and its resources")
            self.kubectl("delete", "namespace", EXAMPLES, "--ignore-not-found")
            self._helm("uninstall", _RELEASE, "--ignore-not-found", "--wait")
            self.kubectl("delete", "crd", *_CRDS, "--ignore-not-found")
            self.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
        with cache.locked("lab"):
            self.provider.down()

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints."""
        return capture([*tools.kubectl(self.provider.kubeconfig), *arguments], timeout=_PATIENCE_SECONDS)

    def show(self, *arguments: str) -> None:
        """Print a kubectl command and what it prints."""
        print(f"\n$ kubectl {' '.join(arguments)}\n{self.kubectl(*arguments)}", flush=True)

    def _helm(self, *arguments: str) -> str:
        command = [*tools.helm(self.provider.kubeconfig), *arguments, "--namespace", NAMESPACE]
        return capture(command, timeout=_PATIENCE_SECONDS)

    def _refuse_anothers(self) -> None:
        """Touch nothing in somebody's cluster that the demo did not make.

        Raises:
            LabError: oomsayer is installed there, and not by the demo.
        """
        if self.provider.name != "existing":
            return
        installed = self.kubectl("get", "crd", *_CRDS, "--ignore-not-found", "--output", "name").split()
        if installed and self._description() != _DESCRIPTION:
            raise LabError(
                "oomsayer is, or was, installed in this cluster, and not by the demo, which would change it "
                f"and take it away. If nobody needs it: kubectl delete {' '.join(installed)}"
            )

    def _description(self) -> str:
        """What the release says of itself; empty without one."""
        releases = json.loads(self._helm("list", "--filter", f"^{_RELEASE}$", "--output", "json"))
        if not releases:
            return ""
        status = json.loads(self._helm("status", _RELEASE, "--output", "json"))
        return str(status["info"]["description"])

    def _image(self) -> str:
        if self.provider.name == "existing":
            reference = os.environ.get(_IMAGE_VARIABLE, "")
            if "/" in reference.rpartition(":")[2] or ":" not in reference:
                raise LabError(
                    "the cluster is not the lab's: build the Dockerfile, push the image where the "
                    f"cluster can pull it, and name it in {_IMAGE_VARIABLE}, as REPOSITORY:TAG"
                )
            return reference
        with cache.locked("image"):
            archive = image.project_image()
        with cache.locked("lab"):
            self.provider.load_image(archive)
        return image.reference()

    def _install(self, reference: str) -> None:
        say("installing the chart")
        repository, _, tag = reference.rpartition(":")
        self._helm(
            *("upgrade", "--install", _RELEASE, str(image.REPOSITORY / "charts" / "oomsayer")),
            *("--create-namespace", "--description", _DESCRIPTION),
            *("--set", f"image.repository={repository},image.tag={tag}"),
        )
        rollout.wait(self.provider.kubeconfig, NAMESPACE, seconds=_PATIENCE_SECONDS)

    def _examples(self, reference: str) -> None:
        say("starting the examples")
        public = "examples" if self.provider.name == "existing" else "lab/examples"
        manifests = self.kubectl(
            "kustomize", str(image.REPOSITORY / public), "--load-restrictor=LoadRestrictionsNone"
        )
        subprocess.run(
            [*tools.kubectl(self.provider.kubeconfig), "apply", "-f", "-"],
            input=manifests.replace("image: oomsayer:0.1.0", f"image: {reference}"),
            text=True, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        rollout.wait(self.provider.kubeconfig, EXAMPLES, seconds=_PATIENCE_SECONDS)

    def _forecast(self) -> tuple[str, Json]:
        """The node of the leaky container, and the verdict for the pod, once all its processes are in it."""
        pods = json.loads(self.kubectl("-n", EXAMPLES, "get", "pods", "-l", "app=leaky", "-o", "json"))
        pod = pods["items"][0]
        node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"].replace("-", "_")

        def domain() -> Json | None:
            listed = json.loads(self.kubectl("get", "oomforecasts", "-o", "json"))["items"]
            forecast: Json = next((f for f in listed if f["metadata"]["name"] == node), {})
            domains = forecast.get("status", {}).get("domains", ())
            found = [d for d in domains if uid in d["path"] and _all_started(d)]
            return min(found, key=lambda d: d["path"].count("/"), default=None)

        return node, self._wait("the forecast", domain)

    def _warnings(self) -> list[Json]:
        listed = self.kubectl(
            "-n", EXAMPLES, "get", "events", "--field-selector", "reason=OOMRisk", "-o", "json"
        )
        found: list[Json] = json.loads(listed)["items"]
        return found

    def _kills(self, node: str) -> list[OomKill]:
        if self.provider.name == "existing":
            return []  # its kernel log is out of reach from here
        return oom_kills(self.provider.kernel_log(node).splitlines())

    def _as_the_kernel_names_it(self, node: str, domain: Json) -> tuple[int | None, str] | None:
        """Pid of the victim and path of the domain in the kernel log, where that is in reach."""
        if self.provider.name == "existing":
            return None
        pid = self.provider.kernel_pid(node, domain["victim"]["pid"])
        return pid, self.provider.kernel_path(node, domain["path"])

    def _compare(self, domain: Json, node: str, before: int, expected: tuple[int | None, str] | None) -> None:
        victim = domain["victim"]
        foretold = f"{victim['comm']} (pid {victim['pid']}) of {victim['pod']}/{victim['container']}"
        if self.provider.name == "existing":
            self._wait("the container to be killed", self._killed_status)
            print(f"\nforetold: {foretold} in {domain['path']}")
            print(f"kernel:   its log is on {node}: dmesg | grep oom-kill")
            return
        kill = self._wait("the kernel to kill", lambda: next(iter(self._kills(node)[before:]), None))
        log = self.provider.kernel_log(node).splitlines()
        line = next(line for line in reversed(log) if "oom-kill:constraint" in line)
        print(f"\nforetold: {foretold} in {domain['path']}")
        if expected != (victim["pid"], domain["path"]) and expected is not None:
            print(f"          which its kernel knows as pid {expected[0]} in {expected[1]}")
        print(f"kernel:   {kill.comm} (pid {kill.pid}) in {kill.domain}")
        print(f"its log:  {line}\n", flush=True)
        if (kill.pid, kill.domain) != expected:
            raise LabError("the kernel chose otherwise: please report this with the lines above")
        say("the kernel took the process that was foretold")

    def _killed_status(self) -> bool:
        pods = json.loads(self.kubectl("-n", EXAMPLES, "get", "pods", "-l", "app=leaky", "-o", "json"))
        statuses = [s for p in pods["items"] for s in p["status"].get("containerStatuses", ())]
        ends = [s.get("lastState", {}).get("terminated", {}) for s in statuses]
        return any(end.get("exitCode") == _KILLED for end in ends)

    def _wait(self, what: str, look: Callable[[], T | None]) -> T:
        """The first answer that is not empty."""
        say(f"waiting for {what}")
        seen: list[T] = []

        def done() -> bool:
            answer = look()
            if answer:
                seen.append(answer)
            return bool(answer)

        wait_until(what, done, seconds=_PATIENCE_SECONDS, every=1.0)
        return seen[-1]


def _all_started(domain: Json) -> bool:
    """Whether the whole example is in it: all die together, or one after the other where each dies alone."""
    one_by_one = {victim["comm"] for victim in domain.get("order", ())}
    together: int = domain["killSet"]["count"]
    return together >= len(_LEAKY_PROCESSES) or one_by_one >= set(_LEAKY_PROCESSES)


def run(provider: Provider, *, down: bool) -> int:
    """Play the demo, or take it away; the exit status."""
    demo = Demo(provider)
    if down:
        demo.clear()
    else:
        demo.play()
    sys.stdout.flush()
    return 0
