"""Connections whose reader has stopped reading are closed by the system.

A server sends the last bytes of an answer when the application is long done, so nobody else can end a connection whose
reader never takes them. Linux ends one itself whose bytes lie untaken for TCP_USER_TIMEOUT, and gives a connection the
options of the socket that accepted it (tcp(7)).
"""

import os
import socket
import stat
import sys


def drop_stalled_readers(seconds: float) -> int:
    """Set the time-out on this process' listening TCP sockets; how many there are. Nothing happens outside Linux."""
    if sys.platform != "linux":
        return 0
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.stat(int(name)).st_mode):
                continue
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with copy:
            internet = copy.family in (socket.AF_INET, socket.AF_INET6) and copy.type == socket.SOCK_STREAM
            if internet and copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
                copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                found += 1
    return found
