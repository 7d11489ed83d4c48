"""InfluxDB 2 and InfluxDB Cloud: organisations, buckets, and tokens with permissions.

What the answers mean is taken from the source of InfluxDB 2.0 to 2.8 (tenant/, authorization/, authz.go): the list of buckets and
that of organisations are searched first and then reduced to what the token may read. So 404 says that there is none of that name,
whatever the token may read, and an empty list that there is one which it may not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from monitoring.collector.influxdb_check.asking import Answer, Server
from monitoring.collector.influxdb_check.findings import Finding, listed, missing, ok, unknown, wrong
from monitoring.collector.influxdb_check.identifying import Identity

_ID = re.compile("[0-9a-f]{16}")
_PAGE = "100"  # the most that a list gives at once


def findings(server: Server, identity: Identity) -> Iterator[Finding]:
    org, bucket = server.target.org, server.target.bucket
    cloud = "Cloud" in identity.name
    organisation = {} if cloud else _organisation(org)
    if not org and not cloud:
        yield from _without_organisation(server)
        return
    answer = _find_bucket(server, organisation, bucket)
    refused = _refused(server, answer)
    if refused:
        yield refused
        return
    found = _names(answer, "buckets")
    lacking = answer.words[:6] if answer.document.get("code") == "not found" else ""
    if lacking.startswith("org"):  # "organization name "..." not found"
        yield ok("token", f"{identity.name} knows it.")
        yield missing("organisation", "organisation", org, _seen(server, "orgs", {}))
    elif lacking == "bucket" or (cloud and lacking):  # "bucket "..." not found"
        yield from _without_bucket(server, identity, organisation)
    elif answer.status != 200 or found is None:
        why = f"asked for the bucket, {answer.summary}."
        yield from (unknown(what, why) for what in ("token", "organisation", "bucket"))
    else:
        yield from _with_bucket(server, identity, organisation, next(iter(found.values()), {}))


def _organisation(org: str) -> dict[str, str]:
    """An id goes for a name, as it does when points are written."""
    return {"orgID": org} if _ID.fullmatch(org) else {"org": org}


def _find_bucket(server: Server, organisation: dict[str, str], bucket: str) -> Answer:
    """The list of buckets of that name, or the first answer that says why there is none."""
    if "orgID" in organisation or _ID.fullmatch(bucket):  # with an id, the list does not tell whether the organisation is there
        answer = server.get("/api/v2/orgs", organisation)
        if answer.status != 200:
            return answer
    if _ID.fullmatch(bucket):  # first an id, then a name, as it is when points are written
        answer = server.get("/api/v2/buckets", {**organisation, "id": bucket})
        if answer.status != 404:
            return answer
    return server.get("/api/v2/buckets", {**organisation, "name": bucket})


def _refused(server: Server, answer: Answer) -> Finding | None:
    """The finding about a token that opens nothing. One that only lacks a permission is told of with "... is unauthorized"."""
    if answer.status not in (401, 403) or answer.is_html or answer.words.endswith("is unauthorized"):
        return None
    if answer.status == 401 and server.get("/api/v2/setup").document.get("allowed") is True:
        return wrong(
            "token", "This InfluxDB is not set up yet and so knows none: set it up first, on its page or by `influx setup`."
        )
    if not server.target.token:
        return wrong("token", f"InfluxDB wants one: set INFLUXDB['TOKEN']; {answer.summary}.")
    if answer.status == 401:
        return wrong("token", f"InfluxDB does not know it: check INFLUXDB['TOKEN']; {answer.summary}.")
    if "inactive" in answer.words:
        return wrong("token", f"It is switched off, or its user is: activate it, or change INFLUXDB['TOKEN']; {answer.summary}.")
    return None


def _without_organisation(server: Server) -> Iterator[Finding]:
    answer = server.get("/api/v2/orgs", {"limit": _PAGE})
    refused = _refused(server, answer)
    if refused:
        yield refused
    names = _names(answer, "orgs") or {}
    seen = f" The token sees: {listed(list(names))}." if names else ""
    yield wrong("organisation", f"InfluxDB 2 wants one: set INFLUXDB['ORG'] to its name.{seen}")


def _without_bucket(server: Server, identity: Identity, organisation: dict[str, str]) -> Iterator[Finding]:
    bucket = server.target.bucket
    yield ok("token", f"{identity.name} knows it.")
    yield _organisation_is_there(server, identity)
    seen = _seen(server, "buckets", organisation)
    if "Cloud" in identity.name and not seen:  # its source is not public: the token may just not be allowed to see it
        yield unknown("bucket", f"the token sees no bucket at all. Is {bucket!r} right?")
    else:
        yield missing("bucket", "bucket", bucket, seen)


def _with_bucket(server: Server, identity: Identity, organisation: dict[str, str], details: dict[str, Any]) -> Iterator[Finding]:
    """The bucket was found; `details` are empty where the token may not read it."""
    bucket = server.target.bucket
    yield _token(server, identity, organisation, details)
    yield _organisation_is_there(server, identity)
    if details:
        yield ok("bucket", f"{bucket!r} is there.")
    elif "Cloud" in identity.name:
        yield unknown("bucket", f"the token may not see {bucket!r}, or it is not there.")
    else:
        yield ok("bucket", f"{bucket!r} is there; the token may not read it.")


def _organisation_is_there(server: Server, identity: Identity) -> Finding:
    if "Cloud" in identity.name:
        return ok("organisation", f"{identity.name} takes the token's own: INFLUXDB['ORG'] is not looked at.")
    return ok("organisation", f"{server.target.org!r} is there.")


def _token(server: Server, identity: Identity, organisation: dict[str, str], bucket: dict[str, Any]) -> Finding:
    """Whether it may write, as far as it may read its own permissions."""
    answer = server.get("/api/v2/authorizations", organisation)
    found = answer.document.get("authorizations")
    token = server.target.token
    own = [one for one in (found if isinstance(found, list) else []) if isinstance(one, dict) and one.get("token") == token]
    name = server.target.bucket
    allowed = _may_write(own[0], bucket) if own else None
    if allowed is None:
        return unknown("token", f"{identity.name} knows it; only writing tells whether it may write to {name!r}.")
    if allowed:
        return ok("token", f"{identity.name} knows it, and it may write to {name!r}.")
    return wrong("token", f"It may not write to {name!r}: give it write permission, or set INFLUXDB['TOKEN'] to one that has it.")


def _may_write(authorization: dict[str, Any], bucket: dict[str, Any]) -> bool | None:
    """By InfluxDB's own rule (Permission.Matches in its authz.go); None where the bucket's ids are not known and matter."""
    permissions = authorization.get("permissions")
    if not isinstance(permissions, list):
        return None
    open_question = False
    for one in permissions:
        resource = one.get("resource") if isinstance(one, dict) else None
        if not isinstance(resource, dict) or one.get("action") != "write":
            continue
        kind, org, identifier = resource.get("type"), resource.get("orgID"), resource.get("id")
        if kind == "instance" or (kind == "buckets" and not org and not identifier):
            return True
        if kind != "buckets":
            continue
        if not bucket:
            open_question = True
        elif (org and not identifier and org == bucket.get("orgID")) or (identifier and identifier == bucket.get("id")):
            return True
    return None if open_question else False


def _names(answer: Answer, what: str) -> dict[str, dict[str, Any]] | None:
    """What a list of /api/v2 has, by name; None where the answer is none."""
    found = answer.document.get(what)
    if not isinstance(found, list):
        return None
    return {str(one.get("name")): one for one in found if isinstance(one, dict)}


def _seen(server: Server, what: str, organisation: dict[str, str]) -> list[str]:
    """The names that the token may see, without InfluxDB's own buckets."""
    names = _names(server.get(f"/api/v2/{what}", {**organisation, "limit": _PAGE}), what) or {}
    return [name for name, one in names.items() if one.get("type") != "system"]
