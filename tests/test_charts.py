from __future__ import annotations

import re
from xml.etree import ElementTree

from monitoring.dashboard import charts


def shapes(markup: str, name: str) -> list[dict[str, str]]:
    return [dict(element.attrib) for element in ElementTree.fromstring(markup).iter(name)]


def test_a_line_reaches_from_the_ground_to_the_top() -> None:
    (line,) = shapes(charts.line([0.0, 5.0, 10.0], "three"), "polyline")
    heights = [float(point.split(",")[1]) for point in line["points"].split()]
    assert heights == [59.0, 31.0, 3.0]


def test_what_is_unknown_is_a_gap_and_a_single_value_is_seen() -> None:
    lines = shapes(charts.line([1.0, 2.0, None, 3.0, None], "gaps"), "polyline")
    assert len(lines) == 2
    assert len(set(lines[1]["points"].split())) == 2


def test_nothing_known_and_nothing_but_zeros() -> None:
    assert shapes(charts.line([], "none"), "polyline") == []
    assert shapes(charts.line([None, None], "none"), "polyline") == []
    assert "nan" not in charts.line([0.0, 0.0], "zeros")


def test_errors_are_seen_however_few() -> None:
    bars = shapes(charts.line([1.0, 1.0, 1.0], "errors", [0.0001, None, 0.5]), "rect")
    assert [float(bar["height"]) for bar in bars] == [2.5, 30.0]


def test_labels_are_escaped_and_nothing_is_inline() -> None:
    markup = charts.line([1.0], '<b>"x"</b>')
    assert "<b>" not in markup
    assert not re.search(r"style|onload", markup)


def test_shares_are_in_proportion() -> None:
    parts = shapes(charts.share_bar({"s2": 75, "s5": 25}, "answers"), "rect")
    assert [(part["class"], part["width"]) for part in parts] == [("s2", "75.00"), ("s5", "25.00")]
    assert shapes(charts.share_bar({}, "none"), "rect") == []
