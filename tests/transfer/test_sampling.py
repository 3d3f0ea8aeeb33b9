"""Sampling: the distribution that temperature and top-p ask for, and rows that don't depend on their neighbours."""

import pytest
import torch

from composition.running.prompting import Prompting
from tests.transfer import toy
from transfer import sampling
from transfer.sampling import draw, sample

pytestmark = pytest.mark.trained


def slow_draw(logits, uniform, temperature, top_p):
    """Sort all, keep the smallest set that reaches top_p, walk along it; and each row's distance to a border."""
    found, borders = [], []
    for row, u in zip(logits.double() / temperature, uniform.double(), strict=True):
        order = row.argsort(descending=True, stable=True).tolist()
        p = row.softmax(0)[order]
        summed = p.cumsum(0)
        inside = min(int((summed < top_p).sum()), len(order) - 1)
        target, running = float(u) * float(summed[inside]), 0.0
        for place in range(inside + 1):
            running += float(p[place])
            if running > target:
                break
        found.append(order[min(place, inside)])
        cut = float((summed - top_p).abs().min()) if top_p < 1 else 1.0
        borders.append(min(cut, float((summed - target).abs().min())))
    return torch.tensor(found), torch.tensor(borders)


@pytest.mark.parametrize("top_p", [0.05, 0.6, 0.95, 1.0])
@pytest.mark.parametrize("looked_at", [4, 128])
def test_a_draw_walks_the_sorted_distribution(monkeypatch, top_p, looked_at):
    monkeypatch.setattr(sampling, "LOOKED_AT", looked_at)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 300, generator=generator) * torch.linspace(0.1, 4, 200)[:, None]
    uniform = torch.rand(200, generator=generator)
    wanted, border = slow_draw(logits, uniform, 0.7, top_p)
    apart = draw(logits, uniform, 0.7, top_p) != wanted
    assert not apart[border > 1e-5].any(), "in float32 a sum may fall on the other side of a border that near"
    assert (border > 1e-5).sum() > 150


def test_frequencies_are_the_probabilities():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(20_000, -1)
    drawn = draw(logits, torch.rand(20_000, generator=torch.Generator().manual_seed(1)), 1.0, 1.0)
    frequency = drawn.bincount(minlength=4) / 20_000
    assert (frequency - logits[0].softmax(0)).abs().max() < 0.015


def continuations(rows, temperature=0.8, done=lambda ids: False, new_tokens=12):
    read = toy.tokenizer()
    ids = read("Here are 4 examples:\n1. red cat sings\n2. blue dog runs\n3.")["input_ids"]
    return ids, sample(toy.base(0), Prompting(read), ids, rows, temperature=temperature, top_p=0.9,
                       new_tokens=new_tokens, seed=5, done=done)  # fmt: skip


def test_batched_sampling_is_what_a_plain_loop_without_a_cache_samples():
    ids, written = continuations(6)
    model = toy.base(0)
    generator = torch.Generator().manual_seed(5)
    rows = [list(ids) for _ in range(6)]
    stopped = [False] * 6
    with torch.no_grad():
        for _ in range(12):
            uniform = torch.rand(6, generator=generator)
            for n, row in enumerate(rows):
                if not stopped[n]:
                    row.append(
                        int(slow_draw(model(torch.tensor([row])).logits[:, -1], uniform[n : n + 1], 0.8, 0.9)[0])
                    )
                    stopped[n] = row[-1] == 2
    assert written == [row[len(ids) :] for row in rows]


def test_almost_no_temperature_is_greedy():
    ids, written = continuations(3, temperature=1e-5)
    model, row = toy.base(0), list(ids)
    with torch.no_grad():
        for _ in range(12):
            row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
            if row[-1] == 2:
                break
    assert written == [row[len(ids) :]] * 3


def test_a_row_ends_where_it_is_done_and_says_the_same_whoever_is_done_earlier():
    _, long = continuations(6)
    newline = toy.tokenizer()("\n")["input_ids"][0]
    _, short = continuations(6, done=lambda ids: ids[-1] == newline)
    for whole, part in zip(long, short, strict=True):
        assert whole[: len(part)] == part
        assert part[-1] == newline or part == whole
    assert any(len(part) < len(whole) for whole, part in zip(long, short, strict=True))
