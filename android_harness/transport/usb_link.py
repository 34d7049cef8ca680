"""adb-shell's USB transport with full sends; importing this imports libusb1 and opens the bus."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import usb1
from adb_shell.transport.usb_transport import UsbTransport

from android_harness.transport.stream import Bytes

T = TypeVar("T")


@final
class UsbLink(UsbTransport):  # type: ignore[misc]
    """Bulk transfers in full; a zero-length packet ends one that fills its last packet."""

    def connect(self, transport_timeout_s: float | None = None) -> None:
        """Claim the interface."""
        super().connect(transport_timeout_s)
        self._packet_bytes: int = max(e.getMaxPacketSize() for e in self._setting.iterEndpoints())

    def read_into(self, view: memoryview, timeout_s: float) -> int:
        """Read one transfer."""
        wait_ms = self._timeout_ms(timeout_s)
        handle = self._handle()
        data = _in_time(lambda: handle.bulkRead(self._read_endpoint, len(view), timeout=wait_ms))
        view[: len(data)] = data
        return len(data)

    def write_all(self, parts: Sequence[Bytes], timeout_s: float) -> None:
        """Send each part as a transfer of its own, as adbd reads them."""
        for part in parts:
            if len(part):
                self._write(bytes(part), timeout_s)

    def _write(self, data: bytes, timeout_s: float) -> None:
        wait_ms = self._timeout_ms(timeout_s)
        handle = self._handle()
        sent = _in_time(lambda: handle.bulkWrite(self._write_endpoint, data, timeout=wait_ms))
        if sent != len(data):
            raise ConnectionResetError(f"USB took {sent} of {len(data)} bytes")
        # Source: AOSP packages/modules/adb/client/usb_linux.cpp usb_write(), zero_mask.
        if len(data) % self._packet_bytes == 0:
            _in_time(lambda: handle.bulkWrite(self._write_endpoint, b"", timeout=wait_ms))

    def _handle(self) -> Any:
        if self._transport is None:
            raise ConnectionResetError("the USB interface is closed")
        return self._transport


def _in_time(transfer: Callable[[], T]) -> T:
    try:
        return transfer()
    except usb1.USBErrorTimeout as error:
        raise TimeoutError(str(error)) from error
