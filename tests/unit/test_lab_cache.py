"""The lab's cache: complete or absent, and another thing for other inputs."""

import os
from pathlib import Path

import pytest
from lab import cache


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OOMSAYER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_where_the_environment_says(cache_root: Path) -> None:
    assert cache.root() == cache_root
    assert cache_root.is_dir()


def test_an_artifact_is_built_once() -> None:
    builds: list[Path] = []

    def build(out: Path) -> None:
        builds.append(out)
        out.write_text("made")

    first = cache.artifact("thing", "k1", build)
    second = cache.artifact("thing", "k1", build)
    assert first == second
    assert first.read_text() == "made"
    assert len(builds) == 1


def test_an_interrupted_build_does_not_count() -> None:
    def interrupted(out: Path) -> None:
        out.write_text("half")
        raise KeyboardInterrupt

    def finished(out: Path) -> None:
        out.write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        cache.artifact("thing", "k1", interrupted)
    assert cache.artifact("thing", "k1", finished).read_text() == "whole"


def test_a_half_made_directory_is_cleared_before_the_next_try() -> None:
    def interrupted(out: Path) -> None:
        out.mkdir()
        (out / "left").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.artifact("thing", "k1", interrupted)
    made = cache.artifact("thing", "k1", Path.mkdir)
    assert list(made.iterdir()) == []


def test_what_was_interrupted_long_ago_goes() -> None:
    directory = cache.root() / "artifacts" / "thing"
    directory.mkdir(parents=True)
    young, old = directory / "k1.partial", directory / "k2.partial"
    young.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    cache.artifact("thing", "k3", lambda out: out.touch())
    assert {path.name for path in directory.iterdir()} == {"k1.partial", "k3"}


def test_old_versions_go_but_for_the_latest() -> None:
    for key in ("k1", "k2", "k3"):
        cache.artifact("thing", key, lambda out: out.touch())
    directory = cache.root() / "artifacts" / "thing"
    assert {path.name for path in directory.iterdir()} == {"k2", "k3"}


def test_a_key_tells_inputs_apart(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("1")
    before = cache.key_of(tree)
    assert cache.key_of(tree) == before
    (tree / "a").write_text("2")
    changed = cache.key_of(tree)
    (tree / "a").rename(tree / "b")
    renamed = cache.key_of(tree)
    assert len({before, changed, renamed, cache.key_of("ab", "c"), cache.key_of("a", "bc")}) == 5


def test_compiled_python_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = cache.key_of(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert cache.key_of(tmp_path) == before
