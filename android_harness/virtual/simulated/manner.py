"""How a simulated phone greets a host: version, features, and whom it lets in."""

from dataclasses import dataclass
from typing import Self, final

from android_harness.virtual.simulated.adb_wire import VERSION_CHECKSUM
from android_harness.virtual.simulated.config import OLD_FEATURES, SimulatedConfig
from android_harness.virtual.simulated.faults import FaultPlan, OldPhone, Slow, Unauthorized
from android_harness.virtual.simulated.keys import PublicKey, parse_public_key


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the phone behaves on one connection, after the faults of connecting were chosen."""

    version: int
    max_payload_bytes: int
    features: tuple[str, ...]
    keys: tuple[PublicKey, ...] | None  # None: nobody is asked
    bytes_per_s: int | None

    @classmethod
    def choose(cls, config: SimulatedConfig, faults: FaultPlan) -> Self:
        """Ask the faults that belong to a connection as a whole."""
        old = faults.strike(OldPhone)
        slow = faults.strike(Slow)
        texts = () if faults.strike(Unauthorized) else config.authorized_keys
        return cls(
            version=VERSION_CHECKSUM if old else config.protocol_version,
            max_payload_bytes=old.max_payload_bytes if old else config.max_payload_bytes,
            features=OLD_FEATURES if old else config.features,
            keys=None if texts is None else tuple(map(parse_public_key, texts)),
            bytes_per_s=slow.bytes_per_s if slow else None,
        )
