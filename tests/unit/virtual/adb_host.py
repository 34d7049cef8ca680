"""A tiny adb host for tests, on the wire format alone: blocking, one stream at a time."""

import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from android_harness.virtual.simulated.adb_wire import (
    VERSION_NO_CHECKSUM,
    AuthKind,
    Command,
    Packet,
    PacketDecoder,
    ShellDecoder,
    ShellFrame,
    decode_sync_header,
    encode_packet,
    encode_shell_frame,
    encode_sync,
    encode_sync_number,
    parse_banner,
)

DEADLINE_S = 20.0  # a test that waits so long has failed


class Ended(Exception):
    """The phone closed the connection or the stream."""


class PushRefused(Exception):
    """The phone answered FAIL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    exit_code: int | None
    stdout: bytes
    stderr: bytes


class AdbHost:
    def __init__(
        self,
        endpoint: str,
        *,
        version: int = VERSION_NO_CHECKSUM,
        max_payload_bytes: int = 1024 * 1024,
        greet: bool = True,
    ) -> None:
        host, port = endpoint.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
        self._decoder = PacketDecoder()
        self._packets: list[Packet] = []
        self._version, self._max_payload_bytes = version, max_payload_bytes
        self._next_id = 100
        self._streams: dict[int, HostStream] = {}
        self.with_checksum = True
        try:
            if greet:
                self.greet()
        except (Ended, OSError):
            self.close()
            raise

    def greet(self) -> Packet:
        """CNXN; what the phone says to it: CNXN or AUTH."""
        self.send(
            Packet(
                command=Command.CNXN,
                arg0=self._version,
                arg1=self._max_payload_bytes,
                payload=b"host::features=shell_v2,stat_v2",
            )
        )
        return self.welcome(self.receive())

    def welcome(self, packet: Packet) -> Packet:
        if packet.command is Command.CNXN:
            self.phone_version = packet.arg0
            self.max_payload_bytes = min(packet.arg1, self._max_payload_bytes)
            _, self.properties, self.features = parse_banner(packet.payload)
            agreed = min(packet.arg0, self._version)
            self.with_checksum = agreed < VERSION_NO_CHECKSUM
            self._decoder.verify_checksum = self.with_checksum
        return packet

    def sign(self, signature: bytes) -> Packet:
        self.send(Packet(command=Command.AUTH, arg0=AuthKind.SIGNATURE, payload=signature))
        return self.welcome(self.receive())

    def send(self, packet: Packet) -> None:
        self.sock.sendall(encode_packet(packet, with_checksum=self.with_checksum))

    def receive(self) -> Packet:
        while not self._packets:
            data = self.sock.recv(65536)
            if not data:
                raise Ended
            self._packets.extend(self._decoder.feed(data))
        return self._packets.pop(0)

    def open(self, service: str) -> "HostStream":
        self._next_id += 1
        stream = self._streams[self._next_id] = HostStream(self, self._next_id)
        self.send(
            Packet(command=Command.OPEN, arg0=self._next_id, payload=service.encode() + b"\0")
        )
        stream.wait_taken()
        return stream

    def pump(self) -> None:
        """Take one packet, to whichever stream it belongs."""
        packet = self.receive()
        self._streams[packet.arg1].take(packet)

    def shell(self, command: str, stdin: bytes = b"") -> Answer:
        stream = self.open(f"shell,v2,raw:{command}")
        if stdin:
            stream.write(encode_shell_frame(ShellFrame.STDIN, stdin))
            stream.write(encode_shell_frame(ShellFrame.CLOSE_STDIN, b""))
        parts = {ShellFrame.STDOUT: b"", ShellFrame.STDERR: b""}
        exit_code = None
        decoder = ShellDecoder()
        for data in stream:
            for kind, body in decoder.feed(data):
                if kind is ShellFrame.EXIT:
                    exit_code = body[0]
                else:
                    parts[kind] += body
        return Answer(
            exit_code=exit_code, stdout=parts[ShellFrame.STDOUT], stderr=parts[ShellFrame.STDERR]
        )

    def run(self, service: str) -> bytes:
        """All output of a service without frames."""
        return b"".join(self.open(service))

    def push(self, data: bytes, remote: str, mode: int = 0o644) -> None:
        stream = self.open("sync:")
        stream.write(encode_sync(b"SEND", f"{remote},{mode}".encode()))
        for start in range(0, len(data), 65536):
            stream.write(encode_sync(b"DATA", data[start : start + 65536]))
        stream.write(encode_sync_number(b"DONE", 1_700_000_000))
        kind, size_bytes = decode_sync_header(stream.read_exactly(8))
        words = stream.read_exactly(size_bytes)
        if kind != b"OKAY":
            raise PushRefused(words.decode())
        stream.close()

    def pull(self, remote: str) -> bytes:
        stream = self.open("sync:")
        stream.write(encode_sync(b"RECV", remote.encode()))
        parts = []
        while True:
            kind, number = decode_sync_header(stream.read_exactly(8))
            if kind == b"DONE":
                break
            parts.append(stream.read_exactly(number))
            if kind == b"FAIL":
                raise PushRefused(parts[-1].decode())
        stream.close()
        return b"".join(parts)

    def sync(self, request: bytes, answer_bytes: int) -> bytes:
        """One request whose answer has a known size."""
        stream = self.open("sync:")
        stream.write(request)
        answer = stream.read_exactly(answer_bytes)
        stream.close()
        return answer

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class HostStream:
    def __init__(self, host: AdbHost, local_id: int) -> None:
        self.host, self.local_id, self.remote_id = host, local_id, 0
        self._inbox: list[bytes] = []
        self._rest = b""
        self._taken = False
        self.closed = False

    def take(self, packet: Packet) -> None:
        self.remote_id = packet.arg0 or self.remote_id
        if packet.command is Command.WRTE:
            self._inbox.append(packet.payload)
            self.send(Command.OKAY)
        elif packet.command is Command.CLSE:
            self.closed = True
        else:
            assert packet.command is Command.OKAY
            self._taken = True

    def send(self, command: Command, payload: bytes = b"") -> None:
        self.host.send(
            Packet(command=command, arg0=self.local_id, arg1=self.remote_id, payload=payload)
        )

    def write(self, data: bytes) -> None:
        """Send one packet and wait until the phone took it."""
        self.send(Command.WRTE, data)
        self.wait_taken()

    def wait_taken(self) -> None:
        while not self._taken:
            if self.closed:
                raise Ended("the phone closed the stream")
            self.host.pump()
        self._taken = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while not self._inbox:
            if self.closed:
                raise StopIteration
            self.host.pump()
        return self._inbox.pop(0)

    def read_exactly(self, size_bytes: int) -> bytes:
        while len(self._rest) < size_bytes:
            self._rest += next(self)
        data, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        return data

    def close(self) -> None:
        self.send(Command.CLSE)
