"""Which kinds of cluster there are, and which one fits this machine."""

import os
from collections.abc import Callable, Mapping

from lab.existing import ExistingProvider
from lab.kind import host
from lab.kind.host import KindProvider
from lab.kind.vm import KindVmProvider
from lab.native.provider import NativeProvider
from lab.provider import Provider

NAMES = ("existing", "kind", "kind-vm", "native")


def by_name(name: str) -> Provider:
    """The provider of that name, one of NAMES."""
    makers: dict[str, Callable[[], Provider]] = {
        "existing": ExistingProvider,
        "kind": kind,
        "kind-vm": KindVmProvider,
        "native": NativeProvider,
    }
    return makers[name]()


def fitting(environment: Mapping[str, str] = os.environ) -> Provider:
    """The cluster that an explicit KUBECONFIG names; else kind where it can run; else the native one."""
    if environment.get("KUBECONFIG"):
        return ExistingProvider()
    return KindProvider() if host.installed() and host.engine() else NativeProvider()


def kind() -> Provider:
    """The kind of this machine, or one in a machine of its own where neither kind nor an engine is here.

    Where only one of the two is missing, people mean their own, and are told what is missing.
    """
    return KindProvider() if host.installed() or host.engine() else KindVmProvider()
