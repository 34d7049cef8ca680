import pytest

from device_bench.report.html import render_index, render_phone
from device_bench.report.model import Report
from tests.unit.report.sample_reports import everything


@pytest.fixture(scope="session")
def report() -> Report:
    return everything()


@pytest.fixture(scope="session")
def pages(report: Report) -> dict[str, str]:
    """Every page of the sample report by its slug, drawn once."""
    drawn = {phone.slug: render_phone(report, phone) for phone in report.phones}
    return {**drawn, "index": render_index(report)}
