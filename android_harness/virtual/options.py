"""What may be asked of a virtual phone."""

from dataclasses import dataclass
from typing import Final, final

# What Debian's adbd 34 can do, without what needs Android's own programs behind it (apex, abb)
# and without delayed_ack, which few phones have.
FEATURES: Final = (
    "shell_v2",
    "cmd",
    "stat_v2",
    "ls_v2",
    "fixed_push_mkdir",
    "fixed_push_symlink_timestamp",
    "sendrecv_v2",
    "sendrecv_v2_brotli",
    "sendrecv_v2_lz4",
    "sendrecv_v2_zstd",
    "sendrecv_v2_dry_run_send",
)

DATA_MB: Final = 512


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one phone is started; the defaults are a small phone that asks for no key."""

    port: int = 0  # on 127.0.0.1; 0 takes a free one
    # Public keys as in ~/.android/adbkey.pub. None: adbd asks for none; (): it refuses everyone.
    authorized_keys: tuple[str, ...] | None = None
    data_mb: int = DATA_MB  # size of /data, held in memory
    memory_mb: int = 768  # QEMU: the machine's memory, /data included
    cpus: int = 1  # QEMU; more than one was seen to crash amd64 guests under QEMU 7.2
    features: tuple[str, ...] = FEATURES  # what adbd announces: fewer make an older phone
    # QEMU: the guest's clock counts instructions, 2**shift ns each; the same work then takes the
    # same guest time on any host. None: the host's time.
    instruction_clock_shift: int | None = None
    timeout_s: float | None = None  # to be ready; None: by the kind of phone
    keep: bool = False  # whether the phone outlives the program that started it

    def __post_init__(self) -> None:
        if min(self.data_mb, self.memory_mb, self.cpus) < 1:
            raise ValueError("data_mb, memory_mb and cpus must be 1 or more")
        if not 0 <= self.port < 65536:
            raise ValueError(f"{self.port} is no TCP port; give 1 to 65535, or 0 for a free one")
