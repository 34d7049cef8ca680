import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from android_harness.evidence import Fidelity
from device_bench.report import words
from device_bench.report.html import render_index, render_phone
from device_bench.report.model import Phone, Report
from tests.unit.report import sample_reports as samples

VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Outline(HTMLParser):
    """Tags, attributes and text of a page; ends with every element closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def attributes(self, name: str) -> list[str]:
        return [
            value or "" for _, found in self.tags for key, value in found.items() if key == name
        ]

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def outlines(pages: dict[str, str]) -> dict[str, Outline]:
    return {slug: Outline(page) for slug, page in pages.items()}


def page_of(phone: Phone) -> str:
    return render_phone(samples.report(phone), phone)


def test_no_page_runs_or_loads_anything(outlines: dict[str, Outline]) -> None:
    for outline in outlines.values():
        assert {tag for tag, _ in outline.tags}.isdisjoint(
            {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use", "image"}
        )
        assert not [k for _, found in outline.tags for k in found if k.startswith("on")]
        assert not outline.attributes("style")
        assert not outline.attributes("src")


def test_no_page_points_elsewhere(outlines: dict[str, Outline], report: Report) -> None:
    pages = {"index.html", *(f"{phone.slug}.html" for phone in report.phones)}
    for outline in outlines.values():
        for target in outline.attributes("href"):
            assert target.startswith("#") or target in pages


def test_no_address_is_outside_of_text(pages: dict[str, str]) -> None:
    for page in pages.values():
        tags = "".join(re.findall(r"<[^>]*>", page))
        # a region's label may hold a name; everything else is ours
        ours = re.sub(r'aria-label="[^"]*"', "", tags)
        assert "//" not in ours
        assert "url(" not in re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0]


def test_hostile_text_is_only_text(pages: dict[str, str]) -> None:
    page = pages["hostile"]
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert 'alert("x")</' not in page


def test_hostile_text_stays_readable(outlines: dict[str, Outline]) -> None:
    assert '<script>alert("x")</ script>' in outlines["hostile"].text


def test_the_policy_allows_the_one_style_sheet_only(pages: dict[str, str]) -> None:
    for page in pages.values():
        policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
        assert len(policy) == 1
        assert policy[0].startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy[0]


def test_every_id_is_unique_and_every_link_lands(outlines: dict[str, Outline]) -> None:
    for outline in outlines.values():
        ids = outline.attributes("id")
        assert len(ids) == len(set(ids))
        inner = {target[1:] for target in outline.attributes("href") if target.startswith("#")}
        assert inner <= set(ids)
        assert set(outline.attributes("aria-labelledby")) <= set(ids)


def test_headings_go_down_one_level_at_a_time(outlines: dict[str, Outline]) -> None:
    for outline in outlines.values():
        levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))


def test_every_header_cell_has_a_scope(outlines: dict[str, Outline]) -> None:
    for outline in outlines.values():
        assert all(found.get("scope") for found in outline.named("th"))


def test_every_scroll_box_takes_the_keyboard_and_has_a_name(outlines: dict[str, Outline]) -> None:
    for outline in outlines.values():
        boxes = [a for a in outline.named("div") if a.get("class") == "scroll"]
        assert boxes
        for box in boxes:
            assert box["tabindex"] == "0"
            assert box["role"] == "region"
            assert box.get("aria-labelledby") or box.get("aria-label")


def test_every_chart_says_what_it_shows(outlines: dict[str, Outline]) -> None:
    charts = outlines["google-pixel-8"].named("svg")
    assert len(charts) == 5
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


@pytest.mark.parametrize("slug", ["google-pixel-8", "virtual-container-x86-64", "hostile"])
def test_every_table_of_latency_names_its_evidence(
    pages: dict[str, str], report: Report, slug: str
) -> None:
    phone = next(p for p in report.phones if p.slug == slug)
    tables = re.findall(r"<table.*?</table>", pages[slug], re.DOTALL)
    timed = [table for table in tables if "µs" in table or f"{chr(160)}ms" in table]
    assert len(timed) >= 2 * len(phone.recipes)
    for table in timed:
        assert words.badge(phone) in table


def test_every_chart_names_its_evidence(pages: dict[str, str], report: Report) -> None:
    for phone in report.phones:
        for figure in re.findall(r"<figure.*?</figure>", pages[phone.slug], re.DOTALL):
            assert words.badge(phone) in figure


@pytest.mark.parametrize("fidelity", list(Fidelity))
def test_every_kind_of_phone_says_what_its_numbers_mean(fidelity: Fidelity) -> None:
    recipe = samples.recipe(samples.CNN[:1], chosen=None)
    phone = samples.phone("A phone", "a-phone", fidelity, recipes=(recipe,))
    said = Outline(render_index(samples.report(phone))).text
    assert words.badge(phone) in said
    assert words.index_trust(fidelity) in said


def test_the_answer_comes_before_every_table(outlines: dict[str, Outline], report: Report) -> None:
    said = outlines["google-pixel-8"].text
    headline = report.phones[0].recipes[0].answer.headline
    assert said.index(headline) < said.index("Variants")


def test_the_chosen_variant_is_marked_everywhere(pages: dict[str, str]) -> None:
    page = pages["google-pixel-8"]
    assert len(re.findall(r'<tr[^>]*class="chosen', page)) == 4 + samples.BLOCKS
    assert page.count("channels40_int8 ✓") == 5  # once a chart


def test_what_is_missing_shows_a_dash_and_its_reason_as_text(
    outlines: dict[str, Outline], pages: dict[str, str]
) -> None:
    said = outlines["virtual-container-x86-64"].text
    assert "the weights are random" in said
    assert "a container has no battery and no thermal sensors" in said
    marks = re.findall(r'<a href="#(r\d-note-\d)"', pages["google-pixel-8"])
    assert marks
    assert re.search(rf'<li id="{marks[0]}">every attempt failed</li>', pages["google-pixel-8"])


def test_energy_that_was_not_measured_says_why(outlines: dict[str, Outline]) -> None:
    assert f"Energy is not measured: {samples.NO_ENERGY}" in outlines["google-pixel-8"].text


def test_energy_has_a_column_when_one_variant_has_it() -> None:
    phone = samples.physical()
    recipe = phone.recipes[0]
    first = recipe.variants[0].model_copy(update={"energy_mwh": 0.0123, "energy_reason": None})
    recipe = recipe.model_copy(update={"variants": (first, *recipe.variants[1:])})
    said = Outline(page_of(phone.model_copy(update={"recipes": (recipe,)}))).text
    assert "0.0123 mWh" in said
    assert samples.NO_ENERGY in said


def test_random_weights_are_warned_of_once_a_recipe(outlines: dict[str, Outline]) -> None:
    assert outlines["virtual-container-x86-64"].text.count(samples.RANDOM_WEIGHTS) == 1


def test_a_warning_of_one_variant_names_it() -> None:
    recipe = samples.recipe(samples.CNN[:2], chosen=None)
    bad = recipe.variants[1].model_copy(update={"warnings": ("wrong outputs: 3 of 8 classes",)})
    recipe = recipe.model_copy(update={"variants": (recipe.variants[0], bad)})
    phone = samples.phone("A phone", "a-phone", Fidelity.PHONE, recipes=(recipe,))
    said = re.sub(r"(?<=[_(]) | (?=\))", "", Outline(page_of(phone)).text)
    assert "wrong outputs: 3 of 8 classes (base_int8)" in said


def test_time_of_an_emulated_processor_is_never_shown(pages: dict[str, str]) -> None:
    page = pages["virtual-emulated-arm64"]
    results = page[: page.index('id="state"')] + page[page.index('id="raw"') :]
    assert "µs" not in results
    assert f"{chr(160)}ms" not in results
    assert words.TIME_IS_NOT_LATENCY in page
    assert "no chart of latency" in page


def test_accuracy_that_is_not_known_turns_the_chart(pages: dict[str, str]) -> None:
    page = pages["virtual-container-x86-64"]
    assert "Accuracy on the phone against median latency" in page
    assert "File size against median latency" in page
    assert "Accuracy is not known, so the first chart shows size against latency" in page


def test_failures_show_their_kind_and_whether_they_were_tried_again(
    outlines: dict[str, Outline],
) -> None:
    said = outlines["google-pixel-8"].text
    assert "waited 94 s for 34 °C yes" in said
    assert "model the runner was ended by signal 9 (out of memory?) no" in said


def test_a_phone_without_a_result_says_so_first(outlines: dict[str, Outline]) -> None:
    said = outlines["samsung-galaxy-a15"].text
    assert "Nothing could be measured on this phone." in said
    assert "Measured on a real phone" not in said
    assert "has not authorized this computer" in said


def test_an_unfinished_bench_says_so(report: Report) -> None:
    whole = report.model_copy(update={"complete": True})
    assert "did not finish" in render_index(report)
    assert "did not finish" not in render_index(whole)


def test_threads_tell_two_runs_of_a_recipe_apart() -> None:
    recipe = samples.recipe(samples.CNN[:2], chosen=None)
    four = recipe.model_copy(update={"threads": 4})
    phone = samples.phone("A phone", "a-phone", Fidelity.PHONE, recipes=(recipe, four))
    assert "· 4 threads" in page_of(phone)


def test_an_index_groups_phones_by_evidence(outlines: dict[str, Outline]) -> None:
    said = outlines["index"].text
    physical, virtual = said.index("Physical phones"), said.index("Virtual phones")
    assert physical < said.index("Google Pixel 8") < virtual
    assert physical < said.index("Samsung Galaxy A15") < virtual
    assert virtual < said.index("deploy-bench virtual phone")
    assert "This computer, no phone" not in said


def test_an_index_without_phones_says_so() -> None:
    assert "nothing was measured" in Outline(render_index(samples.report())).text


def test_the_same_report_gives_the_same_bytes(report: Report, pages: dict[str, str]) -> None:
    again = Report.model_validate_json(report.model_dump_json())
    assert render_phone(again, again.phones[0]) == pages["google-pixel-8"]
    assert render_index(again) == pages["index"]


def test_the_phones_serial_is_nowhere(pages: dict[str, str]) -> None:
    assert "the serial itself is not in this report" in pages["google-pixel-8"]


def test_pages_stay_small(pages: dict[str, str]) -> None:
    assert max(len(page.encode()) for page in pages.values()) < 400_000
