"""Images as files: the archives that container runtimes read."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from lab.archive import Config, Entry, add_tree, reference_of, write_image, write_layer, write_oci
from lab.errors import LabError


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    lower, upper = tmp_path / "lower.tar", tmp_path / "upper.tar"
    write_layer(lower, [Entry("bin"), Entry("bin/tool", b"#!"), Entry("bin/sh", link="tool")])
    write_layer(upper, [Entry("app", b"code", mode=0o644)])
    return [lower, upper]


@pytest.fixture
def archive(tmp_path: Path, layers: list[Path]) -> Path:
    out = tmp_path / "image.tar"
    write_image(
        out, "oomsayer:1", layers, Config(command=["/bin/tool"], environment={"A": "b"}, user="65534")
    )
    return out


def digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: f.read() for m in tar.getmembers() if (f := tar.extractfile(m)) is not None}


def test_a_layer_is_the_same_for_the_same_entries(tmp_path: Path, layers: list[Path]) -> None:
    again = tmp_path / "again.tar"
    write_layer(again, [Entry("app", b"code", mode=0o644)])
    assert again.read_bytes() == layers[1].read_bytes()


def test_a_tree_goes_in_without_owners_and_times(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    with tarfile.open(tmp_path / "out.tar", "w") as tar:
        add_tree(tar, tmp_path / "tree")
    with tarfile.open(tmp_path / "out.tar") as tar:
        [member] = tar.getmembers()
    assert (member.name, member.uid, member.gid, member.mtime, member.uname) == ("file", 0, 0, 0, "")


def test_a_docker_archive_holds_its_layers_and_what_runs(archive: Path, layers: list[Path]) -> None:
    files = contents(archive)
    [listed] = json.loads(files["manifest.json"])
    config = json.loads(files[listed["Config"]])
    assert listed["RepoTags"] == ["oomsayer:1"]
    assert [files[name] for name in listed["Layers"]] == [layer.read_bytes() for layer in layers]
    assert config["rootfs"]["diff_ids"] == [digest(layer) for layer in layers]
    assert config["config"]["Cmd"] == ["/bin/tool"]
    assert config["config"]["Env"] == ["A=b"]
    assert config["config"]["User"] == "65534"


def test_its_name_can_be_read_back(archive: Path) -> None:
    assert reference_of(archive) == "oomsayer:1"


def test_another_archive_is_told_from_an_image(tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    write_layer(path, [Entry("file", b"x")])
    with pytest.raises(LabError, match=r"other.tar holds no manifest\.json: is it a docker-archive"):
        reference_of(path)


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no archive")
    for each in (path, tmp_path / "absent.tar"):
        with pytest.raises(LabError, match=f"{each.name} cannot be read as a docker-archive"):
            reference_of(each)


def test_layers_that_the_receiver_has_stay_away(tmp_path: Path, archive: Path, layers: list[Path]) -> None:
    out = tmp_path / "oci.tar"
    write_oci(archive, out, without=frozenset({digest(layers[0])}))
    files = contents(out)
    [described] = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files[f"blobs/{described['digest'].replace(':', '/')}"])
    assert described["annotations"]["io.containerd.image.name"] == "docker.io/library/oomsayer:1"
    assert [layer["digest"] for layer in manifest["layers"]] == [digest(layer) for layer in layers]
    assert [layer["size"] for layer in manifest["layers"]] == [layer.stat().st_size for layer in layers]
    sent = {name for name in files if name.startswith("blobs/")}
    assert f"blobs/{digest(layers[1]).replace(':', '/')}" in sent
    assert f"blobs/{digest(layers[0]).replace(':', '/')}" not in sent
    for name in sent:
        assert hashlib.sha256(files[name]).hexdigest() == name.rpartition("/")[2]
