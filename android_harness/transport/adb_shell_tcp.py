"""A phone that listens on TCP, reached without any adb program."""

import logging
from typing import TYPE_CHECKING, final

from android_harness.transport.deadline import Pace
from android_harness.transport.keys import load_signers
from android_harness.transport.stream import Stream
from android_harness.transport.stream_transport import StreamTransport, parse_banner

if TYPE_CHECKING:
    from android_harness.transport.adb_shell_device import Device, Link

_log = logging.getLogger(__name__)

DEFAULT_PORT = 5555


class AdbShellTransport(StreamTransport):
    """adb-shell over a link; subclasses say which."""

    def __init__(
        self,
        endpoint: str,
        description: str,
        *,
        authorize_wait_s: float = 0.0,
        ignored_features: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(endpoint, description)
        self._authorize_wait_s = authorize_wait_s
        self._ignored_features = ignored_features
        self._device: Device | None = None

    def _link(self) -> "Link":
        raise NotImplementedError

    def _connect(self, pace: Pace) -> None:
        from android_harness.transport.adb_shell_device import Device

        device = self._device = Device(self._link())
        device.shake_hands(load_signers, pace, self._authorize_wait_s, self._say_asked)
        self.banner, features = parse_banner(device.phone_banner)
        self.features = features - self._ignored_features

    def _open(self, service: str, pace: Pace) -> Stream:
        if self._device is None:
            raise ConnectionResetError("the connection is closed")
        return self._device.open_stream(service, pace)

    def _disconnect(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()

    def _say_asked(self) -> None:
        _log.warning(
            "%s asks its owner whether to trust this computer: unlock it and accept "
            "'Allow USB debugging' within %.0f s",
            self.endpoint,
            self._authorize_wait_s,
        )


@final
class AdbShellTcp(AdbShellTransport):
    """A phone at host:port."""

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        authorize_wait_s: float = 0.0,
        why: str = "",
        ignored_features: frozenset[str] = frozenset(),
    ) -> None:
        """Name the endpoint; nothing is opened yet.

        Args:
            host: name or address.
            port: adbd's port.
            authorize_wait_s: how long to wait for the owner to accept our key; 0 fails at once.
            why: ends the description, e.g. "no adb server runs".
            ignored_features: abilities of the phone not to make use of.
        """
        shown = f"[{host}]" if ":" in host else host
        reason = f" ({why})" if why else ""
        super().__init__(
            f"{shown}:{port}",
            f"adb-shell over TCP{reason}",
            authorize_wait_s=authorize_wait_s,
            ignored_features=ignored_features,
        )
        self.address = (host, port)

    def _link(self) -> "Link":
        from android_harness.transport.adb_shell_device import TcpLink

        return TcpLink(*self.address)
