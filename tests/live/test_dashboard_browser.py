"""The pages in a real browser, on a real server: policy, first sight, refresh."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from monitoring.models import Endpoint, Instance, Service
from tests.history import add_interval, make_service
from tests.live.browsing import CONTRAST, fits
from tests.live.servers import requires

pytestmark = [requires("chromium"), pytest.mark.django_db(transaction=True)]

REFUSED = "Connection refused: nothing listens at c:8000. Is the service running?"


def fleet_of_four() -> Service:
    now = timezone.now()
    for name in ("alpha", "beta", "delta"):
        add_interval(make_service(name, now).instances.get(), now, 60, 600, duration_sum=1.2, buckets={-36: 600})
    return make_service("zeta", now, error=REFUSED)


def test_the_service_that_is_down_is_seen_at_once(page: Any) -> None:
    fleet_of_four()
    page.goto("/monitoring/")
    assert page.locator("[data-headline]").inner_text() == "1 of 4 down"
    first = page.locator("tbody").first
    assert first.locator("th").inner_text() == "zeta"
    assert "Down" in first.locator(".state").inner_text()
    sentence = page.get_by_text(REFUSED).bounding_box()
    assert sentence["y"] + sentence["height"] < 844
    assert fits(page)


def test_a_page_refreshes_itself_without_a_reload(page: Any) -> None:
    fleet_of_four()
    page.clock.install()
    page.goto("/monitoring/")
    page.evaluate("window.notReloaded = true")
    page.get_by_role("link", name="beta").focus()
    make_service("newcomer", timezone.now(), error="It hangs.")
    page.clock.run_for(6000)
    page.get_by_role("link", name="newcomer").wait_for()
    assert page.locator("[data-headline]").inner_text() == "2 of 5 down"
    assert page.locator("#announcer").inner_text() == "2 of 5 down"
    assert page.title().startswith("2 of 5 down")
    assert page.evaluate("window.notReloaded")
    assert page.evaluate("document.activeElement.textContent") == "beta"


def test_a_page_that_cannot_refresh_says_since_when(page: Any) -> None:
    fleet_of_four()
    page.clock.install()
    page.goto("/monitoring/")
    page.route("**/monitoring/", lambda route: route.abort())
    page.clock.run_for(6000)
    page.get_by_text("Not updated since").first.wait_for()
    assert "does not answer" in page.locator("#freshness").inner_text()
    assert page.get_by_role("link", name="zeta").is_visible()  # the last that is known stays
    assert page.complaints == ["Failed to load resource: net::ERR_FAILED"]
    page.complaints.clear()
    page.unroute("**/monitoring/")
    page.clock.run_for(6000)
    page.locator("#freshness:not(.stale)").wait_for()


def test_a_page_of_somebody_logged_out_says_so(page: Any) -> None:
    fleet_of_four()
    page.clock.install()
    page.goto("/monitoring/")
    page.context.clear_cookies()
    page.clock.run_for(6000)
    page.get_by_text("you are logged out").first.wait_for()


def test_many_services_can_be_filtered(page: Any) -> None:
    now = timezone.now()
    for number in range(12):
        make_service(f"service-{number:02}", now)
    page.clock.install()
    page.goto("/monitoring/")
    page.get_by_label("Filter").fill("E-1")
    assert page.locator("tbody:visible").count() == 2
    assert page.locator("#filter-count").inner_text() == "2 of 12"
    make_service("service-13", now)
    page.clock.run_for(6000)
    page.get_by_text("3 of 13").wait_for()  # a refresh keeps the filter
    page.get_by_role("link", name="Errors").click()
    assert page.get_by_label("Filter").input_value() == "e-1"
    assert page.locator("tbody:visible").count() == 3


def test_a_service_page_holds_hostile_text(page: Any) -> None:
    now = timezone.now()
    service = make_service("<img src=x onerror=alert(1)>" + "W" * 150, now, error="<b>" + "x" * 2000, instances=2)
    Instance.objects.update(warning="odd " * 300)
    instance = service.instances.all()[0]
    for number in range(30):
        endpoint = Endpoint.objects.create(service=service, method="_OTHER", route=f"/{number}" + "r" * 390)
        add_interval(instance, now, 60, 5, endpoint=endpoint, status_codes={200: 4, 500: 1}, errors=1, buckets={-9: 5})
    add_interval(instance, now, 60, 150, errors=30, buckets={-9: 150})
    for width in (390, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        for url in ("/monitoring/", f"/monitoring/services/{service.pk}/"):
            page.goto(url)
            assert fits(page)
    assert page.locator("table.endpoints tbody").count() == 30


def test_empty_and_not_yet_polled(page: Any) -> None:
    page.goto("/monitoring/")
    assert page.get_by_role("link", name="Register a service").is_visible()
    service = make_service("first", timezone.now())
    service.instances.update(last_polled_at=None)
    page.goto("/monitoring/")
    assert page.get_by_text("No service was polled yet").is_visible()
    service.instances.update(last_polled_at=timezone.now() - timedelta(hours=1))
    page.goto("/monitoring/")
    assert page.get_by_text("Nothing was polled since").is_visible()
    assert fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Any, scheme: str) -> None:
    service = fleet_of_four()
    now = timezone.now()
    make_service("warned", now).instances.update(warning="The document calls itself otherwise.")
    add_interval(make_service("failing", now).instances.get(), now, 60, 10, errors=5)
    make_service("late", now).instances.update(last_polled_at=now - timedelta(hours=1))
    make_service("paused", now, enabled=False)
    page.emulate_media(color_scheme=scheme)
    for url in ("/monitoring/", f"/monitoring/services/{service.pk}/"):
        page.goto(url)
        assert page.evaluate(CONTRAST) == []


def test_the_admin_explains_a_schedule_while_it_is_typed(page: Any) -> None:
    User.objects.update(is_superuser=True)
    service = Service.objects.create(name="shop", schedule="@hourly")
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # the admin has none
    page.goto(f"/admin/monitoring/service/{service.pk}/change/")
    explained = page.locator("#schedule-explained")
    assert "hour" in explained.inner_text()
    page.locator("#id_schedule").fill("30 3 * * 1-5")
    page.locator("#id_time_zone").select_option("Asia/Tokyo")
    page.wait_for_function("document.getElementById('schedule-explained').textContent.endsWith('(Asia/Tokyo).')")
    assert "03:30" in explained.inner_text()
    page.locator("#id_schedule").fill("now and then")
    page.wait_for_function("document.getElementById('schedule-explained').textContent.includes('has 3 fields')")
