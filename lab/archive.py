"""Container images as files: a docker-archive made of layers, without a container engine."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError

_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


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
    stop_signal: str = "SIGTERM"


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
            "StopSignal": config.stop_signal,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    config_json = json.dumps(described).encode()
    config_name = f"{hashlib.sha256(config_json).hexdigest()}.json"
    names = [f"{digest}.tar" for digest in digests]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [reference], "Layers": names}]).encode()
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        _add_file(tar, config_name, config_json)
        _add_file(tar, "manifest.json", manifest)
        for name, layer in zip(names, layers, strict=True):
            member = tarfile.TarInfo(name)
            member.size = layer.stat().st_size
            with layer.open("rb") as source:
                tar.addfile(member, source)


def write_oci(archive: Path, out: Path, *, without: frozenset[str] = frozenset()) -> None:
    """Write the image of a docker-archive as an OCI archive, leaving out layers that the receiver has.

    Args:
        archive: the docker-archive, its layers uncompressed.
        out: the file to write.
        without: digests ("sha256:...") that need not be sent.
    """
    with tarfile.open(archive) as source, tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as target:
        listed = json.loads(_member(source, "manifest.json"))[0]
        config = _member(source, listed["Config"])
        digests = json.loads(config)["rootfs"]["diff_ids"]
        layers = []
        for name, digest in zip(listed["Layers"], digests, strict=True):
            member = source.getmember(name)
            layers.append({"mediaType": _OCI_LAYER, "digest": digest, "size": member.size})
            if digest not in without:
                blob = tarfile.TarInfo(_blob_path(digest))
                blob.size = member.size
                target.addfile(blob, source.extractfile(member))
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _OCI_MANIFEST,
                "config": _add_blob(target, config, "application/vnd.oci.image.config.v1+json"),
                "layers": layers,
            }
        ).encode()
        described = _add_blob(target, manifest, _OCI_MANIFEST)
        described["annotations"] = {"io.containerd.image.name": _full_reference(listed["RepoTags"][0])}
        _add_file(target, "index.json", json.dumps({"schemaVersion": 2, "manifests": [described]}).encode())
        _add_file(target, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')


def _full_reference(reference: str) -> str:
    """The name as a container runtime keeps it: "oomsayer:1" is "docker.io/library/oomsayer:1"."""
    host, slash, _ = reference.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add_blob(target: tarfile.TarFile, content: bytes, media_type: str) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    _add_file(target, _blob_path(digest), content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _add_file(target: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    target.addfile(member, io.BytesIO(content))


def _member(source: tarfile.TarFile, name: str) -> bytes:
    found = source.extractfile(name) if name in source.getnames() else None
    if found is None:
        raise LabError(
            f"{source.name!s} holds no {name}: is it a docker-archive, as `docker save` writes it?"
        )
    return found.read()


def reference_of(archive: Path) -> str:
    """The first image name in a docker-archive."""
    try:
        with tarfile.open(archive) as tar:
            return str(json.loads(_member(tar, "manifest.json"))[0]["RepoTags"][0])
    except (OSError, tarfile.ReadError) as error:
        raise LabError(
            f"{archive} cannot be read as a docker-archive: {str(error).splitlines()[0]}"
        ) from error


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
