"""The heartbeat's rarer duties: it purges what people gave to jobs that are over, once in a long while."""

from types import SimpleNamespace

from workers import heartbeat
from workers.heartbeat import Heartbeat


def test_it_purges_at_its_start_and_then_rarely(monkeypatch):
    beating, done = Heartbeat(SimpleNamespace()), []
    monkeypatch.setattr(heartbeat, "SECONDS_A_LOOK", 0.001)
    monkeypatch.setattr(beating, "look", lambda: len(done) > 3 and beating.closed.set())
    monkeypatch.setattr(beating, "beat", lambda: None)
    monkeypatch.setattr(heartbeat.job_lease, "reap", lambda: done.append("reap"))
    monkeypatch.setattr(heartbeat.job_files, "purge", lambda: done.append("purge"))
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=iter(range(10**6, 10**9, 100)).__next__))
    monkeypatch.setattr(heartbeat.connection, "close", lambda: None)
    beating.run()
    assert done.count("purge") < done.count("reap")
    assert done[:2] == ["reap", "purge"]
