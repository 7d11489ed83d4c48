"""Debian's Prometheus scrapes a watched service, and agrees with it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from monitoring import exposition, histogram, wire
from tests.live.load import Load
from tests.live.servers import free_port, requires, running, wait_for
from tests.live.test_workers import ITEM, gunicorn, serving

HOSTILE = ['/a"b', "/back\\slash", "/ünï/ço∂é 🐍", "/" + "x" * 10_000, "/line\nbreak", "/{brace}", "/a,b=c"]


@requires("promtool")
def test_promtool_finds_nothing_to_say():
    endpoints = [
        wire.EndpointMetrics("GET", wire.bounded_route(route), 2, 0.5, 0.3, {200: 1, 500: 1}, {-9: 2}) for route in HOSTILE
    ]
    document = wire.MetricsDocument("shop", {one.key: one for one in endpoints}, 1.5, 2, 1, 0)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition.to_prometheus(document), capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@requires("prometheus")
def test_prometheus_scrapes_the_same_numbers(tmp_path: Path):
    shop, shop_port = gunicorn("--workers=3")
    with serving(tmp_path, shop, shop_port) as server:
        Load(shop_port, threads=4, each=100).join()
        load = Load(shop_port, threads=4, each=3, path="/slow/?seconds=0.3")
        load.join()
        assert load.answered == 12
        counted = server.metrics()["metrics"]
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            f"scrape_configs: [{{job_name: shop, static_configs: [{{targets: ['127.0.0.1:{shop_port}']}}]}}]\n"
        )
        port = free_port()
        command = [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with running(command, tmp_path / "prometheus.log"):

            def ask(query: str) -> list[dict]:
                with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': query})}", timeout=30) as response:
                    return json.load(response)["data"]["result"]

            wait_for(lambda: ask("http_server_requests_total"), 60, "the first scrape")
            assert [one["value"][1] for one in ask("up")] == ["1"]
            for key, endpoint in counted.items():
                labels = f'http_request_method="{endpoint["method"]}",http_route="{endpoint["route"]}"'
                for code, count in endpoint["status_codes"].items():
                    (found,) = ask(f'http_server_requests_total{{{labels},http_response_status_code="{code}"}}')
                    assert int(found["value"][1]) == count, key
                (found,) = ask(f"http_server_request_duration_seconds_count{{{labels}}}")
                assert int(found["value"][1]) == endpoint["count"]
                (found,) = ask(f"http_server_request_duration_seconds_sum{{{labels}}}")
                assert float(found["value"][1]) == pytest.approx(endpoint["duration_sum"])
            for key in (ITEM, "GET/slow/"):
                buckets = {int(index): count for index, count in counted[key]["buckets"].items()}
                ours = histogram.quantile(buckets, 0.95)
                of_route = f'http_server_request_duration_seconds_bucket{{http_route="{counted[key]["route"]}"}}'
                (found,) = ask(f"histogram_quantile(0.95, {of_route})")
                assert power_of_two_above(float(found["value"][1])) == power_of_two_above(ours)


def power_of_two_above(seconds: float) -> float:
    """The upper bound of the bucket, of Prometheus' first one where it is shorter."""
    bound = 2.0**-10
    while bound < seconds * (1 - 1e-9):
        bound *= 2
    return bound
