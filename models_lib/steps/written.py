"""What a command leaves beside its words: a table as JSON and a page, in a folder of the person's choice.

What does not belong here: what they say.
"""

from pathlib import Path
from typing import Any

from models_lib.errors import ConfigError
from models_lib.files import write_json, write_text


def write_table_and_page(folder: Path, name: str, *, table: dict[str, Any], page: str) -> tuple[Path, Path]:
    """Writes `<name>.json` and `<name>.html` into `folder`; returns both paths.

    Raises:
        ConfigError: the folder cannot be written.
    """
    paths = folder / f"{name}.json", folder / f"{name}.html"
    try:
        write_json(paths[0], table)
        write_text(paths[1], page)
    except OSError as error:
        raise ConfigError(
            f"{folder}: table and plots cannot be written ({error.strerror}). Name another folder with --out."
        ) from error
    return paths
