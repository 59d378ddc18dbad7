"""Processes and cgroups that live tests make, and take away again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.live.stage import Actor, Cgroup, KernelLog

from oomsayer.node.cgroupfs import memory_mount


@pytest.fixture
def actors() -> Iterator[Callable[[], Actor]]:
    started: list[Actor] = []

    def start() -> Actor:
        started.append(Actor())
        return started[-1]

    yield start
    for actor in started:
        actor.end()


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    mount = memory_mount(Path("/"))
    if mount is None or not os.access(mount.directory, os.W_OK):
        pytest.skip("a memory cgroup of the test's own needs root and a writable memory controller")
    if mount.version == 2:
        (mount.directory / "cgroup.subtree_control").write_text("+memory")
    name = f"oomsayer-test-{os.getpid()}"
    made = Cgroup(mount.directory / name, f"/{name}", mount.version)
    yield made
    made.remove()


@pytest.fixture
def kernel_log() -> Iterator[KernelLog]:
    if not os.access("/dev/kmsg", os.R_OK):
        pytest.skip("the kernel's log cannot be read here: run as root")
    log = KernelLog()
    yield log
    log.close()
