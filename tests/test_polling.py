"""A round: everything is polled at once, and what goes wrong in one place stays there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from monitoring import wire
from monitoring.collector import fetching
from monitoring.collector.polling import RoundReport, poll_services
from monitoring.collector.sinks.base import PolledInstance
from monitoring.models import Baseline, EndpointInterval, Instance, Interval, Service, WaitingPoints, unpack_lines
from monitoring.wire import EndpointMetrics, MetricsDocument
from tests.scripted import ScriptedServer, answers, hangs, says

pytestmark = pytest.mark.django_db


def outbox_lines() -> list[str]:
    """What waits, in order, without the timestamps."""
    packed = WaitingPoints.objects.order_by("pk").values_list("lines", flat=True)
    return [line.rpartition(" ")[0] for one in packed for line in unpack_lines(bytes(one))]


class FakeFetch:
    """Answers by host name: with a document of as many requests, with an exception, or not before it may."""

    def __init__(self, **by_host: Any) -> None:
        self.by_host = by_host
        self.released = threading.Event()
        self.calls: list[dict[str, Any]] = []

    def __call__(self, url: str, **arguments: Any) -> MetricsDocument:
        self.calls.append({"url": url, **arguments})
        found = self.by_host[url.split("/")[2]]
        if found == "hangs":
            self.released.wait(60)
            found = 1
        if isinstance(found, Exception):
            raise found
        endpoint = EndpointMetrics("GET", "/", found, found * 0.5, status_codes={200: found})
        return MetricsDocument(url.split("/")[2], {endpoint.key: endpoint}, started_at=1.0)


def register(*hosts: str, name: str = "", **more: Any) -> Service:
    service = Service.objects.create(name=name or hosts[0], **more)
    for host in hosts:
        service.instances.create(url=f"http://{host}/metrics")
    return service


def services() -> list[Service]:
    return list(Service.objects.prefetch_related("instances"))


def poll(fetch: FakeFetch, **more: Any) -> RoundReport:
    return poll_services(services(), fetch=fetch, **more)


def errors(report: RoundReport) -> dict[str, str]:
    return {one.name: one.error for one in report.services if one.error}


def test_a_round_stores_intervals_and_puts_them_into_the_outbox() -> None:
    register("shop", token="t", timeout=3, duration_unit="ms")
    first = poll(FakeFetch(shop=10), to_outbox=True)
    fetch = FakeFetch(shop=14)
    second = poll(fetch, to_outbox=True)
    assert (first.services[0].requests, second.services[0].requests) == (None, 4)
    assert (second.services[0].endpoints, second.services[0].ok, second.ok) == (1, True, True)
    baseline, counted = [line for line in outbox_lines() if line.startswith("shop,")]
    assert "interval_count" not in baseline
    assert "interval_count=4i" in counted
    assert (Interval.objects.count(), EndpointInterval.objects.count()) == (1, 1)
    call = fetch.calls[0]
    assert (call["timeout"], call["token"], call["seconds_per_unit"]) == (3, "t", 0.001)


def test_a_hanging_and_a_broken_service_cost_the_good_ones_nothing() -> None:
    """The main promise, with the real fetch and real sockets."""
    document = wire.dump(MetricsDocument("good", {"GET/": EndpointMetrics("GET", "/", 3, 0.5, None, {200: 3})}))
    scripts = {"broken": says(b"\x00\x01"), "good-1": answers(document), "hanging": hangs, "good-2": answers(document)}
    servers = {name: ScriptedServer(script) for name, script in scripts.items()}
    try:
        for name, server in servers.items():
            Service.objects.create(name=name, timeout=0.5).instances.create(url=server.url)
        report = poll_services(services())
    finally:
        for server in servers.values():
            server.close()
    found = errors(report)
    assert set(found) == {"broken", "hanging"}
    assert "The answer is not HTTP" in found["broken"]
    assert "No answer within 0.5 s." in found["hanging"]
    assert set(Baseline.objects.values_list("instance__service__name", flat=True)) == {"good-1", "good-2"}
    states = {service.name: service.state for service in services()}
    assert states == {"broken": "new", "good-1": "up", "good-2": "up", "hanging": "new"}
    assert Instance.objects.get(service__name="hanging").last_error == "No answer within 0.5 s."


def test_more_instances_than_threads_are_all_polled() -> None:
    hosts = [f"host-{number}" for number in range(40)]
    register(*hosts, name="fleet")
    report = poll(FakeFetch(**dict.fromkeys(hosts, 1)), concurrency=3)
    assert report.ok
    assert Baseline.objects.count() == 40


def test_a_failed_instance_fails_its_service_and_is_named_while_the_others_are_stored() -> None:
    register("one", "two", name="shop")
    report = poll(FakeFetch(one=10, two=fetching.FetchError("Connection refused.")), to_outbox=True)
    assert errors(report) == {"shop": "two:80: Connection refused."}
    assert report.services[0].endpoints == 1
    polls = sorted(line for line in outbox_lines() if line.startswith("monitoring_poll"))
    assert "instance=one:80" in polls[0]
    assert 'error=""' in polls[0]
    assert "instance=two:80" in polls[1]
    assert 'error="Connection refused."' in polls[1]
    assert Baseline.objects.count() == 1


def test_an_error_of_ours_is_one_instances_failure() -> None:
    register("odd")
    register("shop")
    report = poll(FakeFetch(odd=ZeroDivisionError("x"), shop=1))
    assert "ZeroDivisionError" in errors(report)["odd"]
    assert Instance.objects.get(service__name="odd").failures == 1
    assert Baseline.objects.count() == 1


def test_what_cannot_be_stored_is_that_services_error_in_the_admin_too_and_costs_the_others_nothing() -> None:
    register("huge-1", "huge-2", name="huge")
    register("shop")
    poll(FakeFetch(**{"huge-1": 1, "huge-2": 1, "shop": 5}))
    beyond = 2**64  # more than any column holds
    report = poll(FakeFetch(**{"huge-1": 2, "huge-2": beyond, "shop": 6}), to_outbox=True)
    assert list(errors(report)) == ["huge"]
    assert errors(report)["huge"].startswith("polled, but not stored (OverflowError")
    assert list(Interval.objects.values_list("service__name", "count")) == [("shop", 1)]
    assert list(EndpointInterval.objects.values_list("service__name", "endpoint__route", "count")) == [("shop", "/", 1)]
    assert "Polled, but not stored" in Service.objects.get(name="huge").last_error
    of_huge = [line for line in outbox_lines() if "service=huge" in line or line.startswith("huge")]
    assert len(of_huge) == 2
    assert all("up=0i" in line and "Polled, but not stored" in line for line in of_huge)


def test_a_name_that_differs_is_a_warning() -> None:
    register("inside", name="outside")
    report = poll(FakeFetch(inside=1))
    assert report.ok
    assert "“inside”" in report.services[0].warning
    assert "“outside”" in Instance.objects.get().warning


def test_a_service_without_an_instance_is_told_and_no_failure() -> None:
    register("shop")
    Service.objects.create(name="empty")
    report = poll(FakeFetch(shop=1))
    assert report.ok
    assert [bool(one.warning) for one in report.services] == [True, False]


def test_without_a_sink_nothing_goes_into_the_outbox() -> None:
    register("shop")
    assert poll(FakeFetch(shop=1)).ok
    assert outbox_lines() == []


def test_points_that_cannot_be_made_cost_the_history_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    register("shop")

    def broken(polled: PolledInstance) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr("monitoring.collector.points.lines", broken)
    assert poll(FakeFetch(shop=1), to_outbox=True).ok
    assert Baseline.objects.count() == 1
    assert outbox_lines() == []


def test_a_dry_run_leaves_no_trace() -> None:
    register("shop")
    register("down")
    report = poll(FakeFetch(shop=3, down=fetching.FetchError("Refused.")), to_outbox=True, dry_run=True)
    assert errors(report) == {"down": "down:80: Refused."}
    assert [one.endpoints for one in report.services] == [0, 1]
    assert outbox_lines() == []
    assert not Baseline.objects.exists()
    assert not Instance.objects.exclude(last_polled_at=None).exists()


@pytest.fixture
def hanging() -> Iterator[FakeFetch]:
    fetch = FakeFetch(shop=1, slow="hangs", second=2)
    yield fetch
    fetch.released.set()


def test_at_the_deadline_nobody_is_waited_for(hanging: FakeFetch) -> None:
    """Were it waited for, this would take until the fake lets it go, long after the test's own patience."""
    register("shop")
    register("slow", "second", name="slow")
    report = poll(hanging, deadline=0.3)
    assert not hanging.released.is_set()
    assert errors(report) == {"slow": "slow:80: no answer within the 0.3 s that this poll could wait; nothing was stored"}
    assert set(Baseline.objects.values_list("instance__url", flat=True)) == {"http://shop/metrics", "http://second/metrics"}
    untouched = Instance.objects.get(url="http://slow/metrics")
    assert (untouched.last_polled_at, untouched.last_error) == (None, "")


def test_after_the_deadline_no_further_fetch_begins(hanging: FakeFetch) -> None:
    register("slow", name="a-slow")
    register("shop", name="b-shop")
    report = poll(hanging, deadline=0.2, concurrency=1)
    assert list(errors(report)) == ["a-slow", "b-shop"]
    hanging.released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("poll-"):
            thread.join(10)
    assert [call["url"] for call in hanging.calls] == ["http://slow/metrics"]


def test_nothing_to_poll() -> None:
    assert poll_services([], to_outbox=True) == RoundReport()


def test_polls_are_spread_each_service_at_its_own_point_of_every_round() -> None:
    for number in range(6):
        register(f"shop-{number}")
    orders = []
    for _ in range(2):
        fetch = FakeFetch(**{f"shop-{number}": 1 for number in range(6)})
        poll(fetch, spread=0.5, concurrency=1)
        orders.append([call["url"] for call in fetch.calls])
    assert orders[0] == orders[1] != sorted(orders[0])


def test_a_document_that_was_cut_or_complains_itself_is_a_warning() -> None:
    register("shop")

    def cut(url: str, **arguments: Any) -> MetricsDocument:
        return MetricsDocument("shop", {}, truncated=True, warning="it counts alone")

    report = poll_services(services(), fetch=cut)
    assert report.ok
    assert "the rest is not counted" in report.services[0].warning
    assert report.services[0].warning.endswith("; it counts alone")
