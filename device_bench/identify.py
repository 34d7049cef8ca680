"""The phone's identity as it is stored."""

from android_harness.phone import Phone
from device_bench.record import Identity


def identity_of(phone: Phone) -> Identity:
    """Read who the phone is.

    Raises:
        TransportError: the connection failed.
    """
    found = phone.identity
    return Identity(
        serial=found.serial,
        manufacturer=found.manufacturer,
        model=found.model,
        soc=found.soc,
        android=found.android,
        sdk=found.sdk,
        abis=found.abis,
        fingerprint=found.fingerprint,
        boot_id=found.boot_id,
        kernel=found.kernel,
        security_patch=found.security_patch,
        fidelity=found.fidelity,
    )
