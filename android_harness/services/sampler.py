"""Watches battery and temperatures while something else runs on the phone."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, final

from android_harness.errors import HarnessError
from android_harness.phone import Phone, PhoneState
from android_harness.transport.choosing import second_connection
from android_harness.transport.seam import Transport

_log = logging.getLogger(__name__)

# Each sample starts a few processes on the phone: often enough to see throttling begin, seldom
# enough not to be what is measured.
INTERVAL_S = 5.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The phone's state at one moment of the host's monotonic clock, counted from ``start``."""

    at_s: float
    state: PhoneState


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What was seen; ``reason`` says why there is less than was asked for."""

    samples: tuple[Sample, ...]
    reason: str | None = None


@final
class Sampler:
    """One start/stop life cycle: ``start``, then ``stop`` gives what was seen.

    It uses a connection of its own, because a transport does one thing at a time. Over bare USB
    there is none, and the samples are empty with the reason. An error ends the sampling, never
    the measurement.
    """

    def __init__(
        self,
        phone: Phone,
        interval_s: float = INTERVAL_S,
        connect: Callable[[Transport], Transport | None] = second_connection,
    ) -> None:
        self._phone, self._interval_s, self._connect = phone, interval_s, connect
        self._samples: list[Sample] = []
        self._reason: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample, at once and then at every interval.

        Raises:
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a sampler is started once")
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> Samples:
        """End the sampling and give what was seen; may be called again."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return Samples(samples=tuple(self._samples), reason=self._reason)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _work(self) -> None:
        try:
            transport = self._connect(self._phone.transport)
            if transport is None:
                self._reason = "this transport allows no second connection"
                return
            with transport:
                self._sample(Phone(transport))
        except HarnessError as error:
            _log.warning("sampling ended early: %s", error)
            self._reason = str(error)

    def _sample(self, phone: Phone) -> None:
        started = time.monotonic()
        while True:
            state = phone.read_state()
            self._samples.append(Sample(at_s=time.monotonic() - started, state=state))
            if self._stop.wait(self._interval_s):
                return
