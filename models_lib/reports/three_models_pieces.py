"""What the Prefect UI shows of a comparison of three models: the choice as text, the figures as a table, its page.

What does not belong here: publishing (tasks.ui.publish), and the page itself (three_models.py).
"""

from pathlib import Path

from models_lib.reports import wording
from models_lib.reports.pieces import Link, Piece, Table, Text, piece_key
from models_lib.reports.three_models import Cells, ThreeModels


def comparison_pieces(study: ThreeModels, page: Path) -> tuple[Piece, ...]:
    """The pieces of one comparison.

    Args:
        study: the comparison.
        page: its page, on the machine that wrote it.
    """
    symbol, about = study.symbol, f"{study.symbol}: {study.choice()} of three models"
    return (
        Text(piece_key("comparison", symbol), about, choice_markdown(study, page)),
        Table(piece_key("comparison-figures", symbol), about, _rows(*study.table())),
        Table(
            piece_key("comparison-differences", symbol),
            f"{about}. NLL: above 0 the second is better; accuracy: above 0 the first.",
            _rows(*study.differences_table()),
        ),
        Link(piece_key("comparison-page", symbol), f"{about}: {page}", page.as_uri(), f"the comparison of {symbol}"),
    )


def choice_markdown(study: ThreeModels, page: Path) -> str:
    """The choice with its reason, and what each model's gates say."""
    parts = (
        f"## {study.symbol}: {study.choice()}",
        "\n\n".join(wording.inert_markdown(sentence) for sentence in study.sentences()),
        "\n".join(f"- **{model.short}** `{model.bundle[:12]}` {model.verdict()}." for model in study.models.values()),
        f"Page `{page}`",
    )
    return "\n\n".join(parts)


def _rows(header: Cells, lines: list[Cells]) -> list[dict[str, str]]:
    """As rows with named columns; two columns of the same name keep both."""
    names = [f"{name} ({header[place - 1]})" if name in header[:place] else name for place, name in enumerate(header)]
    return [dict(zip(names, line, strict=True)) for line in lines]
