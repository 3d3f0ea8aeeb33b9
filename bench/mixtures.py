"""A real run: LoRAs of SmolLM2-135M-Instruct, assembled both ways, next to what else can be done with the same files.

    python bench/mixtures.py DATA [--quick] [--json FILE]

DATA is a folder of BIG-Bench Hard's JSON files. The four adapters of examples/ are joined by LoRAs for BBH's tasks,
trained by examples/train.py; no adapter and no router sees a row that is measured. Figures are exact match, greedy, at
most 16 new tokens (48 for a list), on every task's own test rows and on prompts with three tasks' questions. What takes
long is kept in build/bench/mixtures under a digest of what it came from, so a run that is cut goes on. Seconds are CPU
seconds of one thread.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import torch  # noqa: E402
from base import DEFAULT, ready  # noqa: E402
from mixture_table import (  # noqa: E402
    ARROW,
    AVERAGE,
    BASE,
    COMPOSITE,
    HOT,
    LEGO,
    METEORA,
    ONE,
    OWN,
    SINGLE,
    SMORA,
    UNTRAINED,
    rows_of,
    table,
)
from mixture_tasks import BBH, EXAMPLES, WORK, Row, Size, Task, answered, by_number, composites, example, hard  # noqa: E402
from peft import ArrowConfig, create_arrow_model  # noqa: E402

from composition.formats import read_adapter  # noqa: E402
from composition.merging.lego import LegoRecipe, lego  # noqa: E402
from composition.moe.assemble import assemble  # noqa: E402
from composition.moe.save import save_assembly  # noqa: E402
from composition.moe.train import train_assembly  # noqa: E402
from composition.moe.unstack import cat_of  # noqa: E402
from composition.recipes import AssembleRecipe, EvaluateRecipe, MeteoraRecipe, SmoraRecipe  # noqa: E402
from composition.running.base_models import adapter_attached, load_base  # noqa: E402
from composition.running.evaluation import evaluate  # noqa: E402
from composition.weights import Factors, LoraWeights, save_peft  # noqa: E402

torch.set_num_threads(1)
FULL = Size(rows=100, prompts=50, train_rows=None, steps=120, batch=8)
QUICK = Size(rows=2, prompts=1, train_rows=16, steps=2, batch=3)
Attach = Callable[[], AbstractContextManager[Any]]


def digest(*parts: Any) -> str:
    """Of JSON values and of an adapter folder's two files."""
    seen = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = (part / "adapter_config.json", part / "adapter_model.safetensors")
            seen.update(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files))
        else:
            seen.update(json.dumps(part, sort_keys=True).encode())
    return seen.hexdigest()[:16]


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """The JSON value at `path`, computed where it isn't there yet."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        value = compute()
        part = path.with_suffix(".part")
        part.write_text(json.dumps(value) + "\n")
        part.rename(path)
    return json.loads(path.read_text())


class Bench:
    """One base, its adapters, and all that is made of them."""

    def __init__(self, tasks: list[Task], size: Size) -> None:
        self.tasks, self.size = tasks, size
        self.model, self.tokenizer = load_base(ready(DEFAULT))
        self.adapters = [read_adapter(task.adapter) for task in tasks]
        self.sources = [digest(task.adapter) for task in tasks]
        self.trained: dict[str, Path] = {}

    def mixture(self, recipe: AssembleRecipe, data: dict[str, list[Row]]) -> Path:
        """The folder of a trained or training-free mixture."""
        folder = WORK / "made" / f"{recipe.kind}-{digest(recipe.to_dict(), self.sources, data)}"
        if not (folder / "adapter_config.json").exists():
            assembly = assemble(self.adapters, recipe)
            if recipe.trains:
                work, clock = folder.with_suffix(".work"), Clock(folder.with_suffix(".seconds"), recipe.kind)
                assembly = train_assembly(self.model, self.tokenizer, assembly, recipe, data, work=work, progress=clock)
            save_assembly(assembly, folder)
        if recipe.trains:
            self.trained[recipe.kind] = folder
        return folder

    def plain(self, name: str, make: Callable[[], LoraWeights]) -> Path:
        """The folder of a merge."""
        folder = WORK / "made" / f"{name}-{digest(self.sources)}"
        if not (folder / "adapter_config.json").exists():
            save_peft(make(), folder)
        return folder

    def padded(self) -> list[Path]:
        """The adapters at the largest rank of all, for PEFT's Arrow wants equal ones."""
        rank = max(weights.module_facts(module).r for weights in self.adapters for module in weights)
        return [self.plain(f"padded-{weights.name}", partial(pad, weights, rank)) for weights in self.adapters]

    def answers(self, key: str, rows: list[Row], tokens: int, attach: Attach) -> dict[str, Any]:
        """{"predictions", "seconds"} of one model on some rows; `key` says which model it is."""

        def compute() -> dict[str, Any]:
            start = time.process_time()
            with attach() as model:
                recipe = EvaluateRecipe(metrics=("exact_match",), max_new_tokens=tokens, batch_size=25)
                found = evaluate(model, self.tokenizer, rows, recipe)
            seconds = time.process_time() - start
            return {"predictions": [row["prediction"] for row in found.per_row], "seconds": round(seconds, 1)}

        return kept(WORK / "figures" / f"{digest(key, rows, tokens)}.json", compute)

    @contextmanager
    def arrow(self, folders: list[Path]) -> Iterator[Any]:
        """PEFT's Arrow on a base of its own, for it leaves traces."""
        base, _ = load_base(ready(DEFAULT))
        yield create_arrow_model(base, [str(folder) for folder in folders], ArrowConfig()).eval()

    def attached(self, folder: Path) -> tuple[str, Attach]:
        return digest(folder), partial(adapter_attached, self.model, folder)


def pad(weights: LoraWeights, rank: int) -> LoraWeights:
    """The same update with rows of zeros under A and columns of zeros beside B, at the same scale."""
    modules = {}
    for module, factors in weights.items():
        more, zeros = rank - factors.rank, torch.nn.functional.pad
        modules[module] = Factors(zeros(factors.A, (0, 0, 0, more)), zeros(factors.B, (0, more)), factors.scale)
    return LoraWeights(modules, base_model=weights.base_model, name=weights.name, task_type=weights.task_type)


def hotter(folder: Path, temperature: float) -> Path:
    """The same mixture with another router temperature."""
    other = folder.with_name(f"{folder.name}-T{temperature:g}")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(config | {"router_temperature": temperature}))
    return other


class Clock:
    """Shows a training's progress and keeps the CPU seconds it took, over all its attempts."""

    def __init__(self, file: Path, what: str) -> None:
        self.file, self.what = file, what
        self.before = json.loads(file.read_text()) if file.exists() else 0.0
        self.start = time.process_time()

    def __call__(self, fraction: float, message: str = "", **figures: Any) -> None:
        shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items() if isinstance(value, float))
        print(f"{self.what} {message} {shown}", file=sys.stderr, flush=True)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.before + time.process_time() - self.start))


class Measured:
    """By variant and task, which answers were right, filled as they come; all variants are asked the same."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.scores: dict[str, dict[str, list[bool]]] = {}
        self.seconds: dict[str, dict[str, float]] = {"training": {}, "answering": {}}
        self.together = composites(bench.tasks, bench.size)

    def single(self, name: str, task: Task, key: str, attach: Attach) -> None:
        """A task's own rows."""
        said = self._ask(name, task.name, task.test, 16, key, attach)
        self._note(name, task.name, [a == row["completion"].strip() for a, row in zip(said, task.test, strict=True)])

    def composite(self, name: str, key: str, attach: Attach) -> None:
        """The three answers of every composite prompt."""
        said = self._ask(name, COMPOSITE, self.together, 48, key, attach)
        lists = [(answered(text), row["wanted"]) for text, row in zip(said, self.together, strict=True)]
        self._note(name, COMPOSITE, [given.get(n) == a for given, wanted in lists for n, a in enumerate(wanted, 1)])

    def _ask(self, name: str, task: str, rows: list[Row], tokens: int, key: str, attach: Attach) -> list[str]:
        plain = [{part: row[part] for part in ("prompt", "completion")} for row in rows]
        found = self.bench.answers(key, plain, tokens, attach)
        if task not in (COMPOSITE, ONE):
            took = self.seconds["answering"]
            took[name] = took.get(name, 0.0) + found["seconds"]
        return found["predictions"]

    def _note(self, name: str, task: str, right: list[bool]) -> None:
        self.scores.setdefault(name, {})[task] = right
        print(f"{name}, {task}: {sum(right)} of {len(right)}", file=sys.stderr, flush=True)


def contestants(bench: Bench) -> Iterator[tuple[str, str, Attach]]:
    """(name, key, how to attach it) of everything that answers all tasks, made when it is its turn."""
    tasks, size = bench.tasks, bench.size
    common = {"steps": size.steps, "batch_size": size.batch, "holdout": 0.05}
    meteora = bench.mixture(MeteoraRecipe(**common), {task.name: task.train for task in tasks})
    yield METEORA, *bench.attached(meteora)
    texts = {f"text {number}": task.train for number, task in enumerate(tasks, 1)}  # no labels, but equal parts
    yield SMORA, *bench.attached(bench.mixture(SmoraRecipe(**common), texts))
    untrained = bench.mixture(MeteoraRecipe(train="prototype"), {})
    yield UNTRAINED, *bench.attached(untrained)
    yield LEGO, *bench.attached(bench.plain("lego8", lambda: lego(bench.adapters, LegoRecipe(rank=8)).weights))
    yield AVERAGE, *bench.attached(bench.plain("average", lambda: cat_of(untrained, weight=1 / len(tasks))))
    padded = bench.padded()
    yield ARROW, digest("arrow", *padded), lambda: bench.arrow(padded)
    yield BASE, BASE, lambda: nullcontext(bench.model)


def run(bench: Bench) -> Measured:
    """All variants on every task, then on composite prompts, also for hot routers and single adapters."""
    found = Measured(bench)
    for task in bench.tasks:
        found.single(OWN, task, *bench.attached(task.adapter))
    everyone = []
    for name, key, attach in contestants(bench):
        everyone.append((name, key, attach))
        for task in bench.tasks:
            found.single(name, task, key, attach)
    for name, kind in ((METEORA, "meteora"), (SMORA, "smora")):
        found.seconds["training"][name] = json.loads(bench.trained[kind].with_suffix(".seconds").read_text())
    numbered = Task(ONE, Path(), [], by_number(found.together, 20))
    everyone.insert(1, (HOT, *bench.attached(hotter(bench.trained["meteora"], 15.0))))
    everyone += [(SINGLE + task.name, *bench.attached(task.adapter)) for task in bench.tasks]
    for name, key, attach in everyone:
        found.single(name, numbered, key, attach)
    for name, key, attach in everyone:
        found.composite(name, key, attach)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of BIG-Bench Hard's JSON files")
    parser.add_argument("--quick", action="store_true", help="three tasks of examples/, a few rows and steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    arguments = parser.parse_args()
    if not arguments.quick and arguments.data is None:
        parser.error("DATA is needed: the folder of BIG-Bench Hard's JSON files (or --quick, which needs none)")
    size = QUICK if arguments.quick else FULL
    tasks = [example(name, size) for name in (EXAMPLES[:3] if arguments.quick else EXAMPLES)]
    tasks += [] if arguments.quick else [hard(name, arguments.data, size) for name in BBH]
    found = run(Bench(tasks, size))
    names = [task.name for task in tasks]
    print(table(found.scores, names, found.seconds))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows_of(found.scores, names, found.seconds), indent=1) + "\n")


if __name__ == "__main__":
    main()
