"""Work that goes on beside a block of a benchmark."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Self


class Background:
    """Runs _work(), of the class that is derived from it, for as long as the block lasts: until the event _over is set."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._future = self._executor.submit(self._work)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._executor.shutdown()
        # An error that nobody expects ends the benchmark: its figures would be wrong without a word.
        self._future.result()

    def _work(self) -> None:
        raise NotImplementedError
