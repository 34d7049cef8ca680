"""All charts of one recipe on one phone, so that classes of evidence never meet in one."""

from device_bench.report.charts.bars import memory, startup
from device_bench.report.charts.blocks import blocks
from device_bench.report.charts.drawing import Chart
from device_bench.report.charts.tradeoff import tradeoff
from device_bench.report.model import Phone, Recipe


def charts_of(phone: Phone, recipe: Recipe, key: str) -> tuple[Chart, ...]:
    """Every chart that the recipe's data allows, in reading order.

    Args:
        phone: where it was measured; time that is not latency is not drawn.
        recipe: one of the phone's.
        key: unique on the page, the beginning of every chart's id.
    """
    found = [tradeoff(phone, recipe, f"{key}-tradeoff")]
    if phone.time_is_latency:
        found.append(blocks(recipe, f"{key}-blocks"))
    found.append(memory(recipe, f"{key}-memory"))
    if phone.time_is_latency:
        found.append(startup(recipe, f"{key}-startup"))
    return tuple(chart for chart in found if chart is not None)
