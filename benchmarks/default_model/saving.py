"""What it saves to start from the default model's encoders, at 50, 200 and 1,000 parcels.

``python -m benchmarks.default_model.saving`` trains on growing numbers of Ontario's points, from
random weights and from the encoders of a model that the recipe gives without Ontario and the
Maritimes, so that it has not seen Canada. Both are tested on the same other points of Ontario.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.default_model.points import DATA, nomenclature, read_points
from benchmarks.default_model.recipe import CONFIG, starter, train_model
from benchmarks.default_model.scoring import truth_of
from cubecrop import CropModel, TrainConfig, fit
from cubecrop.metrics import scores
from cubecrop.nomenclature import decide

if TYPE_CHECKING:
    from benchmarks.default_model.points import Points

__all__ = ["compare", "split"]

SIZES: Final = (50, 200, 1000)
#: From random weights the defaults of `fit` for points of one pixel; with encoders, a lower rate.
PLAIN: Final = TrainConfig(n_pixels=1, small_sets=0.0, may_be_missing=CONFIG.may_be_missing)
STARTED: Final = TrainConfig(
    n_pixels=1, small_sets=0.0, may_be_missing=CONFIG.may_be_missing, learning_rate=1e-3
)


def split(points: Points, *, seed: int) -> tuple[Points, Points]:
    """Points to learn from, in the order of use, and a third to test on."""
    order = np.random.default_rng(seed).permutation(len(points))
    n = len(order) // 3
    return points.take(order[n:]), points.take(order[:n])


def compare(
    learned: Points, tested: Points, init: CropModel, *, seed: int
) -> dict[str, tuple[float, float]]:
    """Accuracy and macro-F1 on the tested points, from random weights and with ``init``."""
    truth, out = truth_of(tested), {}
    for name, given, config in (("random weights", None, PLAIN), ("init", init, STARTED)):
        model = fit(
            learned.samples, learned.labels, nomenclature=nomenclature(), config=config,
            init=given, seed=seed, progress=False,
        )  # fmt: skip
        probability = model.predict_proba(tested.samples, allow_gaps=True).to_numpy()
        found = scores(truth, decide(probability), len(nomenclature()))
        out[name] = found.accuracy, found.macro_f1
    return out


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.default_model.saving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--start", type=Path, help="folder of the starter, if it is kept")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    options = parser.parse_args()
    start = CropModel.load(options.start) if options.start else starter()
    parts = [part.labelled() for part in read_points(options.data)]
    ontario = next(part for part in parts if part.name == "Ontario")
    others = [part for part in parts if part.name not in {"Ontario", "Maritimes"}]
    init = train_model(others, start)
    table = Table("parcels", "random weights", "init", title="accuracy / macro-F1 in Ontario")
    for size in options.sizes:
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(options.seeds):
            learned, tested = split(ontario, seed=seed)
            one = compare(learned.take(np.arange(min(size, len(learned)))), tested, init, seed=seed)
            for name, values in one.items():
                found.setdefault(name, []).append(values)
        cells = [
            f"{np.mean([a for a, _ in rows]):.3f} / {np.mean([f for _, f in rows]):.3f}"
            for rows in found.values()
        ]
        table.add_row(f"{size}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
