"""Threads for synchronous code, and a queue before them that is short and in which nobody waits long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import close_old_connections, connection

from hub.front.refusals import Refused

T = TypeVar("T")


def _freeing(function: Callable[..., T], *arguments: object) -> T:
    """The function's result. Its thread keeps no connection to the database that others wait for, also where an answer
    goes on being read: only the end of the whole request would give it back, and that may be in another thread."""
    try:
        return function(*arguments)
    finally:
        if not connection.in_atomic_block:
            close_old_connections()


class Pool:
    """`threads` calls at once; `waiting` more wait, each for at most `wait_seconds`, then are refused by 503."""

    def __init__(self, name: str, threads: int, waiting: int, wait_seconds: float) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.free = asyncio.Semaphore(threads)
        self.most_waiting, self.waiting, self.wait_seconds = waiting, 0, wait_seconds

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """The function's result, from one of the threads. Refused where none comes free in time."""
        await self._enter()
        call = asyncio.get_running_loop().run_in_executor(self.executor, _freeing, function, *arguments)
        # The thread goes on when its caller is cancelled, so the place is free when the thread is.
        call.add_done_callback(self._leave)
        return await asyncio.shield(call)

    async def _enter(self) -> None:
        if not self.free.locked():
            await self.free.acquire()
            return
        if self.waiting >= self.most_waiting:
            raise self._busy()
        self.waiting += 1
        try:
            await asyncio.wait_for(self.free.acquire(), self.wait_seconds)
        except TimeoutError:
            raise self._busy() from None
        finally:
            self.waiting -= 1

    def _leave(self, call: asyncio.Future) -> None:
        self.free.release()
        if not call.cancelled():
            call.exception()  # Looked at, so that a caller who went away leaves no warning.

    def _busy(self) -> Refused:
        return Refused(503, "server.busy", "The server is busy: come back in a few seconds.", retry_after=3)

    def close(self) -> None:
        """Let the threads end with what they do."""
        self.executor.shutdown(wait=False, cancel_futures=True)
