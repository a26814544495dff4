"""How many labelled parcels are enough: scores by the number of training parcels.

``python -m benchmarks.learning`` fits the default network of ``cubecrop.fit`` and the random forest
that `cubecrop.train` compares it with to growing numbers of parcels, and tests both on the same
other parcels:

- ``canada``: the real points of `benchmarks.blocks` (monthly, one pixel each, nine classes). Seed
  0 is tested on the first of the five folds, which keep places together, seed 1 on the second, and
  so on; the training parcels are drawn at random from the other four.
- ``simulated``: parcels of a simulated region of 5 km with every date, another region for each seed
  and none of them the demo's. 30 % of the parcels are tested. The labels for training are the
  declared crops, 3 % of which are wrong; the labels for the test are the true crops.

Within a seed, a larger draw includes the smaller ones. Every result is a line of a CSV, so that a
run that was stopped can continue. Seconds are processor seconds of training alone.
"""

from __future__ import annotations

import argparse
import tempfile
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
from sklearn.model_selection import StratifiedGroupKFold

import cubecrop
from benchmarks.blocks import TABLE, Row, append, measure, read_points, read_rows
from cubecrop.evaluation.candidates import FOREST, NETWORK, main_candidates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.evaluation.candidates import Candidate

SOURCES = ("canada", "simulated")
SIZES = (50, 100, 200, 500, 1000, 2000)
#: First seed of the simulator: the demo uses 0, and its settings were chosen on other seeds.
_FIRST_SEED = 20
_YEAR, _LABEL = 2024, "crop:name"
_HELD_OUT = 0.3
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Parcels of one seed: the training parcels in the order of use, and the test parcels."""

    samples: xr.DataTree
    declared: Sequence[str]
    truth: Sequence[str]
    learned: NDArray[np.intp]
    tested: NDArray[np.intp]


def canada(table: Path, seed: int) -> Pool:
    """Read real points and choose one fold for the test."""
    samples = read_points(table)
    labels, groups = samples["label"].to_numpy().astype(str), samples["group"].to_numpy()
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    learned, tested = list(folds.split(labels, labels, groups))[seed % _FOLDS]
    order = np.random.default_rng(seed).permutation(learned)
    texts = labels.tolist()
    return Pool(samples=samples, declared=texts, truth=texts, learned=order, tested=tested)


def simulated(size_km: float, seed: int) -> Pool:
    """Simulate the region of a seed and read the pixels of its parcels."""
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


def curve(
    pool: Pool,
    *,
    source: str,
    seed: int,
    sizes: Iterable[int],
    chosen: Sequence[Candidate],
    done: set[tuple[str, int, int, str]],
) -> Iterator[Row]:
    """Fit and score each case that is not in ``done``; sizes beyond the pool use all of it."""
    for size in sorted({min(size, len(pool.learned)) for size in sizes}):
        for candidate in chosen:
            if (source, seed, size, candidate.name) not in done:
                yield measure(
                    candidate, pool.samples, pool.learned[:size], pool.tested,
                    declared=pool.declared, truth=pool.truth,
                    protocol=source, fold=0, seed=seed,
                )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Point:
    """Mean and spread over seeds of one method trained on about ``n`` parcels."""

    n: int
    accuracy: float
    macro_f1: float
    spread: float
    seconds: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.accuracy:.2f} / {self.macro_f1:.2f} ± {self.spread:.2f}"


def curves(rows: Iterable[Row], sizes: Iterable[int]) -> dict[tuple[str, str], list[Point]]:
    """Summarise rows as points by source and method, in the order of their size.

    Pools that are smaller than a size differ a little between seeds; they count as one point.
    """
    groups = defaultdict(list)
    for row in rows:
        nominal = min((size for size in sizes if size >= row.n_train), default=row.n_train)
        groups[row.protocol, row.method, nominal].append(row)
    out: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for (source, method, _), part in sorted(groups.items()):
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


def draw(points_by_method: dict[tuple[str, str], list[Point]], path: Path) -> None:
    """Draw macro-F1 against the number of parcels, a panel for each source."""
    sources = [name for name in SOURCES if any(source == name for source, _ in points_by_method)]
    titles = {"canada": "Real points of Canada", "simulated": "A simulated region"}
    figure = Figure(figsize=(1.2 + 3.6 * len(sources), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    for axes, source in zip(panels, sources, strict=True):
        for method, colour in (("network", "#1B6CA8"), ("random forest", "#C8641B")):
            points = points_by_method.get((source, method), [])
            n = np.array([point.n for point in points])
            middle = np.array([point.macro_f1 for point in points])
            spread = np.array([point.spread for point in points])
            axes.fill_between(n, middle - spread, middle + spread, color=colour, alpha=0.18, lw=0)
            axes.plot(n, middle, marker="o", color=colour, label=method)
        ticks = sorted({point.n for (name, _), points in points_by_method.items() if name == source
                        for point in points})  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_title(titles[source], loc="left")
        axes.set_xlabel("training parcels")
        axes.grid(alpha=0.3)
        axes.set_ylim(0, 1)
    panels[0].set_ylabel("macro-F1 on test parcels")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Measure the chosen sources and print the table."""
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
    parser.add_argument("--epochs", type=int, help="fewer for a quick try")
    parser.add_argument(
        "--out", type=Path, default=Path("learning.csv"), help="CSV file; results are appended"
    )
    parser.add_argument("--figure", type=Path, help="file for a figure of all results in the CSV")
    options = parser.parse_args(arguments)
    chosen = main_candidates([NETWORK, FOREST], cubecrop.TrainConfig(epochs=options.epochs))
    rows = read_rows(options.out)
    for source in options.sources:
        for seed in range(options.seeds):
            pool = (
                canada(options.table, seed)
                if source == "canada"
                else simulated(options.size_km, seed)
            )
            done = {(row.protocol, row.seed, row.n_train, row.method) for row in rows}
            for row in curve(
                pool, source=source, seed=seed, sizes=options.sizes, chosen=chosen, done=done
            ):
                append(options.out, row)
                rows.append(row)
    points_by_method = curves(rows, options.sizes)
    table = Table(
        "source", "method", "parcels", "accuracy / macro-F1 ± spread", "seeds", "CPU s",
        title="On test parcels",
    )  # fmt: skip
    for (source, method), points in points_by_method.items():
        for point in points:
            table.add_row(
                source, method, f"{point.n}", str(point), f"{point.seeds}", f"{point.seconds:.0f}"
            )
    Console().print(table)
    if options.figure:
        draw(points_by_method, options.figure)


if __name__ == "__main__":
    main()
