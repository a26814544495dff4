"""How many labelled parcels are enough: scores by the number that was learnt from.

``python -m benchmarks.learning`` fits the default network of ``cubecrop.fit`` and the random forest
that `cubecrop.train` prints beside it to more and more parcels, and scores both on the same others:

- ``canada``: the real points of `benchmarks.canada` (monthly, one pixel each, nine classes). Seed
  0 is tested on the first of its five folds, which keep places together, seed 1 on the second, and
  so on; the parcels to learn from are drawn at random from the other four.
- ``simulated``: parcels of a simulated region of 5 km with every date, a region for each seed, none
  of them the demo's. Thirty in a hundred are tested. The crops that are learnt are those declared,
  3 % of them wrong; the crops that are tested are those that grow.

A larger draw holds the smaller ones of its seed. Every result is a line of a CSV, so that a run
that was stopped goes on. Seconds are those of the processor, for training alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import cubecrop
from benchmarks.canada import TABLE, Row, append, most_frequent, read_rows, splits
from benchmarks.canada_methods import Method, methods
from cubecrop.metrics import scores
from cubecrop.nomenclature import decide
from cubecrop.sample import read_worldcereal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray

SOURCES = ("canada", "simulated")
SIZES = (50, 100, 200, 500, 1000, 2000)
#: Simulated seeds begin here: the demo shows 0, and its settings were chosen on none of these.
_FIRST_SEED = 20
_YEAR, _LABEL = 2024, "crop:name"
_HELD_OUT = 0.3


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Parcels of one seed: those to learn from, in the order they are taken, and those to test."""

    samples: xr.DataTree
    declared: Sequence[str]
    truth: Sequence[str]
    learned: NDArray[np.intp]
    tested: NDArray[np.intp]


def canada(table: Path, seed: int) -> Pool:
    """Real points, one fold of them to test."""
    samples = most_frequent(read_worldcereal(table, label="CROPTYPE_LABEL"))
    labels = samples["label"].to_numpy().tolist()
    folds = list(splits(samples, "5-fold"))
    learned, tested = folds[seed % len(folds)]
    order = np.random.default_rng(seed).permutation(learned)
    return Pool(samples=samples, declared=labels, truth=labels, learned=order, tested=tested)


def simulated(size_km: float, seed: int) -> Pool:
    """Parcels of a region of its own; reads their pixels."""
    with tempfile.TemporaryDirectory(prefix="cubecrop-learning-") as folder:
        archive = cubecrop.simulate_archive(
            Path(folder) / "archive", size_km=size_km, seed=_FIRST_SEED + seed, progress=False
        )
        declared, truth = (
            gpd.read_parquet(archive / f"{name}-{_YEAR}.parquet") for name in ("parcels", "truth")
        )
        cube = cubecrop.open_season(
            declared, _YEAR, archive=archive, modalities=("sentinel2", "sentinel1")
        )
        samples = cubecrop.sample_pixel_sets(cube, declared).load()
    part = cubecrop.split_parcels(truth, _LABEL, held_out=_HELD_OUT, seed=seed).to_numpy()
    order = np.random.default_rng(seed).permutation(np.flatnonzero(part == "train"))
    return Pool(
        samples=samples,
        declared=declared[_LABEL].tolist(),
        truth=truth[_LABEL].tolist(),
        learned=order,
        tested=np.flatnonzero(part == "held out"),
    )


def measure(
    pool: Pool,
    *,
    source: str,
    seed: int,
    sizes: Iterable[int],
    chosen: Iterable[Method],
    done: set[tuple[str, int, int, str]],
) -> Iterator[Row]:
    """Fit and score what is not done yet; a size beyond the pool takes all of it."""
    nomenclature = cubecrop.Nomenclature.from_labels([*pool.declared, *pool.truth])
    truth = np.array([nomenclature.index(pool.truth[i]) for i in pool.tested])
    for size in sorted({min(size, len(pool.learned)) for size in sizes}):
        learned = pool.learned[:size]
        for method in chosen:
            ((name, _),) = method.tests.items()
            if (source, seed, size, name) in done:
                continue
            start = time.process_time()
            labels = [pool.declared[i] for i in learned]
            model = method.train(pool.samples.isel(parcel=learned), labels, nomenclature, seed)
            seconds = time.process_time() - start
            probability = model.predict_proba(pool.samples.isel(parcel=pool.tested)).to_numpy()
            one = scores(truth, decide(probability), len(nomenclature))
            yield Row(
                protocol=source,
                fold=0,
                seed=seed,
                method=name,
                n_train=size,
                n_test=one.n,
                accuracy=one.accuracy,
                macro_f1=one.macro_f1,
                seconds=seconds,
            )


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean and spread over seeds of one method that learnt from about ``n`` parcels."""

    n: int
    accuracy: float
    macro_f1: float
    spread: float
    seconds: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.accuracy:.2f} / {self.macro_f1:.2f} ± {self.spread:.2f}"


def curves(rows: Iterable[Row], sizes: Iterable[int]) -> dict[tuple[str, str], list[Point]]:
    """Points by source and method, in the order of their size.

    Pools of several seeds that end short of a size differ a little; they count together.
    """
    found = defaultdict(list)
    for row in rows:
        asked = min((size for size in sizes if size >= row.n_train), default=row.n_train)
        found[row.protocol, row.method, asked].append(row)
    out: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for (source, method, _), part in sorted(found.items()):
        f1 = [row.macro_f1 for row in part]
        point = Point(
            n=round(np.mean([row.n_train for row in part])),
            accuracy=float(np.mean([row.accuracy for row in part])),
            macro_f1=float(np.mean(f1)),
            spread=float(np.std(f1, ddof=1)) if len(f1) > 1 else 0.0,
            seconds=float(np.mean([row.seconds for row in part])),
            seeds=len({row.seed for row in part}),
        )
        out[source, method].append(point)
    return out


def draw(found: dict[tuple[str, str], list[Point]], path: Path) -> None:
    """Draw macro-F1 against the number of parcels, a panel for each source."""
    sources = [one for one in SOURCES if any(source == one for source, _ in found)]
    titles = {"canada": "Real points of Canada", "simulated": "A simulated region"}
    figure = Figure(figsize=(1.2 + 3.6 * len(sources), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    for axes, source in zip(panels, sources, strict=True):
        for method, colour in (("network", "#1B6CA8"), ("random forest", "#C8641B")):
            points = found.get((source, method), [])
            n = np.array([one.n for one in points])
            middle = np.array([one.macro_f1 for one in points])
            spread = np.array([one.spread for one in points])
            axes.fill_between(n, middle - spread, middle + spread, color=colour, alpha=0.18, lw=0)
            axes.plot(n, middle, marker="o", color=colour, label=method)
        ticks = sorted({one.n for (where, _), some in found.items() if where == source
                        for one in some})  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_title(titles[source], loc="left")
        axes.set_xlabel("parcels that were learnt from")
        axes.grid(alpha=0.3)
        axes.set_ylim(0, 1)
    panels[0].set_ylabel("macro-F1 on others")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--table", type=Path, default=TABLE, help="points of Canada")
    parser.add_argument("--size-km", type=float, default=5, help="side of a simulated region")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="for a quick look; by default those of fit")
    parser.add_argument("--out", type=Path, default=Path("learning.csv"), help="CSV, added to")
    parser.add_argument("--figure", type=Path, help="where to draw all that stands in the CSV")
    asked = parser.parse_args(arguments)
    available = methods(asked.epochs)
    chosen = [available["network"][0], available["forest"][0]]
    rows = read_rows(asked.out)
    for source in asked.sources:
        for seed in range(asked.seeds):
            pool = (
                canada(asked.table, seed) if source == "canada" else simulated(asked.size_km, seed)
            )
            done = {(row.protocol, row.seed, row.n_train, row.method) for row in rows}
            for row in measure(
                pool, source=source, seed=seed, sizes=asked.sizes, chosen=chosen, done=done
            ):
                append(asked.out, row)
                rows.append(row)
    found = curves(rows, asked.sizes)
    table = Table(
        "source", "method", "parcels", "accuracy / macro-F1 ± spread", "seeds", "CPU s",
        title="On parcels that were not learnt from",
    )  # fmt: skip
    for (source, method), points in found.items():
        for one in points:
            table.add_row(
                source, method, f"{one.n}", str(one), f"{one.seeds}", f"{one.seconds:.0f}"
            )
    Console().print(table)
    if asked.figure:
        draw(found, asked.figure)


if __name__ == "__main__":
    main()
