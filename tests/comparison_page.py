"""What the page of a comparison shows, and what it must show by its JSON alone."""

from html.parser import HTMLParser
from typing import Any

from models_lib.reports import wording
from models_lib.reports.three_models import COLUMNS


class Figures(HTMLParser):
    """The text of every element that says where the JSON has it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.figures: dict[str, str] = {}
        self.gates: dict[str, str] = {}
        self.headline = ""
        self._into: tuple[dict[str, str], str] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, kept in (("data-figure", self.figures), ("data-gate", self.gates)):
            if place := dict(attrs).get(name):
                assert place not in kept, f"{place} is shown twice"
                self._into = kept, place
                kept[place] = ""

    def handle_endtag(self, tag: str) -> None:
        self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            kept, place = self._into
            kept[place] += data.replace("\N{NO-BREAK SPACE}", " ")


def at(document: Any, place: str) -> Any:
    for name in place.split("/"):
        document = document[name]
    return document


def expected_figures(document: dict[str, Any]) -> dict[str, str]:
    """What the page must say, from the JSON alone."""
    said = {"seconds": wording.duration(document["seconds"])}
    for name, one in document["row_sets"].items():
        for model in one["models"]:
            for _, key, say in COLUMNS:
                place = f"row_sets/{name}/models/{model}/{key}"
                said[place] = say(at(document, place))
        for pair in one["differences"]:
            for figure, say in (("nll", wording.signed), ("accuracy", wording.signed_points)):
                place = f"row_sets/{name}/differences/{pair}/{figure}"
                found = at(document, place)
                said[f"{place}/value"] = say(found["value"])
                if figure == "nll":
                    said[f"{place}/effective_rows"] = wording.whole(found["effective_rows"])
                bounds = found["interval"]
                said[f"{place}/interval"] = wording.interval(bounds and (bounds[0], bounds[1]), say)
    return said
