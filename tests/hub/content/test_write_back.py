"""The disk begins on bytes while more come: each whole step is begun once, and the promise still is the sync."""

from hub.services.arrivals import digests, write_back


def test_whole_steps_are_begun_once_and_in_order(tmp_path, monkeypatch):
    begun, step = [], 8
    monkeypatch.setattr(write_back, "STEP", step)
    monkeypatch.setattr(write_back, "_call", lambda file, at, length, flags: begun.append((at, length, flags)))
    path, at = tmp_path / "file", 0
    with path.open("w+b", buffering=0) as file:
        for piece in (b"abc", b"defghij", b"k", b"l" * 22, b"m"):
            digests.write(path, file, at, [piece])
            at += len(piece)
    assert [(at, length) for at, length, _ in begun] == [(0, 8), (8, 24)]
    assert {flags for *_, flags in begun} == {2}  # begin only: never wait for what a client sends


def test_the_call_is_the_systems_own(tmp_path):
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        file.write(b"x" * write_back.STEP)
        assert write_back._call is None or write_back._call(file.fileno(), 0, write_back.STEP, 2) == 0
        write_back.begin(file.fileno(), 0, write_back.STEP)
