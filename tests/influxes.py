"""Servers that answer questions as those do that take /api/v2/write. What they answer is taken from their sources or from running
them: InfluxDB 2.7 (tenant/, authorization/), 1.8 (services/httpd, coordinator), 3.9 (influxdb3_server), VictoriaMetrics 1.79."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

TOKEN = "s3cret-t0ken=="
ORG_ID, BUCKET_ID = "00000000000000aa", "00000000000000bb"


class Question(NamedTuple):
    path: str
    parameters: dict[str, str]
    token: str


class Reply(NamedTuple):
    status: int
    body: Any = b""
    headers: Mapping[str, str] = {}


class Influx(Protocol):
    def answer(self, question: Question) -> Reply: ...


def says(status: int, code: str, message: str) -> Reply:
    """An error of InfluxDB 2."""
    return Reply(status, {"code": code, "message": message})


@dataclass
class Influx2:
    """One organisation, `fleet`, and one token. The lists are searched first and then reduced to what the token may read."""

    version: str = "v2.7.10"
    token: str = TOKEN
    buckets: tuple[str, ...] = ("metrics", "other")
    reads: bool = True
    """Buckets and its organisation."""
    permissions: list[dict[str, Any]] | None = None
    """Those that it may read of itself."""
    set_up: bool = True
    build: str = "OSS"

    def answer(self, question: Question) -> Reply:
        headers = {"X-Influxdb-Build": self.build} | ({"X-Influxdb-Version": self.version} if self.version else {})
        return self._answer(*question)._replace(headers=headers)

    def _answer(self, path: str, parameters: dict[str, str], token: str) -> Reply:
        if path == "/ping":
            return Reply(204)
        if path == "/api/v2/setup":
            return Reply(200, {"allowed": not self.set_up})
        if not path.startswith("/api/"):
            return Reply(200, b"<!doctype html><html>the page of InfluxDB</html>")
        if token != f"Token {self.token}":
            return says(401, "unauthorized", "unauthorized access")
        if path == "/api/v2/orgs":
            return self._orgs(parameters)
        if parameters.get("org", "fleet") != "fleet":
            return says(404, "not found", f'organization name "{parameters["org"]}" not found')
        if path == "/api/v2/buckets":
            return self._buckets(parameters)
        own = {"token": self.token, "permissions": self.permissions}
        return Reply(200, {"authorizations": [] if self.permissions is None else [{"token": "another's"}, own]})

    def _orgs(self, parameters: dict[str, str]) -> Reply:
        if parameters.get("org", "fleet") != "fleet":
            return says(404, "not found", f'organization name "{parameters["org"]}" not found')
        if parameters.get("orgID", ORG_ID) != ORG_ID:
            return says(404, "not found", "organization not found")
        return Reply(200, {"orgs": [{"id": ORG_ID, "name": "fleet"}] if self.reads else []})

    def _buckets(self, parameters: dict[str, str]) -> Reply:
        if parameters.get("id", BUCKET_ID) != BUCKET_ID:
            return says(404, "not found", "bucket not found")
        name = parameters.get("name")
        if name is not None and name not in self.buckets:
            return says(404, "not found", f'bucket "{name}" not found')
        found = [one for one in self.buckets if name in (None, one)]
        listed = [{"id": BUCKET_ID, "orgID": ORG_ID, "name": one, "type": "user"} for one in found]
        system = {"id": "1", "orgID": ORG_ID, "name": "_monitoring", "type": "system"}
        return Reply(200, {"buckets": [*listed, *([] if name else [system])] if self.reads else []})


@dataclass
class Influx1:
    """With users, each with what it may do in the database `metrics`: READ, WRITE, ALL, nothing, or it is an ADMIN."""

    version: str = "1.8.10"
    users: Mapping[str, str] | None = None
    """By "user:password"; None: no authentication is asked for."""

    def answer(self, question: Question) -> Reply:
        headers = {"X-Influxdb-Version": self.version, "X-Influxdb-Build": "OSS"}
        return self._answer(*question)._replace(headers=headers)

    def _answer(self, path: str, parameters: dict[str, str], token: str) -> Reply:
        if path == "/ping":
            return Reply(204)
        if path != "/query":
            return Reply(404, b"404 page not found")
        rights = "ADMIN"
        if self.users is not None:
            scheme, _, user = token.partition(" ")
            if scheme != "Token" or ":" not in user:
                return Reply(401, {"error": "unable to parse authentication credentials"})
            if user not in self.users:
                return Reply(401, {"error": "authorization failed"})
            rights = self.users[user]
        return self._query(parameters["q"], rights)

    def _query(self, query: str, rights: str) -> Reply:
        if query == "SHOW DATABASES":
            names = {"ADMIN": ["_internal", "metrics", "other"], "": []}.get(rights, ["metrics"])
            return _column("name", names)
        if query.startswith("SHOW GRANTS FOR "):
            return _column("database", []) if rights == "ADMIN" else Reply(403, {"error": "error authorizing query: admin only"})
        assert query == 'SHOW RETENTION POLICIES ON "metrics"', query
        if rights not in ("ADMIN", "READ", "ALL"):
            return Reply(403, {"error": "error authorizing query: requires READ on metrics"})
        return _column("name", ["autogen", "one_year"])


def _column(name: str, values: list[str]) -> Reply:
    series = {"columns": [name], **({"values": [[value] for value in values]} if values else {})}
    return Reply(200, {"results": [{"statement_id": 0, "series": [series]}]})


@dataclass
class Influx3:
    product: str = "InfluxDB 3 Core"
    token: str | None = TOKEN
    databases: tuple[str, ...] = ("_internal", "metrics", "other")
    lists: bool = True

    def answer(self, question: Question) -> Reply:
        if self.token is not None and question.token != f"Token {self.token}":
            body = {"error": "the request was not authenticated"}
            return Reply(401, body, {"cluster-uuid": "4f6b"})
        if question.path == "/ping":
            ping = {"product_name": self.product, "version": "3.9.6", "revision": "abc", "process_id": "1"}
            return Reply(200, ping, {"X-Influxdb-Version": "3.9.6", "X-Influxdb-Build": "Core"})
        assert question.path == "/api/v3/configure/database", question
        assert question.parameters == {"format": "json"}
        return Reply(200, [{"iox::database": name} for name in self.databases]) if self.lists else Reply(403, b"")


@dataclass
class VictoriaMetrics:
    prefix: str = ""
    locked: bool = False

    def answer(self, question: Question) -> Reply:
        headers = {"X-Server-Hostname": "vm"}
        path = question.path
        if path == "/ping":
            return Reply(204, headers=headers)
        if self.locked:
            return Reply(401, b"", {**headers, "WWW-Authenticate": 'Basic realm="VictoriaMetrics"'})
        if path == f"{self.prefix}/query":
            return _column("name", ["_internal"])._replace(headers={**headers, "X-Influxdb-Version": "1.8.0"})
        if path == "/metrics":
            version = 'vm_app_version{version="victoria-metrics-2024-tags-v1.99.0-0", short_version="v1.99.0"} 1'
            return Reply(200, f"vm_a 1\n{version}\n".encode(), headers)
        return Reply(400, f'remoteAddr: "1"; unsupported path requested: "{path}"'.encode(), headers)


@dataclass
class Always:
    """Something else, which answers everything alike."""

    status: int
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, question: Question) -> Reply:
        return Reply(self.status, self.body, self.headers)


class Serving(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, influx: Influx) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.influx = influx
        self.questions: list[Question] = []
        self.strange: list[str] = []
        """Requests that are not a GET; a test fails where there is one."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Serving

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        question = Question(parts.path, dict(parse_qsl(parts.query)), self.headers.get("Authorization", ""))
        self.server.questions.append(question)
        status, body, headers = self.server.influx.answer(question)
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _refuse(self) -> None:
        self.server.strange.append(self.requestline)
        self.send_error(500)

    do_POST = do_PUT = do_PATCH = do_DELETE = _refuse

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the base class's name)
        pass


@contextmanager
def serving(influx: Influx) -> Iterator[Serving]:
    server = Serving(influx)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not server.strange
    assert not any(question.path.endswith("/write") for question in server.questions)
