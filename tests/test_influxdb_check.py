"""Whether InfluxDB is set up right, as each kind of server and what stands before it answers. Nothing but GET is ever sent:
`serving` fails a test in which anything else arrived."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.collector.influxdb_check import Finding, Verdict, check
from monitoring.collector.influxdb_check.asking import MAX_BODY_BYTES
from monitoring.conf import InfluxDB
from tests.influxes import (
    BUCKET_ID,
    ORG_ID,
    TOKEN,
    Always,
    Influx,
    Influx1,
    Influx2,
    Influx3,
    VictoriaMetrics,
    serving,
)
from tests.scripted import Script, ScriptedServer, drips, hangs, says

OK, WRONG, UNKNOWN = Verdict.OK, Verdict.WRONG, Verdict.UNKNOWN
SELF_SIGNED = Path(__file__).parent / "samples" / "self-signed.pem"
WHATS = ["address", "token", "organisation", "bucket"]


def looked(url: str, token: str = TOKEN, org: str = "fleet", bucket: str = "metrics", timeout: float = 20) -> dict[str, Finding]:
    found = check(InfluxDB(url, token, org, bucket), timeout)
    assert [one.what for one in found] == WHATS
    for one in found:
        assert one.text
        assert one.text.isprintable()
        assert len(one.text) <= 500
        assert not token or token not in one.text
    return {one.what: one for one in found}


def asked(influx: Influx, path: str = "", **settings: Any) -> dict[str, Finding]:
    with serving(influx) as server:
        return looked(server.url + path, **settings)


def verdicts(found: dict[str, Finding]) -> list[Verdict]:
    return [found[what].verdict for what in WHATS]


def unresolved(host: str, port: int) -> Any:
    raise socket.gaierror


def write_to(**resource: str) -> dict[str, Any]:
    return {"action": "write", "resource": {"type": "buckets", **resource}}


# InfluxDB 2


@pytest.mark.parametrize(
    "permission",
    [
        write_to(id=BUCKET_ID, orgID=ORG_ID),
        write_to(orgID=ORG_ID),
        write_to(),
        {"action": "write", "resource": {"type": "instance"}},
    ],
)
def test_version_2_set_up_right(permission: dict[str, Any]) -> None:
    with serving(Influx2(permissions=[{"action": "read", "resource": {"type": "buckets"}}, permission])) as server:
        found = looked(server.url)
        assert verdicts(found) == [OK, OK, OK, OK]
        assert found["address"].text == f"InfluxDB 2.7.10 at {server.url}"
        assert found["token"].text == "InfluxDB 2.7.10 knows it, and it may write to 'metrics'."
        assert {question.token for question in server.questions} == {f"Token {TOKEN}"}


@pytest.mark.parametrize(
    "permissions",
    [
        [],
        [{"action": "read", "resource": {"type": "buckets"}}],
        [{"action": "write", "resource": {"type": "tasks"}}],
        [write_to(id="0" * 15 + "1", orgID=ORG_ID), write_to(orgID="0" * 15 + "2")],
    ],
)
def test_version_2_a_token_that_may_not_write(permissions: list[dict[str, Any]]) -> None:
    found = asked(Influx2(permissions=permissions))
    assert verdicts(found) == [OK, WRONG, OK, OK]
    assert "may not write to 'metrics'" in found["token"].text


def test_version_2_a_token_that_may_not_read_its_own_permissions() -> None:
    found = asked(Influx2())
    assert verdicts(found) == [OK, UNKNOWN, OK, OK]
    assert found["token"].text.startswith("Cannot be told: InfluxDB 2.7.10 knows it; only writing tells")


def test_version_2_a_token_that_may_only_write() -> None:
    found = asked(Influx2(reads=False))
    assert verdicts(found) == [OK, UNKNOWN, OK, OK]
    assert found["bucket"].text == "'metrics' is there; the token may not read it."
    assert verdicts(asked(Influx2(reads=False), bucket="metrcis")) == [OK, OK, OK, WRONG]
    assert verdicts(asked(Influx2(reads=False), org="flete")) == [OK, OK, WRONG, UNKNOWN]
    only_this = [write_to(id=BUCKET_ID, orgID=ORG_ID)]  # which bucket that is, it does not see
    assert verdicts(asked(Influx2(reads=False, permissions=only_this))) == [OK, UNKNOWN, OK, OK]


def test_version_2_names_that_are_misspelled() -> None:
    found = asked(Influx2(), bucket="metrcis")
    assert verdicts(found) == [OK, OK, OK, WRONG]
    assert found["bucket"].text == (
        "There is no bucket 'metrcis'; the token sees: metrics, other. Should INFLUXDB['BUCKET'] be 'metrics'?"
    )
    found = asked(Influx2(), org="flet")
    assert verdicts(found) == [OK, OK, WRONG, UNKNOWN]
    assert found["organisation"].text == (
        "There is no organisation 'flet'; the token sees: fleet. Should INFLUXDB['ORG'] be 'fleet'?"
    )
    assert found["bucket"].text == "Cannot be told: the organisation has to be right first."
    assert asked(Influx2(buckets=()), bucket="organization")["bucket"].text == (
        "There is no bucket 'organization'. Create it, or change INFLUXDB['BUCKET']."
    )


def test_version_2_ids_for_names() -> None:
    assert verdicts(asked(Influx2(permissions=[write_to()]), org=ORG_ID, bucket=BUCKET_ID)) == [OK, OK, OK, OK]
    assert verdicts(asked(Influx2(), org="0" * 15 + "9", bucket="nope")) == [OK, OK, WRONG, UNKNOWN]
    assert verdicts(asked(Influx2(), org="nope", bucket=BUCKET_ID)) == [OK, OK, WRONG, UNKNOWN]
    assert verdicts(asked(Influx2(), org="fleet", bucket="0" * 15 + "9")) == [OK, OK, OK, WRONG]
    hexadecimal = "deadbeefdeadbeef"
    assert verdicts(asked(Influx2(buckets=(hexadecimal,)), bucket=hexadecimal)) == [OK, UNKNOWN, OK, OK]


def test_version_2_tokens_that_open_nothing() -> None:
    found = asked(Influx2(), token="wr0ng")
    assert verdicts(found) == [OK, WRONG, UNKNOWN, UNKNOWN]
    assert found["token"].text == ("InfluxDB does not know it: check INFLUXDB['TOKEN']; it answered 401 (unauthorized access).")
    assert "set INFLUXDB['TOKEN']" in asked(Influx2(), token="")["token"].text
    assert "influx setup" in asked(Influx2(set_up=False), token="wr0ng")["token"].text
    found = asked(Influx2(), token="two words")
    assert verdicts(found) == [UNKNOWN, WRONG, UNKNOWN, UNKNOWN]


def test_version_2_wants_an_organisation() -> None:
    found = asked(Influx2(), org="")
    assert verdicts(found) == [OK, UNKNOWN, WRONG, UNKNOWN]
    assert found["organisation"].text == "InfluxDB 2 wants one: set INFLUXDB['ORG'] to its name. The token sees: fleet."
    assert verdicts(asked(Influx2(), org="", token="wr0ng")) == [OK, WRONG, WRONG, UNKNOWN]


class Older(Influx2):
    """Before 2.0.3: no /ping, no header."""

    def answer(self, question: Any) -> Any:
        if question.path == "/health":
            reply = Always(200, {"name": "influxdb", "status": "pass", "version": "2.0.2"}).answer(question)
        elif question.path == "/ping":
            reply = Always(200, b"<!doctype html>the page").answer(question)
        else:
            reply = super().answer(question)._replace(headers={})
        return reply


class OnlyApi(Influx2):
    """A proxy that lets nothing through but /api/v2."""

    def answer(self, question: Any) -> Any:
        return (
            super().answer(question)._replace(headers={}) if question.path.startswith("/api/v2") else Always(404).answer(question)
        )


class LooksLikeVersion2(Influx2):
    """Other databases say that they are InfluxDB 2, and have no buckets."""

    def answer(self, question: Any) -> Any:
        return super().answer(question) if question.path == "/ping" else Always(404, b"not found").answer(question)


def test_version_2_in_other_clothes() -> None:
    found = asked(Older())
    assert verdicts(found) == [OK, UNKNOWN, OK, OK]
    assert found["address"].text.startswith("InfluxDB 2.0.2 at http://")
    assert verdicts(asked(OnlyApi())) == [OK, UNKNOWN, OK, OK]
    assert verdicts(asked(LooksLikeVersion2())) == [OK, UNKNOWN, UNKNOWN, UNKNOWN]


def test_cloud() -> None:
    found = asked(Influx2(version="", build="Cloud"), org="")
    assert verdicts(found) == [OK, UNKNOWN, OK, OK]
    assert found["address"].text.startswith("InfluxDB Cloud at ")
    hidden = Influx2(version="", build="Cloud", reads=False)  # what an empty list means is not public
    assert verdicts(asked(hidden, org="any")) == [OK, UNKNOWN, OK, UNKNOWN]
    assert verdicts(asked(hidden, bucket="metrcis")) == [OK, OK, OK, UNKNOWN]
    assert verdicts(asked(Influx2(version="", build="Cloud"), bucket="metrcis")) == [OK, OK, OK, WRONG]


# InfluxDB 1

USERS = {"admin:pw": "ADMIN", "writer:pw": "WRITE", "reader:pw": "READ", "nobody:pw": ""}


@pytest.mark.parametrize(
    ("user", "bucket", "expected"),
    [
        ("admin:pw", "metrics", [OK, OK, OK, OK]),
        ("admin:pw", "metrics/one_year", [OK, OK, OK, OK]),
        ("admin:pw", "metrics/one_yaer", [OK, OK, OK, WRONG]),
        ("admin:pw", "metrcis", [OK, OK, OK, WRONG]),
        ("admin:pw", "/autogen", [OK, OK, OK, WRONG]),
        ("writer:pw", "metrics", [OK, OK, OK, OK]),
        ("writer:pw", "metrics/one_year", [OK, OK, OK, UNKNOWN]),
        ("reader:pw", "metrics", [OK, UNKNOWN, OK, OK]),
        ("nobody:pw", "metrics", [OK, OK, OK, WRONG]),
        ("writer:no", "metrics", [OK, WRONG, OK, UNKNOWN]),
        ("no-colon", "metrics", [OK, WRONG, OK, UNKNOWN]),
        ("", "metrics", [OK, WRONG, OK, UNKNOWN]),
    ],
)
def test_version_1_with_users(user: str, bucket: str, expected: list[Verdict]) -> None:
    found = asked(Influx1(users=USERS), token=user, bucket=bucket)
    assert verdicts(found) == expected
    assert "pw" not in "".join(one.text for one in found.values()).replace("password", "")


def test_version_1_without_users() -> None:
    found = asked(Influx1(), token="any")
    assert verdicts(found) == [OK, OK, OK, OK]
    assert found["address"].text.startswith("InfluxDB 1.8.10 at ")
    assert "asks for none" in found["token"].text
    assert "no organisations" in found["organisation"].text
    assert "sees: metrics, other. Should INFLUXDB['BUCKET'] be 'metrics'?" in asked(Influx1(), bucket="metrcis")["bucket"].text
    assert verdicts(asked(Influx1(version="1.6.7~rc0"))) == [WRONG, UNKNOWN, UNKNOWN, UNKNOWN]


# InfluxDB 3 and VictoriaMetrics


def test_version_3() -> None:
    found = asked(Influx3())
    assert verdicts(found) == [OK, OK, OK, OK]
    assert found["address"].text.startswith("InfluxDB 3 Core 3.9.6 at ")
    assert verdicts(asked(Influx3("InfluxDB 3 Enterprise"))) == [OK, UNKNOWN, OK, OK]
    assert verdicts(asked(Influx3(lists=False))) == [OK, UNKNOWN, OK, UNKNOWN]
    found = asked(Influx3(), token="wr0ng")
    assert verdicts(found) == [OK, WRONG, OK, UNKNOWN]
    assert found["token"].text.startswith("InfluxDB 3 does not know it: check INFLUXDB['TOKEN']")
    assert "set INFLUXDB['TOKEN']" in asked(Influx3(), token="")["token"].text
    assert "asks for none" in asked(Influx3(token=None))["token"].text


def test_version_3_creates_databases_itself() -> None:
    found = asked(Influx3(), bucket="metrcis")
    assert verdicts(found) == [OK, OK, OK, UNKNOWN]
    assert "no database 'metrcis' yet; the token sees: metrics, other." in found["bucket"].text
    assert found["bucket"].text.endswith("Should INFLUXDB['BUCKET'] be 'metrics'?")
    assert asked(Influx3(), bucket="quite-new")["bucket"].text.endswith("if the token may.")


def test_victoria_metrics() -> None:
    found = asked(VictoriaMetrics(), org="", bucket="any")
    assert verdicts(found) == [OK, OK, OK, OK]
    assert found["address"].text.startswith("VictoriaMetrics 1.99.0 at ")
    assert verdicts(asked(VictoriaMetrics("/insert/0/influx"), "/insert/0/influx/")) == [OK, OK, OK, OK]
    found = asked(VictoriaMetrics(), "/influxdb")
    assert verdicts(found) == [WRONG, UNKNOWN, UNKNOWN, UNKNOWN]
    assert "takes no points under '/influxdb'" in found["address"].text
    found = asked(VictoriaMetrics(locked=True))
    assert verdicts(found) == [OK, WRONG, OK, OK]
    assert "HTTP Basic" in found["token"].text


# The address, and what stands there instead


@pytest.mark.parametrize(
    ("influx", "says_so"),
    [
        (Always(200, b"<html>Please log in</html>"), "web page: a proxy, a login page or another service"),
        (Always(404, b"<html>nginx</html>"), "web page: a proxy, a login page or another service"),
        (Always(404, b"404 page not found"), "No InfluxDB answers at"),
        (Always(200, {"status": "ok"}), "No InfluxDB answers at"),
        (Always(200, b"[" * 100_000), "No InfluxDB answers at"),
        (Always(502, b"<html>Bad Gateway</html>"), "it answered 502 with a web page. Is InfluxDB running behind it?"),
        (
            Always(400, b"Client sent an HTTP request to an HTTPS server.\n"),
            "speaks TLS only: set INFLUXDB['URL'] to 'https://127",
        ),
        (
            Always(302, headers={"Location": "https://me:pass@sso.example/login?next=1"}),
            "redirects (302) to https://sso.example/login:",
        ),
        (Always(301, headers={"Location": "https://influx.example/ping"}), "redirects (301) to https://influx.example: set"),
        (Always(301, headers={"Location": "/there"}), "/there: set INFLUXDB['URL'] to where InfluxDB itself answers"),
        (Always(302, headers={"Location": "http://[::1"}), "redirects (302): set"),
    ],
)
def test_something_else_is_at_the_address(influx: Influx, says_so: str) -> None:
    found = asked(influx)
    assert verdicts(found) == [WRONG, UNKNOWN, UNKNOWN, UNKNOWN]
    assert says_so in found["address"].text
    assert found["bucket"].text == "Cannot be told: the address has to be right first."


@pytest.mark.parametrize("headers", [{}, {"WWW-Authenticate": "Basic realm=proxy"}])
def test_something_that_wants_a_token_before_it_says_what_it_is(headers: dict[str, str]) -> None:
    assert verdicts(asked(Always(401, b"", headers))) == [UNKNOWN, WRONG, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("influx", [Influx1(), Influx2()])
def test_a_path_too_many(influx: Influx) -> None:
    found = asked(influx, "/orgs/0a1b/load-data")
    assert verdicts(found)[0] is WRONG
    assert "but not under '/orgs/0a1b/load-data': set INFLUXDB['URL'] to 'http://127.0.0.1:" in found["address"].text


class Below(Influx2):
    """Behind a proxy, at a path of its own."""

    def answer(self, question: Any) -> Any:
        path = question.path
        below = path.startswith("/influx/")
        return super().answer(question._replace(path=path.removeprefix("/influx"))) if below else Always(404).answer(question)


def test_a_path_that_belongs_there() -> None:
    found = asked(Below(), "/influx")
    assert verdicts(found) == [OK, UNKNOWN, OK, OK]
    assert found["address"].text.endswith("/influx")


def test_what_is_in_a_url_and_does_not_belong_there() -> None:
    with serving(Influx2()) as server:
        found = looked(server.url.replace("://", "://me:hunter22@"))
        assert found["address"].text == (
            f"InfluxDB 2.7.10 at {server.url} (user name and password in INFLUXDB['URL'] are not sent)"
        )
        for url in ("://me:hunter22@", "://me:hunt/er22@", "://me:hunt?er22@", "://me:hunt#er22@"):
            texts = " ".join(one.text for one in looked(server.url.replace("://", url), timeout=2).values())
            assert "hunt" not in texts
            assert "er22" not in texts
        found = looked(server.url + "/?org=fleet")
        assert f"use the address alone, '{server.url}'" in found["address"].text
    assert "0815" not in check(InfluxDB("http://me:4711/0815@influxdb", "", "", "b"), resolver=unresolved)[0].text
    assert verdicts(looked("http://"))[0] is WRONG
    assert verdicts(looked("http://h:99999999"))[0] is WRONG


@pytest.fixture
def serve() -> Iterator[Callable[[Script], ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("script", "says_so"),
    [
        (hangs, "No whole answer from"),
        (drips(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), "No whole answer from"),
        (drips(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"), "No whole answer from"),
        (says(b""), "ended the connection unanswered"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "is not HTTP"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"), "breaks off"),
    ],
)
def test_connections_that_lead_to_nothing(serve: Callable[[Script], ScriptedServer], script: Script, says_so: str) -> None:
    found = looked(f"http://127.0.0.1:{serve(script).port}", timeout=0.5)
    assert verdicts(found) == [WRONG, UNKNOWN, UNKNOWN, UNKNOWN]
    assert says_so in found["address"].text


def test_a_body_without_an_end_is_read_to_a_bound() -> None:
    huge = b"x" * (MAX_BODY_BYTES + 10)
    assert "No InfluxDB answers" in asked(Always(200, huge))["address"].text


def test_hosts_that_are_not_reached(serve: Callable[[Script], ScriptedServer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "is refused" in looked(f"http://127.0.0.1:{port}")["address"].text
    server = serve(says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
    server.needs_head = False
    text = looked(f"https://127.0.0.1:{server.port}")["address"].text
    assert f"set INFLUXDB['URL'] to 'http://127.0.0.1:{server.port}'" in text

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SELF_SIGNED)
    server = serve(says(b""))
    server.wrap = lambda connection: context.wrap_socket(connection, server_side=True)
    text = looked(f"https://127.0.0.1:{server.port}")["address"].text
    assert "is not accepted: self-signed certificate" in text

    found = check(InfluxDB("http://influxdb:8086", TOKEN, "o", "b"), resolver=unresolved)
    assert found[0].text == "The host of http://influxdb:8086 is not known: check the host name in INFLUXDB['URL']."


def test_a_server_that_stops_answering_half_way() -> None:
    class Dies(Influx2):
        def answer(self, question: Any) -> Any:
            return Always(503, b"<html>gone").answer(question) if question.path != "/ping" else super().answer(question)

    found = asked(Dies())
    assert verdicts(found) == [OK, UNKNOWN, UNKNOWN, UNKNOWN]
    assert "it answered 503 with a web page" in found["bucket"].text


def test_what_a_server_sends_is_shown_on_one_line_without_the_token() -> None:
    evil = Always(401, {"code": "unauthorized", "message": f"no\n\x1b[31m {TOKEN} " + "x" * 5000})
    assert verdicts(asked(evil))[1] is WRONG
    for length in range(150, 201):  # a token that is cut is one that is not found any more
        text = asked(Always(401, {"code": "unauthorized", "message": "x" * length + TOKEN}))["token"].text
        assert TOKEN[:4] not in text
    names = tuple(f"bucket-{number}\n" + "y" * 500 for number in range(90))
    text = asked(Influx2(buckets=names))["bucket"].text
    assert "and 85 more" in text
    assert text.endswith("Create it, or change INFLUXDB['BUCKET'].")
