"""Waking a drainer: one message however many rows, and no waiting for a broker that is away."""

import pytest
import redis
from kombu.utils import functional

from hub import broker
from hub.runtime.valkey import free_port


class Client:
    """Redis as far as waking needs it."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.asked = 0
        self.away = False

    def set(self, name, value, *, nx, ex):
        self.asked += 1
        if self.away:
            raise redis.ConnectionError("away")
        new = name not in self.kept
        self.kept.add(name)
        return new or None

    def delete(self, name):
        if self.away:
            raise redis.ConnectionError("away")
        self.kept.discard(name)


@pytest.fixture
def client(monkeypatch) -> Client:
    client = Client()
    monkeypatch.setattr(broker, "client", lambda: client)
    monkeypatch.setattr(broker, "_away_until", 0.0)
    return client


@pytest.fixture
def sent(monkeypatch) -> list:
    """(task, queue) of what went to the broker."""
    messages = []

    class Producer:
        def send_task(self, name, *, queue, **_):
            messages.append((name, queue))

    monkeypatch.setattr(broker, "producer", Producer)
    return messages


def test_many_rows_wake_one_drainer(client, sent):
    for _ in range(3):
        broker.wake_drainer()
    assert sent == [("workers.tasks.drain_outbox", "cpu")]


def test_a_row_written_after_it_began_wakes_another(client, sent):
    broker.wake_drainer()
    broker.drainer_woke()
    broker.wake_drainer()
    assert len(sent) == 2


def test_a_broker_that_is_away_is_not_asked_at_every_write(client, sent):
    client.away = True
    for _ in range(3):
        broker.wake_drainer()
    broker.drainer_woke()
    assert (client.asked, sent) == (1, [])


def test_whoever_queues_a_job_waits_for_no_second_try_at_a_broker_that_refuses(settings, monkeypatch):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port('127.0.0.1')}/0"
    monkeypatch.setattr(broker, "_away_until", 0.0)
    monkeypatch.setattr(broker, "producer", broker.producer.__wrapped__)
    monkeypatch.setattr(functional, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s"))
    assert broker.send(1, broker.CPU) is False
