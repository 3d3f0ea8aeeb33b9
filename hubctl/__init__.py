"""The client of an adapter hub: `hubctl` on the command line, and `Hub` in Python.

    from hubctl import Hub
    hub = Hub("http://127.0.0.1:8000", token="ah_…")
    hub.push("./adapter", "demo/sentiment", base="HuggingFaceTB/SmolLM2-135M-Instruct")
    hub.pull("demo/sentiment@v1", "out/")

Imports nothing of the hub, and no HTTP library before the first request.
"""

from typing import Any

__all__ = ["Hub"]


def __getattr__(name: str) -> Any:
    if name == "Hub":
        from hubctl.client import Hub

        return Hub
    raise AttributeError(name)
