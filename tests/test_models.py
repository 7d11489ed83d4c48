"""The registry: what it accepts, and the states of a service."""

from datetime import datetime, timezone

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone as django_timezone

from monitoring.models import Instance, Service, State, validate_metrics_url, validate_token

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
    ("field", "value"), [("schedule", "* * * *"), ("timeout", 0), ("timeout", 1e9), ("name", ""), ("duration_unit", "h")]
)
def test_a_bad_field_is_named(field, value):
    with pytest.raises(ValidationError) as caught:
        Service(**{"name": "shop", field: value}).full_clean()
    assert list(caught.value.error_dict) == [field]


def test_states():
    service = Service.objects.create(name="shop")
    assert service.state == State.NEW
    one, two = (Instance.objects.create(service=service, url=f"http://shop:{port}/metrics") for port in (1, 2))
    Instance.objects.filter(pk=one.pk).update(last_polled_at=NOW)
    assert service.state == State.NEW
    Instance.objects.filter(pk=two.pk).update(last_polled_at=NOW)
    assert service.state == State.UP
    Instance.objects.filter(pk=two.pk).update(last_error="refused", failures=1)
    assert service.state == State.DOWN
    assert service.last_error == "shop:2: refused"
    service.enabled = False
    assert service.state == State.PAUSED
    assert service.next_due(NOW) is None


def test_next_due_is_in_the_projects_time_zone():
    service = Service(name="shop", schedule="0 3 * * *")
    with django_timezone.override("Asia/Tokyo"):
        assert service.next_due(NOW) == datetime(2026, 11, 22, 18, 0, tzinfo=timezone.utc)


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
