"""The files that speak of the machine as a whole: meminfo, zoneinfo, stat, sys."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from oomsayer.kernel.snapshot import Memory, MemoryNode, Sysctls
from oomsayer.node import meminfo, pidstatm, pressure, swaps, sysctl, zoneinfo

MEMINFO = b"""MemTotal:       24684096 kB
MemFree:        23024392 kB
MemAvailable:   24217620 kB
Buffers:           12345 kB
SwapCached:            0 kB
Active:           500000 kB
Active(anon):     100000 kB
Inactive(anon):    20000 kB
Active(file):     300000 kB
Inactive(file):   400000 kB
SwapTotal:       1048572 kB
SwapFree:        1048000 kB
"""


def test_meminfo() -> None:
    assert meminfo.parse(MEMINFO, 4096, [MemoryNode(0, 9, watermark_min_pages=7)]) == Memory(
        page_size=4096,
        total_bytes=24684096 * 1024,
        swap_total_bytes=1048572 * 1024,
        free_bytes=23024392 * 1024,
        available_bytes=24217620 * 1024,
        file_bytes=700000 * 1024,
        active_file_bytes=300000 * 1024,
        anon_bytes=120000 * 1024,
        swap_free_bytes=1048000 * 1024,
        watermark_min_bytes=7 * 4096,
    )


def test_what_meminfo_does_not_say_is_unknown() -> None:
    memory = meminfo.parse(b"MemTotal: 100 kB\n", 4096, [])
    assert memory == Memory(page_size=4096, total_bytes=102400)
    assert meminfo.parse(b"MemFree: 100 kB\n", 4096, []) is None


ZONES = b"""Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 30
      nr_active_anon 4
      nr_inactive_file 500
      nr_active_file 60
      nr_zone_active_file 9999
  pages free     3840
        boost    0
        min      24
        low      30
        spanned  4095
        present  3998
Node 0, zone   Normal
  pages free     160
        min      176
        spanned  62304
        present  61440
      nr_free_pages 160
Node 1, zone   Normal
  pages free     3840
        min      11994
        low      12000
        spanned  65536
        present  65536
  nr_mlock 8
Node 2, zone   Normal
  pages free     0
        min      0
        spanned  0
        present  0
"""


def test_memory_nodes_are_their_zones_added_up() -> None:
    assert zoneinfo.memory_nodes(ZONES) == (
        MemoryNode(0, 65438, 66399, 4000, file_pages=560, watermark_min_pages=200),
        MemoryNode(1, 65536, 65536, 3840, watermark_min_pages=11994),
    )
    assert zoneinfo.memory_nodes(b"") == ()


# At the OOM of an Arch Linux 6.1.1 with 16 GB, as the public test data of OOMAnalyser has it.
FULL_ZONES = b"""Node 0, zone      DMA
  pages free     3328
        min      16
        present  3996
        protection: (0, 3191, 15659, 15659, 15659)
Node 0, zone    DMA32
  pages free     15826
        min      3440
        present  837164
        protection: (0, 0, 12468, 12468, 12468)
Node 0, zone   Normal
  pages free     15475
        min      15487
        present  3274240
        protection: (0, 0, 0, 0, 0)
Node 0, zone  Movable
  pages free     0
        min      32
        present  0
        protection: (0, 0, 0, 0, 0)
"""


def test_what_low_zones_keep_from_processes_is_no_room() -> None:
    (node,) = zoneinfo.memory_nodes(FULL_ZONES)
    assert node.watermark_min_pages == 3996 + (3440 + 12468) + 15487
    assert node.free_pages - node.watermark_min_pages < 0


def test_the_processors_are_counted_once() -> None:
    zone = b"  pagesets\n    cpu: 0\n              count:    7\n    cpu: 3\n              count:    0\n"
    assert zoneinfo.cpus(b"Node 0, zone      DMA\n" + zone + b"Node 0, zone   Normal\n" + zone) == 2
    assert zoneinfo.cpus(b"") == 1


def test_several_memory_nodes_are_the_machines() -> None:
    nodes = zoneinfo.memory_nodes(ZONES)
    memory = meminfo.parse(MEMINFO, 4096, nodes)
    assert memory is not None
    assert (memory.nodes, memory.watermark_min_bytes) == (nodes, 12194 * 4096)


def test_resident_pages() -> None:
    assert pidstatm.resident_pages(b"765 380 353 5 0 90 0\n") == 380
    assert pidstatm.resident_pages(b"765") is None


def test_settings_fall_back_to_the_kernels_defaults(tmp_path: Path) -> None:
    (tmp_path / "sys/vm").mkdir(parents=True)
    (tmp_path / "sys/vm/swappiness").write_text("0\n")
    (tmp_path / "sys/vm/panic_on_oom").write_text("2\n")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert sysctl.vm(fd) == Sysctls(swappiness=0, panic_on_oom=2, oom_kill_allocating_task=0)
        assert sysctl.osrelease(fd) == ""
    finally:
        os.close(fd)


def test_what_is_free_on_zram() -> None:
    data = (
        b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        b"/dev/zram0                              partition\t4194300\t\t94300\t\t100\n"
        b"/dev/vda2                               partition\t1048572\t\t0\t\t-2\n"
    )
    assert swaps.zram_free_bytes(data) == 4100000 * 1024
    assert swaps.zram_free_bytes(b"") == 0


def test_without_psi_there_is_no_pressure() -> None:
    assert pressure.parse(b"") is None
    assert pressure.parse(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n") is None
    assert pressure.parse(b"some avg10=nan\nfull avg10=1.00\n") is None
    assert pressure.parse(b"some avg10=0.00\nfull avg10=101.00\n") is None


@given(st.binary())
def test_no_content_raises(data: bytes) -> None:
    pressure.parse(data)
    swaps.zram_free_bytes(data)
    meminfo.parse(data, 4096, zoneinfo.memory_nodes(data))
    zoneinfo.memory_nodes(data)
    pidstatm.resident_pages(data)
