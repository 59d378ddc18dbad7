"""The programs of clusters, built from source; the native control plane alone takes its etcd from Debian."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab import cache, packages
from lab.errors import LabError
from lab.process import capture
from lab.progress import run_step

MODULE = Path(__file__).resolve().parent / "kubernetes"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("kubelet", "kube-proxy")
# Those that are no command of Kubernetes itself.
_PACKAGES = {"etcd": "go.etcd.io/etcd/server/v3", "kind": "sigs.k8s.io/kind"}
# Without the version the API server panics at its start.
_VERSION_SYMBOL = "k8s.io/component-base/version.gitVersion"
# The first that fetches a newer release by itself.
_OLDEST_GO = 21
_GO_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")


def kubernetes_version() -> str:
    """The version that the lab runs, as lab/kubernetes/go.mod requires it: "v1.36.3"."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text())
    if found is None:
        raise LabError(f"{MODULE}/go.mod requires no k8s.io/kubernetes")
    return found[1]


def kubernetes(programs: Sequence[str]) -> dict[str, Path]:
    """Paths of programs, each built once for a go.mod; minutes for all of Kubernetes the first time.

    Args:
        programs: commands of Kubernetes; also "kind", and the "etcd" that this Kubernetes is made for.
    """
    go = _go()
    version = kubernetes_version()
    key = cache.key_of(MODULE / "go.mod", MODULE / "go.sum", version, _VERSION_SYMBOL)

    def path(name: str) -> Path:
        return cache.artifact(f"{name}-{version}", key, lambda out: _build(go, name, version, out)) / name

    return {name: path(name) for name in programs}


def _build(go: str, program: str, version: str, out: Path) -> None:
    out.mkdir()
    run_step(
        f"building {program} (the first one takes minutes)",
        [
            go, "build", "-ldflags", f"-s -w -X {_VERSION_SYMBOL}={version}", "-o", out / program,
            _PACKAGES.get(program, f"k8s.io/kubernetes/cmd/{program}"),
        ],
        log=cache.log_file(program),
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "auto"},
    )  # fmt: skip


def etcd() -> Path:
    """The etcd program: the one on PATH, or else taken out of Debian's package, which is not installed."""
    installed = shutil.which("etcd")
    if installed:
        return Path(installed)
    return packages.unpacked("etcd-server") / "usr/bin/etcd"


def _go() -> str:
    """The go command: any release that can fetch the one which go.mod names."""
    places = [shutil.which("go"), *(place for place in _GO_PLACES if Path(place).exists())]
    found = next((place for place in places if place), None)
    if found is None:
        packages.require(["go"])
        found = "go"
    release = capture([found, "env", "GOVERSION"], env={**os.environ, "GOTOOLCHAIN": "local"}).strip()
    numbers = re.match(r"go1\.(\d+)", release)
    if numbers is None or int(numbers[1]) < _OLDEST_GO:
        raise LabError(
            f"{found} is {release}, too old to build Kubernetes: Go 1.{_OLDEST_GO} or newer is needed. "
            "Debian 13 has it; on Debian 12 it is golang-go of bookworm-backports"
        )
    return found
