"""One open service of a phone: what shell and file transfer are spoken over."""

from abc import ABC, abstractmethod

Bytes = bytes | bytearray | memoryview


class ServiceRefused(Exception):
    """The phone has no such service, or does not let us have it."""


class WantsTls(Exception):
    """The phone answered with STLS: it is a wireless debugging port."""


class Stream(ABC):
    """Bytes both ways until one side closes. Not safe for several threads."""

    max_packet_bytes: int  # the largest piece worth giving to ``send``

    @abstractmethod
    def send(self, data: Bytes) -> None:
        """Hand over all of ``data``; returns early when the phone has closed the stream."""

    @abstractmethod
    def receive(self) -> Bytes:
        """The next piece the phone sent; empty once the phone has closed the stream."""

    @abstractmethod
    def answered(self) -> bool:
        """Whether ``receive`` would return at once; looked at while still sending."""

    @abstractmethod
    def close(self) -> None:
        """Tell the phone to end the service, and wait shortly until it did.

        Raises:
            Stalled, OSError: the phone did not answer; the connection is of no more use.
        """
