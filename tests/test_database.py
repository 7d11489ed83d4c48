"""Query spans: names and texts, whatever the SQL; connections of all aliases and threads."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections
from django.db.backends.signals import connection_created

from monitoring.instrument import database, tracing
from monitoring.instrument.database import QueryRecorder, _described
from monitoring.instrument.spans import Options, RequestSpan


@pytest.mark.parametrize(
    ("sql", "name", "target"),
    [
        ('SELECT "shop_item"."id" FROM "shop_item" WHERE "shop_item"."id" = %s', "SELECT", "shop_item"),
        ("select count(*) from (SELECT 1 FROM `a`.`b`) x", "SELECT", "a.b"),
        ('INSERT INTO "shop_item" ("id") VALUES (%s)', "INSERT", "shop_item"),
        ('UPDATE "shop_item" SET "a" = %s', "UPDATE", "shop_item"),
        ('DELETE FROM "shop_item"', "DELETE", "shop_item"),
        ("/* hint */ -- and more\n  (SELECT 1)", "SELECT", ""),
        ("SAVEPOINT", "SAVEPOINT", ""),
        ("", "", ""),
        ("???", "", ""),
    ],
)
def test_a_query_is_named_by_its_operation_and_table(sql, name, target):
    assert _described(sql, False, "postgresql")[:2] == (name, target)


@pytest.mark.parametrize(
    ("vendor", "sql", "text"),
    [
        ("sqlite", "SELECT 'it''s', 12, 1.5e3, \"a1\", b2 FROM t3", 'SELECT ?, ?, ?, "a1", b2 FROM t3'),
        ("postgresql", r"SELECT E'it\'s', $$a 'b' $$, $x$ $$ $x$", "SELECT ?, ?, ?"),
        ("postgresql", "SELECT '\\', 'secret'", "SELECT ?, ?"),
        ("mysql", r"""SELECT 'it\'s', "text", `name1` LIMIT 21""", "SELECT ?, ?, `name1` LIMIT ?"),
        ("sqlite", "SELECT 'cut off", "SELECT ?"),
    ],
)
def test_of_a_query_without_parameters_the_literals_are_masked(vendor, sql, text):
    assert _described(sql, True, vendor)[2] == text


def test_the_text_of_a_query_with_parameters_stays_as_it_is():
    sql = "SELECT 'x', 12 FROM t WHERE a = %s"
    assert _described(sql, False, "sqlite")[2] == sql


@pytest.mark.parametrize("unit", ["'", '"', "$", "(", "/*", "--\n", "1", "FROM ", "$a$", "e'\\", "/**/", "(("])
def test_no_sql_takes_long(unit):
    for vendor in ("mysql", "postgresql"):
        assert _described(unit * (4096 // len(unit)), True, vendor)


@pytest.fixture
def request_span():
    current = RequestSpan("a" * 32, "b" * 16, Options(exports=True))
    current.keep_children()
    token = tracing.make_current(current)
    yield current
    tracing.restore(token)


@pytest.fixture
def recorder():
    return QueryRecorder(connection)


def execute(sql, params, many, context):
    return "result"


def spans(request_span):
    return [query.span(request_span) for query in request_span.children]


def test_composed_sql_and_bytes_are_not_kept_as_text(recorder, request_span):
    class Composed:
        pass

    for sql in (Composed(), b"SELECT 'secret'", None):
        assert recorder(execute, sql, None, False, {}) == "result"
    assert [span.attributes["db.query.text"] for span in spans(request_span)] == ["(Composed)", "(bytes)", "(NoneType)"]


def test_a_batch_has_its_size(recorder, request_span):
    recorder(execute, "INSERT INTO a VALUES (%s)", [(1,), (2,), (3,)], True, {})
    recorder(execute, "INSERT INTO b VALUES (%s)", iter([(1,)]), True, {})
    assert [span.attributes.get("db.operation.batch.size") for span in spans(request_span)] == [3, None]


def test_queries_that_share_a_long_beginning_are_not_equal(recorder, request_span):
    for number in range(20):
        recorder(execute, "SELECT " + "x" * 5000 + "y" * number, (1,), False, {})
    assert len(request_span.children) == 20


def test_an_error_of_ours_costs_no_query(recorder, request_span, monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError("ours")

    monkeypatch.setattr(request_span, "has_room", broken)
    assert recorder(execute, "SELECT 1", None, False, {}) == "result"

    def failing(sql, params, many, context):
        raise KeyError("theirs")

    with pytest.raises(KeyError):
        recorder(failing, "SELECT 1", None, False, {})
    assert caplog.text.count("A query could not be recorded") == 1


def test_the_server_and_the_database_are_named():
    class Connection:
        vendor, alias = "postgresql", "replica"
        settings_dict = {"NAME": "shop", "HOST": "db.internal", "PORT": "5432", "USER": "u", "PASSWORD": "secret"}

    assert QueryRecorder(Connection()).attributes == {
        "db.system.name": "postgresql",
        "monitoring.database": "replica",
        "db.namespace": "shop",
        "server.address": "db.internal",
        "server.port": 5432,
    }


def recorders(one):
    return [wrapper for wrapper in one.execute_wrappers if isinstance(wrapper, QueryRecorder)]


def test_every_connection_gets_one_recorder_however_often_it_connects(db):
    try:
        for _ in range(3):
            database.install()
            connection_created.send(sender=type(connection), connection=connections["default"])
        assert len(recorders(connection)) == 1
        found = []

        def in_thread():
            own = connections["default"]
            own.connect()
            own.close()
            own.connect()
            found.extend(recorders(own))
            own.close()

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        assert len(found) == 1
        assert found[0] not in connection.execute_wrappers
    finally:
        connection.execute_wrappers.clear()
