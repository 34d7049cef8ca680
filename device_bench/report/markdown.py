"""The report as Markdown, for a job's summary: the answer first, one small table a recipe.

Text of phones, models and logs is data here: in a table or a list it can neither open a tag, a
link or a code span nor start a row. The whole is bounded, because summaries that are too long
are dropped entirely (GitHub: 1 MiB a step).
"""

import re
from collections.abc import Iterator

from device_bench.report import numbers, words
from device_bench.report.model import Answer, Phone, Recipe, Report, Variant

LARGEST_BYTES = 60_000
_CELL_CHARACTERS = 400  # a stack trace or a name of a page's length helps nobody here
_CUT = "\n\n*The summary is cut here; the pages and report.json hold the rest.*\n"
_ACTIVE = re.compile(r"([\\`*_{}\[\]#|~$@])")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def render_summary(report: Report) -> str:
    """The report in at most LARGEST_BYTES of UTF-8; phones that do not fit are counted."""
    return _bounded("\n".join(_lines(report)) + "\n")


def escape(text: str) -> str:
    """``text`` on one line with nothing in it that Markdown or HTML acts on."""
    line = _SPACE.sub(" ", text).strip()
    if len(line) > _CELL_CHARACTERS:
        line = f"{line[: _CELL_CHARACTERS - 1]}…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ACTIVE.sub(r"\\\1", line).replace("//", "/&#47;").replace("www.", "www&#46;")


def _bounded(text: str) -> str:
    if len(text.encode()) <= LARGEST_BYTES:
        return text
    room = LARGEST_BYTES - len(_CUT.encode())
    whole = text.encode()[:room].decode(errors="ignore")
    return whole.rpartition("\n")[0] + _CUT


def _lines(report: Report) -> Iterator[str]:
    yield f"# deploy-bench: {escape(report.bench)}"
    yield ""
    if not report.complete:
        yield "> **This bench did not finish.** Run the same command again to go on."
        yield ""
    if not report.phones:
        yield "No phone took part: nothing was measured."
    for phone in report.phones:
        yield from _phone(phone)


def _phone(phone: Phone) -> Iterator[str]:
    yield f"## {escape(phone.name)}"
    yield ""
    yield f"**{words.badge(phone)}.** {words.trust(phone)}"
    yield ""
    for text in phone.warnings:
        yield f"> **Warning:** {escape(text)}"
        yield ""
    if not phone.recipes:
        yield "Nothing could be measured on this phone."
        yield ""
    for recipe in phone.recipes:
        yield from _recipe(phone, recipe)
    yield from _failures(phone)


def _recipe(phone: Phone, recipe: Recipe) -> Iterator[str]:
    threads = f" · {recipe.threads} threads" if recipe.threads != 1 else ""
    yield f"### {escape(recipe.recipe)}{threads}"
    yield ""
    yield from _answer(recipe.answer)
    for text in dict.fromkeys(
        (*recipe.warnings, *(w for v in recipe.variants for w in v.warnings))
    ):
        yield f"> **Warning:** {escape(text)}"
        yield ""
    yield from _table(phone, recipe)


def _answer(answer: Answer) -> Iterator[str]:
    yield f"**{escape(answer.headline)}**"
    yield ""
    for reason in answer.detail:
        yield f"- {escape(reason)}"
    if answer.detail:
        yield ""


def _table(phone: Phone, recipe: Recipe) -> Iterator[str]:
    timed = phone.time_is_latency
    titles = [
        "Variant",
        "Size",
        *(["Median", "p99", "Speed-up", "First inference"] if timed else []),
    ]
    titles += ["Peak memory", "Accuracy", "Same as the host?"]
    yield f"| {' | '.join(titles)} |"
    yield f"|{':---|' + '---:|' * (len(titles) - 1)}"
    for variant in recipe.variants:
        yield f"| {' | '.join(_cells(variant, recipe, timed=timed))} |"
    yield ""
    for reason in _reasons(recipe):
        yield f"- {numbers.MISSING} {escape(reason)}"
    yield ""


def _cells(variant: Variant, recipe: Recipe, *, timed: bool) -> list[str]:
    times = _times(variant) if timed else []
    accuracy, memory = variant.accuracy_phone, variant.memory
    return [
        _name(variant, recipe),
        numbers.size(variant.bytes),
        *times,
        numbers.memory(memory.peak_kb) if memory else numbers.MISSING,
        f"{numbers.share(accuracy.value)} ({numbers.share_range(accuracy)})"
        if accuracy
        else numbers.MISSING,
        (words.parity(variant.parity[0]) if variant.parity else None) or numbers.MISSING,
    ]


def _name(variant: Variant, recipe: Recipe) -> str:
    name = escape(variant.variant)
    if variant.variant == recipe.answer.chosen:
        return f"**{name}** ✓"
    if variant.status != "ok":
        return f"{name} ({variant.status})"
    return f"{name} (baseline)" if variant.variant == recipe.baseline else name


def _times(variant: Variant) -> list[str]:
    none = numbers.MISSING
    latency, comparison, startup = variant.latency, variant.comparison, variant.startup
    compared = none
    if comparison:
        compared = f"{numbers.factor(comparison.speedup.value)} {comparison.verdict}"
    return [
        f"{numbers.duration(latency.p50_us.value)} ({numbers.duration_range(latency.p50_us)})"
        if latency
        else none,
        numbers.duration(latency.p99_us.value) if latency else none,
        compared,
        numbers.duration(startup.first_us) if startup else none,
    ]


def _reasons(recipe: Recipe) -> list[str]:
    """Every distinct reason for a value that is missing from the table, with whose it is."""
    found: dict[str, list[str]] = {}
    for variant in recipe.variants:
        pairs = [
            (variant.latency, variant.latency_reason, "latency"),
            (variant.accuracy_phone, variant.accuracy_phone_reason, "accuracy"),
        ]
        for value, reason, what in pairs:
            if value is None:
                found.setdefault(f"{what}: {reason or 'no reason was recorded'}", []).append(
                    variant.variant
                )
    everyone = len(recipe.variants)
    return [
        text if len(names) == everyone else f"{text} ({', '.join(names)})"
        for text, names in found.items()
    ]


def _failures(phone: Phone) -> Iterator[str]:
    failures = words.failures_of(phone)
    if not failures:
        return
    yield "**Failures and retries**"
    yield ""
    for who, failure in failures:
        again = ", tried again" if failure.retried else ""
        yield f"- {escape(who)} ({failure.kind.value}{again}): {escape(failure.message)}"
    yield ""
