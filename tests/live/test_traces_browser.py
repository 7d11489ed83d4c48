"""The page that finds traces, in a real browser: first sight, fit, contrast, policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from tests.history import make_service
from tests.live.browsing import CONTRAST, fits
from tests.live.servers import requires
from tests.tracelogs import OTHER, TRACE, line, write

pytestmark = [requires("chromium"), pytest.mark.django_db(transaction=True)]

TRACES = "/monitoring/traces/"


def failed_trace(folder: Path) -> override_settings:
    """A trace that failed two calls deep, in a hundred requests of which many have long paths; one caller is missing."""
    lines = [
        line(1, status=502, duration=2.5),
        line(2, 1, service="payments", status=500, duration=2.4, method="POST", path="/charges/"),
        line(3, 2, service="mail", status=503, duration=2.2),
        line(4, 99_999, service="stray" * 20, path="/" + "W" * 1500),
        *(line(n, 1 if n % 7 else n - 1, service="stock", path=f"/items/{n}" * (n % 9 + 1)) for n in range(5, 60)),
        *(line(n, n - 1, service="deep") for n in range(60, 100)),
    ]
    write(folder / "shop.log", *lines, line(1, trace_id=OTHER))
    (folder / "not-a-file.log").symlink_to(folder / "shop.log")
    return override_settings(MONITORING={"TRACE_LOGS": [f"{folder}/*.log"]})


def test_somebody_pastes_an_id_and_sees_what_failed(page: Any, tmp_path: Path) -> None:
    make_service("shop", timezone.now())
    with failed_trace(tmp_path):
        page.goto("/monitoring/")
        page.get_by_role("link", name="Traces").click()
        page.keyboard.type(f"  {TRACE.upper()} ")  # the field has the focus
        with page.expect_navigation():
            page.keyboard.press("Enter")
        headline = page.get_by_text("Failed in mail", exact=True)
        headline.wait_for()
        assert page.title().startswith("Failed in mail")
        assert "trace_id=" in page.url
        assert headline.bounding_box()["y"] < 500
        assert page.locator("table.spans tbody").count() == 99
        page.get_by_role("link", name="GET /process").click()
        row = page.locator("tbody", has_text="Failed here")
        assert -1 < row.bounding_box()["y"] < 844
        assert "mail" in row.inner_text()
        assert "503" in row.inner_text()
        page.get_by_role("link", name="shop", exact=True).first.click()
        page.get_by_role("link", name="Latest requests").click()
        page.get_by_role("heading", name="Latest requests of shop").wait_for()
        assert page.get_by_role("link", name="All services").is_visible()
        page.get_by_role("link", name="Failed", exact=True).click()
        page.locator("table.requests tbody").first.get_by_role("link").click()
        page.get_by_text("Failed in mail", exact=True).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_fits_and_can_be_read(page: Any, tmp_path: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    queries = ("", f"?trace_id={TRACE}", f"?trace_id={OTHER}", f"?trace_id={'9' * 32}", "?trace_id=" + "x" * 300, "?only=failed")
    with failed_trace(tmp_path):
        for width in (390, 1400):
            page.set_viewport_size({"width": width, "height": 900})
            for query in queries:
                page.goto(TRACES + query)
                assert fits(page), (width, query)
                assert page.evaluate(CONTRAST) == [], (width, query)
    page.goto(TRACES)  # without a log
    assert page.get_by_text("No trace log to search").is_visible()
    assert page.evaluate(CONTRAST) == []


def test_rows_do_not_overlap(page: Any, tmp_path: Path) -> None:
    with failed_trace(tmp_path):
        for width in (390, 1400):
            page.set_viewport_size({"width": width, "height": 900})
            for query in ("", f"?trace_id={TRACE}"):
                page.goto(TRACES + query)
                assert page.evaluate(OVERLAPS) == [], (width, query)


OVERLAPS = """() => {
  const found = [];
  const start = cell => cell.textContent.trim().slice(0, 40);
  for (const row of document.querySelectorAll("tbody tr")) {
    const cells = [...row.children].map(cell => [cell, cell.getBoundingClientRect()]);
    for (const [a, one] of cells) for (const [b, two] of cells) {
      const wide = Math.min(one.right, two.right) - Math.max(one.left, two.left);
      const high = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
      if (a !== b && wide > 1 && high > 1) found.push(`${start(a)} over ${start(b)}`);
      if (a.scrollHeight > one.height + 2) found.push(`${start(a)} leaves its cell`);
    }
  }
  return found;
}"""
