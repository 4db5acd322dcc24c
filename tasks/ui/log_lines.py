"""The library's log lines in the UI: Prefect takes them from the logger that PREFECT_LOGGING_EXTRA_LOGGERS names."""

import logging

_LIBRARY = logging.getLogger("models_lib")


def hear_the_library() -> None:
    """Lets the library's INFO lines pass where nobody chose a level.

    Prefect attaches its handler to the logger and leaves the level alone, so that a worker would hear warnings only.
    """
    if _LIBRARY.level == logging.NOTSET:
        _LIBRARY.setLevel(logging.INFO)
