"""A TCP proxy before a server, to take the server away: cut, hung, slow, or dying in the middle of an answer.

with Proxy(("127.0.0.1", 9000)) as proxy:   # proxy.address
    proxy.cut()        # connections break, new ones are refused
    proxy.hang()       # connections stay, and nothing comes
    proxy.resume()
    proxy.cut_after(1 << 20)   # cuts once so many bytes have been answered from now on
    proxy.slow(0.2)    # seconds before each piece of an answer
"""

import contextlib
import socket
import threading
import time

PIECE = 64 << 10


class Proxy:
    """Passes on what comes to `address`, and counts the answers' bytes in `answered`."""

    def __init__(self, target: tuple[str, int], port: int = 0) -> None:
        self.target, self.port = target, port
        self.answered = 0
        self._open: set[socket.socket] = set()
        self._flows, self._lock = threading.Event(), threading.Lock()
        self._listening: socket.socket | None = None
        self._left: int | None = None
        self._pause = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Proxy":
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        with self._lock:
            listening, self._listening = self._listening, None
            broken, self._open = self._open, set()
        for one in [*broken, *filter(None, [listening])]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._flows.set()

    def hang(self) -> None:
        """Take connections and requests, and let nothing through."""
        self._flows.clear()

    def resume(self) -> None:
        """Serve again."""
        self._left, self._pause = None, 0.0
        self._flows.set()
        if self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self.port = self._listening.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def cut_after(self, count: int) -> None:
        """Cut once `count` more bytes have been answered."""
        self._left = count

    def slow(self, seconds: float) -> None:
        """Wait before each piece of an answer."""
        self._pause = seconds

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
                server = socket.create_connection(self.target)
            except OSError:
                if self._listening is not listening:
                    return
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, is_answer), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                self._flows.wait()
                if is_answer:
                    time.sleep(self._pause)
                    data = self._allowed(data)
                sink.sendall(data)
                if is_answer and self._left == 0:
                    self.cut()
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _allowed(self, data: bytes) -> bytes:
        with self._lock:
            if self._left is not None:
                data = data[: self._left]
                self._left -= len(data)
            self.answered += len(data)
        return data
