"""Blocks of land within two regions of Canada, and rows of scores, for the benchmarks of settings.

The points are those of Agriculture and Agri-Food Canada's inventory of 2017 (monthly Sentinel-1 and
-2, one pixel a point), of the nine classes with most points. ``ON blocks`` and ``MA blocks`` test
the western, the eastern and the coolest third of a region in turn, after training on the rest of
the region: Ontario (lon -85 to -79) and the Maritimes (east of -72). Settings are chosen on these
blocks, so that no score from one region to the other has a part in a choice.
"""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cubecrop import Nomenclature
from cubecrop.metrics import scores
from cubecrop.nomenclature import decide
from cubecrop.sample import read_worldcereal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.evaluation.candidates import Candidate

TABLE = Path(__file__).parents[1].parent / "shared/data/points/canada-2017-monthly.parquet"
BLOCKS = ("ON blocks", "MA blocks")
_LABEL = "CROPTYPE_LABEL"
_CLASSES = 9


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


def read_points(table: Path) -> xr.DataTree:
    """Read the points of the most frequent classes."""
    samples = read_worldcereal(table, label=_LABEL)
    chosen = samples["label"].to_series().dropna().value_counts().index[:_CLASSES]
    return samples.isel(parcel=np.flatnonzero(samples["label"].isin(list(chosen))))


def blocks(
    samples: xr.DataTree, protocol: str
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the training and test points of each block of a region."""
    lon = samples["lon"].to_numpy()
    in_region = {"ON blocks": (lon > -85) & (lon < -79), "MA blocks": lon > -72}[protocol]
    region = np.flatnonzero(in_region)
    temperature = samples["weather"]["weather"].sel(variable="temperature_mean").mean("time")
    for along in (lon, -lon, temperature.to_numpy()):
        last = along[region] <= np.quantile(along[region], 1 / 3)
        yield region[~last], region[last]


def measure(
    candidate: Candidate,
    samples: xr.DataTree,
    learned: NDArray[np.intp],
    tested: NDArray[np.intp],
    *,
    declared: Sequence[str],
    truth: Sequence[str],
    protocol: str,
    fold: int,
    seed: int,
) -> Row:
    """Train on the declared labels (parcel,) of some parcels and score others by the true ones.

    Seconds are processor seconds of training alone.
    """
    nomenclature = Nomenclature.from_labels([*declared, *truth])
    start = time.process_time()
    model = candidate.train(
        [samples.isel(parcel=learned)],
        [[declared[i] for i in learned]],
        nomenclature=nomenclature,
        seed=seed,
    )
    seconds = time.process_time() - start
    probability = model.predict_proba(samples.isel(parcel=tested)).to_numpy()
    expected = np.array([nomenclature.index(truth[i]) for i in tested])
    score = scores(expected, decide(probability), len(nomenclature))
    return Row(
        protocol=protocol,
        fold=fold,
        seed=seed,
        method=candidate.name,
        n_train=len(learned),
        n_test=score.n,
        accuracy=score.accuracy,
        macro_f1=score.macro_f1,
        seconds=seconds,
    )


def read_rows(path: Path) -> list[Row]:
    """Read the rows of earlier runs."""
    if not path.exists():
        return []
    whole = dict.fromkeys(("fold", "seed", "n_train", "n_test"), int)
    kinds = {**whole, "protocol": str, "method": str}
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
