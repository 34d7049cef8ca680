"""Shell, push and pull over whatever opens streams; one lock and one life cycle for all."""

import contextlib
import logging
import secrets
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import final

from android_harness.errors import (
    CommandFailed,
    CommandTimeout,
    HarnessError,
    RemoteFileError,
    TransportError,
)
from android_harness.transport.deadline import IDLE_S, Pace, Stalled
from android_harness.transport.foreign import Doing, mapped, refused_file
from android_harness.transport.seam import Completed, Progress, Transport
from android_harness.transport.shell_protocol import (
    MAX_OUTPUT_BYTES,
    ShellOutput,
    ShellV1,
    ShellV2,
)
from android_harness.transport.stream import Stream
from android_harness.transport.sync_protocol import SyncReader, SyncRefused, push_packets, request

_log = logging.getLogger(__name__)

_TAIL_BYTES = 2000  # of a command's output, in an error
_CONNECT_S = 10.0
_END_S = 5.0  # to end what a broken-off command left behind
# adbd's path limit, SYNC.TXT; longer ones would be answered, but less clearly.
_MAX_PATH_BYTES = 1024


class StreamTransport(Transport):
    """A Transport whose subclasses only connect, open streams and disconnect.

    After any error that leaves the connection in doubt it is dropped; the next call connects
    anew and first ends what the last command may have left running on the phone.
    """

    def __init__(self, endpoint: str, description: str) -> None:
        self.endpoint, self.description = endpoint, description
        self.features: frozenset[str] = frozenset()
        self.banner: Mapping[str, str] = {}
        self._lock = threading.RLock()
        self._connected = False
        self._orphans: list[str] = []  # commands that end what was broken off

    @abstractmethod
    def _connect(self, pace: Pace) -> None:
        """Open the connection and set ``features`` and ``banner``."""

    @abstractmethod
    def _open(self, service: str, pace: Pace) -> Stream:
        """Open a service over the open connection."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection; may be called at any time, also when there is none."""

    def connect(self, timeout_s: float = _CONNECT_S) -> None:
        """Open the connection now rather than with the first call.

        Raises:
            TransportError: refused, silent, unauthorized, or lost.
        """
        with self._lock:
            if self._connected:
                return
            with self._mapped(Doing(self.endpoint, "connecting", True, timeout_s)):
                self._connect(Pace(timeout_s))
            self._connected = True
            self._end_orphans()

    def close(self) -> None:
        """See Transport."""
        with self._lock:
            self._drop()

    @final
    def shell(self, command: str, *, timeout_s: float) -> Completed:
        """See Transport."""
        with self._lock:
            output = self._say(command, timeout_s)
        if output.exit_code is None:  # _say has seen to it; for the type checker
            raise AssertionError(command)
        stdout, stderr = bytes(output.stdout), bytes(output.stderr)
        return Completed(command=command, exit_code=output.exit_code, stdout=stdout, stderr=stderr)

    @final
    def push(
        self,
        source: Path,
        remote: str,
        *,
        mode: int = 0o644,
        timeout_s: float,
        progress: Progress | None = None,
    ) -> None:
        """See Transport."""
        self._check_path(remote)
        with source.open("rb", buffering=0) as file, self._lock:
            about = source.stat()
            size, mtime_s = about.st_size, int(about.st_mtime) & 0xFFFFFFFF
            with self._session("sync:", f"pushing {remote}", timeout_s, IDLE_S) as stream:
                packets = push_packets(file, remote, mode, mtime_s, stream.max_packet_bytes)
                for packet, done in packets:
                    stream.send(packet)
                    if stream.answered():  # only ever to say that it will not
                        break
                    if progress is not None:
                        progress(done, size)
                with self._refusal(remote, size):
                    SyncReader(stream).read_outcome()

    @final
    def pull(
        self,
        remote: str,
        target: Path,
        *,
        timeout_s: float,
        max_bytes: int,
        progress: Progress | None = None,
    ) -> None:
        """See Transport."""
        self._check_path(remote)
        part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
        with self._lock:
            try:
                self._pull_into(part, remote, timeout_s, max_bytes, progress)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    def _pull_into(
        self, part: Path, remote: str, timeout_s: float, max_bytes: int, progress: Progress | None
    ) -> None:
        with self._session("sync:", f"pulling {remote}", timeout_s, IDLE_S) as stream:
            reader = SyncReader(stream)
            version = 2 if "stat_v2" in self.features else 1
            stream.send(request(b"LST2" if version == 2 else b"STAT", remote))
            found = reader.read_stat(version)
            if found.trouble:
                raise RemoteFileError(self.endpoint, remote, found.trouble)
            if found.size_bytes > max_bytes:
                raise self._too_large(remote, found.size_bytes, max_bytes)
            stream.send(request(b"RECV", remote))
            done = 0
            with part.open("wb", buffering=0) as file, self._refusal(remote, 0):
                for piece in reader.read_file():
                    done += len(piece)
                    if done > max_bytes:  # it grew, or the phone lied
                        raise self._too_large(remote, done, max_bytes)
                    file.write(piece)
                    if progress is not None:
                        progress(done, max(done, found.size_bytes))

    def _say(self, command: str, timeout_s: float) -> ShellOutput:
        talk = ShellV2() if "shell_v2" in self._known_features() else ShellV1(secrets.token_hex(6))
        what = f"running {command[:80]}"
        try:
            with self._session(talk.service(command), what, timeout_s, None) as stream:
                while piece := stream.receive():
                    talk.feed(piece)
                    if talk.output.size_bytes > MAX_OUTPUT_BYTES:
                        raise CommandFailed(
                            self.endpoint, command, 141, "more than 64 MiB of output", ""
                        )
                output = talk.finish()
                if output.exit_code is None:
                    raise EOFError("the command's stream ended without an exit code")
                return output
        except BaseException as error:
            self._broke_off(talk)
            # Not connected any more: it was the phone that did not answer, not the command.
            late = isinstance(error.__cause__, Stalled) and error.__cause__.overall
            if late and self._connected:
                tail = bytes(talk.output.stdout[-_TAIL_BYTES:]).decode("utf-8", "replace")
                raise CommandTimeout(self.endpoint, command, timeout_s, tail) from error
            raise

    def _broke_off(self, talk: ShellV1 | ShellV2) -> None:
        """Remember what may still run, and end it now when the phone is still there."""
        output = talk.finish()
        if output.pid is None or output.exit_code is not None:
            return
        self._orphans.append(talk.ending(output.pid))
        if self._connected:
            self._end_orphans()

    def _end_orphans(self) -> None:
        orphans, self._orphans = self._orphans, []
        for ending in orphans:
            _log.info("%s: ending what was broken off: %s", self.endpoint, ending)
            try:
                self._say(ending, _END_S)
            except TransportError as error:
                _log.warning("%s: a command may still run there: %s", self.endpoint, error)
                self._drop()

    def _known_features(self) -> frozenset[str]:
        self.connect()
        return self.features

    @contextlib.contextmanager
    def _session(
        self, service: str, what: str, timeout_s: float, idle_s: float | None
    ) -> Iterator[Stream]:
        """One service, opened and closed, with every foreign error made ours."""
        self.connect()
        with self._mapped(Doing(self.endpoint, what, False, timeout_s)):
            stream = self._open(service, Pace(timeout_s, idle_s))
            try:
                yield stream
            except HarnessError:  # the phone is there, and said no: only this stream ends
                self._close_late(stream)
                raise
            except Stalled:
                # A command may be late while the link is sound; then the phone ends its stream.
                # A file that stalls has left half a packet in the link.
                if idle_s is None:
                    self._close_late(stream)
                else:
                    self._drop()
                raise
            stream.close()

    def _close_late(self, stream: Stream) -> None:
        try:
            stream.close()
        except Exception as error:  # noqa: BLE001 adb-shell's, adbutils' and libusb's own
            _log.info("%s does not end a stream: %r", self.endpoint, error)
            self._drop()

    @contextlib.contextmanager
    def _mapped(self, doing: Doing) -> Iterator[None]:
        try:
            yield
        except Stalled as error:
            if not self._connected or not error.overall:
                self._drop()
            raise _given(mapped(error, doing), error) from error
        except TransportError:
            self._drop()
            raise
        except HarnessError:
            raise
        except Exception as error:
            self._drop()
            raise _given(mapped(error, doing), error) from error
        except BaseException:  # Ctrl-C in the middle of a packet
            self._drop()
            raise

    def _drop(self) -> None:
        self._connected = False
        try:
            self._disconnect()
        except Exception as error:  # noqa: BLE001 nothing to be done about it, and nothing lost
            _log.debug("%s: closing: %r", self.endpoint, error)

    @contextlib.contextmanager
    def _refusal(self, remote: str, needed_bytes: int) -> Iterator[None]:
        try:
            yield
        except SyncRefused as error:
            raise refused_file(str(error), self.endpoint, remote, needed_bytes) from error

    def _too_large(self, remote: str, size: int, max_bytes: int) -> RemoteFileError:
        reason = f"holds {size} bytes, more than the {max_bytes} expected at most"
        return RemoteFileError(self.endpoint, remote, reason)

    def _check_path(self, remote: str) -> None:
        if not remote or "\0" in remote or len(remote.encode()) > _MAX_PATH_BYTES:
            raise RemoteFileError(self.endpoint, remote[:80], "not a path adb can carry")


def _given(ours: HarnessError | None, foreign: Exception) -> Exception:
    """The mapped error; a defect of our own stays what it is."""
    return foreign if ours is None else ours


def parse_banner(banner: str) -> tuple[Mapping[str, str], frozenset[str]]:
    """Take a phone's banner apart: ``device::key=value;...;features=a,b``.

    A second, empty set may follow another ``::`` (Debian's adbd); the first word counts.

    Source: AOSP packages/modules/adb/adb.cpp parse_banner().
    """
    values: dict[str, str] = {}
    for part in banner.partition("::")[2].replace("::", ";").split(";"):
        key, equals, value = part.partition("=")
        if equals and not values.get(key):
            values[key] = value
    features = values.pop("features", "")
    return values, frozenset(f for f in features.split(",") if f)
