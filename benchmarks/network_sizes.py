"""Whether the default network scores as well as the published sizes, and with how much less work.

``python -m benchmarks.network_sizes DATA`` fits both to the real points of `benchmarks.blocks`
(DATA is their table) and to simulated points with every date, and counts the floating-point
operations of their predictions:

- ``ON blocks``, ``MA blocks``: three times, a third of a region is tested after training on the
  rest, as `benchmarks.blocks` explains. The sizes were chosen on these and on simulated points;
- ``simulated``: training on 400 points of a simulated region and testing on 600 others, in three
  regions with about 85 optical and 70 radar dates.

Operations are those that one more date adds; torch counts them in a prediction of the folded
network for single pixels and for parcels of 64 pixels. Every result is a line of a CSV, so that a
run that was stopped can continue. Seconds are processor seconds of training alone.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.blocks import BLOCKS, Row, append, blocks, measure, read_points, read_rows, summary
from benchmarks.points import simulate_points
from cubecrop import TrainConfig
from cubecrop.evaluation.candidates import Candidate
from cubecrop.model import Batch, CropNetwork, NetworkConfig, NetworkOptions, SensorConfig, Series
from cubecrop.model.fast.folding import fold
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr

__all__ = ["flops_a_date"]

#: The networks that are compared, by name.
OPTIONS = {"network": NetworkOptions(), "published sizes": NetworkOptions.published()}
SIMULATED = "simulated"
_REGIONS = ("flanders", "ontario", "bavaria")
_YEAR, _LEARNED, _TESTED, _CLOUDINESS = 2021, 400, 600, 0.3
#: Seed of the simulated weather; no other benchmark uses it.
_WORLD = 50
_MEMBERS, _DATES = 16, 16
_BANDS = {"sentinel2": SENTINEL2_BANDS, "sentinel1": SENTINEL1_BANDS}


def flops_a_date(options: NetworkOptions, n_pixels: int) -> dict[str, float]:
    """Count the floating-point operations that a date adds to a set's prediction, by sensor."""
    sensors = tuple(SensorConfig(name=name, bands=bands) for name, bands in _BANDS.items())
    sizes = {name: getattr(options, name) for name in options.__dataclass_fields__}
    network = fold(CropNetwork(NetworkConfig(sensors=sensors, n_classes=9, **sizes)))

    def count(n_dates: dict[str, int]) -> int:
        series = {
            name: Series(
                torch.zeros(_MEMBERS, n, n_pixels, len(_BANDS[name])),
                torch.ones(_MEMBERS, n, n_pixels, dtype=torch.bool),
                torch.arange(n).float().expand(_MEMBERS, -1),
            )
            for name, n in n_dates.items()
        }
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(Batch(series))
        return int(counter.get_total_flops())

    short = dict.fromkeys(_BANDS, _DATES)
    base = count(short)
    return {
        name: (count({**short, name: 2 * _DATES}) - base) / (_MEMBERS * _DATES) for name in _BANDS
    }


#: Protocol, fold, seed and method of a row.
Key = tuple[str, int, int, str]


def real(
    samples: xr.DataTree, *, seeds: Iterable[int], chosen: Sequence[Candidate], done: set[Key]
) -> Iterator[Row]:
    """Fit and score each case on blocks of Canada that is not in ``done``."""
    labels = samples["label"].to_numpy().tolist()
    for seed, protocol in itertools.product(seeds, BLOCKS):
        for fold_number, (learned, tested) in enumerate(blocks(samples, protocol)):
            for candidate in chosen:
                if (protocol, fold_number, seed, candidate.name) not in done:
                    yield measure(
                        candidate, samples, learned, tested, declared=labels, truth=labels,
                        protocol=protocol, fold=fold_number, seed=seed,
                    )  # fmt: skip


def simulated(
    *,
    n: tuple[int, int],
    seeds: Iterable[int],
    chosen: Sequence[Candidate],
    done: set[Key],
) -> Iterator[Row]:
    """Fit and score each case that is not in ``done``; ``n`` points to train on and to test."""
    for fold_number, region in enumerate(_REGIONS):
        samples = simulate_points(
            region, _YEAR, n=sum(n), composite=None, cloudiness=_CLOUDINESS, seed=_WORLD
        )
        labels = samples["label"].to_numpy().tolist()
        order = np.random.default_rng(fold_number).permutation(len(labels))
        learned, tested = order[: n[0]], order[n[0] :]
        for seed, candidate in itertools.product(seeds, chosen):
            if (SIMULATED, fold_number, seed, candidate.name) not in done:
                yield measure(
                    candidate, samples, learned, tested, declared=labels, truth=labels,
                    protocol=SIMULATED, fold=fold_number, seed=seed,
                )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure both networks and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.network_sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="points of Canada")
    parser.add_argument(
        "--out", type=Path, default=Path("lean.csv"), help="CSV file; results are appended"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--points", type=int, nargs=2, default=(_LEARNED, _TESTED),
                        help="simulated points to train on and to test")  # fmt: skip
    parser.add_argument("--epochs", type=int, help="fewer for a quick try")
    options = parser.parse_args(arguments)
    rows = read_rows(options.out)
    done = {(row.protocol, row.fold, row.seed, row.method) for row in rows}
    seeds = range(options.seeds)
    chosen = [
        Candidate(name=name, text="", config=TrainConfig(epochs=options.epochs, network=network))
        for name, network in OPTIONS.items()
    ]
    parts = (
        real(read_points(options.data), seeds=seeds, chosen=chosen, done=done),
        simulated(n=tuple(options.points), seeds=seeds, chosen=chosen, done=done),
    )
    for part in parts:
        for row in part:
            append(options.out, row)
            rows.append(row)
    Console(width=150).print(as_table(rows))


def as_table(rows: Iterable[Row]) -> Table:
    """Table operations per date and accuracy / macro-F1 ± spread over seeds by network."""
    rows = list(rows)
    cells, seconds = summary(rows), defaultdict(list)
    for row in rows:
        seconds[row.method].append(row.seconds)
    table = Table(
        "network", "kFLOP a date: pixel", "parcel", *BLOCKS, SIMULATED, "seeds", "CPU s a training",
        title="accuracy / macro-F1 ± spread over seeds; Sentinel-2 + Sentinel-1",
    )  # fmt: skip
    for method, by_protocol in cells.items():
        counts = [
            " + ".join(f"{value / 1000:.1f}" for value in flops_a_date(OPTIONS[method], n).values())
            for n in (1, 64)
        ]
        table.add_row(
            method,
            *counts,
            *(str(by_protocol.get(protocol, "")) for protocol in (*BLOCKS, SIMULATED)),
            ", ".join(map(str, sorted({cell.seeds for cell in by_protocol.values()}))),
            f"{np.mean(seconds[method]):.1f}",
        )
    return table


if __name__ == "__main__":
    main()
