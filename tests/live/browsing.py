"""What tests of the pages ask of a real browser; its fixtures are in conftest.py."""

from __future__ import annotations

from typing import Any

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def fits(page: Any) -> bool:
    """Whether nothing makes the page wider than the screen."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const paint = (...colours) => {  // the colours over each other, as luminance
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join("");
    if (!text || !element.checkVisibility() || element.closest(".hidden-text, .skip, svg")) continue;
    const grounds = [];
    for (let e = element; e; e = e.parentElement) grounds.unshift(getComputedStyle(e).backgroundColor);
    const ground = paint(...grounds), ink = paint(...grounds, getComputedStyle(element).color);
    const contrast = (Math.max(ground, ink) + .05) / (Math.min(ground, ink) + .05);
    if (contrast < 4.5) poor.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return poor;
}"""
"""Texts with a contrast below 4.5 (WCAG AA) to the ground that is drawn under them."""
