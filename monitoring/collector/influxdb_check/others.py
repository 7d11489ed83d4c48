"""What else takes /api/v2/write: InfluxDB 1.8 and 3, VictoriaMetrics, and servers that do not say what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from monitoring.collector.influxdb_check.asking import Answer, Server
from monitoring.collector.influxdb_check.findings import (
    Finding,
    missing,
    not_there_yet,
    not_used,
    ok,
    unknown,
    wrong,
)
from monitoring.collector.influxdb_check.identifying import Identity, WrongAddressError

_NO_ORGANISATIONS = "has no organisations"


def version1(server: Server, identity: Identity) -> Iterator[Finding]:
    """InfluxDB 1: the bucket is "database" or "database/retention-policy", the token "user:password".

    SHOW statements are sent by GET, with which InfluxDB changes nothing. A user that is no admin is shown the databases that it
    may read or write, and their retention policies only where it may read (services/httpd and coordinator of InfluxDB 1.8).
    """
    if identity.version < (1, 8):
        raise WrongAddressError(f"{identity.name} at {server.address} has no /api/v2/write: it came with InfluxDB 1.8.")
    yield not_used("organisation", identity.name, _NO_ORGANISATIONS)
    database, _, policy = server.target.bucket.partition("/")
    without = server.get("/query", {"q": "SHOW DATABASES"}, with_token=False)
    unlocked = without.status == 200
    answer = without if unlocked else server.get("/query", {"q": "SHOW DATABASES"})
    databases = _column(answer, "name")
    if answer.status in (401, 403):
        yield _refused_by_version1(server, answer)
        return
    if databases is None:
        yield from (unknown(what, f"asked for its databases, {answer.summary}.") for what in ("token", "bucket"))
        return
    if not database:
        yield wrong("bucket", f"{server.target.bucket!r} names no database: use 'database' or 'database/retention-policy'.")
    elif database not in databases:
        yield missing("bucket", "database", database, [name for name in databases if name != "_internal"])
    if unlocked:
        yield ok("token", f"{identity.name} asks for none: INFLUXDB['TOKEN'] is not looked at.")
    if database not in databases:
        if not unlocked:
            yield ok("token", f"{identity.name} knows the user {_user(server)!r}.")
        return
    policies = server.get("/query", {"q": f"SHOW RETENTION POLICIES ON {_quoted(database)}"})
    yield _policy(server, database, policy, policies)
    if not unlocked:
        yield _may_write(server, identity, database, policies)


def _refused_by_version1(server: Server, answer: Answer) -> Finding:
    if not server.target.token:
        return wrong("token", f"InfluxDB wants a user: set INFLUXDB['TOKEN'] to 'user:password'; {answer.summary}.")
    if ":" not in server.target.token:
        return wrong("token", f"For InfluxDB 1 INFLUXDB['TOKEN'] is 'user:password', with a colon; {answer.summary}.")
    return wrong("token", f"InfluxDB does not let {_user(server)!r} in: check INFLUXDB['TOKEN']; {answer.summary}.")


def _policy(server: Server, database: str, policy: str, answer: Answer) -> Finding:
    names = _column(answer, "name")
    if not policy:
        return ok("bucket", f"The database {database!r} is there.")
    if names is None:
        return unknown("bucket", f"the database {database!r} is there, but the user may not see its retention policies.")
    if policy not in names:
        return missing("bucket", f"retention policy of the database {database!r} called", policy, names)
    return ok("bucket", f"The database {database!r} is there, with the retention policy {policy!r}.")


def _may_write(server: Server, identity: Identity, database: str, policies: Answer) -> Finding:
    user = _user(server)
    if policies.status == 403:  # it is shown the database, so it may read or write; and it may not read
        return ok("token", f"{identity.name} knows the user {user!r}, and it may write to {database!r}.")
    if server.get("/query", {"q": f"SHOW GRANTS FOR {_quoted(user)}"}).status == 200:
        return ok("token", f"{identity.name} knows the user {user!r}, an admin.")
    return unknown("token", f"the user {user!r} may read {database!r}, but only writing tells whether it may write to it.")


def version3(server: Server, identity: Identity) -> Iterator[Finding]:
    """InfluxDB 3 Core and Enterprise; Clustered and Cloud Dedicated as far as they answer. The bucket is a database."""
    yield not_used("organisation", identity.name, _NO_ORGANISATIONS)
    path, parameters = "/api/v3/configure/database", {"format": "json"}
    bucket = server.target.bucket
    without = server.get(path, parameters, with_token=False)
    unlocked = without.status == 200
    answer = without if unlocked else server.get(path, parameters)
    if answer.status == 401:
        wants = "does not know it: check INFLUXDB['TOKEN']" if server.target.token else "wants one: set INFLUXDB['TOKEN']"
        yield wrong("token", f"{identity.name} {wants}; {answer.summary}.")
        return
    listed = answer.value
    if answer.status != 200 or not isinstance(listed, list):
        yield from (unknown(what, f"asked for its databases, {answer.summary}.") for what in ("token", "bucket"))
        return
    if unlocked:
        yield ok("token", f"{identity.name} asks for none: INFLUXDB['TOKEN'] is not looked at.")
    elif "Core" in identity.name:  # all of its tokens are admins'
        yield ok("token", f"{identity.name} knows it, and it may write.")
    else:
        yield unknown("token", f"{identity.name} knows it; only writing tells whether it may write to {bucket!r}.")
    names = [str(one["iox::database"]) for one in listed if isinstance(one, dict) and "iox::database" in one]
    if bucket in names:
        yield ok("bucket", f"The database {bucket!r} is there.")
    else:
        others = [name for name in names if name != "_internal"]
        then = "InfluxDB 3 creates it with the first points, if the token may."
        yield not_there_yet("bucket", "database", bucket, others, then)


def victoria_metrics(server: Server, identity: Identity) -> Iterator[Finding]:
    """It takes what comes. Its path is right where it answers InfluxQL's SHOW DATABASES, beside which it takes points."""
    answer = server.get("/query", {"q": "SHOW DATABASES"})
    if answer.status in (401, 403):
        yield _locked(server, answer)
    elif answer.status != 200:
        yield wrong(
            "address",
            f"VictoriaMetrics is at {server.root}, but takes no points under {server.path or '/'!r}:"
            f" set INFLUXDB['URL'] to {server.root!r} or, for vminsert, to '…/insert/0/influx'; {answer.summary}.",
        )
        return
    else:
        yield ok("token", "VictoriaMetrics asks for none: INFLUXDB['TOKEN'] is not looked at.")
    yield not_used("organisation", "VictoriaMetrics", _NO_ORGANISATIONS)
    yield not_used("bucket", "VictoriaMetrics", "has no buckets")
    version = re.search(rb'vm_app_version\{[^}]*short_version="([\w.-]{1,40})"', server.get("/metrics").body)
    if version and answer.status == 200:
        yield ok("address", f"VictoriaMetrics {version[1].decode().removeprefix('v')} at {server.address}")


def locked(server: Server, identity: Identity) -> Iterator[Finding]:
    answer = server.get("/ping")
    yield unknown("address", f"what is at {server.address} does not say what it is without a token it knows ({answer.status}).")
    yield _locked(server, answer)


def _locked(server: Server, answer: Answer) -> Finding:
    if answer.headers.get("WWW-Authenticate", "").lower().startswith("basic"):
        return wrong(
            "token",
            f"{server.address} wants a user name and password (HTTP Basic), which is not sent: let it, or the proxy before it,"
            " ask for INFLUXDB['TOKEN'] instead, or for nothing from this machine.",
        )
    wants = "is not accepted" if server.target.token else "has to be set"
    return wrong("token", f"INFLUXDB['TOKEN'] {wants}; {answer.summary}.")


def _column(answer: Answer, name: str) -> list[str] | None:
    """One column of the only result of an InfluxQL query; None where there is none."""
    results = answer.document.get("results")
    series: Any = results[0].get("series") if isinstance(results, list) and results and isinstance(results[0], dict) else None
    try:
        position = series[0]["columns"].index(name)
        return [str(row[position]) for row in series[0].get("values", [])]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None


def _quoted(name: str) -> str:
    """An identifier of InfluxQL."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _user(server: Server) -> str:
    return server.target.token.partition(":")[0]
