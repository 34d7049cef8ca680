"""Numbers as people read them: sensible digits, one unit per quantity, no-break spaces.

Sizes are decimal (1 kB = 1000 bytes). Durations turn from microseconds to milliseconds at 1 ms
and to seconds at 10 s.
"""

import math

from device_bench.report.model import Estimate
from pipeline.artifact import Accuracy

SPACE = "\u00a0"
MINUS = "\u2212"
TO = f"{SPACE}\u2013\u2060{SPACE}"  # a line may break after a dash unless a word joiner follows
MISSING = "\u2014"
_DIGITS = 3  # significant ones; the fourth is noise on a phone
_PROC_KB = 1024  # /proc says kB and means KiB

_DURATIONS_US = ((1.0, "µs"), (1e3, "ms"), (1e6, "s"))
_SIZES = ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"))


def plain(value: float, decimals: int) -> str:
    """``value`` with a fixed number of decimals and a true minus sign."""
    text = f"{value:.{decimals}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def decimals_of(value: float, digits: int = _DIGITS) -> int:
    """Decimals that show ``digits`` significant digits of ``value``, at least 0."""
    if value == 0:
        return 0
    rounded = float(f"{value:.{digits - 1}e}")  # 9.999 becomes 10.0 and needs a decimal less
    return max(0, digits - 1 - math.floor(math.log10(abs(rounded))))


def duration(value_us: float, digits: int = _DIGITS) -> str:
    """A duration with its unit: ``123 µs``, ``4.56 ms``, ``12.3 s``."""
    scale, unit = duration_unit(value_us)
    return f"{plain(value_us / scale, decimals_of(value_us / scale, digits))}{SPACE}{unit}"


def seconds(value_s: float) -> str:
    """A span of the bench or of its protocol: ``0.3 s``, ``142 s``, ``12 min``."""
    if value_s >= 600:
        return f"{plain(value_s / 60, 0)}{SPACE}min"
    return f"{plain(value_s, 0 if value_s >= 100 or value_s == int(value_s) else 1)}{SPACE}s"


def celsius(value_c: float) -> str:
    """A temperature: ``31.2 °C``."""
    return f"{plain(value_c, 1)}{SPACE}°C"


def energy(value_mwh: float) -> str:
    """An energy: ``0.0123 mWh``."""
    return f"{quantity(value_mwh)}{SPACE}mWh"


def duration_unit(value_us: float) -> tuple[float, str]:
    """The unit a duration of this length is shown in, with its length in microseconds."""
    if value_us >= 9.9995e6:
        return _DURATIONS_US[2]
    # 999.6 shows as 1000, so it is already a millisecond
    return _DURATIONS_US[1] if value_us >= 999.5 else _DURATIONS_US[0]


def duration_range(estimate: Estimate) -> str:
    """The 95 % interval of a duration, in the unit of its value: ``1.21 – 1.25 ms``."""
    scale, unit = duration_unit(estimate.value)
    low, high = estimate.low / scale, estimate.high / scale
    return f"{_range(estimate.value / scale, low, high)}{SPACE}{unit}"


def size(value_bytes: float) -> str:
    """A size with its unit: ``48.2 kB``, ``1.35 MB``."""
    scale, unit = size_unit(value_bytes)
    return _with_unit(value_bytes / scale, unit, whole=unit == "B")


def size_unit(value_bytes: float) -> tuple[float, str]:
    """The unit a size is shown in, with its bytes."""
    fitting = [pair for pair in _SIZES if value_bytes >= 0.9995 * pair[0]]
    return fitting[-1] if fitting else _SIZES[0]


def memory_bytes(value_kb: float) -> float:
    """Bytes of a figure that /proc calls kB."""
    return value_kb * _PROC_KB


def memory(value_kb: float) -> str:
    """A figure of /proc in decimal units: ``12.6 MB``."""
    return size(memory_bytes(value_kb))


def factor(value: float) -> str:
    """A ratio: ``2.31×``."""
    return f"{plain(value, decimals_of(value))}×"


def factor_range(estimate: Estimate) -> str:
    """The 95 % interval of a ratio: ``2.28 – 2.34``."""
    return _range(estimate.value, estimate.low, estimate.high)


def share(value: float, decimals: int = 1) -> str:
    """A share of 1 in percent: ``91.2 %``; only all of it is 100 %."""
    percent = value * 100
    if value < 1 and float(f"{percent:.{decimals}f}") == 100:
        return f"{percent - 0.5 * 10**-decimals:.{decimals}f}{SPACE}%"
    return f"{plain(percent, 0 if value == 1 else decimals)}{SPACE}%"


def share_range(accuracy: Accuracy) -> str:
    """The 95 % interval of an accuracy: ``89.1 – 93.0 %``."""
    low, high = plain(accuracy.low * 100, 1), plain(accuracy.high * 100, 1)
    return f"{low}{TO}{high}{SPACE}%"


def points(difference: float) -> str:
    """A difference of two shares, signed, in percentage points: ``+0.4 points``."""
    text = plain(difference * 100, 1)
    sign = "+" if float(text.replace(MINUS, "-")) > 0 else ""
    return f"{sign}{text}{SPACE}points"


def change(new: float, old: float) -> str:
    """A relative change in percent, signed: ``−74 %``."""
    if old <= 0:
        return MISSING
    percent = 100 * (new - old) / old
    text = plain(percent, 1 if abs(percent) < 10 else 0)
    sign = "+" if float(text.replace(MINUS, "-")) > 0 else ""
    return f"{sign}{text}{SPACE}%"


def percent(value_percent: float) -> str:
    """A figure that is already in percent: ``1.2 %``."""
    return f"{plain(value_percent, max(0, min(2, decimals_of(value_percent, 2))))}{SPACE}%"


def count(value: int) -> str:
    """A count with thousands set apart: ``1 234 567``."""
    return f"{value:,}".replace(",", "\u202f")


def amount(value: float) -> str:
    """A large count, shortened: ``1.25 M``."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return _with_unit(value / scale, unit)
    return plain(value, 0)


def quantity(value: float) -> str:
    """A bare number of unknown size: fixed digits where they read well, powers elsewhere."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = plain(value, min(decimals_of(value), 6))
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.replace('-', MINUS)}e{int(exponent)}".replace("e-", f"e{MINUS}")


def _with_unit(value: float, unit: str, *, whole: bool = False) -> str:
    return f"{plain(value, 0 if whole else decimals_of(value))}{SPACE}{unit}"


def _range(value: float, low: float, high: float) -> str:
    """Low and high with as many decimals as tell them apart, at most two beyond the value's."""
    decimals = decimals_of(value)
    width = high - low
    wanted = decimals_of(width, 1) if width > 0 else decimals
    decimals = max(decimals, min(wanted, decimals + 2))
    return f"{plain(low, decimals)}{TO}{plain(high, decimals)}"
