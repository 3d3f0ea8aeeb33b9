"""The one training loop: whatever stops a run, it ends with the bytes of a run that was never stopped."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from composition.errors import Cancelled, CompositionError
from composition.training.early_stop import EarlyStop
from composition.training.loop import Loop, adamw
from composition.training.parallel import Replicas

STEPS = 12


class Toy:
    """Least squares on rows that follow from the step's number; a buffer that counts what an update is followed by."""

    def __init__(self, *, rows: int = 8, rate: float = 0.1):
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(4, 3, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.zeros(3))
        self.updates = torch.zeros(1)
        self.rows, self.rate = rows, rate

    @property
    def parameters(self):
        return {"bias": self.bias, "weight": self.weight}

    def loss(self, number: int):
        random = torch.Generator().manual_seed(number)
        x = torch.randn(self.rows, 4, generator=random)
        return ((x @ self.weight + self.bias - x[:, :3]) ** 2).mean()

    def step(self, number, notes):
        loss = self.loss(number)
        loss.backward()
        return {"loss": float(loss.detach())}

    def loop(self, folder, **changes):
        given = {
            "steps": STEPS,
            "step": self.step,
            "parameters": self.parameters,
            "buffers": {"updates": self.updates},
            "optimizer": adamw([([self.weight], self.rate, 0.01), ([self.bias], self.rate / 2, 0.0)]),
            "schedule": lambda number: 1 - number / STEPS,
            "clip": 1.0,
            "rate": self.rate,
            "state": folder,
            "key": "toy",
            "begin": lambda notes: notes.before.update(begun=True),
            "point": lambda number, figures: {"step": number, **figures},
            "after_update": lambda: self.updates.add_(1),
        }
        return Loop(**{**given, **changes})

    def values(self):
        return [tensor.detach().clone() for tensor in (*self.parameters.values(), self.updates)]


def trained(folder, **changes):
    toy = Toy()
    return toy.loop(folder, **changes).run(), toy.values()


def same(one, other):
    return all(map(torch.equal, one, other))


class Stop(Exception):
    """What a watcher raises."""


def stopping_at(step, told=None):
    def progress(fraction, message="", **figures):
        if told is not None:
            told.append((fraction, message, figures))
        if message == f"Step {step} of {STEPS}":
            raise Stop

    return progress


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(1, STEPS), max_size=4, unique=True).map(sorted), every=st.sampled_from([0.0, 1e9]))
def test_however_often_it_is_stopped_it_ends_with_the_same_bytes(tmp_path_factory, stops, every):
    folder = tmp_path_factory.mktemp("run")
    whole, wanted = trained(folder / "whole")
    for stop in stops:
        with pytest.raises(Stop):
            trained(folder / "cut", progress=stopping_at(stop), save_every=every)
    notes, values = trained(folder / "cut", save_every=every)
    assert same(values, wanted)
    assert (notes.step, notes.curve, notes.before) == (whole.step, whole.curve, whole.before)


@pytest.mark.parametrize("at", [0, 3, STEPS - 1])
def test_a_killed_one_goes_on_from_its_last_checkpoint(tmp_path, at):
    _, wanted = trained(tmp_path / "whole")
    toy = Toy()

    def killed(number, notes):
        if number == at:
            raise MemoryError  # nobody keeps the state: as a kill, between two checkpoints
        return Toy.step(toy, number, notes)

    with pytest.raises(MemoryError):
        toy.loop(tmp_path / "cut", step=killed, save_every=0.0).run()
    told = []
    _, values = trained(tmp_path / "cut", progress=stopping_at(None, told))
    assert same(values, wanted)
    assert len([1 for _, message, _ in told if message.startswith("Step")]) == STEPS - at
    assert (told[0][1] == f"Taken up again at step {at}") is (at > 0)


def test_another_run_s_state_is_not_taken_up(tmp_path):
    trained(tmp_path)
    told = []
    trained(tmp_path, key="another", progress=stopping_at(None, told))
    assert told[0][1] == f"Step 1 of {STEPS}"


def test_it_is_what_torch_does_by_hand(tmp_path):
    _, values = trained(tmp_path)
    toy = Toy()
    groups = [
        {"params": [toy.weight], "weight_decay": 0.01, "lr": toy.rate},
        {"params": [toy.bias], "weight_decay": 0.0, "lr": toy.rate / 2},
    ]
    optimizer = torch.optim.AdamW(groups)
    for number in range(STEPS):
        for group, peak in zip(optimizer.param_groups, (toy.rate, toy.rate / 2), strict=True):
            group["lr"] = peak * (1 - number / STEPS)
        optimizer.zero_grad()
        toy.loss(number).backward()
        torch.nn.utils.clip_grad_norm_([toy.bias, toy.weight], 1.0)
        optimizer.step()
        toy.updates += 1
    assert same(values, toy.values())


def test_progress_never_falls_back_and_ends_at_one(tmp_path):
    told = []
    trained(tmp_path, progress=stopping_at(None, told), tell=lambda notes, figures: {"step": notes.step, **figures})
    fractions = [fraction for fraction, _, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(told) == STEPS
    assert [figures["step"] for _, _, figures in told] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_the_step_and_changes_nothing(tmp_path, wrong):
    toy = Toy()

    def step(number, notes):
        figures = Toy.step(toy, number, notes)
        return {"loss": wrong} if number == 4 else figures

    with pytest.raises(CompositionError) as refusal:
        toy.loop(tmp_path, step=step).run()
    assert refusal.value.code == "train.diverged" and refusal.value.facts["step"] == 4
    assert "step 5 of 12" in refusal.value.message and "0.1" in refusal.value.message
    before = Toy()
    before.loop(tmp_path / "before", over=lambda notes: notes.step == 4).run()
    assert same(toy.values(), before.values())


def test_only_the_first_of_several_processes_keeps_the_state(tmp_path):
    class Second(Replicas):
        def add_gradients(self, parameters):
            """Alone in this test."""

    trained(tmp_path, replicas=Second(rank=1, size=2), save_every=0.0)
    assert not list(tmp_path.iterdir())


def test_gradients_are_added_up_before_they_are_clipped(tmp_path):
    class Doubled(Replicas):
        def add_gradients(self, parameters):
            for parameter in parameters:
                parameter.grad *= 2

    _, doubled = trained(tmp_path / "a", replicas=Doubled(), clip=1e9)
    toy = Toy()

    def twice(number, notes):
        loss = toy.loss(number)
        (2 * loss).backward()
        return {"loss": float(loss.detach())}

    toy.loop(tmp_path / "b", step=twice, clip=1e9).run()
    assert same(doubled, toy.values())


@pytest.mark.parametrize("stop", [None, 2, 7])
def test_early_stop_keeps_the_best_epoch_also_when_it_was_stopped(tmp_path, stop):
    """Held-out losses fall, then rise: the values of the third epoch stay, and two epochs later the run ends."""
    losses = {0: 9.0, 1: 5.0, 2: 4.0, 3: 3.0, 4: 3.5, 5: 3.0, 6: 1.0}

    def run(folder, **changes):
        toy, seen = Toy(), {}
        early = EarlyStop(toy.parameters, epoch=2, steps=STEPS, patience=2)

        def begin(notes):
            notes.before["held"] = [{"epoch": 0, "loss": losses[0]}]

        def measure(notes, figures):
            if early.due(notes):
                early.note(notes, losses[notes.step // 2])
                seen[notes.step // 2] = toy.weight.detach().clone()
            return figures

        own = {"buffers": early.buffers, "after_update": lambda: None, "begin": begin, "measure": measure}
        notes = toy.loop(folder, **own, over=early.over, **changes).run()
        return toy, early, notes, seen

    if stop:
        with pytest.raises(Stop):
            run(tmp_path, progress=stopping_at(stop))
    toy, early, notes, _ = run(tmp_path)
    assert notes.step == 10 and [row["epoch"] for row in notes.before["held"]] == [0, 1, 2, 3, 4, 5]
    assert early.best(notes) == {"epoch": 3, "loss": 3.0}
    early.restore()
    _, _, _, whole = run(tmp_path / "whole")
    assert torch.equal(toy.weight, whole[3])


def test_a_cancel_is_a_stop_like_any_other(tmp_path):
    def cancel(fraction, message="", **figures):
        raise Cancelled

    with pytest.raises(Cancelled):
        trained(tmp_path, progress=cancel)
    told = []
    trained(tmp_path, progress=stopping_at(None, told))
    assert told[0][1:] == ("Taken up again at step 1", {"step": 1})
