"""Pages: one self-contained HTML file a phone, and an index over phones.

A page loads nothing and runs nothing: no script, no remote address, one style sheet inside,
named by its hash in the content security policy. All text of phones, models and logs is
escaped by the template engine; only charts come in as markup, from a list of drawing elements.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, final

import jinja2
from markupsafe import Markup

from android_harness.evidence import Evidence
from device_bench.report import numbers, words
from device_bench.report.figures import baseline, key_figures, subject
from device_bench.report.model import Phone, Recipe, Report

_HERE = Path(__file__).parent


@final
@dataclass(slots=True, kw_only=True)
class Notes:
    """Reasons of missing values, numbered in the order a page needs them."""

    key: str
    reasons: list[str] = field(default_factory=list)

    def number(self, reason: str | None) -> int:
        """The number under which ``reason`` is printed below the table."""
        text = reason or "no reason was recorded"
        if text not in self.reasons:
            self.reasons.append(text)
        return self.reasons.index(text) + 1


def render_phone(report: Report, phone: Phone) -> str:
    """The page of one phone of ``report``: the answer first, then everything behind it."""
    from device_bench.report.charts.blocks import trace  # Altair: more than a second to import
    from device_bench.report.charts.recipe import charts_of

    charts = {f"r{n}": charts_of(phone, r, f"r{n}") for n, r in enumerate(phone.recipes, 1)}
    traces = {
        f"r{n}": trace(r, f"r{n}-trace") if phone.time_is_latency else None
        for n, r in enumerate(phone.recipes, 1)
    }
    return render("phone.html.j2", report=report, phone=phone, charts=charts, traces=traces)


def render_index(report: Report) -> str:
    """The page over all phones, grouped by the class of their evidence."""
    groups = [
        (words.EVIDENCE_TITLES[evidence], phones)
        for evidence in words.EVIDENCE_ORDER
        if (phones := _phones_of(report, evidence))
    ]
    return render("index.html.j2", report=report, groups=groups)


def _phones_of(report: Report, evidence: Evidence) -> list[Phone]:
    return [phone for phone in report.phones if phone.evidence is evidence]


def render(template: str, **context: Any) -> str:
    """A page from its template, in the house's style and under its policy."""
    return _templates().get_template(template).render(**context) + "\n"


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup(style), "style_hash": f"sha256-{digest}", "numbers": numbers,
        "words": words, "key_figures": key_figures, "subject": subject, "baseline_of": baseline,
        "Notes": Notes, "warnings_of": _warnings_of, "failures_of": words.failures_of,
        "as_json": _as_json, "instant": words.instant, "breakable": _breakable,
        "engines_of": _engines_of,
    }  # fmt: skip
    return environment


def _warnings_of(phone: Phone, recipe: Recipe) -> list[tuple[str, list[str]]]:
    """Each warning of a recipe's variants once, with the variants it is about."""
    found: dict[str, list[str]] = {text: [] for text in recipe.warnings}
    for variant in recipe.variants:
        for text in variant.warnings:
            if text not in recipe.warnings and text not in phone.warnings:
                found.setdefault(text, []).append(variant.variant)
    return list(found.items())


def _engines_of(recipe: Recipe) -> list[Any]:
    """The distinct proofs of what ran; one, unless variants ran differently."""
    return list(dict.fromkeys(v.proof for v in recipe.variants if v.proof is not None))


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _breakable(text: str) -> Markup:
    """``text``, escaped, that may break after the joints of a name and nowhere else."""
    return Markup("<wbr>").join(re.findall(r"[^_/]*[_/]?", text))
