"""The demo's plain parts; tests/live/test_demo.py runs it."""

from __future__ import annotations

import os
import random
import signal
import socket
from pathlib import Path

import pytest
from django.contrib.auth import authenticate, get_user_model

from demo_project import places
from demo_project.demo import ports
from demo_project.demo.children import Children, last_lines
from demo_project.demo.errors import DemoError
from demo_project.demo.registry import ensure_admin, register
from demo_project.services.behaviour import SERVICES, Behaviour, draw_failure, draw_work
from monitoring.models import Instance, Service
from tests.live.servers import wait_for

NAMES = tuple(SERVICES)


def test_the_monitor_is_on_the_base_and_the_services_from_81_above_it() -> None:
    assert ports.wanted_ports(8000, NAMES) == {
        "monitor": 8000,
        "test-server1": 8081,
        "test-server2": 8082,
        "test-server3": 8083,
        "test-server4": 8084,
    }


@pytest.mark.parametrize("base", [-1, 0, 65452, 70000])
def test_a_base_that_leaves_no_room_is_refused(base: int) -> None:
    with pytest.raises(DemoError, match="from 1 to 65451"):
        ports.wanted_ports(base, NAMES)


def test_the_highest_base_fits() -> None:
    assert max(ports.wanted_ports(65451, NAMES).values()) == 65535


def test_free_ports_are_taken_as_wanted() -> None:
    wanted = ports.wanted_ports(8000, NAMES)
    assert ports.choose_ports(wanted, lambda port: True) == wanted


def test_a_taken_port_gives_way_to_the_next_one_that_nobody_wants() -> None:
    wanted = ports.wanted_ports(8000, NAMES)
    taken = {8000, 8081, 8083, 8086}
    chosen = ports.choose_ports(wanted, lambda port: port not in taken)
    assert chosen == {
        "monitor": 8001,
        "test-server1": 8085,  # 8082 to 8084 are the others'
        "test-server2": 8082,
        "test-server3": 8087,
        "test-server4": 8084,
    }


def test_no_free_port_is_said() -> None:
    with pytest.raises(DemoError, match="for monitor: choose a lower --base-port"):
        ports.choose_ports(ports.wanted_ports(65400, NAMES), lambda port: False)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_somebody_listens_on_is_not_free(host: str) -> None:
    with socket.socket() as listener:
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_each_service_waits_longer_than_those_that_it_calls() -> None:
    for behaviour in SERVICES.values():
        for called in behaviour.calls:
            longest = SERVICES[called].slow_work[1] + sum(SERVICES[name].slow_work[1] for name in SERVICES[called].calls)
            assert behaviour.timeout > longest
            assert behaviour.timeout > SERVICES[called].timeout * len(SERVICES[called].calls)


def test_some_requests_are_slow_and_some_fail() -> None:
    chance = random.Random(1)
    behaviour = Behaviour(work=(0.0, 0.1), slow_share=0.25, slow_work=(1.0, 2.0), failure_share=0.1)
    drawn = [draw_work(behaviour, chance) for _ in range(2000)]
    assert all(0 <= seconds <= 0.1 or 1 <= seconds <= 2 for seconds in drawn)
    assert 400 < sum(seconds >= 1 for seconds in drawn) < 600
    assert 150 < sum(draw_failure(behaviour, chance) for _ in range(2000)) < 250
    assert any(one.slow_share for one in SERVICES.values())
    assert any(one.failure_share for one in SERVICES.values())


@pytest.mark.django_db
def test_registering_again_changes_nothing_but_the_url() -> None:
    register("shop", "http://127.0.0.1:8081/metrics")
    Service.objects.update(schedule="*/5 * * * *", enabled=False)
    register("shop", "http://127.0.0.1:9081/metrics")
    register("shop", "http://127.0.0.1:9081/metrics")
    service = Service.objects.get()
    assert (service.name, service.schedule, service.enabled) == ("shop", "*/5 * * * *", False)
    assert [instance.url for instance in service.instances.all()] == ["http://127.0.0.1:9081/metrics"]


@pytest.mark.django_db
def test_registering_leaves_instances_that_were_added() -> None:
    register("shop", "http://127.0.0.1:8081/metrics")
    Instance.objects.create(service=Service.objects.get(), url="http://127.0.0.1:9081/metrics")
    register("shop", "http://127.0.0.1:9081/metrics")  # a second one with this URL would break the constraint
    assert Instance.objects.count() == 2


@pytest.mark.django_db
def test_the_admin_can_log_in_whatever_happened_to_it() -> None:
    ensure_admin("admin", "first")
    before = get_user_model().objects.get().password
    ensure_admin("admin", "first")
    assert get_user_model().objects.get().password == before  # its sessions live on
    get_user_model().objects.update(is_active=False, is_staff=False, is_superuser=False)
    ensure_admin("admin", "second")
    user = authenticate(username="admin", password="second")
    assert user is not None
    assert user.is_staff
    assert user.is_superuser


def test_a_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "DEMO_DIR", tmp_path)
    made = places.kept_secret("key", 20)
    assert len(made) > 20
    assert places.kept_secret("key", 20) == made
    assert [(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()] == [("key", 0o600)]
    (tmp_path / "key").write_text("\n")  # cut off
    assert places.kept_secret("key", 20) not in ("", made)


def test_the_last_lines_of_a_process_are_shown(tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert last_lines(output) == []
    output.write_bytes(b"".join(b"line %d \xff\n" % number for number in range(100)))
    assert last_lines(output, 2) == ["line 98 �", "line 99 �"]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP (not on Windows)")
def test_a_process_that_does_not_end_when_asked_is_made_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "DEMO_DIR", tmp_path)
    monkeypatch.setattr(places, "LOGS", tmp_path)
    monkeypatch.setattr("demo_project.demo.children._GRACE", 0.1)
    with Children() as children:
        child = children.start("stuck", ["runserver", "127.0.0.1:0", "--noreload"], "demo_project.services.settings", {})
        child.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.process.pid, os.WSTOPPED)
    assert child.process.returncode == -signal.SIGKILL


def test_a_process_that_ends_tells_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "DEMO_DIR", tmp_path)
    monkeypatch.setattr(places, "LOGS", tmp_path)
    with Children() as children:
        child = children.start("broken", ["no-such-command"], "demo_project.services.settings", {})
        wait_for(lambda: child.ended)
        assert child.how_it_ended().startswith("ended with exit code 1. The last lines of ")
        assert "Unknown command: 'no-such-command'" in child.how_it_ended()
