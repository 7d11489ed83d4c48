"""What real servers answer to the check: influxd 1.x with and without users, VictoriaMetrics at each of its paths."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from monitoring.collector.influxdb_check import Finding, Verdict, check
from monitoring.conf import InfluxDB
from tests.live.servers import (
    Influxd,
    VictoriaMetrics,
    free_port,
    influxd_server,
    requires,
    running,
    serving,
    started,
)

OK, WRONG, UNKNOWN = Verdict.OK, Verdict.WRONG, Verdict.UNKNOWN


def verdicts(found: list[Finding]) -> list[Verdict]:
    return [one.verdict for one in found]


class _AsVersion18(BaseHTTPRequestHandler):
    """What distinguishes 1.8 from Debian's 1.6 here: its version, and that user and password may come as a v2 token."""

    server: _AsVersion18Server

    def do_GET(self) -> None:
        headers = {}
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Token" and ":" in token:
            headers["Authorization"] = f"Basic {base64.b64encode(token.encode()).decode()}"
        try:
            with urlopen(Request(self.server.target + self.path, headers=headers), timeout=10) as response:
                status, answer = response.status, response.read()
        except HTTPError as error:
            status, answer = error.code, error.read()
        self.send_response(status)
        self.send_header("X-Influxdb-Version", "1.8.10")
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if status != 204:
            self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class's name)
        pass


class _AsVersion18Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _AsVersion18)
        self.target = target


def run(influxd: Influxd, statement: str, user: str = "") -> None:
    query = urlencode({"q": statement, **({"u": user.partition(":")[0], "p": user.partition(":")[2]} if user else {})})
    with urlopen(Request(f"{influxd.own_url}/query?{query}", method="POST"), timeout=10) as response:
        assert b"error" not in response.read()


@contextmanager
def as_version_18(influxd: Influxd) -> Iterator[str]:
    with serving(_AsVersion18Server(influxd.own_url)) as url:
        yield url


@requires("influxd")
def test_an_influxd_without_users(influxd: Influxd) -> None:
    run(influxd, r'CREATE DATABASE "fleet \"1\""')
    with as_version_18(influxd) as url:
        assert verdicts(check(InfluxDB(url, "any", "", 'fleet "1"/autogen'))) == [OK, OK, OK, OK]
        assert verdicts(check(InfluxDB(url, "", "", 'fleet "1"/autogne'))) == [OK, OK, OK, WRONG]
        found = check(InfluxDB(url, "", "", 'fleet "2"'))
        assert verdicts(found) == [OK, OK, OK, WRONG]
        assert "Should INFLUXDB['BUCKET'] be 'fleet \"1\"'?" in found[3].text
        found = check(InfluxDB(url + "/metrics/job", "", "", "fleet"))
        assert verdicts(found)[0] is WRONG
        assert f"set INFLUXDB['URL'] to '{url}'" in found[0].text
    found = check(InfluxDB(influxd.own_url, "", "", "fleet"))
    assert verdicts(found)[0] is WRONG
    assert "InfluxDB 1.6" in found[0].text
    names = [row["name"] for row in influxd.select("", "SHOW DATABASES")]
    assert 'fleet "2"' not in names  # nothing came to be by asking


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    folder = tmp_path_factory.mktemp("influxd-locked")
    with mock.patch.dict("os.environ", INFLUXDB_HTTP_AUTH_ENABLED="true"), influxd_server(folder) as influxd:
        run(influxd, "CREATE USER admin WITH PASSWORD 'pw' WITH ALL PRIVILEGES")
        run(influxd, "CREATE DATABASE fleet; CREATE DATABASE other", "admin:pw")
        for user, right in (("writer", "WRITE"), ("reader", "READ"), ("both", "ALL"), ("nobody", "")):
            run(influxd, f"CREATE USER {user} WITH PASSWORD 'pw'", "admin:pw")
            if right:
                run(influxd, f"GRANT {right} ON fleet TO {user}", "admin:pw")
        yield influxd


@requires("influxd")
@pytest.mark.parametrize(
    ("token", "bucket", "expected"),
    [
        ("admin:pw", "fleet/autogen", [OK, OK, OK, OK]),
        ("admin:pw", "fleet/none", [OK, OK, OK, WRONG]),
        ("writer:pw", "fleet", [OK, OK, OK, OK]),
        ("writer:pw", "fleet/autogen", [OK, OK, OK, UNKNOWN]),
        ("writer:pw", "other", [OK, OK, OK, WRONG]),
        ("reader:pw", "fleet", [OK, UNKNOWN, OK, OK]),
        ("both:pw", "fleet/autogen", [OK, UNKNOWN, OK, OK]),
        ("nobody:pw", "fleet", [OK, OK, OK, WRONG]),
        ("writer:wrong", "fleet", [OK, WRONG, OK, UNKNOWN]),
        ("colonless", "fleet", [OK, WRONG, OK, UNKNOWN]),
        ("", "fleet", [OK, WRONG, OK, UNKNOWN]),
    ],
)
def test_an_influxd_with_users(locked: Influxd, token: str, bucket: str, expected: list[Verdict]) -> None:
    with as_version_18(locked) as url:
        assert verdicts(check(InfluxDB(url, token, "", bucket))) == expected


@requires("victoria-metrics")
def test_victoria_metrics(victoria_metrics: VictoriaMetrics) -> None:
    for path in ("", "/", "/influx"):
        found = check(InfluxDB(victoria_metrics.url + path, "any", "any", "any"))
        assert verdicts(found) == [OK, OK, OK, OK]
        assert found[0].text.startswith("VictoriaMetrics")
    found = check(InfluxDB(f"{victoria_metrics.url}/influxdb", "", "", "any"))
    assert verdicts(found) == [WRONG, UNKNOWN, UNKNOWN, UNKNOWN]


@requires("victoria-metrics")
def test_a_victoria_metrics_that_wants_a_password(tmp_path: Path) -> None:
    address, log = f"127.0.0.1:{free_port()}", tmp_path / "log"
    command = ["victoria-metrics", f"-httpListenAddr={address}", f"-storageDataPath={tmp_path / 'data'}"]
    with running([*command, "-httpAuth.username=a", "-httpAuth.password=b"], log) as process:
        started(process, log, f"http://{address}/health")
        found = check(InfluxDB(f"http://{address}", "any", "", "any"))
    assert verdicts(found) == [OK, WRONG, OK, OK]
    assert "HTTP Basic" in found[1].text
