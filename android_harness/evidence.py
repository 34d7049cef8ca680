"""How a number came about: every figure carries one of these classes."""

from enum import StrEnum


class Evidence(StrEnum):
    """The class of a measurement; classes are never mixed in one chart or comparison."""

    PHYSICAL = "physical"
    VIRTUAL = "virtual"
    HOST = "host"
    REPLAYED = "replayed"


class Fidelity(StrEnum):
    """What ran the inference, within an evidence class."""

    PHONE = "phone"  # physical
    KVM = "kvm"  # virtual: QEMU with hardware virtualisation
    CONTAINER = "container"  # virtual: name spaces on this host's kernel, native speed
    EMULATED = "emulated"  # virtual: QEMU in software; its time is not latency
    EMULATOR = "emulator"  # virtual: Google's Android emulator
    SIMULATED = "simulated"  # host: an adb daemon in Python, the runner on the host
    HOST = "host"  # host: the runner started directly

    @property
    def evidence(self) -> Evidence:
        """The evidence class this fidelity belongs to."""
        match self:
            case Fidelity.PHONE:
                return Evidence.PHYSICAL
            case Fidelity.SIMULATED | Fidelity.HOST:
                return Evidence.HOST
            case _:
                return Evidence.VIRTUAL

    @property
    def time_is_latency(self) -> bool:
        """Whether a clock on this processor measures latency at all.

        Time on an emulated processor only orders work; it is never shown as latency.
        """
        return self is not Fidelity.EMULATED
