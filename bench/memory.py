"""What memory a piece of a benchmark takes: mapped files are no cost, so only anonymous pages are counted."""

import threading
from pathlib import Path


class AnonymousPeak:
    """Samples RssAnon of this process every 2 ms; `mebibytes` is the peak over what was there at the start."""

    def __enter__(self) -> "AnonymousPeak":
        self.start = self.peak = self.now()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.stop.wait(0.002):
            self.peak = max(self.peak, self.now())

    @staticmethod
    def now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    @property
    def mebibytes(self) -> float:
        return (self.peak - self.start) / 1024
