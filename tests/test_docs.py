"""What the documentation promises is there, and what is there is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from monitoring import conf

SETTINGS_PAGE = (Path(__file__).resolve().parent.parent / "docs" / "settings.md").read_text(encoding="utf-8")
SOURCE = Path(conf.__file__).read_text(encoding="utf-8")
DECLARED = {name: item.check_id for name, item in vars(conf.Settings).items() if isinstance(item, conf.Setting)}


def rows() -> dict[str, str]:
    """Setting and check id of each row of the tables of settings."""
    return dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| `(monitoring\.[EW]\d{3})` \|$", SETTINGS_PAGE, re.MULTILINE))


def test_every_setting_is_documented_with_its_check_and_no_other() -> None:
    assert rows() == DECLARED


def test_a_check_id_belongs_to_one_setting() -> None:
    assert len(set(DECLARED.values())) == len(DECLARED)


@pytest.mark.parametrize("check_id", sorted(set(re.findall(r'"((?:monitoring\.)?[EW]\d{3})"', SOURCE))))
def test_every_check_id_is_documented(check_id: str) -> None:
    assert f"`monitoring.{check_id.removeprefix('monitoring.')}`" in SETTINGS_PAGE


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_the_default_that_is_documented_is_the_default(name: str) -> None:
    (shown,) = re.findall(rf"^\| `{name}` \| ([^|]*) \|", SETTINGS_PAGE, re.MULTILINE)
    default = getattr(conf.Settings, name).read(conf.conf, None)
    literal = re.match(r"`(.*?)`", shown)
    if literal is None:
        assert shown, "say in words what the default is"
    else:
        value = eval(literal[1], {"__builtins__": {}})
        if isinstance(value, dict):  # as it would be written into the settings
            value = getattr(conf.Settings, name).read(conf.conf, value)
        assert (tuple(value) if isinstance(value, list) else value) == default
