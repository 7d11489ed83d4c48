"""Settings: defaults, and bad values, which cost a check error and nothing else."""

from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import modify_settings, override_settings

from monitoring import conf as conf_module
from monitoring.checks import (
    check_access,
    check_exporters,
    check_middleware,
    check_settings,
    check_state_dir,
    check_time_zones,
    check_trace_log,
)
from monitoring.conf import conf

BAD = [
    ("SERVICE_NAME", "", "E002"),
    ("SERVICE_NAME", "a\nb", "E002"),
    ("ENABLED", "yes", "E003"),
    ("STATE_DIR", "relative/path", "E004"),
    ("METRICS_TOKEN", 123, "E005"),
    ("METRICS_TOKEN", "päss", "E005"),
    ("METRICS_PUBLIC", 1, "E006"),
    ("MAX_SERIES", 0, "E007"),
    ("MAX_SERIES", True, "E007"),
    ("EXCLUDE_PATHS", "/health", "E008"),
    ("EXCLUDE_PATHS", ["("], "E008"),
    ("EXCLUDE_PATHS", [3], "E008"),
    ("EXCLUDE_PATHS", [b"/healthz"], "E008"),
    ("EXCLUDE_PATHS", ["a{99999999999999999999}"], "E008"),
    ("EXCLUDE_PATHS", ["(" * 3000 + ")" * 3000], "E008"),
    ("STATE_DIR", "/tmp/\0", "E004"),
    ("STATE_DIR", "/tmp/\ud800", "E004"),
    ("TRACE_LOG", "trace.log", "E009"),
    ("TRACE_LOG_FORMAT", "xml", "E010"),
    ("TRACE_LOGS", "/var/log/trace/*.log", "E022"),
    ("TRACE_LOGS", ["trace/*.log"], "E022"),
    ("TRACE_LOGS", [None], "E022"),
    ("TRACE_LOGS", ["/var/log/\0"], "E022"),
    ("SAMPLE_RATE", 1.1, "E011"),
    ("SAMPLE_RATE", float("nan"), "E011"),
    ("TRUST_INCOMING", None.__class__, "E012"),
    ("PROPAGATE_TO", "example.com", "E013"),
    ("SLOW_SECONDS", 0, "E030"),
    ("SLOW_SECONDS", float("nan"), "E030"),
    ("SLOW_SECONDS", "1", "E030"),
    ("CAPTURE_SQL", "no", "E031"),
    ("CAPTURE_LOGS", "LOUD", "E032"),
    ("CAPTURE_LOGS", True, "E032"),
    ("CAPTURE_LOGS", 30, "E032"),
    ("EXPORTERS", "monitoring.instrument.exporters.FileExporter", "E033"),
    ("EXPORTERS", ["monitoring.instrument.exporters.FileExporter"], "E033"),
    ("EXPORTERS", [{"BACKEND": 3}], "E033"),
    ("EXPORTERS", [{"BACKEND": "a.B", "OPTIONS": 3}], "E033"),
    ("EXPORTERS", [{"BACKEND": "a.B", "OPTION": {}}], "E033"),
    ("INFLUXDB", "http://localhost", "E014"),
    ("INFLUXDB", {"URL": "localhost:8086", "BUCKET": "b"}, "E014"),
    ("INFLUXDB", {"URL": "http://localhost:8086"}, "E014"),
    ("INFLUXDB", {"URLS": "http://localhost:8086"}, "E014"),
    ("RETENTION", 14, "E017"),
    ("RETENTION", {"polls": 0}, "E017"),
    ("RETENTION", {"hours": 1.5}, "E017"),
    ("RETENTION", {"weeks": 2}, "E017"),
    ("RETENTION", {"ten_minutes": 91}, "E017"),
    ("DATABASE", "nowhere", "E018"),
    ("ALLOWED_TARGETS", "10.0.0.0/8", "E040"),
    ("ALLOWED_TARGETS", [], "E040"),
    ("ALLOWED_TARGETS", ["10.0.0.1/8"], "E040"),
    ("ALLOWED_TARGETS", ["http://shop/"], "E040"),
]


@pytest.mark.parametrize(("name", "value", "check_id"), BAD)
def test_a_bad_value_is_an_error_of_the_checks_and_counts_as_absent(name, value, check_id):
    with override_settings(MONITORING={}):
        default = getattr(conf, name)
    with override_settings(MONITORING={name: value}):
        (problem,) = check_settings()
        assert problem.id == f"monitoring.{check_id}"
        assert name in problem.msg
        assert problem.hint
        assert getattr(conf, name) == default


@pytest.mark.parametrize("value", [None, {}, {"METRICS_TOKEN": "", "INFLUXDB": {"URL": ""}, "TRACE_LOG": "-"}])
def test_what_is_fine_is_not_reported(value):
    with override_settings(MONITORING=value):
        assert check_settings() == []


def test_a_secret_is_not_in_the_error_about_it():
    with override_settings(MONITORING={"METRICS_TOKEN": "geheimnis ü"}):
        (problem,) = check_settings()
    assert "geheimnis" not in problem.msg + problem.hint


def test_settings_that_are_no_dict():
    with override_settings(MONITORING=["SERVICE_NAME"]):
        (problem,) = check_settings()
        assert problem.id == "monitoring.E001"
        assert conf.ENABLED is True


def test_an_unknown_setting_is_a_warning_that_names_the_likely_one():
    with override_settings(MONITORING={"SERVICENAME": "x"}):
        (problem,) = check_settings()
    assert problem.id == "monitoring.W001"
    assert "SERVICE_NAME" in problem.hint


def test_check_ids_are_unique():
    ids = [item.check_id for item in vars(conf_module.Settings).values() if isinstance(item, conf_module.Setting)]
    assert len(ids) == len(set(ids)) > 10


def test_a_management_command_stops_at_a_bad_setting():
    with override_settings(MONITORING={"SAMPLE_RATE": 2}), pytest.raises(SystemCheckError, match=r"monitoring\.E011"):
        call_command("check", tags=["monitoring"])


def test_the_service_is_named_after_the_project():
    with override_settings(MONITORING={}, ROOT_URLCONF="shop.urls"):
        assert conf.SERVICE_NAME == "shop"
    with override_settings(MONITORING={}, ROOT_URLCONF="urls"):
        assert conf.SERVICE_NAME == "django"


def test_the_logs_that_are_searched_are_the_services_own_unless_others_are_named():
    for log, logs in ((None, ()), ("-", ()), (Path("/var/log/trace.log"), ("/var/log/trace.log",))):
        with override_settings(MONITORING={"TRACE_LOG": log}):
            assert logs == conf.TRACE_LOGS
    with override_settings(MONITORING={"TRACE_LOG": "/var/log/trace.log", "TRACE_LOGS": []}):
        assert not conf.TRACE_LOGS
    with override_settings(MONITORING={"TRACE_LOGS": (Path("/var/log/a.log"), "/var/log/*.gz")}):
        assert conf.TRACE_LOGS == ("/var/log/a.log", "/var/log/*.gz")


def test_an_exporter_that_cannot_be_imported_is_an_error_of_the_checks():
    with override_settings(MONITORING={"EXPORTERS": [{"BACKEND": "monitoring.instrument.exporters.FileExporter"}]}):
        assert check_exporters() == []
    for backend in ("nowhere.Exporter", "monitoring.instrument.exporters.Nothing", "nodots"):
        with override_settings(MONITORING={"EXPORTERS": [{"BACKEND": backend}]}):
            (problem,) = check_exporters()
        assert problem.id == "monitoring.E034"
        assert backend in problem.msg


def test_no_logs_are_captured_where_that_is_off():
    with override_settings(MONITORING={"CAPTURE_LOGS": False}):
        assert conf.CAPTURE_LOGS is None
        assert check_settings() == []


def test_the_monitor_needs_time_zones():
    assert check_time_zones() == []
    with override_settings(USE_TZ=False):
        assert [problem.id for problem in check_time_zones()] == ["monitoring.E020"]
        with modify_settings(INSTALLED_APPS={"remove": ["monitoring"]}):
            assert check_time_zones() == []


def test_a_folder_that_cannot_serve_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.delattr("django.test.utils._TestState.saved_data")  # a real process, not a test run
    (tmp_path / "file").touch()
    state_dir, middleware = tmp_path / "file" / "state", ["monitoring.middleware.MetricsMiddleware"]
    with override_settings(MONITORING={"STATE_DIR": state_dir}, MIDDLEWARE=[]):
        assert check_state_dir() == []  # not measured
        with override_settings(MIDDLEWARE=middleware):
            assert [problem.id for problem in check_state_dir()] == ["monitoring.W002"]
    with override_settings(MONITORING={"STATE_DIR": state_dir, "ENABLED": False}, MIDDLEWARE=middleware):
        assert check_state_dir() == []


@override_settings(ROOT_URLCONF="tests.watched", MIDDLEWARE=[])
def test_metrics_that_nothing_counts_are_a_warning():
    assert [problem.id for problem in check_middleware()] == ["monitoring.W003"]
    with override_settings(MIDDLEWARE=["monitoring.middleware.MetricsMiddleware"]):
        assert check_middleware() == []
    with override_settings(ROOT_URLCONF="tests.does_not_exist"):
        assert check_middleware() == []


@override_settings(ROOT_URLCONF="tests.watched")
def test_metrics_that_nobody_can_read_are_a_warning_before_deployment():
    assert [problem.id for problem in check_access()] == ["monitoring.W004"]
    for opened in ({"METRICS_PUBLIC": True}, {"METRICS_TOKEN": "x"}):
        with override_settings(MONITORING=opened):
            assert check_access() == []


def test_a_trace_log_without_a_folder_is_a_warning(tmp_path):
    with override_settings(MONITORING={"TRACE_LOG": tmp_path / "missing" / "trace.log"}):
        (problem,) = check_trace_log()
        assert problem.id == "monitoring.W005"
        assert str(tmp_path / "missing") in problem.msg
    for fine in (tmp_path / "trace.log", "-", None):
        with override_settings(MONITORING={"TRACE_LOG": fine}):
            assert check_trace_log() == []
