"""An event loop on a thread of its own, which serves code inside and outside of other loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class EventLoopThread:
    """Runs coroutines on one event loop, started at the first of them.

    Connections, semaphores and the like belong to the loop that first used them; here it is always the same one,
    whichever thread or loop asks.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: threading.Thread | None = None
        self._stop: weakref.finalize[..., EventLoopThread] | None = None

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> concurrent.futures.Future[Result]:
        """Start a coroutine; cancelling the future cancels it.

        Raises:
            RuntimeError: in a forked child, where the thread is not.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._started())
        except BaseException:
            coroutine.close()
            raise

    async def call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Await a coroutine that runs on this loop, from any loop.

        Raises:
            RuntimeError: in a forked child, where the thread is not.
        """
        if asyncio.get_running_loop() is self._loop:
            return await coroutine
        return await asyncio.wrap_future(self.submit(coroutine))

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Wait for a coroutine's result; an interrupt cancels it.

        Raises:
            RuntimeError: called on this very loop, which would wait for itself; or in a forked child.
        """
        if threading.current_thread() is self._worker:
            coroutine.close()
            raise RuntimeError("A provider's own coroutine waits with `await complete(…)`, not with complete_sync.")
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        """Cancel what runs, run `last`, such as the closing of connections, and end the thread."""
        with self._lock:
            if self._stop is not None:
                here = self._process == os.getpid() and threading.current_thread() is not self._worker
                if here and last is not None and self._loop is not None:
                    asyncio.run_coroutine_threadsafe(_cancel_all(last), self._loop).result()
                self._stop()
            self._loop = self._worker = self._stop = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._process != os.getpid():
            raise RuntimeError(
                "This provider was made before the process forked, and its thread stayed behind. Make one in each "
                "process, or start processes by 'spawn', which makes it again there."
            )
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name=self.name, daemon=True)
                thread.start()
                self._loop, self._worker = loop, thread
                self._stop = weakref.finalize(self, _end, loop, thread, self._process)
            return self._loop


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, process: int) -> None:
    """Let every task be cancelled and finish, then stop the loop."""
    if process != os.getpid():  # a forked child, which has the loop but not the thread
        return
    if threading.current_thread() is thread:  # collected on the thread itself, which can't wait for its own end
        loop.call_soon(loop.stop)
        return
    asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _cancel_all(last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if last is not None:
        await last()
