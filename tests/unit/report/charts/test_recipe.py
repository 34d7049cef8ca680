import re

import pytest

from device_bench.report.charts.blocks import trace
from device_bench.report.charts.drawing import LABEL_CHARACTERS, Axis, round_ticks, short
from device_bench.report.charts.recipe import charts_of
from device_bench.report.model import Phone
from tests.unit.report import sample_reports as samples


def titles(phone: Phone, number: int = 0) -> list[str]:
    return [chart.title for chart in charts_of(phone, phone.recipes[number], "r")]


def tooltips(svg: str) -> list[str]:
    return re.findall(r"<title>(.*?)</title>", svg)


def test_a_measured_recipe_has_every_chart() -> None:
    assert titles(samples.physical()) == [
        "Accuracy on the phone against median latency", "Latency block by block", "Peak memory",
        "Start-up",
    ]  # fmt: skip


def test_without_accuracy_size_takes_its_place() -> None:
    assert titles(samples.container(), 1)[0] == "File size against median latency"


def test_without_latency_no_chart_shows_time() -> None:
    assert titles(samples.emulated()) == ["Accuracy on the phone against file size", "Peak memory"]


def test_a_single_variant_has_nothing_to_be_compared_with() -> None:
    recipe = samples.recipe(samples.CNN[:1], chosen=None)
    phone = samples.physical().model_copy(update={"recipes": (recipe,)})
    assert titles(phone) == ["Latency block by block", "Peak memory", "Start-up"]


def test_nothing_measured_draws_nothing() -> None:
    dead = samples.failed("dead", samples.CNN[0])
    recipe = samples.recipe(samples.CNN[:1], chosen=None, variants=(dead,))
    phone = samples.physical().model_copy(update={"recipes": (recipe,)})
    assert titles(phone) == []
    assert trace(recipe, "t") is None


def test_hovering_says_exact_values() -> None:
    phone = samples.physical()
    tradeoff, blocks, memory, startup = charts_of(phone, phone.recipes[0], "r")
    assert "base_float32: 814\u00a0µs, 91.7\u00a0%, 318\u00a0kB" in tooltips(tradeoff.svg)
    assert len(tooltips(blocks.svg)) == len(samples.CNN) * samples.BLOCKS
    assert "base_int8, running: 1.60\u00a0MB" in tooltips(memory.svg)
    assert "base_int8, first inference: 705\u00a0µs" in tooltips(startup.svg)


def test_colours_come_from_the_page() -> None:
    phone = samples.physical()
    for chart in charts_of(phone, phone.recipes[0], "r"):
        colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', chart.svg))
        page = {"currentColor", "none", "transparent"}
        assert {c for c in colours if not c.startswith("var(--")} <= page


def test_names_from_outside_stay_text() -> None:
    phone = samples.hostile()
    for chart in (*charts_of(phone, phone.recipes[0], "r"), trace(phone.recipes[0], "t")):
        assert chart is not None
        assert "<script" not in chart.svg


def test_two_variants_alike_in_everything_can_be_drawn() -> None:
    twins = (samples.CNN[0], samples.CNN[0])
    recipe = samples.recipe(twins, chosen=None)
    phone = samples.physical().model_copy(update={"recipes": (recipe,)})
    assert len(titles(phone)) == 4


def test_short_names_still_differ() -> None:
    names = [f"{'x' * 60}{n}{'y' * 20}" for n in range(3)]
    texts = short(names)
    assert len(set(texts.values())) == 3
    assert all(len(text) <= LABEL_CHARACTERS + 3 for text in texts.values())


def test_ticks_of_a_logarithmic_axis_are_round() -> None:
    assert round_ticks(140, 1015) == [200, 500, 1000]
    assert round_ticks(0.011, 0.3) == [0.02, 0.05, 0.1, 0.2]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("upwards", [False, True])
def test_a_pixel_and_its_value_belong_together(log: bool, upwards: bool) -> None:
    axis = Axis(low=2, high=50, pixels=300, log=log, upwards=upwards)
    assert axis.value(axis.place(7.0)) == pytest.approx(7.0)
    assert axis.place(2) == (300 if upwards else 0)


def test_empty_traces_and_readings_of_nothing_can_be_drawn() -> None:
    recipe = samples.recipe(samples.CNN[:2], chosen=None)
    variants = tuple(
        v.model_copy(update={
            "blocks": tuple(b.model_copy(update={"trace_us": ()}) for b in v.blocks),
            "memory": v.memory and v.memory.model_copy(update={
                "before_load_rss_kb": 0.0, "after_init_rss_kb": 0.0, "peak_kb": 0.0}),
        })
        for v in recipe.variants
    )  # fmt: skip
    recipe = recipe.model_copy(update={"variants": variants})
    phone = samples.physical().model_copy(update={"recipes": (recipe,)})
    assert len(titles(phone)) == 4
    assert trace(recipe, "t") is not None
