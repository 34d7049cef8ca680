"""Which phones a bench runs on: those that are connected, or a virtual one that is started."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import final

from android_harness import virtual
from android_harness.errors import HarnessError, NoPhone
from android_harness.evidence import Fidelity
from android_harness.phones import connect, list_phones
from android_harness.transport.seam import Transport

_LOG = logging.getLogger(__name__)

EMULATED = Fidelity.EMULATED


class VirtualChoice(StrEnum):
    """What to do about virtual phones."""

    AUTO = "auto"  # the best ones there are, when no phone is connected
    NONE = "none"
    CONTAINER = "container"
    KVM = "kvm"
    EMULATED = "emulated"
    SIMULATED = "simulated"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A phone that can be connected as often as needed."""

    label: str
    connect: Callable[[], Transport]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the user asked for."""

    phones: tuple[str, ...] = ()  # serials or host:port; empty: all that are usable
    virtual: VirtualChoice = VirtualChoice.AUTO
    timed: bool = False  # only stand-ins whose time is latency


@contextlib.contextmanager
def selected(selection: Selection, say: Callable[[str], None]) -> Iterator[tuple[Target, ...]]:
    """The phones of a bench; virtual ones are started here and stopped at the end.

    Raises:
        NoPhone: a phone that was asked for is not usable, or there is none at all.
    """
    with contextlib.ExitStack() as stack:
        if selection.phones:
            yield tuple(map(_named, selection.phones))
        elif selection.virtual not in (VirtualChoice.AUTO, VirtualChoice.NONE):
            yield (_started(Fidelity(selection.virtual), stack, say),)
        else:
            yield _connected(say) or _stand_ins(selection, stack, say)


def _named(selector: str) -> Target:
    return Target(label=selector, connect=lambda: connect(selector))


def _connected(say: Callable[[str], None]) -> tuple[Target, ...]:
    listed = list_phones()
    for phone in listed:
        if phone.advice:
            say(f"{phone.serial} ({phone.state}) is left out: {phone.advice}")
    return tuple(_named(phone.serial) for phone in listed if not phone.advice)


def _stand_ins(
    selection: Selection, stack: contextlib.ExitStack, say: Callable[[str], None]
) -> tuple[Target, ...]:
    """The fastest virtual phone for latency, and the arm64 machine for parity."""
    if selection.virtual is VirtualChoice.NONE:
        raise NoPhone("none is connected, and virtual phones were ruled out")
    offers = [o for o in virtual.offers() if o.fidelity is not EMULATED or o.arch == "arm64"]
    for offer in offers:
        if not offer.ready:
            say(f"no {offer.fidelity} phone: {offer.reason}")
    native = [o.fidelity for o in offers if o.ready and o.fidelity is not EMULATED][:1]
    emulated = [o.fidelity for o in offers if o.ready and o.fidelity is EMULATED]
    ready = [*native, *([] if selection.timed else emulated)]
    say("no phone is connected: virtual ones stand in")
    started = [target for f in ready if (target := _tried(f, stack, say)) is not None]
    if all(target.label == EMULATED for target in started):  # nothing that can be timed
        started.insert(0, _started(Fidelity.SIMULATED, stack, say))
    return tuple(started)


def _tried(
    fidelity: Fidelity, stack: contextlib.ExitStack, say: Callable[[str], None]
) -> Target | None:
    try:
        return _started(fidelity, stack, say)
    except HarnessError as exc:
        _LOG.warning("the %s phone did not start: %s", fidelity, exc)
        return None


def _started(fidelity: Fidelity, stack: contextlib.ExitStack, say: Callable[[str], None]) -> Target:
    say(f"starting the {fidelity} phone")
    if fidelity is Fidelity.SIMULATED:
        from android_harness.virtual.simulated.phone import SimulatedPhone

        simulated = stack.enter_context(SimulatedPhone())
        endpoint = f"{simulated.host}:{simulated.port}"
    else:
        phone = stack.enter_context(virtual.start(fidelity, name=f"bench-{fidelity}"))
        endpoint = f"{phone.host}:{phone.port}"
    return Target(label=str(fidelity), connect=lambda: connect(endpoint))
