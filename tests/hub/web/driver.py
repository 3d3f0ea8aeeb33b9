"""A browser that is clicked and typed into: Chromium by its own driver, spoken to as W3C WebDriver says."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

from hub.runtime.valkey import free_port

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
ENTER, TAB = "\ue007", "\ue004"


class Failed(Exception):
    """What the driver says went wrong."""


class Browser:
    """One window. Elements are named by CSS selectors, and waited for."""

    def __init__(self, profile: Path, *, width: int = 1280, height: int = 900) -> None:
        port = free_port("127.0.0.1")
        command = [DRIVER, f"--port={port}", "--log-level=SEVERE"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.address = f"http://127.0.0.1:{port}"
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        wanted = {"goog:chromeOptions": {"binary": CHROMIUM, "args": flags}, "goog:loggingPrefs": {"browser": "ALL"}}
        self.until(lambda: self._ask("GET", "/status")["ready"])
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.address += f"/session/{session['sessionId']}"

    def close(self) -> None:
        """End the window and its driver."""
        try:
            self._ask("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait(20)

    def open(self, address: str) -> None:
        """Go there."""
        self._ask("POST", "/url", {"url": address})

    @property
    def address_now(self) -> str:
        """The address of the page that is shown."""
        return self._ask("GET", "/url")

    def text(self, selector: str = "body") -> str:
        """What a person reads of the first element."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def there(self, selector: str) -> bool:
        """Whether the page has such an element."""
        return self.run("return Boolean(document.querySelector(arguments[0]))", selector)

    def click(self, selector: str) -> None:
        """Click the element once it can be clicked."""
        self.until(lambda: self._act(selector, "click", {}), selector)

    def type(self, selector: str, text: str) -> None:
        """Put `text` in the field in place of what it holds; of a file field, choose these paths (one a line)."""
        self.until(lambda: self.there(selector), selector)
        if self.run("return document.querySelector(arguments[0]).type", selector) != "file":
            self._act(selector, "clear", {})
        self._act(selector, "value", {"text": text})

    def press(self, keys: str) -> None:
        """Press keys, one after another, where the focus is."""
        pairs = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": pairs}]})

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select by its value, as a person would: with its event."""
        self.run(
            "const s = document.querySelector(arguments[0]); s.value = arguments[1];"
            "s.dispatchEvent(new Event('change', { bubbles: true }))",
            selector,
            value,
        )

    def run(self, script: str, *arguments: object):
        """The value of a script in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def complaints(self) -> list[str]:
        """What the browser logged as errors since the last call."""
        rows = self._ask("POST", "/se/log", {"type": "browser"})
        return [row["message"] for row in rows if row["level"] == "SEVERE"]

    def resize(self, width: int, height: int) -> None:
        """Show pages at this size, which may be narrower than a window can be."""
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": sizes})

    def picture(self, path: Path) -> None:
        """A PNG of the window."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def until(self, true, what: str = "", seconds: float = 30.0):
        """The first true value of `true()`; while the page is still changing an error counts as not yet."""
        end, last = time.monotonic() + seconds, None
        while time.monotonic() < end:
            try:
                if value := true():
                    return value
            except (Failed, OSError) as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {what} {last or ''}")

    def _act(self, selector: str, act: str, body: dict) -> bool:
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[ELEMENT]}/{act}", body)
        return True

    def _ask(self, method: str, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            # The driver is on this machine: no proxy of the environment is asked.
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise Failed(json.load(error)["value"]["message"].splitlines()[0]) from None
