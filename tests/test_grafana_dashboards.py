"""The dashboards' files: identity, geometry, and the names by which they know each other and their data sources."""

from __future__ import annotations

import re
from itertools import chain, combinations
from typing import Any

import pytest
import yaml
from django.urls import reverse

from tests.grafana.dashboards import DASHBOARDS, FOLDER

SOURCES = {
    source["uid"]: source
    for source in yaml.safe_load((FOLDER / "provisioning/datasources/monitoring.yaml").read_text(encoding="utf-8"))["datasources"]
}
UIDS = {dashboard["uid"] for dashboard in DASHBOARDS.values()}

each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())


def sources_in(value: Any) -> list[dict[str, str]]:
    """Every data source that is named anywhere."""
    if isinstance(value, list):
        return list(chain.from_iterable(map(sources_in, value)))
    if not isinstance(value, dict):
        return []
    own = [value["datasource"]] if "datasource" in value else []
    return own + list(chain.from_iterable(map(sources_in, value.values())))


def test_uids_and_titles_are_unique() -> None:
    assert DASHBOARDS.keys() == {"fleet", "service", "trace", "collector"}
    assert {f"monitoring-{name}" for name in DASHBOARDS} == UIDS
    assert len({dashboard["title"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


@each_dashboard
def test_panel_ids_are_unique(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)


@each_dashboard
def test_no_panel_overlaps_another_or_leaves_the_grid(dashboard: dict[str, Any]) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard["panels"]]
    for title, place in places:
        assert place["x"] >= 0, title
        assert place["x"] + place["w"] <= 24, title
        assert min(place["y"], place["w"] - 1, place["h"] - 1) >= 0, title
    for (first, a), (second, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{first} overlaps {second}"


@each_dashboard
def test_every_data_source_is_provisioned(dashboard: dict[str, Any]) -> None:
    named = sources_in(dashboard)
    assert named
    for source in named:
        assert SOURCES[source["uid"]]["type"] == source["type"]


@each_dashboard
def test_every_panel_says_its_title_and_its_unit(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"]


@each_dashboard
def test_links_lead_to_dashboards_and_variables_that_are_there(dashboard: dict[str, Any]) -> None:
    text = str(dashboard)
    assert set(re.findall(r"/d/([\w-]+)", text)) <= UIDS
    for uid, query in re.findall(r"/d/([\w-]+)\?([^'\"]*)", text):
        (target,) = (other for other in DASHBOARDS.values() if other["uid"] == uid)
        assert set(re.findall(r"var-(\w+)=", query)) <= {variable["name"] for variable in target["templating"]["list"]}


def test_a_trace_id_in_a_log_line_leads_to_its_trace() -> None:
    fields = SOURCES["monitoring-loki"]["jsonData"]["derivedFields"]
    assert len({field["name"] for field in fields}) == len(fields)
    assert {(field["matcherType"], field["matcherRegex"]) for field in fields} == {("label", "trace_id")}
    assert (
        fields[0]["url"] == "/d/monitoring-trace?var-trace_id=$${__value.raw}"
    )  # $$: Grafana would take one for the environment's
    assert {variable["name"] for variable in DASHBOARDS["trace"]["templating"]["list"]} >= {"trace_id"}


def test_a_trace_id_in_a_log_line_leads_to_the_monitor() -> None:
    url = SOURCES["monitoring-loki"]["jsonData"]["derivedFields"][1]["url"]
    page = reverse("monitoring:traces")
    assert url == f"$MONITOR_URL{page}?trace_id=$${{__value.raw}}"


def test_influxdb_is_asked_in_influxql() -> None:
    influxdb = SOURCES["monitoring-influxdb"]
    assert influxdb["jsonData"]["version"] == "InfluxQL"
    mapping = (FOLDER / "influxdb/map-database.sh").read_text(encoding="utf-8")
    assert f"--db {influxdb['jsonData']['dbName']} " in mapping


def test_the_trace_has_a_panel_for_each_service_side_by_side() -> None:
    panel = DASHBOARDS["trace"]["panels"][0]
    assert (panel["repeat"], panel["repeatDirection"], panel["maxPerRow"]) == ("service", "h", 4)
