"""What our worker needs of Celery's consumer beyond its settings: it never waits for a lost acknowledgement, and ticks.

Celery takes no further message while one is unacknowledged. Where the broker dies before the acknowledgement, kombu
logs that and keeps the message as unacknowledged, for ever. A message is only a hint here (the claim is in the
database), so what can't be acknowledged is forgotten, and the next read of the queue finds the broken connection.
"""

from celery import bootsteps
from kombu.transport import redis, virtual

SECONDS_A_TICK = 1.0


class Forgetting(redis.QoS):
    """Redis' deliveries, where one that can't be acknowledged is no longer counted."""

    def ack(self, delivery_tag):
        """Acknowledge it in Redis; where that fails, count it as acknowledged in this process, and raise."""
        try:
            super().ack(delivery_tag)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Tick(bootsteps.StartStopStep):
    """Tells the watch every second that the main thread listens."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer, **_):
        self.timer = None

    def start(self, consumer):
        """Begin to tick, in the loop of this connection to the broker."""
        from workers.worker import this_worker

        self.timer = consumer.timer.call_repeatedly(SECONDS_A_TICK, this_worker().watch.tick)

    def stop(self, consumer):
        """The connection is lost or closed."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def prepare(app) -> None:
    """Let `app` consume like this."""
    redis.Channel.QoS = Forgetting
    app.steps["consumer"].add(Tick)
