"""The server's drawings and figures: what stands where, from hand-made facts."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from composition.facts import AdapterFacts, ModuleFacts
from composition.formats.peft.layouts.choosing import advice
from hub.web import tags
from hub.web.charts import composition, loss
from hub.web.charts import kept as kept_chart
from hub.web.charts import modules as module_chart
from hub.web.charts import routing as routing_chart
from hub.web.pages.snippets import GGUF, _served


def facts(ranks: dict[str, int], scale: float | dict = 2.0, norms: dict | None = None, **more) -> AdapterFacts:
    modules = {
        name: ModuleFacts(
            r=r,
            in_features=16,
            out_features=8,
            scale=scale[name] if isinstance(scale, dict) else scale,
            norm=(norms or {}).get(name),
        )
        for name, r in ranks.items()
    }
    given = {"peft_type": "LORA", "dtype": "F32", "parameters": 1, "bytes": 4, "target_modules": []}
    return AdapterFacts(modules=modules, **given | more)


def test_the_heat_map_places_layers_across_and_projections_down():
    chart = module_chart.chart(
        "Rank",
        {"m.layers.0.self_attn.q_proj": 4, "m.layers.1.mlp.down_proj": 8, "m.layers.10.self_attn.q_proj": 6},
    )
    at = {cell["title"]: (cell["x"], cell["y"], cell["heat"]) for cell in chart.cells}
    step = module_chart.CELL + module_chart.GAP
    x0, y0, coldest = at["m.layers.0.self_attn.q_proj: 4"]
    assert coldest == 0
    assert at["m.layers.1.mlp.down_proj: 8"] == (x0 + step, y0 + step, 9)
    assert at["m.layers.10.self_attn.q_proj: 6"] == (x0 + 2 * step, y0, 5)
    assert [row["label"] for row in chart.rows] == ["q_proj", "down_proj"]


def test_charts_are_drawn_for_what_differs_only():
    same = facts({"m.layers.0.q_proj": 4, "m.layers.1.q_proj": 4})
    assert module_chart.charts(same, None) == []
    ranks, norms = dict.fromkeys(same.modules, 4), {"m.layers.0.q_proj": 1.0, "m.layers.1.q_proj": 2.0}
    drawn = module_chart.charts(facts(ranks, norms=norms), None)
    assert [(chart.title, chart.low, chart.high) for chart in drawn] == [("‖ΔW‖, the size of the update", 1.0, 2.0)]
    report = {"modules": {name: {"error_mean": norm} for name, norm in norms.items()}}
    assert [chart.title[:14] for chart in module_chart.charts(same, report)] == ["Relative error"]
    assert module_chart.chart("Rank", {"q_proj": 4}) is None


def test_modules_stand_in_the_order_of_their_layers():
    given = facts({f"m.layers.{n}.{kind}": 1 for n in (10, 2) for kind in ("mlp.up_proj", "self_attn.q_proj")})
    names = [row["name"] for row in module_chart.rows(given)]
    assert names == [f"m.layers.{n}.{kind}" for n in (2, 10) for kind in ("self_attn.q_proj", "mlp.up_proj")]


def test_a_strip_fills_each_column_by_the_shares_of_its_cluster():
    drawn = composition.strip([[1, 3], [2, 0], [0, 0]])
    assert drawn["width"] == 2 * composition.COLUMN, "an empty cluster has no column"
    areas = {path["colour"]: 0.0 for path in drawn["paths"]}
    for path in drawn["paths"]:
        for width, height in re.findall(r"h(\d+)v([\d.]+)h-", path["d"]):
            areas[path["colour"]] += int(width) * float(height)
    whole = (composition.COLUMN - 1) * composition.HIGH
    assert areas == pytest.approx({0: whole * 1.25, 1: whole * 0.75})


def test_shares_count_units_and_clusters_fed_alone():
    report = {"modules": {"a": {"sources": [[2, 0], [1, 1]]}, "b": {"sources": [[0, 4]]}}}
    first, second = composition.shares(report, ["lab/a@v1"])
    assert (first["share"], first["fed"], first["alone"], first["clusters"]) == (37.5, 2, 1, 3)
    assert (second["name"], second["share"], second["fed"], second["alone"]) == ("adapter 2", 62.5, 2, 1)


def served(of, by_gguf=GGUF):
    rows = _served("org/base", "me/a@v1", "a", "v1", of, [row.to_dict() for row in advice(of)], by_gguf)
    return {row["label"]: row for row in rows}


def test_each_server_is_given_the_form_that_it_reads_rightly():
    plain = served(facts({"x": 12}))["vLLM up to 0.31"]["code"]
    assert plain.startswith("hubctl pull me/a@v1 -o a-v1\nvllm serve org/base --enable-lora --max-lora-rank 16")
    assert plain.endswith("--lora-modules a=./a-v1")
    several = served(facts({"x": 8, "y": 8}, {"x": 2.0, "y": 1.0}))
    code = several["vLLM up to 0.31"]["code"]
    assert code.startswith("# As it is: The update is ×2 on y.\nhubctl pull me/a@v1 --uniform -o a-v1-uniform\n")
    assert code.endswith("--lora-modules a=./a-v1-uniform")
    assert "--uniform" not in several["vLLM 0.32 and newer"]["code"]
    lines = ["hubctl pull me/a@v1 --as gguf -o a-v1-gguf", "llama-server -m base.gguf --lora a-v1-gguf/adapter.gguf"]
    assert several["llama.cpp"]["code"].splitlines() == lines
    assert "convert_lora_to_gguf.py" in served(facts({"x": 12}), {})["llama.cpp"]["code"]
    assert "up to 512" in served(facts({"x": 600}))["vLLM up to 0.31"]["note"]
    dora = facts({"x": 8}, needs_base=[{"code": "dora", "reason": "DoRA needs it.", "do": ""}])
    assert "DoRA needs it." in served(dora)["Servers"]["note"]


@pytest.mark.parametrize(
    ("filtered", "words"),
    [
        (tags.size(0), "0 B"),
        (tags.size(999), "999 B"),
        (tags.size(9_400_000), "9.4 MB"),
        (tags.size(999_600), "1.0 MB"),
        (tags.size(2.5e15), "2500 TB"),
        (tags.count(950), "950"),
        (tags.count(1_240), "1.2k"),
        (tags.count(134_515_008), "135M"),
        (tags.count(1000), "1k"),
        (tags.duration(0.42), "0.4 s"),
        (tags.duration(200), "3 min 20 s"),
        (tags.duration(7500), "2 h 5 min"),
        (tags.figure(0.123456), "0.1235"),
        (tags.figure(1234567), "1,234,567"),
        (tags.figure(1e-7), "1.00e-07"),
        (tags.figure(float("nan")), "–"),
        (tags.figure(None), "–"),
        (tags.figure(True), "True"),
    ],
)
def test_numbers_read_as_people_write_them(filtered, words):
    assert filtered == words


def test_moments_read_as_spans_and_keep_the_exact_time():
    now = timezone.now()
    assert ">3 hours ago<" in tags.ago(now - timedelta(hours=3, minutes=20))
    assert ">1 day ago<" in tags.ago(now - timedelta(hours=30))
    assert ">just now<" in tags.ago(now)
    assert now.isoformat() in tags.ago(now.isoformat())
    assert tags.ago(None) == ""


def test_routing_is_drawn_by_task_layer_and_expert():
    routing = {
        "experts": ["lab/sums@v1", "lab/a-very-long-name-of-one@v2"],
        "layers": [0, 1],
        "tasks": {"lab/sums@v1": {"shares": [0.75, 0.25], "layers": [[0.5, 0.5], [1.0, 0.0]]}},
    }
    (drawn,) = routing_chart.maps(routing)
    assert [row["label"] for row in drawn.rows] == ["sums", "a-very-long-…"]
    assert (drawn.low, drawn.high, len(drawn.cells)) == (0.0, 1.0, 4)
    assert "layer 1, lab/sums@v1: 1" in {cell["title"] for cell in drawn.cells}
    (row,) = routing_chart.table(routing)["rows"]
    assert [(cell["share"], cell["best"]) for cell in row["cells"]] == [(0.75, True), (0.25, False)]
    assert routing_chart.maps(None) == []
    assert routing_chart.table(None) is None


def test_experts_of_one_name_are_told_apart():
    labels = routing_chart.short(["a/same@v1", "b/same@v1", "a/" + "x" * 40, "b/" + "x" * 40])
    assert len(set(labels)) == 4


def test_a_loss_is_drawn_from_its_highest_to_zero_over_all_steps():
    training = {
        "steps": 10,
        "curve": [{"step": 1, "loss": 4.0}, {"step": 5, "loss": 2.0}, {"step": 10, "loss": 0.0}],
        "held_out": [{"epoch": 0, "loss": 4.0}, {"epoch": 2, "loss": 1.0}],
    }
    drawn = loss.curve(training)
    places = [tuple(map(float, pair.split())) for pair in drawn.line.lstrip("M").split("L")]
    assert [y for _, y in places] == [6, 101, 196]
    assert [x for x, _ in places] == pytest.approx([110.2, 343.0, 634.0], abs=0.1)
    assert [x for x, _ in drawn.dots] == [52.0, 634.0]
    assert (drawn.end, [tick["label"] for tick in drawn.ticks]) == (10, ["0", "2", "4"])


@pytest.mark.parametrize("training", [None, {}, {"curve": [{"step": 1, "loss": 1.0}]}], ids=str)
def test_too_few_points_are_no_drawing(training):
    assert loss.curve(training) is None


def test_what_is_no_number_is_left_out_of_a_loss():
    curve = [{"step": n, "loss": float("nan") if n == 2 else 1.0} for n in range(1, 4)]
    assert "nan" not in loss.curve({"curve": curve}).line


def test_a_key_named_items_hides_nothing():
    assert tags.pairs({"items": 1, "b": 2}) == [("items", 1), ("b", 2)]
    assert tags.pairs(None) == []


def test_shares_read_as_points_and_percent():
    assert (tags.percent(0.913), tags.percent(None)) == ("91 %", "–")
    assert (tags.points(-0.0312), tags.points(0.2, "+"), tags.points(None)) == ("−3.1", "+20.0", "–")


def test_what_is_kept_of_each_adapter_is_a_bar_as_high_as_its_share():
    modules = {
        "model.layers.0.self_attn.q_proj": {"kept_inputs": [0.5, 1.5]},
        "model.layers.1.self_attn.q_proj": {"kept_inputs": [None, -0.2]},
        "lm_head": {"kept_inputs": [1.0, 1.0]},
    }
    drawn = kept_chart.picture({"modules": modules, "summary": {"kept_inputs": [0.6, 0.9]}}, ["lab/a@v1", "lab/b@v1"])
    assert [cell["title"] for cell in drawn.frame.cells] == [
        "model.layers.0.self_attn.q_proj: lab/a@v1 50%, lab/b@v1 150%",
        "model.layers.1.self_attn.q_proj: lab/b@v1 -20%",
    ]
    assert [path["d"] for path in drawn.paths] == ["M92 22v-9h9v9z", "M101 22v-18h9v18z"]
    assert [(row["name"], row["colour"], row["share"]) for row in drawn.legend] == [
        ("lab/a@v1", 0, 0.6),
        ("lab/b@v1", 1, 0.9),
    ]
    assert kept_chart.picture({"modules": {"model.layers.0.q": {}}}, []) is None
