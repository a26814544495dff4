"""What parcels of another region win back, without labels and with few, on points of Canada.

``python -m benchmarks.adaptation`` trains a network on one region, as `benchmarks.canada` does, and
changes it for the other by `cubecrop.evaluation.adapt`, without any label of it, and by
`cubecrop.evaluation.fine_tune`, with some. Labels are drawn at random by seed; scores are those of
the parcels that were not drawn. Every result is a line of a CSV, so that a run that was stopped can
continue. ``applied`` is False where the check on the source refused the change. Seconds are
processor seconds of the change, its check included.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.canada import BLOCKS, PROTOCOLS, TABLE, most_frequent, splits
from cubecrop import Nomenclature, TrainConfig, fit
from cubecrop.evaluation import adapt, fine_tune
from cubecrop.metrics import scores
from cubecrop.nomenclature import decide
from cubecrop.sample import read_worldcereal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import xarray as xr

    from cubecrop import CropModel

#: Numbers of labelled parcels of the target; 0 is `adapt`.
LABELS = (0, 5, 20, 50, 100)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Scores of one change, and of the network before it on the same parcels."""

    protocol: str
    fold: int
    seed: int
    labels: int
    applied: bool
    n_test: int
    accuracy_before: float
    accuracy: float
    macro_f1_before: float
    macro_f1: float
    seconds: float


def measure(
    samples: xr.DataTree,
    *,
    seeds: Iterable[int],
    protocols: Iterable[str],
    labels: Iterable[int],
    epochs: int | None,
    done: set[tuple[str, int, int, int]],
) -> Iterator[Row]:
    """Train, change and score each case that is not in ``done``."""
    text = samples["label"].to_numpy()
    nomenclature = Nomenclature.from_labels(text)
    truth = np.array([nomenclature.index(label) for label in text])
    config = TrainConfig(epochs=epochs)
    for seed in seeds:
        for protocol in protocols:
            for fold, (learned, tested) in enumerate(splits(samples, protocol)):
                left = [n for n in labels if (protocol, fold, seed, n) not in done]
                if not left:
                    continue
                source = samples.isel(parcel=learned), text[learned].tolist()
                model = fit(
                    *source, nomenclature=nomenclature, config=config, seed=seed, progress=False
                )
                for n in left:
                    few = np.random.default_rng([seed, n]).permutation(tested)[:n]
                    start = time.process_time()
                    target = samples.isel(parcel=tested)
                    if n:
                        given = [
                            t if i in few else None
                            for i, t in zip(tested, text[tested], strict=True)
                        ]
                        changed = fine_tune(
                            model, target, given, source=source, seed=seed, progress=False
                        )
                    else:
                        changed = adapt(model, target, source=source, seed=seed, progress=False)
                    seconds = time.process_time() - start
                    rest = np.setdiff1d(tested, few)
                    part = samples.isel(parcel=rest)
                    one, other = (_scored(m, part, truth[rest]) for m in (model, changed))
                    yield Row(
                        protocol=protocol, fold=fold, seed=seed, labels=n,
                        applied=changed.adaptation is not None and changed.adaptation.applied,
                        n_test=len(rest), accuracy_before=one[0], accuracy=other[0],
                        macro_f1_before=one[1], macro_f1=other[1], seconds=seconds,
                    )  # fmt: skip


def _scored(model: CropModel, samples: xr.DataTree, truth: np.ndarray) -> tuple[float, float]:
    found = scores(truth, decide(model.predict_proba(samples).to_numpy()), len(model.nomenclature))
    return found.accuracy, found.macro_f1


def read_rows(path: Path) -> list[Row]:
    """Read the rows of earlier runs."""
    if not path.exists():
        return []
    whole = dict.fromkeys(("fold", "seed", "labels", "n_test"), int)
    kinds = {**whole, "protocol": str, "applied": "True".__eq__}
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(**{key: kinds.get(key, float)(value) for key, value in line.items()})
            for line in csv.DictReader(file)
        ]


def append(path: Path, row: Row) -> None:
    """Add a row to the file."""
    first = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(row)), lineterminator="\n")
        if first:
            writer.writeheader()
        writer.writerow(asdict(row))


def shown(rows: list[Row]) -> Table:
    """Means over seeds and folds, with the spread over seeds of macro-F1."""
    table = Table("protocol", "labels", "before", "after", "applied", "seeds", "s",
                  title="accuracy / macro-F1 ± spread over seeds")  # fmt: skip
    for protocol, labels in dict.fromkeys((row.protocol, row.labels) for row in rows):
        own = [row for row in rows if (row.protocol, row.labels) == (protocol, labels)]
        seeds = sorted({row.seed for row in own})
        cells = []
        for accuracy, f1 in (("accuracy_before", "macro_f1_before"), ("accuracy", "macro_f1")):
            by_seed = np.array(
                [
                    np.mean([(getattr(r, accuracy), getattr(r, f1)) for r in own if r.seed == s], 0)
                    for s in seeds
                ]
            )
            spread = f" ± {by_seed[:, 1].std(ddof=1):.3f}" if len(seeds) > 1 else ""
            cells.append(f"{by_seed[:, 0].mean():.3f} / {by_seed[:, 1].mean():.3f}{spread}")
        applied = f"{sum(row.applied for row in own)} of {len(own)}"
        seconds = f"{np.mean([row.seconds for row in own]):.0f}"
        table.add_row(protocol, str(labels), *cells, applied, str(len(seeds)), seconds)
    return table


def main(arguments: list[str] | None = None) -> None:
    """Measure the chosen cases and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adaptation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=Path("adaptation.csv"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS + BLOCKS,
                        default=PROTOCOLS[1:])  # fmt: skip
    parser.add_argument("--labels", nargs="+", type=int, default=LABELS)
    parser.add_argument("--epochs", type=int, help="fewer for a quick try")
    chosen = parser.parse_args(arguments)
    rows = read_rows(chosen.out)
    for row in measure(
        most_frequent(read_worldcereal(chosen.table, label="CROPTYPE_LABEL")),
        seeds=range(chosen.seeds),
        protocols=chosen.protocols,
        labels=chosen.labels,
        epochs=chosen.epochs,
        done={(row.protocol, row.fold, row.seed, row.labels) for row in rows},
    ):
        append(chosen.out, row)
        rows.append(row)
    Console().print(shown(rows))


if __name__ == "__main__":
    main()
