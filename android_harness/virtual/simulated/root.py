"""The directory a simulated phone lives in, and how its paths become the host's.

Paths below ``MAPPED`` lie in the state directory; everything else (/proc, /sys/devices, /dev)
is the host's own. The map is a rewrite of text: a path that a command builds at run time
(``/data/$x``) is found, one whose beginning is computed (``$x/local/tmp``) is not, nor is one
inside a pushed script. The sandbox keeps honest programs in place; it is no wall against others.
"""

import os
import posixpath
import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import final

from android_harness.virtual.simulated.commands import SCRIPTS
from android_harness.virtual.simulated.config import SimulatedConfig

BOOT_ID = "/proc/sys/kernel/random/boot_id"
MAPPED = (
    "/data",
    "/sdcard",
    "/system",
    "/vendor",
    "/sys/class/power_supply",
    "/sys/class/thermal",
    BOOT_ID,
)
WRITABLE = ("/data/local/tmp", "/sdcard")
# A path begins where no other path goes on: "x/data" and "../data" are not /data.
_PHONE_PATH = re.compile(
    r"(?<![\w./})~-])(?:" + "|".join(re.escape(path) for path in MAPPED) + r")(?![\w-])"
)
_SAFE_STATE_DIR = re.compile(r"[A-Za-z0-9._/+-]+")
_MICRO_PER_MILLI = 1000


@final
class PhoneRoot:
    """One phone's files: properties, values, commands and what the host pushed."""

    def __init__(self, config: SimulatedConfig) -> None:
        """Lay the directory out; what an earlier phone left in data stays.

        Raises:
            ValueError: the state directory's name would need quotes in a shell.
        """
        self.temporary = config.state_dir is None
        self.path = _state_dir(config)
        self._config = config
        for folder in ("sim/props", "sim/battery", "system/bin", *(p[1:] for p in WRITABLE)):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        self._write_commands()
        self._write_properties()
        self._write_values()
        self.boot()

    def _write_commands(self) -> None:
        folder = self.path / "system/bin"
        for name, script in SCRIPTS.items():
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        shell = folder / "sh"
        if not shell.is_symlink():
            shell.symlink_to("/bin/sh")

    def _write_properties(self) -> None:
        for name, value in self._config.build_properties().items():
            self.set_property(name, value)

    def _write_values(self) -> None:
        battery = self._config.battery
        supply = "sys/class/power_supply"
        self.write(f"{supply}/battery/type", "Battery")
        self.write(f"{supply}/battery/present", 1)
        self.write(f"{supply}/battery/capacity", battery.level_percent)
        self.write(f"{supply}/battery/temp", round(battery.temperature_c * 10))
        self.write(f"{supply}/battery/voltage_now", battery.voltage_mv * _MICRO_PER_MILLI)
        self.write(f"{supply}/battery/current_now", battery.current_ua)
        self.write(f"{supply}/battery/charge_counter", battery.charge_counter_uah)
        self.write(f"{supply}/battery/status", battery.status)
        self.write(f"{supply}/usb/online", int(battery.usb_powered))
        for index, (name, value_c) in enumerate(self._config.zones_c.items()):
            self.write(f"sys/class/thermal/thermal_zone{index}/type", name)
            self.write(f"sys/class/thermal/thermal_zone{index}/temp", round(value_c * 1000))
        self.write("sim/thermal_status", 0)
        self.write("sim/wakefulness", "Awake")
        self.set_capacity(None)

    def boot(self) -> None:
        """Take a new boot id, as every start of a phone does."""
        boot_id = str(uuid.uuid4())
        self.write(BOOT_ID[1:], boot_id)
        self.set_property("ro.deploybench.boot_id", boot_id)

    def write(self, name: str, value: str | int) -> None:
        """Set one value file of the phone, whole or not at all."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        partial.write_text(f"{value}\n")
        partial.replace(target)

    def set_property(self, name: str, value: str) -> None:
        """Set what getprop tells, read-only properties too."""
        self.write(f"sim/props/{name}", value)

    @property
    def boot_id(self) -> str:
        """The id of this start of the phone."""
        return (self.path / BOOT_ID[1:]).read_text().strip()

    def used_bytes(self) -> int:
        """What all files below /data hold."""
        files = (
            Path(folder) / name
            for folder, _, names in os.walk(self.path / "data")
            for name in names
        )
        return sum(_size_bytes(file) for file in files)

    def set_capacity(self, capacity_bytes: int | None) -> None:
        """Let df show a storage of this size; None shows the host's."""
        if capacity_bytes is not None:
            self.write("sim/capacity_bytes", capacity_bytes)
        else:
            (self.path / "sim/capacity_bytes").unlink(missing_ok=True)

    def rewrite(self, command: str) -> str:
        """Put the state directory before every phone path of a command."""
        return _PHONE_PATH.sub(lambda found: f"{self.path}{found.group()}", command)

    def locate(self, remote: str) -> Path:
        """Where a path named in sync lies on the host; ``..`` cannot leave the phone."""
        path = posixpath.normpath("/" + remote)
        path = "/" + path.lstrip("/")
        mapped = any(path == prefix or path.startswith(prefix + "/") for prefix in MAPPED)
        if not mapped and path.startswith(("/proc/", "/sys/")):
            return Path(path)
        return self.path / path[1:]

    def may_write(self, remote: str) -> bool:
        """Whether a push may write there; shell commands are not asked."""
        path = posixpath.normpath("/" + remote.lstrip("/"))
        return path.startswith(tuple(prefix + "/" for prefix in WRITABLE))

    def remove(self) -> None:
        """Delete the directory when it was a temporary one."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def _state_dir(config: SimulatedConfig) -> Path:
    if config.state_dir is not None:
        config.state_dir.mkdir(parents=True, exist_ok=True)
        path = config.state_dir.resolve()
    else:
        path = Path(tempfile.mkdtemp(prefix="simulated-phone-")).resolve()
    if not _SAFE_STATE_DIR.fullmatch(str(path)):
        raise ValueError(
            f"the state directory {str(path)!r} must hold only letters, digits and . _ / + - ; "
            "choose another state_dir (or TMPDIR)"
        )
    return path


def _size_bytes(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:  # removed by a command meanwhile
        return 0


@final
class OutputMap:
    """Turns the state directory in a command's output back into the phone's paths.

    A tail that may be the beginning of the directory's name is held until more comes.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root).encode()
        # The character after it decides: not a longer name that begins alike.
        self._pattern = re.compile(re.escape(self._root) + rb"(?=(/)|[^\w.-])")
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Output so far decided."""
        whole = self._held + data
        held_bytes = self._tail_bytes(whole)
        self._held = whole[len(whole) - held_bytes :]
        shown = self._pattern.sub(lambda found: b"" if found[1] else b"/", whole)
        return shown[: len(shown) - held_bytes]

    def flush(self) -> bytes:
        """What was held when the output ended."""
        held, self._held = self._held, b""
        return b"/" if held == self._root else held

    def _tail_bytes(self, whole: bytes) -> int:
        """How much of the end may begin another name of the directory."""
        ends = [found.end() for found in self._pattern.finditer(whole)]
        longest = min(len(self._root), len(whole) - max(ends, default=0))
        sizes = (size for size in range(longest, 0, -1) if whole.endswith(self._root[:size]))
        return next(sizes, 0)
