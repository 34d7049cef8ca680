"""A simulated phone: an adb daemon in Python that runs commands on this host.

For machines where no virtual phone can run, for faults on demand, and for fleets. Debian's adb,
adb-shell and adbutils talk to it as to a phone; the runner's bundle is really pushed and really
runs, so its figures are evidence of the *host* (``ro.deploybench.fidelity`` is ``simulated``).

    with SimulatedPhone(SimulatedConfig(serial="A1"), faults=(NoSpace(free_bytes=0),)) as phone:
        connect(phone.host, phone.port)

What is not there: a terminal, Android's own programs beyond getprop, setprop, dumpsys and df, a
user of its own, and protection: commands run with the rights of whoever started the phone, and
without ``authorized_keys`` every user of this machine may send them. It listens on 127.0.0.1.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, final

from android_harness.virtual.simulated.config import SimulatedBattery, SimulatedConfig
from android_harness.virtual.simulated.faults import Fault, FaultPlan
from android_harness.virtual.simulated.inside import Inside
from android_harness.virtual.simulated.keys import parse_public_key
from android_harness.virtual.simulated.link import Link
from android_harness.virtual.simulated.processes import Processes
from android_harness.virtual.simulated.root import PhoneRoot
from android_harness.virtual.simulated.shell import parse_request, serve_shell
from android_harness.virtual.simulated.stream import Stream
from android_harness.virtual.simulated.sync import serve_sync

__all__ = ["SimulatedBattery", "SimulatedConfig", "SimulatedPhone"]

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_BACKLOG = 16
# A phone that is asked to reboot is away for so long.
_REBOOT_S = 0.2


@final
class SimulatedPhone:
    """One simulated phone; it listens from construction to ``close``.

    Raises:
        ValueError: a fault or the state directory cannot be used.
        ParseError: an authorized key is none.
        OSError: the port is taken.
    """

    host = HOST

    def __init__(self, config: SimulatedConfig | None = None, faults: Iterable[Fault] = ()) -> None:
        self.config = config or SimulatedConfig()
        for key in self.config.authorized_keys or ():
            parse_public_key(key)
        self._faults = FaultPlan(faults)
        self._listener = _listen(self.config.port)
        self.port: int = self._listener.getsockname()[1]
        self._inside = self._furnish()
        self._links: set[Link] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._restart = threading.Lock()
        self._closing = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        log.info("simulated phone %s listens at %s", self.serial, self.endpoint)

    def _furnish(self) -> Inside:
        try:
            root = PhoneRoot(self.config)
        except BaseException:
            self._listener.close()
            raise
        inside = Inside(
            root=root, faults=self._faults, processes=Processes(root.path), reboot=self.reboot
        )
        inside.storage.refresh()
        return inside

    @property
    def serial(self) -> str:
        """``ro.serialno``; adb itself names the phone by ``endpoint``."""
        return self.config.serial

    @property
    def endpoint(self) -> str:
        """``host:port``, for ``adb connect``."""
        return f"{self.host}:{self.port}"

    @property
    def boot_id(self) -> str:
        """The id of this start of the phone."""
        return self._inside.root.boot_id

    def path(self, remote: str) -> Path:
        """Where a path of the phone lies on the host."""
        return self._inside.root.locate(remote)

    def set_property(self, name: str, value: str) -> None:
        """Change what getprop tells, read-only properties too."""
        self._inside.root.set_property(name, value)

    def set_value(self, remote: str, value: str | int) -> None:
        """Write a value file, e.g. ``/sys/class/power_supply/battery/capacity``."""
        self._inside.root.write(remote.lstrip("/"), value)

    def add_fault(self, fault: Fault) -> None:
        """Let something go wrong from now on.

        Raises:
            ValueError: its ``times`` or ``matching`` cannot be used.
        """
        self._faults.add(fault)
        self._inside.storage.refresh()

    def clear_faults(self) -> None:
        """Repair the phone; connections that are frozen or slow stay so."""
        self._faults.clear()
        self._inside.storage.refresh()

    def reboot(self, down_s: float = _REBOOT_S) -> None:
        """End all connections and processes, refuse new ones for ``down_s``, take a new boot id."""
        with self._restart:
            if self._closing.is_set():
                return
            self._stop_listening()
            self._end_links()
            self._inside.processes.kill_all()
            self._inside.root.boot()
            self._closing.wait(down_s)
            if not self._closing.is_set():
                self._listener.listen(_BACKLOG)

    def close(self) -> None:
        """End everything: connections, commands, threads, the temporary directory."""
        self._closing.set()
        with self._restart:
            self._stop_listening()
            self._acceptor.join()
            self._listener.close()
            self._end_links()
            self._inside.processes.kill_all()
            self._join()
            self._inside.root.remove()

    def _stop_listening(self) -> None:
        # On Linux this ends accept() and keeps the port ours, so that listen() can be called again.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:  # not listening: rebooting or closing
                self._closing.wait(0.01)
                continue
            self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        link = Link(sock, self.config, self._faults, self._open)
        thread = threading.Thread(target=self._run, args=(link,), daemon=True)
        with self._lock:
            self._links.add(link)
            self._threads = {other for other in self._threads if other.is_alive()} | {thread}
            thread.start()

    def _run(self, link: Link) -> None:
        try:
            link.run()
        finally:
            with self._lock:
                self._links.discard(link)

    def _open(self, stream: Stream, service: str) -> Callable[[], None] | None:
        request = parse_request(service)
        if request is not None:
            return lambda: serve_shell(stream, request, self._inside)
        if service == "sync:":
            return lambda: serve_sync(stream, self._inside)
        if service.startswith("reboot:"):
            return threading.Thread(target=self.reboot, daemon=True).start
        log.info("no such service: %r", service)
        return None

    def _end_links(self) -> None:
        with self._lock:
            links = tuple(self._links)
        for link in links:
            link.end()

    def _join(self) -> None:
        with self._lock:
            threads = tuple(self._threads)
        for thread in threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _listen(port: int) -> socket.socket:
    """A listening socket whose port stays its own while it does not listen.

    Linux gives a port that it chose itself back when listening ends, but not one that was asked
    for; so a free one is found first, held, and asked for.
    """
    with _bound(port) as holder:
        listener = _bound(holder.getsockname()[1])
    listener.listen(_BACKLOG)
    return listener


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock
