"""What evidence and figures mean, in a sentence a reader can act on."""

import re
from collections.abc import Callable
from itertools import chain
from typing import Any, assert_never

from android_harness.evidence import Evidence, Fidelity
from device_bench.record import Failure, Parity, State
from device_bench.report import numbers
from device_bench.report.model import Phone, Recipe, Variant

# Groups of an index in the order of trust.
EVIDENCE_ORDER = (Evidence.PHYSICAL, Evidence.VIRTUAL, Evidence.HOST, Evidence.REPLAYED)

EVIDENCE_TITLES = {
    Evidence.PHYSICAL: "Physical phones",
    Evidence.VIRTUAL: "Virtual phones",
    Evidence.HOST: "This computer, no phone",
    Evidence.REPLAYED: "Replayed from stored results",
}

TIME_IS_NOT_LATENCY = (
    "Time on an emulated processor only orders work, it is not latency. This page therefore shows "
    "no latency, start-up or speed-up; accuracy, parity, size and memory stand."
)


def badge(phone: Phone) -> str:
    """The evidence class and what ran the inference, in a few words."""
    what = _KINDS[phone.fidelity]
    return f"Replayed · {what}" if phone.evidence is Evidence.REPLAYED else what


def index_trust(fidelity: Fidelity) -> str:
    """The same over all phones of a kind, where no single phone's state is shown."""
    return _meaning(fidelity).replace("the state shown below", "the state its page shows")


def trust(phone: Phone) -> str:
    """One sentence or two: what the evidence means for trusting the numbers."""
    if not phone.recipes:
        return "Nothing was measured, so there is nothing to trust."
    if phone.evidence is Evidence.REPLAYED:
        return f"Drawn from stored results, nothing was measured now. {_meaning(phone.fidelity)}"
    return _meaning(phone.fidelity)


_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|(?:µs|ms|s|B|kB|MB|GB|points?)\b))")

_KINDS = {
    Fidelity.PHONE: "Physical phone",
    Fidelity.KVM: "Virtual phone · KVM",
    Fidelity.CONTAINER: "Virtual phone · container",
    Fidelity.EMULATED: "Virtual phone · emulated processor",
    Fidelity.EMULATOR: "Virtual phone · Android emulator",
    Fidelity.SIMULATED: "Host · simulated phone",
    Fidelity.HOST: "Host · no phone",
}


def _meaning(fidelity: Fidelity) -> str:
    match fidelity:
        case Fidelity.PHONE:
            return (
                "Measured on a real phone by its own clock. The numbers hold for this phone, "
                "in the state shown below."
            )
        case Fidelity.CONTAINER:
            return (
                "Measured on a virtual phone (a container on this computer). These are not a "
                "phone's latencies: trust accuracy, parity and size; read speed-ups as a hint."
            )
        case Fidelity.KVM:
            return (
                "Measured on a virtual phone (a virtual machine on this computer's processor). "
                "These are not a phone's latencies: trust accuracy, parity and size; read "
                "speed-ups as a hint."
            )
        case Fidelity.EMULATOR:
            return (
                "Measured on Google's Android emulator, on this computer's processor. These are "
                "not a phone's latencies: trust accuracy, parity and size; read speed-ups as a "
                "hint."
            )
        case Fidelity.EMULATED:
            return (
                "Run on a virtual phone whose processor is emulated in software. Its time is not "
                "latency at all: trust accuracy, parity and size only."
            )
        case Fidelity.SIMULATED:
            return (
                "Run on this computer behind a simulated phone. It proves the tool chain; its "
                "latencies are this computer's, not a phone's."
            )
        case Fidelity.HOST:
            return (
                "Run on this computer, no phone took part. Latencies are this computer's, not a "
                "phone's."
            )
        case _:
            assert_never(fidelity)


def parity(found: Parity) -> str | None:
    """Whether the phone gave the host's outputs, in a few words; None when not known."""
    if found.bit_identical:
        return "bit-identical"
    if found.argmax_agreement is not None:
        return f"{numbers.share(found.argmax_agreement)} same class"
    if found.max_abs_difference is not None:
        return f"differs by up to {numbers.quantity(found.max_abs_difference)}"
    return None


def no_speedup(phone: Phone, recipe: Recipe, variant: Variant | None) -> str:
    """Why an index shows no speed-up for a recipe."""
    if not phone.time_is_latency:
        return "time on an emulated processor is not latency"
    if recipe.answer.chosen is None:
        return "no variant was chosen"
    if variant is None or not variant.comparison_reason:
        return "nothing to compare with"
    return variant.comparison_reason


def instant(at_utc: str) -> str:
    """``2026-11-23T14:13:09Z`` as people write it; anything else as it stands."""
    day, separator, time = at_utc.partition("T")
    return f"{day} {time[:5]} UTC" if separator and at_utc.endswith(("Z", "+00:00")) else at_utc


def tied(text: str) -> str:
    """``text`` with its numbers held to their units at the end of a line."""
    return _BEFORE_UNIT.sub(numbers.SPACE, text)


def failures_of(phone: Phone) -> list[tuple[str, Failure]]:
    """Every failure on a phone with whom it befell: the phone itself, or a variant."""
    variants = chain.from_iterable(recipe.variants for recipe in phone.recipes)
    return [
        *(("the phone", failure) for failure in phone.failures),
        *((v.variant, failure) for v in variants for failure in v.failures),
    ]


def sensors(*states: State | None) -> list[str]:
    """The temperature sensors that any of the states read."""
    return sorted({name for state in states if state for name in state.temperatures_c})


def _reading(field: str, show: Callable[[Any], str]) -> Callable[[State], str | None]:
    def read(state: State) -> str | None:
        value = getattr(state, field)
        return None if value is None else show(value)

    return read


# Readings of the phone's state: label, and how a state's value is written (None: not known).
STATE_ROWS: tuple[tuple[str, Callable[[State], str | None]], ...] = (
    ("At", _reading("at_utc", instant)),
    ("Battery", _reading("battery_percent", numbers.percent)),
    ("Battery temperature", _reading("battery_temperature_c", numbers.celsius)),
    ("Battery voltage", _reading("battery_voltage_mv", lambda v: f"{v / 1000:.2f} V")),
    ("Charge counter", _reading("charge_counter_uah", lambda v: f"{v / 1000:.0f} mAh")),
    ("Current, raw", _reading("current_now_raw", lambda v: numbers.plain(v, 0))),
    ("Charging", _reading("charging", str)),
    ("Thermal status", _reading("thermal_status", str)),
    ("Load, one minute", _reading("load1", lambda v: numbers.plain(v, 2))),
)
