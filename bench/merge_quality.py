"""Which merge keeps how much of the adapters it was made of, on a real model and tasks that the base can't do.

    python bench/merge_quality.py                          six generated tasks, all methods, 300 test rows a task
    python bench/merge_quality.py --rows 1000 --only "RegMean|LEGO$|mean"     the same rows and 700 more, for some
    python bench/merge_quality.py --bbh ../shared/data/bbh  tasks of BIG-Bench Hard instead
    python bench/merge_quality.py --table                  measures nothing: the table of what was measured

Adapters of rank 8 are trained once by examples/train.py. Every answer is kept in build/bench/merge_quality, with the
recipe it belongs to: a run that was cut goes on where it was. Each method is measured as it comes, and times the scale
that is best on 16 rows a task which were held back from training. Prints its CPU hours.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import torch  # noqa: E402
from base import BASE_ID, DEFAULT, ready  # noqa: E402
from quality.adapters import RANK, SETS, WORK, adapter  # noqa: E402
from quality.anatomy import anatomy  # noqa: E402
from quality.calibration import DAMPING, Calibration, calibrate, input_grams  # noqa: E402
from quality.measuring import Kept, digest, fast, read  # noqa: E402
from quality.methods import Way, scaled, ways  # noqa: E402
from quality.report import table  # noqa: E402
from quality.tasks import BBH, MAKERS, Row, Task, generated, hard  # noqa: E402

from composition.errors import CompositionError  # noqa: E402
from composition.formats import read_adapter  # noqa: E402
from composition.running.base_models import adapter_attached, load_base  # noqa: E402
from composition.weights import LoraWeights, save_peft  # noqa: E402

CALIBRATION_ROWS = 48
TUNING_ROWS = 16
SCALES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
CLEAR = 0.10
"""How far an own adapter must be above base and commonest answer for its task to count."""


class Bench:
    """One suite and one set of adapters on one base."""

    def __init__(self, options: argparse.Namespace, which: str, kept: Kept) -> None:
        self.options, self.which, self.kept = options, which, kept
        self.suite = "bbh" if options.bbh else "generated"
        names = options.tasks or (BBH if options.bbh else tuple(MAKERS))
        self.tasks = [hard(name, options.bbh) if options.bbh else generated(name) for name in names]
        base = ready(options.base)
        folders = [adapter(task, which, base) for task in self.tasks]
        model, self.tokenizer = load_base(base)
        self.model = model if options.float32 else fast(model)
        self.bf16 = not options.float32
        self.folders = {task.name: folder for task, folder in zip(self.tasks, folders, strict=True)}
        self.facts: Calibration | None = None
        self.stamp = ""

    def singles(self) -> None:
        """Base and own adapters; afterwards only tasks that the own adapter clearly learned are left."""
        learned = []
        for task in self.tasks:
            self._rows("base", task, None)
            self._rows("own", task, self.folders[task.name])
            base, own = (self.kept.first(self.key(label, 0, 1.0, task), self.options.rows) for label in ("base", "own"))
            clear = own.accuracy >= max(base.accuracy, task.majority) + CLEAR
            verdict = "" if clear else ", left out"
            print(
                f"{self.which} {task.name}: base {base.accuracy:.3f}, commonest answer {task.majority:.3f}, "
                f"own adapter {own.accuracy:.3f} (NLL {own.nll:.4f}){verdict}",
                flush=True,
            )
            if clear:
                learned.append(task)
        self.tasks = learned
        files = [self.folders[task.name] / "adapter_model.safetensors" for task in learned]
        self.stamp = digest([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])

    def key(self, label: str, k: int, scale: float, task: Task, split: str = "test") -> tuple[str, ...]:
        dtype = "bf16" if self.bf16 else "float32"
        among = self.stamp if label not in ("base", "own") else ""
        return self.suite, self.which, label, str(k), f"{scale:g}", task.name, split, dtype, among

    def adapters(self) -> list[LoraWeights]:
        return [read_adapter(self.folders[task.name]) for task in self.tasks]

    def calibration(self) -> Calibration:
        """The Grams of the tasks' first training rows, made once."""
        if self.facts is None:
            path = WORK / "grams" / f"{self.stamp}-{CALIBRATION_ROWS}-{DAMPING}.safetensors"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                began = time.process_time()
                calibrate(self.adapters(), self._grams(), DAMPING).save(path)
                print(f"{self.which}: Grams of {CALIBRATION_ROWS} rows a task, {time.process_time() - began:.0f} CPU s")
            self.facts = Calibration.load(path)
        return self.facts

    def _grams(self) -> Iterator[dict[str, Any]]:
        for task in self.tasks:
            with adapter_attached(self.model, self.folders[task.name]) as model:
                modules = list(read_adapter(self.folders[task.name]))
                yield input_grams(model, self.tokenizer, task.train[:CALIBRATION_ROWS], modules, bf16=self.bf16)

    def way(self, way: Way, k: int) -> None:
        """Measure a method at rank k, at its own scale or its best one, unless that is there already."""
        made: list[LoraWeights] = []

        def result() -> LoraWeights:
            if not made:
                began = time.process_time()
                made.append(way.make(self.adapters(), k, self.calibration))
                print(f"{self.which}: {way.label}, k {k}: made in {time.process_time() - began:.1f} CPU s", flush=True)
            return made[0]

        if self.options.scales != "best":
            self._merge(way.label, k, 1.0, result)
        if self.options.scales != "own":
            self._merge(way.label, k, self._best_scale(way, k, result), result)

    def _best_scale(self, way: Way, k: int, result: Any) -> float:
        """Climb from 1 to the scale of the best exact match on the rows held back; likelihood decides where level."""

        def score(scale: float) -> tuple[float, float]:
            self._merge(way.label, k, scale, result, split="held back")
            found = [self.kept.first(self.key(way.label, k, scale, t, "held back"), TUNING_ROWS) for t in self.tasks]
            return sum(f.accuracy for f in found), -sum(f.nll for f in found)

        place = SCALES.index(1.0)
        here = score(SCALES[place])
        for step in (1, -1):
            moved = False
            while 0 <= place + step < len(SCALES) and (there := score(SCALES[place + step])) > here:
                place, here, moved = place + step, there, True
            if moved:
                break
        return SCALES[place]

    def _merge(self, label: str, k: int, scale: float, result: Any, split: str = "test") -> None:
        wanted = self.options.rows if split == "test" else TUNING_ROWS
        keys = [self.key(label, k, scale, task, split) for task in self.tasks]
        counts = [min(wanted, len(_split(task, split))) for task in self.tasks]
        if all(self.kept.missing(key, count) >= count for key, count in zip(keys, counts, strict=True)):
            return
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            save_peft(scaled(result(), scale), folder, base_model=BASE_ID)
            with adapter_attached(self.model, folder) as model:
                for task in self.tasks:
                    self._rows(label, task, None, model=model, k=k, scale=scale, split=split)
        found = [self.kept.first(key, count) for key, count in zip(keys, counts, strict=True)]
        each = " ".join(f"{task.name} {f.accuracy:.2f}" for task, f in zip(self.tasks, found, strict=True))
        mean = sum(f.accuracy for f in found) / len(found)
        print(f"{self.which}: {label}, k {k}, × {scale:g}, {split} {wanted}: {mean:.3f} = {each}", flush=True)

    def _rows(
        self,
        label: str,
        task: Task,
        folder: Path | None,
        *,
        model: Any = None,
        k: int = 0,
        scale: float = 1.0,
        split: str = "test",
    ) -> None:
        """Measure the rows of a task that are still missing, with a model as it is or an adapter's folder on it."""
        rows = _split(task, split)[: self.options.rows if split == "test" else TUNING_ROWS]
        key = self.key(label, k, scale, task, split)
        missing: Sequence[Row] = rows[self.kept.missing(key, len(rows)) :]
        if not missing:
            return
        began = time.process_time()
        if folder is None:
            answers = read(model or self.model, self.tokenizer, missing, bf16=self.bf16)
        else:
            with adapter_attached(self.model, folder) as attached:
                answers = read(attached, self.tokenizer, missing, bf16=self.bf16)
        self.kept.add(key, answers, time.process_time() - began)


def _split(task: Task, split: str) -> list[Row]:
    return task.test if split == "test" else task.held_back


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure merges on SmolLM2-135M-Instruct.")
    parser.add_argument("--base", type=Path, default=DEFAULT)
    parser.add_argument("--bbh", type=Path, help="folder of BIG-Bench Hard's JSON files: its tasks instead")
    parser.add_argument("--tasks", nargs="+", help="some of the suite's tasks")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS[:2]))
    parser.add_argument("--rows", type=int, default=300, help="test rows a task")
    parser.add_argument("--ranks", type=int, nargs="+", default=[RANK])
    parser.add_argument("--only", default="", help="regular expression of the methods to measure")
    parser.add_argument("--experiments", action="store_true", help="LEGO's variants, too")
    parser.add_argument("--scales", choices=("own", "best", "both"), default="both", help="best: on rows held back")
    parser.add_argument("--float32", action="store_true", help="float32 throughout, three times slower")
    parser.add_argument("--anatomy", action="store_true", help="why LEGO ends where it ends, from the weights alone")
    parser.add_argument("--table", action="store_true", help="print what was measured, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = Kept(WORK / "measured.jsonl")
    if not options.table:
        asked = [way for way in ways() if re.search(options.only, way.label)]
        for which in options.sets:
            bench = Bench(options, which, kept)
            bench.singles()
            if options.anatomy:
                print("\n".join([which, *anatomy(bench.adapters(), options.ranks[0])]))
                continue
            for k in options.ranks:
                for way in asked:
                    if (options.experiments or not way.experiment) and (way.sized or k == options.ranks[0]):
                        try:
                            bench.way(way, k if way.sized else 0)
                        except CompositionError as refusal:
                            print(f"{which}: {way.label} is left out: {refusal}", flush=True)
    print(table(kept, options.rows))
    spent = sum(os.times()[:4]) / 3600  # with the trainings, which are processes of their own
    print(f"CPU hours: {kept.seconds / 3600:.2f} of reading rows so far; this run {spent:.2f} in all")


if __name__ == "__main__":
    main()
