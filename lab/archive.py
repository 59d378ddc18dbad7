"""Container images as files: a docker-archive made of layers, without a container engine."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a layer: its content, or the target of a symbolic link, or neither for a directory."""

    path: str
    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Config:
    """What a container of the image runs, and how."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    directory: str = "/"


def write_layer(out: Path, entries: Iterable[Entry]) -> None:
    """Write a layer: a tar file that is the same, byte for byte, for the same entries."""
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            member = tarfile.TarInfo(entry.path)
            member.mode = entry.mode
            if entry.content is not None:
                member.size = len(entry.content)
                tar.addfile(member, io.BytesIO(entry.content))
            else:
                member.type = tarfile.SYMTYPE if entry.link else tarfile.DIRTYPE
                member.linkname = entry.link or ""
                tar.addfile(member)


def add_tree(tar: tarfile.TarFile, root: Path) -> None:
    """Add a directory's content to a layer, owned by root, without times, in the same order every time."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    for path in sorted(root.iterdir()):
        tar.add(path, arcname=path.name, filter=anonymous)


def write_image(out: Path, reference: str, layers: Sequence[Path], config: Config) -> None:
    """Write a docker-archive for amd64 that `docker load`, `ctr images import` and kind accept.

    Args:
        out: the file to write.
        reference: the image's full name with its tag.
        layers: uncompressed tar files, the lowest first.
        config: what it runs.
    """
    digests = [_digest(layer) for layer in layers]
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": list(config.entrypoint),
            "Cmd": list(config.command),
            "Env": [f"{name}={value}" for name, value in config.environment.items()],
            "User": config.user,
            "WorkingDir": config.directory,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    config_json = json.dumps(described).encode()
    config_name = f"{hashlib.sha256(config_json).hexdigest()}.json"
    names = [f"{digest}.tar" for digest in digests]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [reference], "Layers": names}]).encode()
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in ((config_name, config_json), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, layer in zip(names, layers, strict=True):
            member = tarfile.TarInfo(name)
            member.size = layer.stat().st_size
            with layer.open("rb") as source:
                tar.addfile(member, source)


def reference_of(archive: Path) -> str:
    """The first image name in a docker-archive."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        if manifest is None:
            raise ValueError(f"{archive} holds no manifest.json: is it a docker-archive?")
        return str(json.load(manifest)[0]["RepoTags"][0])


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
