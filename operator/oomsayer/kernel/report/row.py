"""One row of the table: how it looks, and what its columns hold, which the table's header names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import repeat

from oomsayer.kernel.report import TaskRow

ANY_ROW = rb"(?s)\[\s*(\d{1,10})\]((?:\s+-?\d{1,20}){7,12})\s(.*)$"
ROW_START = rb"\[\s*\d{1,10}\](?:\s+-?\d{1,20}){1,12}\s*$"
SURE_START = rb"\[\s*\d{1,10}\](?:\s+-?\d{1,20}){4,12}\s*$"
"""Of a row that no table's header goes before."""
_LONGEST_NAME = 64
"""Bytes: a name has 15, each printed as at most four."""
NUMBERS = rb"\[\s*\d{1,10}\]\s+-?\d"
"""How a row begins."""
_ROW_COLUMNS = ("tgid", "uid", "oom_score_adj", "rss", "swapents", "total_vm")
_PAGE_TABLE_COLUMNS = ("nr_ptes", "nr_pmds", "nr_puds")

# Of a ready tuple: a call of the class goes through Python, and there is one for each row.
_new_row = partial(tuple.__new__, TaskRow)


class Table:
    """How the rows of one table are read: the columns are those that its header names."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        count = len(columns)
        self.pattern = re.compile(
            rb"\[\s*(\d{1,10})\]" + rb"\s+(-?\d{1,20})" * count + rb"(?:\s(.*))?$", re.DOTALL
        )
        # The same with the whole line around it, where nothing in the line is quoted or coloured. Its prefix
        # is greedy, which is faster: no name has room for what looks like a row.
        self.line = re.compile(
            rb"[^\n]*\[ *(\d{1,10})\]" + rb" +(-?\d{1,20})" * count + rb" ([^\n\x1b\"]{1,64})\n"
        )
        # Among a row's numbers the pid comes first: a place of 0 is a column that is not there.
        place = {name: index for index, name in enumerate(columns, start=1)}
        self.known = {"tgid", "rss", "oom_score_adj"} <= place.keys()
        self._places = tuple(place.get(name, 0) for name in _ROW_COLUMNS)
        page_tables = ("pgtables_bytes",) if "pgtables_bytes" in place else _PAGE_TABLE_COLUMNS
        self._page_tables = [place[name] for name in page_tables if name in place]

    def named(self, match: re.Match[bytes]) -> bool:
        """Whether this is a whole row: the name comes last, and a broken row lacks it."""
        return bool((match[self.pattern.groups] or b"").strip())

    def row(self, match: re.Match[bytes]) -> TaskRow:
        """The row that a line holds."""
        return next(self.rows([match.groups()]))

    def rows(self, found: Sequence[tuple[bytes, ...]]) -> Iterator[TaskRow]:
        """Rows by the groups of their matches, a column at a time: each is named in the table's header."""
        *numbers, comms = zip(*found, strict=True)
        columns = [list(map(int, column)) for column in numbers]
        names = b"\n".join([(comm or b"").rstrip(b"\r\n")[:_LONGEST_NAME] for comm in comms])
        tgid, uid, adj, rss, swap, total_vm = self._places
        return map(
            _new_row,
            zip(
                columns[0],
                columns[tgid],
                [number % 2**32 for number in columns[uid]] if uid else repeat(-1),
                names.decode("utf-8", "backslashreplace").split("\n"),
                columns[adj],
                columns[rss],
                columns[swap] if swap else repeat(None),
                _sums([columns[place] for place in self._page_tables]),
                columns[total_vm] if total_vm else repeat(0),
                strict=False,
            ),
        )


# Logs hold the same table again and again.
@lru_cache(maxsize=64)
def table_of(columns: tuple[str, ...]) -> Table:
    """How rows of these columns are read."""
    return Table(columns)


def _sums(columns: Sequence[Sequence[int]]) -> Iterable[int | None]:
    """The sum of each row of some columns; None without end where there are none."""
    if len(columns) == 1:
        return columns[0]
    return map(sum, zip(*columns, strict=True)) if columns else repeat(None)
