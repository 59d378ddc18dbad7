"""Tables in kubectl's manner: columns two spaces apart, as wide as their widest cell, without lines."""

from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter

from oomsayer.cli.text import width

GAP = "  "


def aligned(rows: Sequence[Sequence[str]], right: Collection[str]) -> Iterator[str]:
    """The lines of a table.

    Args:
        rows: the header first, all of one length.
        right: headings of the columns that hold numbers, which end at the same column.
    """
    widths = column_widths(rows)
    for row in rows:
        cells = (
            _padded(cell, room, right=head in right)
            for cell, room, head in zip(row, widths, rows[0], strict=True)
        )
        yield GAP.join(cells).rstrip()


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """How many columns of the terminal each column of a table takes."""
    return [max(map(width, map(itemgetter(column), rows))) for column in range(len(rows[0]))]


def _padded(cell: str, room: int, *, right: bool) -> str:
    padding = " " * (room - width(cell))
    return padding + cell if right else cell + padding
