"""The dashboards of grafana/, their queries, and what Grafana puts in the place of variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / "grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((FOLDER / "dashboards").glob("*.json"))
}


class Query(NamedTuple):
    dashboard: str
    name: str
    """The panel's title with the letter of its query, or `$` and the variable's name."""
    text: str


def targets() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Dashboard, panel and query, of every panel."""
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield name, panel, target


def influxql() -> list[Query]:
    found = [
        Query(name, f"{panel['title']} ({panel['type']}) {target['refId']}", target["query"])
        for name, panel, target in targets()
        if target["datasource"]["type"] == "influxdb"
    ]
    for name, dashboard in DASHBOARDS.items():
        found += [
            Query(name, f"${variable['name']}", variable["query"])
            for variable in dashboard["templating"]["list"]
            if variable["type"] == "query" and variable["datasource"]["type"] == "influxdb"
        ]
    return found


def escaped(value: str) -> str:
    """As Grafana escapes a value of a variable that has "All" (kbn.regexEscape)."""
    return re.sub(r"[\\^$*+?.()|\[\]{}/]", r"\\\g<0>", value)


def filled(query: str, start_ms: int, end_ms: int, interval_ms: int, variables: Mapping[str, str]) -> str:
    """The query as Grafana's backend sends it; fails where a variable is left over."""
    text = query.replace("$timeFilter", f"time >= {start_ms}ms and time <= {end_ms}ms")
    text = text.replace("$__interval_ms", str(interval_ms)).replace("$__interval", f"{interval_ms // 1000}s")
    for name, value in variables.items():
        text = re.sub(rf"\${name}\b", lambda _match, value=value: value, text)
    left = re.search(r"\$[a-z_{]", text)
    assert left is None, f"{left and left.group()} is left over in {text}"
    return text
