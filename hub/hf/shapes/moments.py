"""Moments as the protocol writes them."""

from datetime import UTC, datetime


def moment(at: datetime) -> str:
    """`2026-11-28T02:49:58.000Z`."""
    there = at.astimezone(UTC)
    return f"{there:%Y-%m-%dT%H:%M:%S}.{there.microsecond // 1000:03d}Z"
