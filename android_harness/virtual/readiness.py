"""Whether a phone answers: the adb protocol's first exchange, and Android's own word."""

import enum
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

# Source: AOSP packages/modules/adb/protocol.txt: command, arg0, arg1, length, check, magic.
_HEADER: Final = struct.Struct("<6I")
_CNXN: Final = 0x4E584E43
_AUTH: Final = 0x48545541
_VERSION: Final = 0x01000001
_MAX_DATA_BYTES: Final = 1 << 20
_BANNER: Final = b"host::features=shell_v2\0"
_FIRST_PATIENCE_S: Final = 0.3
_MOST_PATIENCE_S: Final = 5.0


class Answer(enum.Enum):
    """What came back from a connection request."""

    NONE = "none"
    CONNECTED = "connected"
    ASKS_FOR_KEY = "asks for a key"


def knock(port: int, timeout_s: float) -> Answer:
    """Ask adbd at 127.0.0.1 to connect.

    A connection that is accepted proves nothing: QEMU's network accepts before the guest runs.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.sendall(_request())
            header = _receive(connection, _HEADER.size, time.monotonic() + timeout_s)
    except OSError:
        return Answer.NONE
    command = _HEADER.unpack(header)[0] if header else 0
    return {_CNXN: Answer.CONNECTED, _AUTH: Answer.ASKS_FOR_KEY}.get(command, Answer.NONE)


def wait(
    port: int,
    timeout_s: float,
    *,
    booted: Callable[[], bool],
    alive: Callable[[], bool],
) -> bool:
    """Wait until ``booted`` and adbd answers; False when the deadline came or it is not alive.

    adbd is asked last: a machine whose network is not up yet loses the question, and each
    repetition waits longer.
    """
    deadline = time.monotonic() + timeout_s
    patience = _FIRST_PATIENCE_S
    has_booted = False
    while time.monotonic() < deadline:
        has_booted = has_booted or booted()
        asked = time.monotonic()
        if has_booted and knock(port, patience) is not Answer.NONE:
            return True
        if not alive():
            return False
        if time.monotonic() - asked >= patience:  # silence, not refusal: it is slow
            patience = min(patience * 1.5, _MOST_PATIENCE_S)
        time.sleep(0.02)
    return False


def _request() -> bytes:
    check = sum(_BANNER)
    magic = _CNXN ^ 0xFFFFFFFF
    fields = (_CNXN, _VERSION, _MAX_DATA_BYTES, len(_BANNER), check, magic)
    return _HEADER.pack(*fields) + _BANNER


def _receive(connection: socket.socket, count: int, deadline: float) -> bytes | None:
    heard = b""
    while len(heard) < count:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        more = connection.recv(count - len(heard))
        if not more:
            return None
        heard += more
    return heard
