"""adb-shell's device with its holes closed, in subclasses of its own classes.

What adb-shell 0.4.4 gets wrong, and where it is put right here:

- a send that the socket takes only in part drops the rest, so large pushes over slow links always
  fail (JeffLIrion/adb_shell issue 205): ``TcpLink.write_all``;
- the end of the connection is not seen, it spins until its timeout: ``TcpLink.read_into``;
- small sends wait for a delayed ACK, 40 ms a round trip: TCP_NODELAY, one send a packet;
- every byte is summed in Python, though phones since Android 9 ignore the sum: ``Wire``;
- an unknown service is waited for instead of reported: ``Device.open_stream``;
- a wrong key looks like a dead link after 10 s: ``Wire.connect``;
- a refused push is read only after all data was sent: ``AdbStream.answered``.

Importing this module imports adb-shell (0.15 s): only the functions that connect do.
"""

import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

from adb_shell import constants, exceptions
from adb_shell.adb_device import AdbDevice, _AdbIOManager
from adb_shell.adb_message import AdbMessage
from adb_shell.transport.tcp_transport import TcpTransport

from android_harness.transport.deadline import Pace, Stalled
from android_harness.transport.keys import Signer
from android_harness.transport.stream import Bytes, ServiceRefused, Stream, WantsTls

_HEADER = struct.Struct("<6I")
_STLS = int.from_bytes(b"STLS", "little")
_SKIPS_CHECKSUM = 0x01000001  # A_VERSION_SKIP_CHECKSUM, Android 9
_CLOSE_S = 3.0  # adbd answers a CLSE at once; a phone that does not is gone

# What we say we can do. adbd reads it only to choose how it answers us; delayed_ack is left out
# because then every packet would need a byte count.
_HOST_FEATURES = b"shell_v2,cmd,stat_v2,ls_v2"


class Link(Protocol):
    """What carries packets: a socket or a pair of USB endpoints."""

    def connect(self, transport_timeout_s: float) -> None:
        """Open it."""

    def close(self) -> None:
        """Close it."""

    def read_into(self, view: memoryview, timeout_s: float) -> int:
        """Read at least one byte, or raise TimeoutError."""

    def write_all(self, parts: Sequence[Bytes], timeout_s: float) -> None:
        """Send everything, or raise TimeoutError after ``timeout_s`` without progress."""


@final
class TcpLink(TcpTransport):  # type: ignore[misc]
    """A socket that sends everything, notices the end, and waits with poll()."""

    def connect(self, transport_timeout_s: float) -> None:
        """Open the socket."""
        address = (self._host, self._port)
        self._connection = socket.create_connection(address, timeout=transport_timeout_s)
        self._connection.setblocking(False)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def read_into(self, view: memoryview, timeout_s: float) -> int:
        """Read what is there, at least one byte."""
        while True:
            try:
                got: int = self._socket().recv_into(view)
            except BlockingIOError:
                self._wait(select.POLLIN, timeout_s)
                continue
            if got == 0:
                raise ConnectionResetError("the phone closed the connection")
            return got

    def write_all(self, parts: Sequence[Bytes], timeout_s: float) -> None:
        """Send every byte of ``parts``; the timeout counts anew with each progress."""
        views = deque(memoryview(part) for part in parts if len(part))
        while views:
            try:
                sent = self._socket().sendmsg(views)
            except BlockingIOError:
                self._wait(select.POLLOUT, timeout_s)
                continue
            while views and sent >= len(views[0]):
                sent -= len(views.popleft())
            if sent:
                views[0] = views[0][sent:]

    def _socket(self) -> Any:
        if self._connection is None:
            raise ConnectionResetError("the connection is closed")
        return self._connection

    def _wait(self, event: int, timeout_s: float) -> None:
        poll = select.poll()
        poll.register(self._socket(), event)
        if not poll.poll(timeout_s * 1000):
            raise TimeoutError(f"no progress for {timeout_s:.1f} s")


@final
class _Call:
    """Stands for adb-shell's _AdbTransactionInfo, with timeouts that a deadline rules."""

    def __init__(self, local_id: int | None, pace: Pace) -> None:
        self.local_id, self.pace = local_id, pace
        self.remote_id: int | None = None
        self.timeout_s = None

    @property
    def transport_timeout_s(self) -> float:
        return self.pace.wait_s()

    @property
    def read_timeout_s(self) -> float:
        return self.pace.wait_s()

    def args_match(self, arg0: int, arg1: int, allow_zeros: bool = False) -> bool:
        """Whether a packet is ours; adbd puts 0 where it has no stream (a refused OPEN)."""
        remote = self.remote_id is None or arg0 == self.remote_id or (allow_zeros and arg0 == 0)
        return arg1 == self.local_id and remote


class Wire(_AdbIOManager):  # type: ignore[misc]
    """Packets, and the hand-shake that begins a connection."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.banner = b""
        self._sums = True

    def connect(
        self,
        banner: bytes,
        rsa_keys: Callable[[], Sequence[Signer]],
        auth_timeout_s: float,
        auth_callback: Callable[[], None] | None,
        adb_info: _Call,
    ) -> tuple[bool, int]:
        """Shake hands.

        Args:
            banner: what we say of ourselves.
            rsa_keys: loads our keys; called only when the phone asks for one.
            auth_timeout_s: how long to wait for somebody to accept our key on the phone.
            auth_callback: called when that wait begins.
            adb_info: the call's deadline.

        Returns:
            True, and the largest packet the phone takes.

        Raises:
            DeviceAuthError: the phone knows none of our keys.
            WantsTls: it is a wireless debugging port.
        """
        with self._transport_lock:
            self._restart(adb_info)
            hello = (constants.CNXN, _SKIPS_CHECKSUM, constants.MAX_ADB_DATA, banner)
            self._send(AdbMessage(*hello), adb_info)
            command, version, max_data, data = self._hear(adb_info)
            if command == constants.AUTH:
                version, max_data, data = self._authorize(
                    data, rsa_keys(), auth_timeout_s, auth_callback, adb_info
                )
            self._sums = version < _SKIPS_CHECKSUM
            self.banner = bytes(data)
            return True, min(max_data, constants.MAX_ADB_DATA)

    def _restart(self, call: _Call) -> None:
        self._transport.close()
        with self._store_lock:
            self._packet_store.clear_all()
        self._sums = True  # until the phone has told its version
        self._transport.connect(call.transport_timeout_s)

    def _hear(self, call: _Call) -> tuple[bytes, int, int, Bytes]:
        """The next CNXN or AUTH; packets of an earlier connection (USB) are skipped."""
        while True:
            command, arg0, arg1, data = self._read_packet_from_device(call)
            if command in (constants.CNXN, constants.AUTH):
                return command, arg0, arg1, data

    def _authorize(
        self,
        token: Bytes,
        keys: Sequence[Signer],
        patience_s: float,
        asked: Callable[[], None] | None,
        call: _Call,
    ) -> tuple[int, int, Bytes]:
        for key in keys:
            signed = AdbMessage(constants.AUTH, constants.AUTH_SIGNATURE, 0, key.Sign(bytes(token)))
            self._send(signed, call)
            command, version, max_data, token = self._hear(call)
            if command == constants.CNXN:
                return version, max_data, token
        # The phone has asked once more: it knows none of our keys. Showing it the public half
        # makes it ask its owner; without somebody to answer there is nothing to wait for.
        if not keys or patience_s <= 0.0:
            raise exceptions.DeviceAuthError("none of our keys is known")
        public = keys[0].GetPublicKey() + b"\0"
        self._send(AdbMessage(constants.AUTH, constants.AUTH_RSAPUBLICKEY, 0, public), call)
        if asked is not None:
            asked()
        return self._wait_for_owner(patience_s)

    def _wait_for_owner(self, patience_s: float) -> tuple[int, int, Bytes]:
        call = _Call(None, Pace(patience_s))
        try:
            while True:
                command, version, max_data, data = self._hear(call)
                if command == constants.CNXN:
                    return version, max_data, data
        except Stalled as error:
            raise exceptions.DeviceAuthError("nobody accepted our key") from error

    def _send(self, msg: AdbMessage, adb_info: _Call) -> None:
        total = sum(msg.data) & 0xFFFFFFFF if self._sums else 0
        head = _HEADER.pack(msg.command, msg.arg0, msg.arg1, len(msg.data), total, msg.magic)
        try:
            self._transport.write_all((head, msg.data), adb_info.transport_timeout_s)
        except TimeoutError as error:
            raise adb_info.pace.stalled() from error

    def _read_packet_from_device(self, adb_info: _Call) -> tuple[bytes, int, int, Bytes]:
        head = bytearray(_HEADER.size)
        got = self._some(memoryview(head), adb_info)
        # A packet that has begun is read to its end, even past the deadline: half a packet would
        # make everything that follows unreadable.
        rest = _Call(None, Pace(max(adb_info.pace.left_s, _CLOSE_S)))
        self._fill(memoryview(head)[got:], rest)
        wire, arg0, arg1, length, total, magic = _HEADER.unpack(head)
        command = constants.WIRE_TO_ID.get(wire)
        if wire == _STLS:
            raise WantsTls
        if command is None or wire ^ 0xFFFFFFFF != magic or length > constants.MAX_ADB_DATA:
            raise exceptions.InvalidCommandError(f"not an adb packet: {bytes(head)!r}")
        data = bytearray(length)
        self._fill(memoryview(data), rest)
        if self._sums and total and sum(data) & 0xFFFFFFFF != total:
            raise exceptions.InvalidChecksumError(f"{command!r} of {length} bytes")
        return command, arg0, arg1, data

    def _fill(self, view: memoryview, call: _Call) -> None:
        while view:
            view = view[self._some(view, call) :]

    def _some(self, view: memoryview, call: _Call) -> int:
        try:
            got: int = self._transport.read_into(view, call.transport_timeout_s)
        except TimeoutError as error:
            raise call.pace.stalled() from error
        return got


@final
class Device(AdbDevice):  # type: ignore[misc]
    """A connected phone that opens streams."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, banner=b"host::features=" + _HOST_FEATURES)
        self._local_id: int = 0
        self._io_manager: Wire = Wire(link)

    @property
    def phone_banner(self) -> str:
        """What the phone said of itself, e.g. ``device::ro.product.name=x;features=shell_v2``."""
        return self._io_manager.banner.decode("utf-8", "replace").rstrip("\0")

    def shake_hands(
        self,
        signers: Callable[[], Sequence[Signer]],
        pace: Pace,
        authorize_wait_s: float,
        asked: Callable[[], None] | None,
    ) -> None:
        """Connect; see ``Wire.connect``."""
        self._available, self._maxdata = self._io_manager.connect(
            self._banner, signers, authorize_wait_s, asked, _Call(None, pace)
        )

    def open_stream(self, service: str, pace: Pace) -> "AdbStream":
        """Open a service.

        Raises:
            ServiceRefused: the phone has no such service, or does not let us have it.
        """
        with self._local_id_lock:
            self._local_id = self._local_id % 0xFFFFFFFF + 1
            call = _Call(self._local_id, pace)
        name = service.encode() + b"\0"
        self._io_manager.send(AdbMessage(constants.OPEN, call.local_id, 0, name), call)
        expected = [constants.OKAY, constants.CLSE]
        command, remote_id, _, _ = self._io_manager.read(expected, call, allow_zeros=True)
        if command == constants.CLSE:
            raise ServiceRefused(service.partition(":")[0])
        call.remote_id = remote_id
        return AdbStream(self, call, self._maxdata)

    def write(self, call: _Call, data: Bytes) -> None:
        """Send one packet of a stream."""
        message = AdbMessage(constants.WRTE, call.local_id, call.remote_id, data)
        self._io_manager.send(message, call)

    def read(self, expected: list[bytes], call: _Call) -> tuple[bytes, bytes]:
        """The next packet of a stream; a WRTE is acknowledged before it is looked at."""
        found: tuple[bytes, bytes] = self._read_until(expected, call)
        return found

    def say_closed(self, call: _Call) -> None:
        """Send CLSE."""
        self._io_manager.send(AdbMessage(constants.CLSE, call.local_id, call.remote_id), call)


@final
class AdbStream(Stream):
    """One service over adb packets: each packet is sent when the one before was taken."""

    def __init__(self, device: Device, call: _Call, max_packet_bytes: int) -> None:
        self._device, self._call = device, call
        self.max_packet_bytes = max_packet_bytes
        self._inbox: deque[Bytes] = deque()
        self._closed = False

    def send(self, data: Bytes) -> None:
        """See Stream."""
        view = memoryview(data)
        while view and not self._closed:
            self._device.write(self._call, view[: self.max_packet_bytes])
            view = view[self.max_packet_bytes :]
            self._await_okay()

    def receive(self) -> Bytes:
        """See Stream."""
        if self._inbox:
            return self._inbox.popleft()
        if self._closed:
            return b""
        command, data = self._device.read([constants.WRTE, constants.CLSE], self._call)
        if command == constants.CLSE:
            self._phone_closed()
            return b""
        return data

    def answered(self) -> bool:
        """See Stream."""
        return self._closed or bool(self._inbox)

    def close(self) -> None:
        """See Stream."""
        if self._closed:
            return
        self._closed = True
        self._call.pace = Pace(_CLOSE_S)
        self._device.say_closed(self._call)
        # One packet may still be under way; what it holds is of no interest any more.
        while self._device.read([constants.CLSE, constants.WRTE], self._call)[0] != constants.CLSE:
            pass

    def _await_okay(self) -> None:
        while True:
            expected = [constants.OKAY, constants.WRTE, constants.CLSE]
            command, data = self._device.read(expected, self._call)
            if command == constants.OKAY:
                return
            if command == constants.CLSE:
                self._phone_closed()
                return
            self._inbox.append(data)

    def _phone_closed(self) -> None:
        self._closed = True
        self._device.say_closed(self._call)
