"""Router training: what learns, what stays, what a kill loses (nothing), and where tokens are said to go."""

import json

import pytest
import torch
from safetensors.torch import load_file

from composition.errors import Cancelled, CompositionError
from composition.moe import batches, train
from composition.moe.assemble import assemble
from composition.moe.grow import add_experts, recipe_of
from composition.moe.lora_moe_peft import record_routing
from composition.moe.routing import expert_weights, layer_of, routing_report, token_routing
from composition.moe.save import save_assembly
from composition.moe.train import train_assembly
from composition.moe.unstack import StoredAssembly, expert_of
from composition.recipes import MeteoraRecipe, SmoraRecipe
from composition.running.base_models import adapter_attached
from tests.composition.mixtures import Words, data, read_experts, rows, same
from tests.pico import pico_llama
from tests.stability.margins import at_least, at_most

torch.set_num_threads(1)
SHORT = {"steps": 6, "batch_size": 4, "learning_rate": 5e-3, "holdout": 0.25}
RECIPES = {
    "meteora": MeteoraRecipe(**SHORT),
    "top-1": MeteoraRecipe(top_k=1, **SHORT),
    "experts": MeteoraRecipe(train="experts", **SHORT),
    "smora": SmoraRecipe(bias_update=1e-3, **SHORT),
    "full": SmoraRecipe(train="full", loss_on="all", **SHORT),
}


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    return read_experts(tmp_path_factory.mktemp("experts"))


def trained(experts, recipe, folder, base=None, progress=train.ignore, **more):
    """The folder of a trained assembly."""
    assembly = assemble(experts, recipe)
    text = more.pop("text", data())
    result = train_assembly(
        base or pico_llama(), Words(), assembly, recipe, text, work=folder / "work", progress=progress, **more
    )
    save_assembly(result, folder / "done")
    return folder / "done"


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_trained_changes_and_nothing_else_does(experts, name, tmp_path):
    recipe, base = RECIPES[name], pico_llama()
    before = {key: tensor.clone() for key, tensor in base.state_dict().items()}
    folder = trained(experts, recipe, tmp_path, base)
    assert all(tensor.equal(before[key]) for key, tensor in base.state_dict().items())
    assert all(parameter.requires_grad for parameter in base.parameters()) and not hasattr(base, "peft_config")
    draft, done = (load_file(path / "adapter_model.safetensors") for path in (tmp_path / "work" / "draft", folder))
    changed = {key.rpartition("_")[2] for key in draft if not draft[key].equal(done[key])}
    wanted = {"meteora": {"gate"}, "top-1": {"gate"}, "smora": {"gate", "bias"}}
    assert changed == wanted.get(name, {"A", "B", "gate"} | ({"bias"} if name == "full" else set()))
    assert all(same(expert_of(folder, e.name), e) for e in experts) == ("A" not in changed)


@pytest.mark.trained
def test_gates_learn_whose_words_are_whose(experts, tmp_path):
    recipe = MeteoraRecipe(steps=100, batch_size=6, learning_rate=2e-2, holdout=0.25)
    text = {name: rows(number, 40) for number, name in enumerate("abc")}
    record = json.loads((trained(experts, recipe, tmp_path, text=text) / "router.json").read_text())
    assert record["stage"] == "meteora-router" and record["steps"] == 100
    at_most(record["curve"][0]["gate_accuracy"], 0.6, "gate accuracy at first")
    last = [point["gate_accuracy"] for point in record["curve"][-10:]]
    at_least(sum(last) / len(last), 0.8, "gate accuracy, last ten steps")
    after = record["held_out"]["after"]
    at_least(min(after[name]["own_share"] for name in "abc"), 0.6, "own share, held out")
    assert after["a"]["shares"].keys() == {"a", "b", "c"}
    assert record["data"]["tasks"]["a"] == {"rows": 30, "held_out": 10, "shortened": 0}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("save_every", [0.0, 1e9])
def test_a_killed_run_ends_with_the_same_bytes(experts, name, save_every, tmp_path):
    whole = trained(experts, RECIPES[name], tmp_path / "whole")

    def stop_at_four(fraction, message="", **figures):
        if message.startswith("Step 4"):
            raise Cancelled

    with pytest.raises(Cancelled):
        trained(experts, RECIPES[name], tmp_path / "cut", progress=stop_at_four, save_every=save_every)
    told: list[str] = []
    again = trained(experts, RECIPES[name], tmp_path / "cut", progress=lambda f, m="", **_: told.append(m))
    assert told[0] == "Taken up again at step 4" and len([m for m in told if m.startswith("Step")]) == 2
    for path in whole.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.mark.parametrize("spoil", ["other recipe", "other data", "cut file"])
def test_a_state_that_is_not_this_runs_is_left_aside(experts, spoil, tmp_path):
    recipe = RECIPES["meteora"]
    trained(experts, recipe, tmp_path, save_every=0.0)
    state = tmp_path / "work" / "state" / "state.safetensors"
    text = data()
    if spoil == "other recipe":
        recipe = MeteoraRecipe(**{**SHORT, "steps": 7})
    elif spoil == "other data":
        text = {**text, "a": rows(0, 13)}
    else:
        state.write_bytes(state.read_bytes()[:-10])
    told: list[str] = []
    trained(experts, recipe, tmp_path, text=text, progress=lambda f, m="", **_: told.append(m))
    assert told[0].startswith("Held-out rows of") and "Step 1 of" in " ".join(told)


def test_progress_carries_figures(experts, tmp_path):
    told: list[dict] = []
    trained(experts, RECIPES["meteora"], tmp_path, progress=lambda f, m="", **figures: figures and told.append(figures))
    assert {"loss", "lm_loss", "gate_loss", "gate_accuracy"} <= told[1].keys()
    assert sum(told[0]["expert_shares"].values()) == pytest.approx(1.0, abs=1e-3)


def test_a_loss_that_bursts_says_so(experts, tmp_path):
    base = pico_llama()
    base.lm_head.weight.data.fill_(float("inf"))
    with pytest.raises(CompositionError, match="Lower the learning rate") as caught:
        trained(experts, MeteoraRecipe(**{**SHORT, "holdout": 0.0}), tmp_path, base)
    assert caught.value.code == "train.diverged"


@pytest.mark.parametrize(("text", "code"), [({"a": rows(0)}, "assemble.no_data"), ({}, "assemble.no_data")])
def test_data_is_checked_before_anything_is_written(experts, text, code, tmp_path):
    with pytest.raises(CompositionError) as caught:
        trained(experts, RECIPES["meteora"], tmp_path, text=text)
    assert caught.value.code == code and not list(tmp_path.iterdir())


def test_smora_learns_from_one_mixed_text(experts, tmp_path):
    folder = trained(experts, RECIPES["smora"], tmp_path, text={"everything": rows(1) + rows(2)})
    assert "own_share" not in json.loads((folder / "router.json").read_text())["held_out"]["after"]["everything"]


def test_experts_in_half_precision_train_in_full_and_are_stored_as_before(tmp_path):
    experts = read_experts(tmp_path, dtype=torch.bfloat16)
    folder = trained(experts, RECIPES["experts"], tmp_path)
    stored = StoredAssembly(folder)
    assert {stored.dtype(m, part) for m in stored.modules for part in "AB"} == {torch.bfloat16}
    assert "sha256" not in stored.config.experts[0]


def test_gate_loss_is_the_mean_cross_entropy_over_modules_and_real_tokens(experts, tmp_path):
    recipe = RECIPES["meteora"]
    save_assembly(assemble(experts, recipe), tmp_path, draft=True)
    with adapter_attached(pico_llama(), tmp_path) as model:
        corpus = batches.make_corpus(Words(), data(), list("abc"), recipe, model)
        batch = corpus.batch(0)
        assert not batch.mask.all()  # rows differ in length
        with record_routing(model, logits=True) as routing:
            logits = train.forward(model, batch, batch.answers + 1)
            loss, accuracy = train.gate_loss(routing, batch)
            wanted, right = [], []
            for module in routing:
                table = routing.logits(module).reshape(*batch.ids.shape, -1)
                for row in range(len(batch.ids)):
                    for place in range(batch.ids.shape[1]):
                        if batch.mask[row, place]:
                            scores, own = table[row, place].double(), int(batch.experts[row])
                            wanted.append(float(scores.logsumexp(0) - scores[own]))
                            right.append(int(scores.argmax()) == own)
        assert float(loss) == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)
        assert float(accuracy) == pytest.approx(sum(right) / len(right))
        total, count = 0.0, 0
        for row in range(len(batch.ids)):
            alone = batch.ids[row][batch.mask[row].bool()][None]
            answer = int(batch.learnt[row].sum())
            log_p = model(alone).logits[0].double().log_softmax(-1)[-answer - 1 : -1]
            total -= float(log_p.gather(1, alone[0, -answer:, None]).sum())
            count += answer
        assert float(train.language_loss(logits, batch)) == pytest.approx(total / count, rel=1e-4)


def test_batches_follow_from_the_step_and_take_tasks_in_turn():
    text = {"a": rows(0, 40), "b": rows(1, 5)}
    recipe = MeteoraRecipe(batch_size=4, holdout=0.2)
    corpus, again = (batches.make_corpus(Words(), text, ["a", "b"], recipe) for _ in range(2))
    for step in (7, 0, 3):
        one, other = corpus.batch(step), again.batch(step)
        assert one.ids.equal(other.ids) and one.experts.tolist() == [0, 1, 0, 1]
    assert [len(task.held) for task in corpus.tasks] == [8, 1]
    seen = [tuple(corpus._example(number).ids) for number in range(1, 9, 2)]
    assert sorted(seen) == sorted(tuple(e.ids) for e in corpus.tasks[1].examples)
    assert corpus.digest() == again.digest()
    assert corpus.digest() != batches.make_corpus(Words(), {**text, "b": rows(2, 5)}, ["a", "b"], recipe).digest()


def test_a_batch_in_two_pieces_is_the_same_step(experts, tmp_path):
    text = {"a": rows(0, 8), "b": [{**row, "prompt": row["prompt"] + " 3 4 5 6 7 8 9" * 2} for row in rows(1, 8)]}
    recipe = MeteoraRecipe(batch_size=6, holdout=0)
    save_assembly(assemble(experts, recipe), tmp_path, draft=True)
    with adapter_attached(pico_llama(), tmp_path, trainable=True) as model:
        corpus = batches.make_corpus(Words(), text | {"c": rows(2, 8)}, list("abc"), recipe, model)
        whole, pieces = corpus.batch(0), corpus.pieces(0)
        assert [len(piece.ids) for piece in pieces] == [4, 2] and len({piece.ids.shape[1] for piece in pieces}) == 2
        assert sum(piece.ids.numel() for piece in pieces) < 0.8 * whole.ids.numel()
        gates = [parameter for parameter in model.parameters() if parameter.requires_grad]
        found = []
        for parts in ([whole], pieces):
            learnt = [int(part.learnt.sum()) for part in parts]
            with record_routing(model, logits=True) as routing:
                means = [train.language_loss(train.forward(model, part, part.answers + 1), part) for part in parts]
                gate, accuracy = train.gate_loss(routing, *parts)
            loss = sum(mean * count for mean, count in zip(means, learnt, strict=True)) / sum(learnt)
            found.append((loss, gate, accuracy, *torch.autograd.grad(loss + gate, gates)))
        for one, two in zip(*found, strict=True):
            torch.testing.assert_close(one, two)


def test_rows_of_one_length_stay_together():
    recipe = MeteoraRecipe(batch_size=4, holdout=0)
    corpus = batches.make_corpus(Words(), {"a": [{"prompt": "5 6 7", "completion": "8"}] * 4}, ["a"], recipe)
    assert [len(piece.ids) for piece in corpus.pieces(0)] == [4]


def test_long_rows_keep_their_answer():
    row = {"prompt": " ".join(["9"] * 20), "completion": "10 11"}
    recipe = MeteoraRecipe(train="prototype", max_length=8)
    task = batches.make_corpus(Words(), {"a": [row]}, ["a"], recipe).tasks[0]
    assert task.examples[0].ids == [9] * 5 + [10, 11, 2] and task.shortened == 1


@pytest.mark.parametrize("recipe", [MeteoraRecipe(train="prototype"), SmoraRecipe(train="prototype")])
def test_the_report_counts_every_token_once(experts, recipe, tmp_path):
    save_assembly(assemble(experts, recipe), tmp_path)
    with adapter_attached(pico_llama(), tmp_path) as model:
        report = routing_report(model, Words(), data("ab"), rows=5, batch_size=2)
        told = token_routing(model, Words(), "9 10 11 30")
        with record_routing(model) as routing:
            model(torch.tensor([[9, 10, 11, 30]]))
            weights = {m: expert_weights(routing[m], routing.experts(m), routing.weights(m)) for m in routing}
    assert report["experts"] == ["a", "b", "c"] and report["layers"] == [0, 1]
    assert report["tasks"]["a"]["tokens"] == sum(
        len(f"{row['prompt']} {row['completion']}".split()) + 1 for row in rows(0)[:5]
    )
    for task in report["tasks"].values():
        assert sum(task["shares"]) == pytest.approx(1.0, abs=1e-3)
        assert all(sum(layer) == pytest.approx(1.0, abs=1e-3) for layer in task["layers"])
    assert "".join(token["text"] for token in told["tokens"]) == "9 10 11 30"
    mean = torch.stack(list(weights.values())).mean(0)
    assert mean.sum(-1).tolist() == pytest.approx([1.0] * 4)
    assert [token["expert"] for token in told["tokens"]] == mean.argmax(-1).tolist()
    assert layer_of("model.layers.11.mlp.up_proj") == 11 and layer_of("lm_head") == -1


@pytest.mark.parametrize("name", ["meteora", "smora"])
def test_an_adapter_joins_and_trained_gates_stay(experts, name, tmp_path):
    first = trained(experts[:2], RECIPES[name], tmp_path, text=data("ab"))
    recipe = recipe_of(first, **SHORT)
    grown = add_experts(first, [experts[2]], recipe)
    assert grown.draft and [e["name"] for e in grown.config["experts"]] == ["a", "b", "c"]
    save_assembly(grown, tmp_path / "draft", draft=True)
    old, new = StoredAssembly(first), StoredAssembly(tmp_path / "draft")
    for module in old.modules:
        gate, before = new.tensor(module, "gate"), old.tensor(module, "gate")
        assert gate[: len(before)].equal(before)
        rows_added = gate[len(before) :]
        assert len(rows_added) == (
            1 if name == "meteora" else experts[2].module_facts(module).r if module in experts[2] else 0
        )
        if len(rows_added):
            assert rows_added.norm(dim=1).mean() == pytest.approx(float(before.norm(dim=1).mean()), rel=1e-3)
    assert all(same(expert_of(tmp_path / "draft", e.name), e) for e in experts)
    folder = trained_again(grown, recipe, tmp_path / "more")
    assert StoredAssembly(folder).config.names == ["a", "b", "c"]


def trained_again(grown, recipe, folder):
    save_assembly(train_assembly(pico_llama(), Words(), grown, recipe, data(), work=folder / "work"), folder / "done")
    return folder / "done"


def test_an_untrained_assembly_grows_without_data(experts, tmp_path):
    recipe = MeteoraRecipe(train="prototype")
    save_assembly(assemble(experts[:2], recipe), tmp_path / "two")
    save_assembly(add_experts(tmp_path / "two", [experts[2]], recipe), tmp_path / "grown")
    save_assembly(assemble(experts, recipe), tmp_path / "three")
    for path in (tmp_path / "three").iterdir():
        assert path.read_bytes() == (tmp_path / "grown" / path.name).read_bytes(), path.name


def test_what_can_not_join_is_refused(experts, tmp_path):
    first = trained(experts[:2], RECIPES["meteora"], tmp_path, text=data("ab"))
    with pytest.raises(CompositionError, match="MeteoRA") as caught:
        add_experts(first, [experts[2]], SmoraRecipe())
    assert caught.value.code == "assemble.other_method"
    with pytest.raises(CompositionError, match="was given more than once"):
        add_experts(first, [experts[1]], MeteoraRecipe())
    with pytest.raises(CompositionError, match="was trained") as caught:
        add_experts(first, [experts[2]], MeteoraRecipe(train="prototype"))
    assert caught.value.code == "assemble.trained_before"
