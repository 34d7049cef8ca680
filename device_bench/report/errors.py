"""The report's errors.

ReportError
├── BadSlug                 a phone's slug cannot name its page
└── UnexpectedSvg           the chart library drew what no page lets through
"""


class ReportError(Exception):
    """Base of all errors of device_bench.report."""


class BadSlug(ReportError):
    """A phone's slug cannot be a file name beside the others."""

    def __init__(self, slug: str, reason: str) -> None:
        super().__init__(slug, reason)
        self.slug, self.reason = slug, reason

    def __str__(self) -> str:
        return (
            f"no page can be named {self.slug[:80]!r}: {self.reason}; a slug is letters, digits, "
            "'.', '_' and '-', and differs from phone to phone"
        )


class UnexpectedSvg(ReportError):
    """The chart library drew something that is not let through to a page."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found

    def __str__(self) -> str:
        return f"a chart holds <{self.found}>, which no page shows; is vl-convert the locked one?"
