"""Which kinds of cluster there are, and which one fits this machine."""

import os
from collections.abc import Mapping

from lab.existing import ExistingProvider
from lab.kind import KindProvider
from lab.native.provider import NativeProvider
from lab.provider import Provider

NAMES = ("existing", "kind", "native")


def by_name(name: str) -> Provider:
    """The provider of that name, one of NAMES."""
    providers: dict[str, type[Provider]] = {
        "existing": ExistingProvider,
        "kind": KindProvider,
        "native": NativeProvider,
    }
    return providers[name]()


def fitting(environment: Mapping[str, str] = os.environ) -> Provider:
    """The cluster that an explicit KUBECONFIG names; else kind where it can run; else the native one."""
    if environment.get("KUBECONFIG"):
        return ExistingProvider()
    kind = KindProvider()
    return kind if kind.possible() else NativeProvider()
