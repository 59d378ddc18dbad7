"""Sets of memory nodes (NUMA) in the kernel's notation: "0-1,4".

Source: bitmap_parselist() and %*pbl in lib/.
"""

import re
from functools import lru_cache

Nodes = frozenset[int]

_MOST_NODES = 1024
"""More memory nodes no kernel can have (MAX_NUMNODES)."""
_LONGEST = 4096


@lru_cache(maxsize=1024)
def parse(text: str) -> Nodes:
    """The nodes of a list; empty for none, or for what is no list, such as "(null)"."""
    nodes: set[int] = set()
    for low, high in re.findall(r"(\d{1,4})(?:-(\d{1,4}))?", text[:_LONGEST]):
        nodes.update(range(int(low), min(int(high or low), _MOST_NODES) + 1))
    return frozenset(nodes)


def text(nodes: Nodes) -> str:
    """The list of some nodes; parse() gives them back."""
    runs: list[list[int]] = []
    for node in sorted(nodes):
        if runs and node == runs[-1][1] + 1:
            runs[-1][1] = node
        else:
            runs.append([node, node])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
