"""What may happen to the collector that delivers: it is killed, it is not alone, it hangs, it has to wait for its database."""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.live.judges import STORED, Holding, forwarded, polls
from tests.live.monitors import Monitor, ended, influxdb, sqlite
from tests.live.postgresql import needs_postgresql
from tests.live.servers import Influxd, requires, wait_for
from tests.receiver import Answer, Receiver

LEASE_OVER = "OutboxState.objects.update(held_until=None)"
"""As if the minute had passed for which a killed collector counts as delivering."""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def monitor(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> Iterator[Monitor]:
    database = sqlite(tmp_path)
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql")
        name = f"outbox_{random.getrandbits(32):08x}"
        server.create_database(name)
        database = server.settings(name)
    made = Monitor(tmp_path, database, INFLUXDB=influxdb(receiver.url))
    yield made
    made.close()


@pytest.fixture
def on_sqlite(tmp_path: Path, receiver: Receiver) -> Iterator[Monitor]:
    made = Monitor(tmp_path, sqlite(tmp_path), INFLUXDB=influxdb(receiver.url))
    yield made
    made.close()


@requires("influxd")
def test_killed_between_delivery_and_acknowledgement(on_sqlite: Monitor, receiver: Receiver, influxd: Influxd) -> None:
    database = f"fleet{uuid4().hex}"
    influxd.create_database(database)
    forward, taken, killed = forwarded(influxd.url, database), threading.Event(), threading.Event()

    def judge(lines: list[str]) -> Answer:
        answer = forward(lines)
        taken.set()
        killed.wait(30)
        return answer

    receiver.judge = judge
    process = on_sqlite.collect()
    assert taken.wait(30)
    assert ended(process, signal.SIGKILL).code == -signal.SIGKILL
    killed.set()
    next_one = on_sqlite.round()
    assert (next_one.code, len(receiver.requests)) == (0, 1)
    assert "48 points wait" in next_one.said
    assert "Another collector delivers at this moment." in next_one.said
    on_sqlite.ask(LEASE_OVER)
    assert on_sqlite.round()[::2] == (0, "")
    assert receiver.lines[:24] == receiver.lines[24:48]  # once more, and the same
    assert len(set(receiver.lines)) == 3 * 24
    (row,) = influxd.select(database, "SELECT COUNT(up) FROM monitoring_poll")
    assert row["count"] == 3 * 6
    (row,) = influxd.select(database, "SELECT COUNT(count), MAX(count) FROM \"shop-5\" WHERE path = 'GET/300'")
    assert (row["count"], row["max"]) == (3, 900)
    assert on_sqlite.ask("waiting().points") == 0


def test_killed_at_thirty_random_moments(monitor: Monitor, receiver: Receiver) -> None:
    seed = random.getrandbits(32)
    print(f"seed {seed}")  # shown where the test fails
    monitor.collectors("killed", 30, seed)
    monitor.ask(LEASE_OVER)
    assert monitor.round()[::2] == (0, "")
    stored = monitor.ask(STORED)
    assert polls(receiver.lines) == {(name, end) for name, end in stored}
    assert len(stored) >= 6 * 3
    assert len(set(receiver.lines)) == 4 * len(stored)  # each with its endpoints
    assert monitor.ask("waiting().points") == 0


def test_collectors_at_once_deliver_in_order_and_once(monitor: Monitor, receiver: Receiver) -> None:
    holding = Holding()
    holding.answer.set()
    receiver.judge = holding
    monitor.collectors("together", 3, 300)
    assert monitor.round()[::2] == (0, "")
    assert holding.most == 1  # no two of them deliver at the same time
    assert len(receiver.lines) == len(set(receiver.lines))
    stored = monitor.ask(STORED)
    assert polls(receiver.lines) == {(name, end) for name, end in stored}
    assert monitor.ask("[OutboxState.objects.get().delivered, OutboxState.objects.get().holder]") == [len(receiver.lines), ""]


def test_one_that_hangs_while_it_delivers_is_replaced_and_does_no_harm(monitor: Monitor, receiver: Receiver) -> None:
    holding = Holding()
    receiver.judge = holding
    process = monitor.collect()
    assert holding.took.wait(30)
    process.send_signal(signal.SIGSTOP)
    receiver.judge = None
    monitor.ask(LEASE_OVER)
    try:
        assert monitor.round()[::2] == (0, "")
        assert monitor.ask("waiting().points") == 0
    finally:
        holding.answer.set()
        process.send_signal(signal.SIGCONT)
    hung = ended(process)
    assert (hung.code, hung.errors) == (0, "")
    assert "Another collector delivers at this moment." in hung.said
    assert len(set(receiver.lines)) == 48
    assert monitor.ask("[OutboxState.objects.get().delivered, waiting().points]") == [48, 0]


def test_a_database_that_is_locked_at_the_acknowledgement_is_waited_for(on_sqlite: Monitor, receiver: Receiver) -> None:
    holding = Holding()
    receiver.judge = holding
    process = on_sqlite.collect()
    assert holding.took.wait(30)
    with sqlite3.connect(on_sqlite.folder / "monitor.sqlite3", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        holding.answer.set()
        held = time.monotonic() + 6  # SQLite's and Django's own patience ends after five seconds
        wait_for(lambda: time.monotonic() > held, what="six seconds to pass")
        assert process.poll() is None
        other.execute("ROLLBACK")
    other.close()
    assert ended(process)[::2] == (0, "")
    assert on_sqlite.ask("waiting().points") == 0
    assert len(receiver.requests) == 1
