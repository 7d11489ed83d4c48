"""The pages: who may see them, what they are protected by, what they say."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory
from django.urls import include, path
from django.utils import timezone
from django.utils.html import escape

from monitoring.dashboard import views
from monitoring.models import Collector, Endpoint, Restart, Service
from tests.history import add_interval, make_service

pytestmark = pytest.mark.django_db

FLEET = "/monitoring/"
HOSTILE = "<script>alert(1)</script>\" onload='x' 😀"


class without_admin:
    """A URL configuration of a project that has no admin."""

    urlpatterns = [path("monitoring/", include("monitoring.dashboard.urls"))]


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    return client


def service_url(service: Service) -> str:
    return f"/monitoring/services/{service.pk}/"


@pytest.mark.parametrize("place", ["", "services/1/", "?window=nonsense"])
def test_others_than_staff_are_sent_to_the_admins_log_in(client: Client, place: str) -> None:
    response = client.get(FLEET + place)
    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/?next=/monitoring/")
    client.force_login(User.objects.create_user("customer"))
    assert client.get(FLEET + place)["Location"].startswith("/admin/login/?next=/monitoring/")


def test_without_an_admin_login_url_is_used(client: Client, settings) -> None:  # type: ignore[no-untyped-def]
    settings.ROOT_URLCONF = without_admin
    settings.LOGIN_URL = "/sign-in/"
    assert client.get(FLEET)["Location"] == "/sign-in/?next=/monitoring/"
    request = RequestFactory().get(FLEET)
    request.user = AnonymousUser()
    assert views.fleet(request).status_code == 302
    request.user = User.objects.create_user("customer")
    with pytest.raises(PermissionDenied):
        views.fleet(request)
    request.user = User.objects.create_user("staff", is_staff=True)
    text = views.fleet(request).content.decode()
    assert "import_services" in text
    assert "in the admin" not in text


def test_pages_are_read_only(staff: Client) -> None:
    assert staff.post(FLEET).status_code == 405


def test_every_page_has_its_policy_and_is_never_cached(staff: Client) -> None:
    service = make_service("shop", timezone.now())
    for url in (FLEET, service_url(service), f"{FLEET}?sort=nonsense"):
        response = staff.get(url)
        assert response["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert "no-store" in response["Cache-Control"]
        text = response.content.decode()
        assert not re.search(r"<style|\sstyle=|<script(?![^>]* src=)|\son\w+=", text)


def test_the_policy_follows_static_files_to_another_host() -> None:
    policy = views.content_security_policy("https://cdn.example.com/static/monitoring/monitoring.css")
    assert "style-src 'self' https://cdn.example.com; script-src 'self' https://cdn.example.com;" in policy
    assert "connect-src 'self';" in policy


def test_hostile_strings_are_escaped(staff: Client) -> None:
    now = timezone.now()
    service = make_service(HOSTILE, now, error=f"{HOSTILE} {'x' * 2000}", instances=2)
    endpoint = Endpoint.objects.create(service=service, method="GET", route=f"/{HOSTILE}/" + "r" * 300)
    instance = service.instances.all()[0]
    service.instances.update(warning=HOSTILE)
    add_interval(instance, now, 60, 1)
    add_interval(instance, now, 60, 1, endpoint=endpoint)
    for url in (FLEET, service_url(service), f"{FLEET}?x={HOSTILE}", f"{FLEET}?window={HOSTILE}"):
        text = staff.get(url).content.decode()
        assert "<script>alert" not in text
        assert "onload='x'" not in text
    assert escape(HOSTILE) in staff.get(service_url(service)).content.decode()


def test_no_service_yet(staff: Client) -> None:
    text = staff.get(FLEET).content.decode()
    assert "No services yet" in text
    assert "manage.py import_services" in text
    assert "manage.py collect_metrics" in text


def test_services_but_no_poll_yet(staff: Client) -> None:
    service = make_service("shop", timezone.now())
    service.instances.update(last_polled_at=None, last_success_at=None)
    for url in (FLEET, service_url(service)):
        text = staff.get(url).content.decode()
        assert "manage.py collect_metrics" in text
        assert "collect_crontab install" in text


def test_a_service_without_an_instance_says_so(staff: Client) -> None:
    assert "has no instance" in staff.get(service_url(make_service("shop", timezone.now(), instances=0))).content.decode()


def test_nothing_polled_any_more_is_said(staff: Client) -> None:
    service = make_service("shop", timezone.now())
    service.instances.update(last_polled_at=timezone.now() - timedelta(hours=4))
    text = staff.get(FLEET).content.decode()
    assert "Nothing was polled since" in text
    assert "1 of 1 not polled when due" in text


def test_what_is_broken_stands_first_with_its_error(staff: Client) -> None:
    now = timezone.now()
    make_service("a", now)
    make_service("z", now, error="Connection refused: is it running?")
    text = staff.get(FLEET).content.decode()
    assert "1 of 2 down" in text
    assert "<title>1 of 2 down" in text
    assert text.index(">z</a>") < text.index("Connection refused: is it running?") < text.index(">a</a>")


def test_numbers_have_units(staff: Client) -> None:
    now = timezone.now()
    service = make_service("shop", now)
    endpoint = Endpoint.objects.create(service=service, method="GET", route="/items/<int:pk>/")
    for owner in (None, endpoint):
        add_interval(
            service.instances.get(),
            now,
            60,
            24720,
            endpoint=owner,
            errors=99,
            duration_sum=79.1,
            status_codes={200: 24621, 503: 99},
        )
    for url in (FLEET, service_url(service)):
        text = staff.get(url).content.decode().replace("\xa0", " ")
        for shown in ("412 req/s", "0.4 %", "3.2 ms"):
            assert shown in text
    assert "/items/&lt;int:pk&gt;/" in text
    assert "503 <b>99</b>" in text


@pytest.mark.parametrize("query", ["window=8d", "window=", "window=15m&window=1h", "sort=", "sort=--rate", "sort=p50"])
def test_an_unknown_parameter_is_said_and_not_replaced(staff: Client, query: str) -> None:
    response = staff.get(f"{FLEET}?{query}")
    assert response.status_code == 404
    assert "it can be" in response.content.decode()


def test_a_window_is_kept_while_sorting(staff: Client) -> None:
    make_service("shop", timezone.now())
    text = staff.get(f"{FLEET}?window=6h&sort=-rate").content.decode()
    assert 'href="?window=6h&amp;sort=rate"' in text
    assert 'href="?window=1h&amp;sort=-rate"' in text
    assert 'aria-sort="descending"' in text


def test_services_sort_by_column_the_unknown_last(staff: Client) -> None:
    now = timezone.now()
    for name, count in (("slow", 6), ("fast", 600)):
        add_interval(make_service(name, now).instances.get(), now, 60, count)
    make_service("silent", now)

    def order(sort: str) -> list[str]:
        return [row.name for row in staff.get(f"{FLEET}?sort={sort}").context["services"]]

    assert order("rate") == ["slow", "fast", "silent"]
    assert order("-rate") == ["fast", "slow", "silent"]
    assert order("-name") == ["slow", "silent", "fast"]


def test_a_service_that_is_not_there(staff: Client) -> None:
    response = staff.get("/monitoring/services/4711/")
    assert response.status_code == 404
    assert "no such service" in response.content.decode()


def test_a_collector_that_does_not_run_is_said_with_what_to_do(staff: Client) -> None:
    now = timezone.now()
    make_service("shop", now)
    collector = Collector.objects.create(host="host-7", mode="cron", pace=60, ticked_at=now, finished_at=now, duration=1.0)
    assert "host-7" not in staff.get(FLEET).content.decode()
    Collector.objects.update(behind=200.0)
    assert "behind the schedules" in staff.get(FLEET).content.decode()
    Collector.objects.update(ticked_at=now - timedelta(minutes=20), finished_at=now - timedelta(minutes=19), error=HOSTILE)
    text = staff.get(FLEET).content.decode()
    assert "The collector does not run" in text
    assert "collect_crontab verify" in text
    assert escape(HOSTILE) in text
    collector.pk = None
    collector.host, collector.mode = "host-8", "loop"
    collector.save()
    assert "does not run" not in staff.get(FLEET).content.decode()


def test_restarts_are_shown(staff: Client) -> None:
    now = timezone.now()
    service = make_service("shop", now)
    for minutes in (10, 50, 100):
        Restart.objects.create(service=service, instance=service.instances.get(), at=now - timedelta(minutes=minutes))
    assert "Restarted 2 times in the last 1 h" in staff.get(service_url(service) + "?window=1h").content.decode()


def test_since_when_a_service_is_down(staff: Client) -> None:
    service = make_service("shop", timezone.now(), error="Connection refused.")
    service.instances.update(failing_since=timezone.now() - timedelta(minutes=3))
    for url in (FLEET, service_url(service)):
        assert "Down since" in staff.get(url).content.decode()


def test_after_the_first_poll_it_is_said_why_there_are_no_numbers(staff: Client) -> None:
    now = timezone.now()
    service = make_service("shop", now)
    pages = ("/monitoring/", service_url(service))
    assert all("Polled once" in staff.get(page).content.decode() for page in pages)
    add_interval(service.instances.get(), now)
    assert not any("Polled once" in staff.get(page).content.decode() for page in pages)
