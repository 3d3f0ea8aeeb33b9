"""The hub's own client as a package that pip installs: `hubctl` alone, built from the tree that the hub runs from."""

from hub.client.wheel import Wheel, wheel

__all__ = ["Wheel", "wheel"]
