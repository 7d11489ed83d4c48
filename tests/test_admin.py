"""The admin, used as a new user would."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from monitoring.models import Baseline, Collector, Endpoint, EndpointInterval, Instance, Service
from tests.history import add_interval
from tests.scripted import ScriptedServer, answers, hangs

pytestmark = pytest.mark.django_db
ADD = "/admin/monitoring/service/add/"
LIST = "/admin/monitoring/service/"


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create_superuser("admin", password="x"))
    return client


def form(*urls, **fields):
    data = {
        "name": "shop",
        "schedule": "* * * * *",
        "enabled": "on",
        "timeout": "10",
        "duration_unit": "s",
        "new_token": "",
        "instances-TOTAL_FORMS": str(len(urls)),
        "instances-INITIAL_FORMS": "0",
        "instances-MIN_NUM_FORMS": "1",
        "instances-MAX_NUM_FORMS": "1000",
    }
    for number, url in enumerate(urls):
        data |= {f"instances-{number}-url": url, f"instances-{number}-id": "", f"instances-{number}-service": ""}
    return data | fields


def change_form(service, **fields):
    data = form(*[instance.url for instance in service.instances.all()], name=service.name)
    data["instances-INITIAL_FORMS"] = str(service.instances.count())
    for number, instance in enumerate(service.instances.all()):
        data |= {f"instances-{number}-id": instance.pk, f"instances-{number}-service": service.pk}
    return data | fields


def text(response):
    return response.content.decode()


def test_the_add_page_has_the_defaults(staff):
    page = text(staff.get(ADD))
    assert 'value="* * * * *"' in page
    assert 'value="10.0"' in page


def test_a_service_is_registered(staff):
    response = staff.post(ADD, form("http://shop:8000/metrics", " http://shop:8001/metrics ", schedule="*/5 * * * *"))
    assert response.status_code == 302, response.context["errors"]
    service = Service.objects.get()
    assert (service.name, service.schedule, service.timeout, service.token) == ("shop", "*/5 * * * *", 10.0, "")
    assert [instance.url for instance in service.instances.all()] == ["http://shop:8000/metrics", "http://shop:8001/metrics"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"schedule": "every minute"}, "has 2 fields, but a crontab schedule has five"),
        ({"instances-0-url": "shop:8000"}, "does not start with http:// or https://"),
        ({"instances-0-url": ""}, "This field is required"),
        ({"instances-0-url": "http://user:pw@shop/"}, "bearer token"),
        ({"new_token": "not a token"}, "without spaces"),
        ({"timeout": "0"}, "greater than or equal to 0.1"),
    ],
)
def test_bad_input_gets_a_sentence_and_saves_nothing(staff, fields, sentence):
    response = staff.post(ADD, form("http://shop:8000/metrics", **fields))
    assert response.status_code == 200
    assert sentence in text(response)
    assert not Service.objects.exists()


def test_a_service_keeps_at_least_one_address(staff):
    service = Service.objects.create(name="shop")
    Instance.objects.create(service=service, url="http://shop/metrics")
    url = reverse("admin:monitoring_service_change", args=[service.pk])
    response = staff.post(url, change_form(service, **{"instances-0-DELETE": "on"}))
    assert "add the URL of its metrics document" in text(response)
    assert service.instances.count() == 1


def test_a_token_goes_in_and_never_comes_out(staff):
    staff.post(ADD, form("http://shop:8000/metrics", new_token="s3cret-token"))
    service = Service.objects.get()
    assert service.token == "s3cret-token"
    url = reverse("admin:monitoring_service_change", args=[service.pk])
    page = text(staff.get(url))
    assert "s3cret" not in page + text(staff.get(LIST)) + text(staff.get(f"{url[:-7]}history/"))
    assert "A token is set" in page

    assert staff.post(url, change_form(service)).status_code == 302
    service.refresh_from_db()
    assert service.token == "s3cret-token"
    staff.post(url, change_form(service, remove_token="on"))
    service.refresh_from_db()
    assert service.token == ""


def test_the_change_page_explains_the_schedule(staff):
    service = Service.objects.create(name="shop", schedule="*/5 * * * *")
    page = text(staff.get(reverse("admin:monitoring_service_change", args=[service.pk])))
    assert "Every fifth minute" in page
    assert "(UTC)." in page


def test_the_list_shows_what_matters(staff, django_assert_max_num_queries):
    for number in range(20):
        service = Service.objects.create(name=f"shop-{number:02}", enabled=number != 3)
        now = timezone.now()
        Instance.objects.create(service=service, url="http://shop/metrics", last_polled_at=now, last_success_at=now)
    Instance.objects.filter(service__name="shop-05").update(last_error="Connection <refused>", failures=3, failing_since=now)
    with django_assert_max_num_queries(14):
        page = text(staff.get(LIST))
    assert page.count("✓ up") == 18
    assert page.count("✗ down") == 1
    assert page.count("‖ paused") == 1
    assert "Connection &lt;refused&gt;" in page


def test_a_schedule_that_went_bad_in_the_database_breaks_no_page(staff):
    service = Service.objects.create(name="shop", schedule="nonsense")
    assert "never: the schedule is wrong" in text(staff.get(LIST))
    assert staff.get(reverse("admin:monitoring_service_change", args=[service.pk])).status_code == 200


def test_enable_and_disable(staff):
    services = [Service.objects.create(name=name) for name in ("a", "b")]
    action = {"action": "disable", "_selected_action": [service.pk for service in services]}
    assert "2 services are paused" in text(staff.post(LIST, action, follow=True))
    assert Service.objects.filter(enabled=False).count() == 2
    assert "Nothing had to change" in text(staff.post(LIST, action, follow=True))
    assert "polled again" in text(staff.post(LIST, action | {"action": "enable"}, follow=True))
    assert Service.objects.filter(enabled=True).count() == 2


def test_poll_now_reports_each_service(staff, transactional_db, monkeypatch):
    monkeypatch.setattr("monitoring.admin.services.POLL_NOW_SECONDS", 0.5)
    document = {"service_name": "good", "metrics": {"GET/x": {"count": 1, "avg_duration": 0.5, "status_codes": {"200": 1}}}}
    servers = {
        "good": ScriptedServer(answers(document)),
        "hanging": ScriptedServer(hangs),
        "broken": ScriptedServer(answers("<p>")),
    }
    try:
        for name, server in servers.items():
            Instance.objects.create(service=Service.objects.create(name=name), url=server.url)
        pks = list(Service.objects.values_list("pk", flat=True))
        page = text(staff.post(LIST, {"action": "poll_now", "_selected_action": pks}, follow=True))
    finally:
        for server in servers.values():
            server.close()
    assert "Polled: good." in page
    assert "Polling hanging failed: " in page
    assert "Polling broken failed: " in page
    assert Baseline.objects.get().instance.service.name == "good"


def test_who_may_only_look_sees_no_action_and_no_token(client):
    looker = User.objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_service"), Permission.objects.get(codename="view_instance"))
    client.force_login(looker)
    service = Service.objects.create(name="shop", token="s3cret")
    assert "poll_now" not in text(client.get(LIST))
    response = client.get(reverse("admin:monitoring_service_change", args=[service.pk]))
    assert response.status_code == 200
    assert "s3cret" not in text(response)


def test_an_instance_that_moves_counts_from_its_own_beginning(staff):
    service = Service.objects.create(name="shop")
    instance = Instance.objects.create(service=service, url="http://old/metrics")
    Baseline.objects.create(instance=instance, polled_at=timezone.now(), document="{}")
    url = reverse("admin:monitoring_service_change", args=[service.pk])
    staff.post(url, change_form(service))
    assert Baseline.objects.exists()
    staff.post(url, change_form(service, **{"instances-0-url": "http://new/metrics"}))
    assert not Baseline.objects.exists()
    assert Instance.objects.get().registered_at > instance.registered_at


def test_deleting_a_service_counts_its_history_and_does_not_list_it(staff, django_assert_max_num_queries):
    service = Service.objects.create(name="shop")
    endpoint = Endpoint.objects.create(service=service, method="GET", route="/")
    now = timezone.now()
    for number in range(500):
        add_interval(1, now, 60, number, service=service, endpoint=endpoint)
    url = reverse("admin:monitoring_service_delete", args=[service.pk])
    with django_assert_max_num_queries(10):
        page = text(staff.get(url))
    assert "500" in page
    assert len(page) < 20_000
    staff.post(url, {"post": "yes"})
    assert not Service.objects.exists()
    assert not EndpointInterval.objects.exists()


def test_the_schedule_is_explained_in_the_services_time_zone_while_it_is_typed(staff):
    def explain(**query):
        return staff.get("/admin/monitoring/service/explain-schedule/", query).json()["text"]

    assert 'data-url="/admin/monitoring/service/explain-schedule/"' in text(staff.get(ADD))
    said = explain(schedule="30 3 * * *", time_zone="Asia/Tokyo")
    assert said.startswith("At 03:30 every day. Next: ")
    assert said.count(" 03:30") == 4
    assert said.endswith("(Asia/Tokyo).")
    assert "has 2 fields" in explain(schedule="every minute")
    assert "is not a time zone" in explain(schedule="* * * * *", time_zone="Mars/Olympus")


def test_only_staff_gets_schedules_explained(client):
    assert client.get("/admin/monitoring/service/explain-schedule/").status_code == 302


def test_a_time_zone_is_chosen_from_those_there_are(staff):
    assert "the project&#x27;s (UTC)" in text(staff.get(ADD))
    assert "is not one of the available choices" in text(staff.post(ADD, form("http://shop/metrics", time_zone="Mars/Olympus")))
    assert staff.post(ADD, form("http://shop/metrics", time_zone="Europe/Berlin")).status_code == 302
    service = Service.objects.get()
    assert service.time_zone == "Europe/Berlin"
    Service.objects.update(time_zone="Gone/Zone")  # from another version of the time zone database
    page = text(staff.get(reverse("admin:monitoring_service_change", args=[service.pk])))
    assert '<option value="Gone/Zone" selected>' in page
    assert "“Gone/Zone” is not a time zone" in page
    assert "never: the schedule is wrong" in text(staff.get(LIST))


def test_it_is_said_that_no_collector_is_alive(staff):
    assert "No collector" not in text(staff.get(LIST))
    Service.objects.create(name="shop")
    assert "No collector has run yet" in text(staff.get(LIST))
    now = timezone.now()
    one = Collector.objects.create(host="host-7", mode="cron", pace=60, ticked_at=now - timedelta(hours=1), finished_at=now)
    assert "No collector" not in text(staff.get(LIST))
    Collector.objects.update(finished_at=now - timedelta(hours=1))
    assert "on host-7 (cron)" in text(staff.get(LIST))
    page = text(staff.get("/admin/monitoring/collector/"))
    assert "host-7" in page
    assert staff.get(f"/admin/monitoring/collector/{one.pk}/delete/").status_code == 200
    assert staff.get("/admin/monitoring/collector/add/").status_code == 403


def test_poll_now_respects_allowed_targets(staff, settings):
    service = Service.objects.create(name="shop")
    Instance.objects.create(service=service, url="http://127.0.0.1:1/metrics")
    action = {"action": "poll_now", "_selected_action": [service.pk]}
    settings.MONITORING = {"ALLOWED_TARGETS": ["10.0.0.0/8"]}
    assert "may not be polled" in text(staff.post(LIST, action, follow=True))
    settings.MONITORING = {"ALLOWED_TARGETS": "10.0.0.0/8"}
    assert "Nothing was polled. MONITORING: ALLOWED_TARGETS is" in text(staff.post(LIST, action, follow=True))


def test_pausing_says_since_when_and_slots_of_the_pause_are_nobodys(staff):
    service = Service.objects.create(name="shop", registered_at=timezone.now() - timedelta(days=1))
    action = {"_selected_action": [service.pk]}
    staff.post(LIST, action | {"action": "disable"})
    service.refresh_from_db()
    assert service.status(timezone.now()).since == service.paused_at is not None
    staff.post(LIST, action | {"action": "enable"})
    service.refresh_from_db()
    assert service.paused_at is None
    assert service.schedule_since is not None
