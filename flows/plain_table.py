"""Tables of plain text for a terminal or a log: aligned columns, no colours, no frames.

What does not belong here: what the cells say.
"""

from collections.abc import Sequence


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """The header and the rows as lines with two spaces between columns, none at the end of a line.

    Args:
        header: one title a column.
        rows: as many cells as titles in each.
        align: `<` or `>` a column, for left and right.
    """
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    return ["  ".join(map(_padded, line, widths, align)).rstrip() for line in cells]


def _padded(text: str, width: int, align: str) -> str:
    return f"{text:{align}{width}}"
