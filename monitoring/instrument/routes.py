"""From a resolved URL to the route of an endpoint: "/items/<int:pk>/"."""

from __future__ import annotations

import re

from django.contrib.admindocs.utils import (
    remove_non_capturing_groups,
    replace_metacharacters,
    replace_named_groups,
    replace_unnamed_groups,
)
from django.urls import ResolverMatch

from monitoring.wire import UNKNOWN_ROUTE

_ESCAPE = re.compile(r"\\(\W)")
_REGEX_CHARACTERS = frozenset("^$()\\?*+")


def route_of(match: ResolverMatch | None) -> str:
    """The route with its leading slash, regular expressions simplified as in Django's admin docs; UNKNOWN_ROUTE for no match."""
    if match is None:
        return UNKNOWN_ROUTE
    route = match.route
    if not _REGEX_CHARACTERS.isdisjoint(route):
        # The functions behind django.contrib.admindocs' page of views; this module of it needs no installed app.
        for simplify in (remove_non_capturing_groups, replace_named_groups, replace_unnamed_groups, replace_metacharacters):
            route = simplify(route)
        route = _ESCAPE.sub(r"\1", route)
    return route if route.startswith("/") else f"/{route}"
