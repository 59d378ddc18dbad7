"""Tables in kubectl's manner: columns two spaces apart, as wide as their widest cell, without lines."""

from collections.abc import Collection, Iterator, Sequence

from oomsayer.cli.text import width

GAP = "  "
COLUMNS = 120
"""What is printed for people fits these, unless they ask for more."""
ID_SHOWN = 12
"""How much of a container's id is shown, as Docker and crictl do."""


def aligned(rows: Sequence[Sequence[str]], right: Collection[str]) -> Iterator[str]:
    """The lines of a table.

    Args:
        rows: the header first, all of one length.
        right: headings of the columns that hold numbers, which end at the same column.
    """
    widths = column_widths(rows)
    sides = [head in right for head in rows[0]]
    for row in rows:
        yield GAP.join(map(_padded, row, widths, sides)).rstrip()


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """How many columns of the terminal each column of a table takes."""
    return [max(map(width, column)) for column in zip(*rows, strict=True)]


def _padded(cell: str, room: int, right: bool) -> str:  # noqa: FBT001 - map() passes it by place
    padding = " " * (room - width(cell))
    return padding + cell if right else cell + padding
