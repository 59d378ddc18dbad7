"""Processes whose memory behaves in ways of its own: python workloads.py NAME. See record.py."""

import random
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20


def memory(size: int) -> bytearray:
    """So many bytes, every page touched."""
    block = bytearray(size)
    for at in range(0, size, 4096):
        block[at] = 1
    return block


def leak(kib: int, seconds: float) -> None:
    """Grow by `kib` every so many seconds."""
    kept = []
    while True:
        kept.append(memory(kib << 10))
        time.sleep(seconds)


def jittery() -> None:
    """A server that leaks a little of each request; requests come in bursts and hold memory meanwhile."""
    rng, kept = random.Random(1), []
    while True:
        burst = [memory(rng.randrange(1, 12) * MIB) for _ in range(rng.choice((0, 1, 1, 2, 4)))]
        time.sleep(rng.uniform(0.2, 1.5))
        kept.append(memory(rng.randrange(100, 900) << 10))
        del burst


def accelerating() -> None:
    """Every object refers to more than the one before."""
    kept = []
    for turn in range(1, 1 << 20):
        kept.append(memory(turn * 4096))
        time.sleep(1)


def calm_then_leak() -> None:
    """Flat for three minutes, then a leak."""
    kept = [memory(60 * MIB)]
    time.sleep(180)
    while True:
        kept.append(memory(MIB))
        time.sleep(1)


def stairs() -> None:
    """A batch every 15 seconds, kept."""
    kept = []
    while True:
        kept.append(memory(12 * MIB))
        time.sleep(15)


def reads_and_leaks() -> None:
    """Page cache fills the limit; behind it something leaks."""
    scratch, kept = Path(f"scratch-{time.time_ns()}"), []
    try:
        with scratch.open("wb") as file:
            for _ in range(400):
                file.write(bytes(MIB))
        while True:
            with scratch.open("rb") as file:
                while file.read(4 * MIB):
                    kept.append(memory(256 << 10))
                    time.sleep(0.3)
    finally:
        scratch.unlink()


def restarts() -> None:
    """A supervisor whose worker leaks and is killed, again and again."""
    while True:
        subprocess.run([sys.executable, __file__, "leaking-worker"], check=False)  # noqa: S603 - itself
        time.sleep(3)


def batches() -> None:
    """Every half a minute a job takes 120 MiB over ten seconds and gives them back."""
    base = memory(40 * MIB)
    while base:
        job = []
        for _ in range(40):
            job.append(memory(3 * MIB))
            time.sleep(0.25)
        del job
        time.sleep(20)


def slow_batches() -> None:
    """The same, slowly: two minutes up, then back."""
    base = memory(30 * MIB)
    while base:
        job = []
        for _ in range(120):
            job.append(memory(MIB))
            time.sleep(1)
        del job
        time.sleep(5)


def page_cache() -> None:
    """Writes and reads far more than its limit."""
    scratch, base = Path(f"scratch-{time.time_ns()}"), memory(50 * MIB)
    try:
        while base:
            with scratch.open("wb") as file:
                for _ in range(250):
                    file.write(bytes(MIB))
                    time.sleep(0.05)
            with scratch.open("rb") as file:
                while file.read(MIB):
                    time.sleep(0.05)
    finally:
        scratch.unlink()


def steps() -> None:
    """Loads its data, later more of it, and then stays."""
    kept = [memory(20 * MIB)]
    for size in (80, 60, 30):
        time.sleep(45)
        kept.extend(memory(MIB) for _ in range(size))
    time.sleep(3600)


def warms_up() -> None:
    """A cache of bounded size that fills as misses get rarer."""
    rng, cache = random.Random(2), {}
    while True:
        for _ in range(20):
            key = rng.randrange(160)
            if key not in cache:
                cache[key] = memory(MIB)
        time.sleep(4)


def pool() -> None:
    """Workers come and go, each with some memory for a while: load that wanders."""
    rng, most, busyness = random.Random(3), 16, 0.5
    busy: list[tuple[float, bytearray]] = []
    while True:
        now = time.monotonic()
        busy = [(until, held) for until, held in busy if until > now]
        if len(busy) < most and rng.random() < busyness:
            busy.append((now + rng.expovariate(1 / 25), memory(rng.randrange(2, 14) * MIB)))
        time.sleep(0.5)


def leaking_batches() -> None:
    """Jobs that give back all but a little."""
    kept = []
    while True:
        job = []
        for _ in range(30):
            job.append(memory(2 * MIB))
            time.sleep(0.2)
        kept.append(memory(5 * MIB))
        del job
        time.sleep(9)


def counting() -> None:
    """A table of everything ever seen: a dictionary, which doubles its own size when it is full."""
    seen: dict[str, int] = {}
    number = 0
    while True:
        for _ in range(2000):
            number += 1
            seen[f"visitor-{number * 7919 % 10**9}"] = number
        time.sleep(0.1)


def sessions() -> None:
    """Each stays for a while; more come than go, then fewer."""
    rng, open_until = random.Random(4), []
    for turn in range(1 << 20):
        rate = 1 if turn // 150 % 2 else 6
        open_until += [
            (turn + rng.randrange(20, 90), memory(rng.randrange(256, 1536) << 10))
            for _ in range(rng.randrange(rate))
        ]
        open_until = [(until, held) for until, held in open_until if until > turn]
        time.sleep(1)


WORKLOADS = {
    "leak": lambda: leak(1024, 1.0),
    "slow-leak": lambda: leak(256, 1.0),
    "fast-leak": lambda: leak(4096, 0.4),
    "leaking-worker": lambda: leak(2048, 1.0),
    "jittery": jittery,
    "accelerating": accelerating,
    "calm-then-leak": calm_then_leak,
    "stairs": stairs,
    "reads-and-leaks": reads_and_leaks,
    "restarts": restarts,
    "batches": batches,
    "slow-batches": slow_batches,
    "page-cache": page_cache,
    "steps": steps,
    "warms-up": warms_up,
    "pool": pool,
    "leaking-batches": leaking_batches,
    "counting": counting,
    "sessions": sessions,
}

if __name__ == "__main__":
    WORKLOADS[sys.argv[1]]()
