from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import servers
from tests.live.postgresql import PostgreSQL, postgresql_server


@pytest.fixture(scope="session")
def victoria_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.VictoriaMetrics]:
    with servers.victoria_metrics_server(tmp_path_factory.mktemp("victoria-metrics")) as server:
        yield server


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Influxd]:
    with servers.influxd_server(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with postgresql_server() as server:
        yield server
