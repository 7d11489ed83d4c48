"""From what Django calls a route to the route of an endpoint."""

import pytest
from django.urls import ResolverMatch

from monitoring.instrument.routes import route_of


@pytest.mark.parametrize(
    ("django_route", "route"),
    [
        ("", "/"),
        ("items/<int:pk>/", "/items/<int:pk>/"),
        ("/already/", "/already/"),
        ("^$", "/"),
        (r"^articles/(?P<year>[0-9]{4})/(?P<slug>[\w-]+)/$", "/articles/<year>/<slug>/"),
        (r"^a/(\d+)/$", "/a/<var>/"),
        (r"api/^v1/a\.json$", "/api/v1/a.json"),
        (r"^(?P<path>.*)$", "/<path>"),
    ],
)
def test_routes(django_route, route):
    assert route_of(ResolverMatch(lambda request: None, (), {}, route=django_route)) == route


def test_no_match():
    assert route_of(None) == "/unknown"
