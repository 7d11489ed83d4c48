"""Who may read /metrics."""

import pytest
from django.test import Client, override_settings

pytestmark = pytest.mark.urls("tests.watched")


def get(**headers):
    return Client().get("/metrics", headers=headers)


def test_closed_until_a_setting_opens_it_and_says_which():
    response = get()
    assert response.status_code == 403
    assert b"METRICS_TOKEN" in response.content
    assert b"METRICS_PUBLIC" in response.content


@override_settings(DEBUG=True)
def test_open_while_debugging():
    assert get().status_code == 200


@override_settings(MONITORING={"METRICS_PUBLIC": True})
def test_open_where_declared_public():
    assert get().status_code == 200


@pytest.mark.parametrize("debug", [True, False])
def test_a_token_is_asked_for(debug):
    with override_settings(MONITORING={"METRICS_TOKEN": "s3cret"}, DEBUG=debug):
        assert get(Authorization="Bearer s3cret").status_code == 200
        assert get(Authorization="bearer  s3cret").status_code == 200
        for wrong in ("Bearer S3cret", "Bearer", "Basic s3cret", "s3cret", "Bearer s3cret\xff", ""):
            response = get(Authorization=wrong)
            assert response.status_code == 401
            assert response["WWW-Authenticate"] == "Bearer"
            assert b"s3cret" not in response.content
        assert get().status_code == 401


@override_settings(MONITORING={"METRICS_TOKEN": "typo\n"})
def test_a_wrong_token_setting_leaves_it_closed():
    assert get(Authorization="Bearer typo").status_code == 403


@override_settings(
    MONITORING={"METRICS_PUBLIC": True},
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ],
)
def test_it_works_where_every_view_asks_for_a_login():
    assert get().status_code == 200


@override_settings(MONITORING={"METRICS_PUBLIC": True})
def test_only_reading_is_allowed():
    assert Client().post("/metrics").status_code == 405
    assert Client().head("/metrics").status_code == 200
