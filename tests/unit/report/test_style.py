"""The style sheet's colours, held to WCAG 2.2 AA."""

import re
from pathlib import Path

import pytest

import device_bench.report

STYLE = (Path(device_bench.report.__file__).parent / "style.css").read_text(encoding="utf-8")
TEXT_ON = [
    ("ink", "page"), ("ink", "surface"), ("ink", "tint"), ("soft", "page"), ("soft", "surface"),
    ("soft", "tint"), ("accent", "page"), ("accent", "surface"), ("accent", "tint"),
    ("surface", "accent"), ("warn", "warn-tint"), ("bad", "bad-tint"), ("bad", "surface"),
]  # fmt: skip


def palettes() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name, block in (("light", light), ("dark", dark))
    }


def luminance(colour: str) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_text_can_be_read(scheme: str, text: str, ground: str) -> None:
    palette = palettes()[scheme]
    assert contrast(palette[text], palette[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_of_charts_stand_out(scheme: str) -> None:
    palette = palettes()[scheme]
    assert contrast(palette["accent"], palette["surface"]) >= 3
    assert contrast(palette["mark"], palette["surface"]) >= 2.8


def test_nothing_is_loaded() -> None:
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "</" not in STYLE  # would end the style element early
