"""The gate before every block: is the phone calm enough for its number to count?"""

import time
from collections.abc import Callable

from android_harness.phone import Phone
from device_bench.record import State
from device_bench.snapshot import snapshot

# androidx.benchmark refuses below 25 %: phones switch their big cores off to last longer.
LOWEST_BATTERY_PERCENT = 25.0
# Labs start below 35..37 C battery temperature; above it the next block begins half throttled.
WARMEST_BATTERY_C = 37.0
POLL_S = 10.0


def wait_until_calm(
    phone: Phone, limit_s: float, say: Callable[[str], None]
) -> tuple[State, tuple[str, ...]]:
    """Wait until the phone is cool, at most ``limit_s``.

    Returns:
        the state in which the block starts, and what is wrong with it (empty: calm). What
        waiting cannot mend (a low battery) is flagged at once.
    """
    deadline_s = time.monotonic() + limit_s
    while True:
        state = snapshot(phone)
        heat = _heat(state)
        if not heat or time.monotonic() >= deadline_s:
            return state, (*heat, *_low_battery(state))
        say(f"waiting for the phone to cool: {heat[0]}")
        time.sleep(min(POLL_S, max(0.0, deadline_s - time.monotonic())))


def _heat(state: State) -> tuple[str, ...]:
    flags = []
    if state.thermal_status not in (None, "none"):
        flags.append(f"hot: thermal status {state.thermal_status}")
    warmth = state.battery_temperature_c
    if warmth is not None and warmth > WARMEST_BATTERY_C:
        flags.append(f"hot: battery at {warmth:.1f} °C")
    return tuple(flags)


def _low_battery(state: State) -> tuple[str, ...]:
    level = state.battery_percent
    if level is None or level >= LOWEST_BATTERY_PERCENT:
        return ()
    return (f"low battery: {level:.0f} %",)
