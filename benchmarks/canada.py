"""How well models tell crops apart in Canada, within regions and across them.

``python -m benchmarks.canada`` fits networks and random forests to the real points of Agriculture
Canada's inventory of 2017 (monthly Sentinel-1 and -2, one pixel a point) under three protocols:

- ``5-fold``: random folds, grouped by ``location_id``, the same for every seed;
- ``ON→MA``: trained on Ontario (lon -85 to -79), tested east of -72;
- ``MA→ON``: the reverse.

Settings are chosen on two other protocols, which use no test part: ``ON blocks`` and ``MA blocks``
test the western, the eastern and the coolest third of a region in turn, after training on the rest
of the region.

The data has the nine classes with most points; scores are over those that occur in the test part.
Networks are those of ``cubecrop.fit`` with its defaults except for what their name says
(`canada_methods`); no setting was chosen on a test part. Every result is a line of a CSV, so that a
run that was stopped can continue. Seconds are processor seconds.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.canada_methods import methods
from cubecrop import Nomenclature, TrainConfig, fit
from cubecrop.metrics import scores
from cubecrop.nomenclature import decide
from cubecrop.sample import read_worldcereal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import xarray as xr
    from numpy.typing import NDArray

TABLE = Path(__file__).parents[1].parent / "shared/data/points/canada-2017-monthly.parquet"
PROTOCOLS = ("5-fold", "ON→MA", "MA→ON")
BLOCKS = ("ON blocks", "MA blocks")
_LABEL = "CROPTYPE_LABEL"
_CLASSES = 9
_FOLDS = 5
#: The protocol of the row that holds only a time.
_WHOLE = "whole table"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One score, with its method and its training and test parts."""

    protocol: str
    fold: int
    seed: int
    method: str
    n_train: int
    n_test: int
    accuracy: float
    macro_f1: float
    seconds: float


def most_frequent(samples: xr.DataTree, n: int = _CLASSES) -> xr.DataTree:
    """Select the points of the ``n`` most frequent classes."""
    labels = samples["label"].to_series().dropna()
    chosen = labels.value_counts().index[:n]
    return samples.isel(parcel=np.flatnonzero(samples["label"].isin(list(chosen))))


def splits(
    samples: xr.DataTree, protocol: str
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the training and test points of each fold of a protocol."""
    lon = samples["lon"].to_numpy()
    ontario, maritimes = np.flatnonzero((lon > -85) & (lon < -79)), np.flatnonzero(lon > -72)
    if protocol == "ON→MA":
        yield ontario, maritimes
    elif protocol == "MA→ON":
        yield maritimes, ontario
    elif protocol in BLOCKS:
        region = ontario if protocol == "ON blocks" else maritimes
        temperature = samples["weather"]["weather"].sel(variable="temperature_mean").mean("time")
        for along in (lon, -lon, temperature.to_numpy()):
            last = along[region] <= np.quantile(along[region], 1 / 3)
            yield region[~last], region[last]
    else:
        labels, groups = samples["label"].to_numpy().astype(str), samples["group"].to_numpy()
        folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
        yield from folds.split(labels, labels, groups)


def measure(
    samples: xr.DataTree,
    *,
    seeds: Iterable[int],
    protocols: Iterable[str],
    groups: Iterable[str],
    epochs: int | None,
    done: set[tuple[str, int, int, str]],
) -> Iterator[Row]:
    """Fit and score each case that is not in ``done``."""
    labels = samples["label"].to_numpy()
    nomenclature = Nomenclature.from_labels(labels)
    truth = np.array([nomenclature.index(label) for label in labels])
    available = methods(epochs)
    chosen = [method for group in groups for method in available[group]]
    for seed, protocol in itertools.product(seeds, protocols):
        for fold, (learned, tested) in enumerate(splits(samples, protocol)):
            for method in chosen:
                if all((protocol, fold, seed, name) in done for name in method.tests):
                    continue
                start = time.process_time()
                part = method.prepare(samples.isel(parcel=learned))
                model = method.train(part, labels[learned].tolist(), nomenclature, seed)
                seconds = time.process_time() - start
                for name, change in method.tests.items():
                    test = method.prepare(change(samples.isel(parcel=tested)))
                    guess = decide(model.predict_proba(test).to_numpy())
                    score = scores(truth[tested], guess, len(nomenclature))
                    yield Row(
                        protocol=protocol,
                        fold=fold,
                        seed=seed,
                        method=name,
                        n_train=len(learned),
                        n_test=score.n,
                        accuracy=score.accuracy,
                        macro_f1=score.macro_f1,
                        seconds=seconds,
                    )


def whole(samples: xr.DataTree, epochs: int | None) -> Row:
    """Time `fit` on all points of all classes."""
    start = time.process_time()
    config = TrainConfig(epochs=epochs)
    fit(samples, samples["label"].to_numpy().tolist(), config=config, progress=False)
    return Row(
        protocol=_WHOLE,
        fold=0,
        seed=0,
        method="network",
        n_train=samples.sizes["parcel"],
        n_test=0,
        accuracy=float("nan"),
        macro_f1=float("nan"),
        seconds=time.process_time() - start,
    )


def read_rows(path: Path) -> list[Row]:
    """Read the rows of earlier runs."""
    if not path.exists():
        return []
    kinds = {
        "protocol": str,
        "method": str,
        "fold": int,
        "seed": int,
        "n_train": int,
        "n_test": int,
    }
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(**{key: kinds.get(key, float)(value) for key, value in line.items()})
            for line in csv.DictReader(file)
        ]


def append(path: Path, row: Row) -> None:
    first = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(row)), lineterminator="\n")
        if first:
            writer.writeheader()
        writer.writerow(asdict(row))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Means over folds, then over seeds, and the spread of macro-F1 over the seeds."""

    accuracy: float
    macro_f1: float
    spread: float
    seeds: int

    def __str__(self) -> str:
        spread = f" ± {self.spread:.3f}" if self.seeds > 1 else ""
        return f"{self.accuracy:.3f} / {self.macro_f1:.3f}{spread}"


def summary(rows: Iterable[Row]) -> dict[str, dict[str, Cell]]:
    """Summarise the rows as cells by method and protocol."""
    values = defaultdict(list)
    for row in rows:
        if row.protocol != _WHOLE:
            values[row.method, row.protocol, row.seed].append((row.accuracy, row.macro_f1))
    by_seed = defaultdict(list)
    for (method, protocol, _), folds in values.items():
        by_seed[method, protocol].append(np.mean(folds, axis=0))
    out: dict[str, dict[str, Cell]] = defaultdict(dict)
    for (method, protocol), seeds in by_seed.items():
        mean = np.mean(seeds, axis=0)
        out[method][protocol] = Cell(
            accuracy=float(mean[0]),
            macro_f1=float(mean[1]),
            spread=float(np.std(seeds, axis=0, ddof=min(1, len(seeds) - 1))[1]),
            seeds=len(seeds),
        )
    return out


def draw(cells: Mapping[str, Mapping[str, Cell]], path: Path) -> None:
    """Draw the macro-F1 of each method and protocol, with its spread over seeds."""
    names = sorted(cells, key=lambda name: np.mean([c.macro_f1 for c in cells[name].values()]))
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for protocol, marker in zip(PROTOCOLS, "osD", strict=True):
        places = [i for i, name in enumerate(names) if protocol in cells[name]]
        shown = [cells[names[i]][protocol] for i in places]
        axes.errorbar(
            [cell.macro_f1 for cell in shown],
            places,
            xerr=[cell.spread for cell in shown],
            fmt=marker,
            capsize=2,
            label=protocol,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("macro-F1, mean and spread over seeds")
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Measure the chosen methods and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.canada",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = list(methods(None))
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument(
        "--out", type=Path, default=Path("canada.csv"), help="CSV file; results are appended"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS + BLOCKS, default=PROTOCOLS)
    parser.add_argument("--methods", nargs="+", choices=groups, default=groups)
    parser.add_argument("--epochs", type=int, help="fewer for a quick try")
    parser.add_argument("--figure", type=Path, help="file for a figure of all results in the CSV")
    chosen = parser.parse_args(arguments)
    samples = read_worldcereal(chosen.table, label=_LABEL)
    rows = read_rows(chosen.out)
    console = Console()
    for row in measure(
        most_frequent(samples),
        seeds=range(chosen.seeds),
        protocols=chosen.protocols,
        groups=chosen.methods,
        epochs=chosen.epochs,
        done={(row.protocol, row.fold, row.seed, row.method) for row in rows},
    ):
        append(chosen.out, row)
        rows.append(row)
    if not any(row.protocol == _WHOLE for row in rows):
        rows.append(whole(samples, chosen.epochs))
        append(chosen.out, rows[-1])
    cells = summary(rows)
    shown = [
        p for p in PROTOCOLS + BLOCKS if any(p in by_protocol for by_protocol in cells.values())
    ]
    table = Table("method", *shown, "seeds", title="accuracy / macro-F1 ± spread over seeds")
    for method, by_protocol in cells.items():
        seeds = sorted({cell.seeds for cell in by_protocol.values()})
        texts = (str(by_protocol.get(protocol, "")) for protocol in shown)
        table.add_row(method, *texts, ", ".join(map(str, seeds)))
    console.print(table)
    if chosen.figure:
        draw(cells, chosen.figure)
    for row in rows:
        if row.protocol == _WHOLE:
            console.print(
                f"fit on all {row.n_train} points: {row.seconds / 60:.1f} minutes of one core"
            )


if __name__ == "__main__":
    main()
