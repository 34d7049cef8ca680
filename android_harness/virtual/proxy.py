"""Carry connections from a listening socket of the host into a container's network.

Run as a program of its own (``proxy.py LISTENER_FD CONTAINER_PID``): a process is in one network
name space at a time, and a listening socket stays in the one it was made in.
"""

import ctypes
import os
import socket
import sys
import threading
from pathlib import Path

ADBD_PORT = 5555
_CLONE_NEWNET = 0x40000000  # Source: setns(2), linux/sched.h
_CONNECT_TIMEOUT_S = 2.0
_CHUNK_BYTES = 1 << 18


def serve(listener: socket.socket) -> None:
    """Carry every connection ``listener`` accepts to adbd, until the process is ended."""
    while True:
        outer, _ = listener.accept()
        try:
            inner = socket.create_connection(("127.0.0.1", ADBD_PORT), _CONNECT_TIMEOUT_S)
        except OSError:  # adbd is not up yet: the client sees the connection end
            outer.close()
            continue
        inner.settimeout(None)
        for end in (outer, inner):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target in ((outer, inner), (inner, outer)):
            threading.Thread(target=carry, args=(source, target), daemon=True).start()


def carry(source: socket.socket, target: socket.socket) -> None:
    """Copy until ``source`` ends, then end ``target``'s input too; a broken one ends both."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    try:
        while count := source.recv_into(buffer):
            target.sendall(buffer[:count])
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            _break(end)


def enter_network(pid: int) -> None:
    """Move this process into the network of process ``pid``.

    Raises:
        OSError: not root, or no such process.
    """
    handle = os.open(Path(f"/proc/{pid}/ns/net"), os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    os.close(handle)


def _break(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:  # it was not connected any more, which is what is wanted
        return


if __name__ == "__main__":
    enter_network(int(sys.argv[2]))
    serve(socket.socket(fileno=int(sys.argv[1])))
