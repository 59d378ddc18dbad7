"""A process that plays one part, told by lines on its standard input and answering each with one line.

    name HEX        take this name (bytes in hexadecimal)
    adj N           write N to its own oom_score_adj
    hold BYTES      hold so much memory, every page touched
    share           start a process that shares its memory; answers its pid
    vfork           start one as vfork() does, and be suspended until it ends; answers before
    leave           end the first thread and let another live on
    fill PATH BYTES append so many bytes to a file

It needs nothing but Python and libc: the children run libc's pause(), never the interpreter.
"""

import ctypes
import mmap
import os
import platform
import signal
import sys
import threading
from pathlib import Path

CLONE_VM = 0x100
CLONE_VFORK = 0x4000
PR_SET_NAME = 15
PR_SET_PDEATHSIG = 1
SYS_EXIT = {"x86_64": 60}.get(platform.machine(), 93)
STACK_BYTES = 64 * 1024

libc = ctypes.CDLL(None, use_errno=True)
held: list[object] = []


def answer(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def name(argument: str) -> str:
    libc.prctl(PR_SET_NAME, ctypes.c_char_p(bytes.fromhex(argument)), 0, 0, 0)
    return ""


def adj(argument: str) -> str:
    Path("/proc/self/oom_score_adj").write_text(argument)
    return ""


def hold(argument: str) -> str:
    memory = mmap.mmap(-1, int(argument), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for offset in range(0, len(memory), mmap.PAGESIZE):
        memory[offset] = 1
    held.append(memory)
    return ""


def clone(flags: int) -> int:
    stack = mmap.mmap(-1, STACK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.append(stack)
    bottom = ctypes.addressof(ctypes.c_char.from_buffer(stack))
    pause = ctypes.cast(libc.pause, ctypes.c_void_p)
    return int(libc.clone(pause, ctypes.c_void_p(bottom + STACK_BYTES), flags | signal.SIGCHLD, None))


def share(_: str) -> str:
    return str(clone(CLONE_VM))


def fill(argument: str) -> str:
    path, _, count = argument.rpartition(" ")
    with Path(path).open("ab", buffering=0) as file:
        file.write(bytes(int(count)))
    return ""


def listen() -> None:
    parts = {"name": name, "adj": adj, "hold": hold, "share": share, "fill": fill}
    for line in sys.stdin:
        part, _, argument = line.strip().partition(" ")
        if part in parts:
            answer(parts[part](argument))
        elif part == "vfork":
            answer("")
            clone(CLONE_VM | CLONE_VFORK)
        elif part == "leave":
            threading.Thread(target=listen).start()
            answer("")
            libc.syscall(SYS_EXIT, 0)


libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
answer(str(os.getpid()))
listen()
