"""Which routers of Prefect's API are looked through first: those that a run asks.

FastAPI makes a router's routes when a request comes past it for the first time, in the routers' order. A run's very first
request is for the version, which Prefect puts behind nearly all others: it waited until 183 routes were made, more than
half of them for nobody. No request is answered differently: no two of these routers share a path.

What does not belong here: which routers there are (Prefect), and starting the server (prefect_server.py).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.routing import BaseRoute

ASKED_BY_RUNS: Final = ("/admin", "/flows", "/flow_runs", "/task_runs", "/logs", "/v2/concurrency_limits", "/events")
"""Prefixes, in the order in which a run asks for them."""


def api_routes(app: "FastAPI") -> "list[BaseRoute]":
    """The routers of Prefect's API as the app has them mounted, in the order in which they are looked through."""
    mounted = next(route for route in app.routes if getattr(route, "path", None) == "/api")
    routes: list[BaseRoute] = mounted.app.router.routes  # type: ignore[attr-defined]
    return routes


def prefix_of(route: "BaseRoute") -> str:
    """What the paths of a router begin with; the whole path of a single route."""
    router = getattr(route, "original_router", None)
    prefix: str = getattr(route, "path", "") if router is None else router.prefix
    return prefix


def put_first(app: "FastAPI", prefixes: Sequence[str]) -> None:
    """Puts the routers of these prefixes before the others, whose order stays; one that is missing is no matter."""
    rank = {prefix: number for number, prefix in enumerate(prefixes)}
    api_routes(app).sort(key=lambda route: rank.get(prefix_of(route), len(rank)))
