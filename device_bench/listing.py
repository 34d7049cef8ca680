"""The table of ``deploy-bench devices``."""

from collections.abc import Sequence

from android_harness.phones import ListedPhone

NOTHING = """\
no phone is connected.
  by cable: enable 'USB debugging' in the phone's developer options and accept this computer
  by network: deploy-bench run ... --phone HOST:PORT
  without a phone: deploy-bench run ... uses a virtual one by itself"""


def describe_phones(phones: Sequence[ListedPhone]) -> str:
    """One row a phone; below it what to do when it cannot be used."""
    if not phones:
        return NOTHING
    head = ("SERIAL", "STATE", "MODEL", "ANDROID", "SOC", "ABIS", "BATTERY", "BY")
    rows = [head, *map(_row, phones)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [_line(head, widths)]
    for phone, row in zip(phones, rows[1:], strict=True):
        lines.append(_line(row, widths))
        if phone.advice:
            lines.append(f"  -> {phone.advice}")
    return "\n".join(lines)


def _row(phone: ListedPhone) -> tuple[str, ...]:
    battery = None if phone.battery_percent is None else f"{phone.battery_percent:.0f} %"
    cells = (
        phone.serial,
        phone.state,
        phone.model,
        phone.android,
        phone.soc,
        ",".join(phone.abis or ()),
        battery,
        phone.transport,
    )
    return tuple(cell or "-" for cell in cells)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
