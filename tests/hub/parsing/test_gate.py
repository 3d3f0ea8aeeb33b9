"""A gate lets a few through, lets a few wait, and sends the others away with a time to come back."""

import threading

import pytest

from hub.errors import Busy
from hub.services.parsing.gate import Gate


def test_as_many_as_may_pass_do_and_the_next_is_told_when_to_come_back():
    gate = Gate("reading", at_once=2, waiting=0, patience=7.2)
    with gate.passed(), gate.passed():
        with pytest.raises(Busy, match="busy with reading") as refusal, gate.passed():
            pass
        assert refusal.value.headers == {"Retry-After": "8"}
        assert refusal.value.status == 503
    with gate.passed(), gate.passed():
        pass


def test_one_that_waits_gets_the_place_that_becomes_free():
    gate, passed = Gate("reading", at_once=1, waiting=1, patience=30), threading.Event()

    def come():
        with gate.passed():
            passed.set()

    with gate.passed():
        other = threading.Thread(target=come)
        other.start()
        while gate._queue._value:
            pass
        with pytest.raises(Busy), gate.passed():
            pass
        assert not passed.is_set()
    other.join(30)
    assert passed.is_set()


def test_patience_ends():
    gate = Gate("reading", at_once=1, waiting=1, patience=0.01)
    with gate.passed(), pytest.raises(Busy), gate.passed():
        pass


def test_what_fails_inside_gives_its_place_back():
    gate = Gate("reading", at_once=1, waiting=0, patience=0.01)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.passed():
            raise ZeroDivisionError
