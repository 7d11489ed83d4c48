"""The registry: what it accepts, and the states of a service."""

from datetime import datetime, timedelta, timezone

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone as django_timezone

from monitoring.models import Collector, Instance, Service, State, validate_metrics_url, validate_token

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, 0, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "url",
    [
        "http://shop:8000/metrics",
        "https://shop.example.com/metrics?format=json",
        "http://[::1]:8000/metrics",
        "http://127.0.0.1/",
        "HTTP://localhost",
    ],
)
def test_an_address_is_accepted(url):
    validate_metrics_url(url)


@pytest.mark.parametrize(
    ("url", "part_of_message"),
    [
        ("localhost:8080/metrics", "http://"),
        ("ftp://shop/metrics", "http://"),
        ("file:///etc/passwd", "http://"),
        ("http:///metrics", "names no host"),
        ("http://shop:port/metrics", "is not an address"),
        ("http://shop:99999/metrics", "is not an address"),
        ("http://[::1/metrics", "is not an address"),
        ("http://user:hush@shop/metrics", "bearer token"),
        ("http://shop/metrics#here", "#fragment"),
        ("http://shop/met rics", "space"),
        ("http://shop/\nmetrics", "unprintable"),
    ],
)
def test_what_is_none_is_refused_with_a_sentence_that_helps(url, part_of_message):
    with pytest.raises(ValidationError) as caught:
        validate_metrics_url(url)
    assert part_of_message in caught.value.messages[0]
    assert "hush" not in caught.value.messages[0]


@pytest.mark.parametrize("token", ["with space", "with\nbreak", "ünicode"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    with pytest.raises(ValidationError):
        validate_token(token)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schedule", "* * * *"),
        ("timeout", 0),
        ("timeout", 1e9),
        ("name", ""),
        ("duration_unit", "h"),
        ("time_zone", "Mars/Olympus"),
    ],
)
def test_a_bad_field_is_named(field, value):
    with pytest.raises(ValidationError) as caught:
        Service(**{"name": "shop", field: value}).full_clean()
    assert list(caught.value.error_dict) == [field]


def make(**fields):
    """A service with two instances, both polled just now."""
    service = Service.objects.create(name="shop", registered_at=NOW - timedelta(days=1), **fields)
    for port in (1, 2):
        instance = Instance.objects.create(service=service, url=f"http://shop:{port}/metrics")
        set_fields(instance, last_polled_at=NOW, last_success_at=NOW, up_since=NOW - timedelta(hours=port))
    return service


def set_fields(instance, **fields):
    Instance.objects.filter(pk=instance.pk).update(**fields)


def status(now=NOW):
    found = Service.objects.get().status(now)
    return found.state, found.since


def test_new_until_every_instance_has_answered():
    service = Service.objects.create(name="shop", registered_at=NOW)
    assert status() == (State.NEW, NOW)
    for port in (1, 2):
        service.instances.create(url=f"http://shop:{port}/metrics", last_polled_at=NOW)
    assert status() == (State.NEW, NOW)
    service.instances.update(last_success_at=NOW, up_since=NOW)
    assert status() == (State.UP, NOW)


def test_up_since_the_last_of_its_instances_is():
    make()
    assert status() == (State.UP, NOW - timedelta(hours=1))


def test_down_after_three_failures_in_a_row_since_the_first_of_them():
    one = make().instances.first()
    since = NOW - timedelta(minutes=2)
    set_fields(one, last_error="refused", failures=2, failing_since=since)
    assert status() == (State.UP, NOW - timedelta(hours=1))
    set_fields(one, failures=3)
    assert status() == (State.DOWN, since)
    assert Service.objects.get().last_error == "shop:1: refused"


def test_late_since_the_slot_that_went_by():
    make()
    slot = NOW.replace(second=0) + timedelta(minutes=1)
    assert status(slot + timedelta(minutes=5)) == (State.UP, NOW - timedelta(hours=1))
    assert status(slot + timedelta(minutes=5, seconds=1)) == (State.LATE, slot)


def test_a_service_that_is_down_is_not_called_late():
    set_fields(make().instances.first(), failures=3, failing_since=NOW)
    assert status(NOW + timedelta(hours=1))[0] == State.DOWN


def test_a_schedule_that_cannot_be_read_makes_it_late():
    make()
    Service.objects.update(time_zone="Mars/Olympus")
    assert status() == (State.LATE, NOW)


def test_paused_since_it_was():
    service = make()
    before = django_timezone.now()
    service.enabled = False
    service.save()
    assert status()[0] == State.PAUSED
    assert before <= status()[1] <= django_timezone.now()
    assert service.next_due(NOW) is None
    service.enabled = True
    service.save(update_fields=["enabled"])
    service.refresh_from_db()
    assert service.paused_at is None


def test_a_change_of_the_schedule_is_noted_and_nothing_else_is():
    service = make()
    service.timeout = 3
    service.save()
    assert service.schedule_since is None
    service.time_zone = "Europe/Berlin"
    service.save(update_fields=["timeout"])
    assert service.schedule_since is None
    service.save(update_fields=["time_zone"])
    service.refresh_from_db()
    assert service.schedule_since is not None
    assert service.paused_at is None


def test_the_next_slot_is_in_the_services_time_zone_or_else_the_projects(settings):
    service = Service(name="shop", schedule="0 3 * * *")
    settings.TIME_ZONE = "Asia/Tokyo"
    with django_timezone.override("America/New_York"):  # the zone of whoever looks at a page decides nothing
        assert service.next_due(NOW) == datetime(2026, 11, 22, 18, 0, tzinfo=timezone.utc)
    service.time_zone = "Europe/Berlin"
    assert service.next_due(NOW) == datetime(2026, 11, 23, 2, 0, tzinfo=timezone.utc)


def test_whether_a_collector_is_alive():
    def alive(**fields):
        return Collector(host="h", mode="cron", **({"pace": 60.0, "ticked_at": NOW} | fields)).is_alive

    assert alive(finished_at=NOW)(NOW + timedelta(minutes=3))
    assert not alive(finished_at=NOW)(NOW + timedelta(minutes=3, seconds=1))
    assert alive(finished_at=NOW, pace=600.0)(NOW + timedelta(minutes=30))
    assert alive()(NOW + timedelta(minutes=10))  # it works on a round
    assert not alive()(NOW + timedelta(minutes=10, seconds=1))


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("http://shop/metrics", "shop:80"),
        ("https://shop/metrics", "shop:443"),
        ("http://shop:8000/metrics", "shop:8000"),
        ("http://[::1]:8000/metrics", "[::1]:8000"),
        ("http://shop:99999/metrics", "http://shop:99999/metrics"),
    ],
)
def test_the_label_of_an_instance(url, label):
    assert Instance(url=url).label == label
