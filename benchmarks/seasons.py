"""Simulated seasons beside real ones: ``python -m benchmarks.seasons DATA [PICTURE.png]``.

DATA is the folder whose ``points`` hold WorldCereal's extraction tables.
"""

from __future__ import annotations

import datetime as dt
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import cubecrop
from cubecrop.sample import read_worldcereal
from cubecrop.simulate.points import simulate_points

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

LEAST = 20  # points of a crop that make a spread; Flanders has 11 of wheat, fewer of the rest
#: How far medians may lie apart on average: NDVI, and VH in dB.
MOST_APART = {"NDVI": 0.25, "VH": 2.5}
SHARE_WITHIN = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One real table, the regions that stand for it, its codes by crop, and its missed cloud."""

    name: str
    table: str
    label: str
    regions: tuple[str, ...]
    crops: dict[str, str]
    missed: float = 0.08


COMPARED = (
    Place(
        name="Canada 2017", table="canada-2017-monthly", label="CROPTYPE_LABEL",
        regions=("ontario", "maritimes"),
        crops={
            "winter wheat": "1110", "maize": "1200", "permanent grass": "9120",
            "potato": "5100",
        },
        missed=0.5,
    ),
    Place(
        name="France 2023", table="france-2023-dekad", label="ewoc_code", regions=("normandy",),
        crops={
            "winter wheat": "1101010011", "maize": "1101060000",
            "permanent grass": "2001020022",
        },
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Percentiles 10, 50 and 90 by month, ``real`` and ``simulated (3, month)``."""

    place: str
    crop: str
    what: str
    points: int
    months: NDArray[np.datetime64]
    real: NDArray[np.float64]
    simulated: NDArray[np.float64]

    @property
    def within(self) -> float:
        """Share of months in which the simulated median lies in the real middle 80 %."""
        low, _, high = self.real
        known = np.isfinite(low)
        middle = self.simulated[1]
        return float(((middle >= low) & (middle <= high))[known].mean())

    @property
    def apart(self) -> float:
        """Mean distance of the medians."""
        return float(np.nanmean(np.abs(self.real[1] - self.simulated[1])))

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.place:14s} {self.crop:16s} {self.what:5s} n = {self.points:3d}  "
            f"within {self.within:4.0%}  apart {self.apart:.2f}"
        )


def is_within(found: Comparison) -> bool:
    """Whether a season keeps both bounds."""
    return found.within >= SHARE_WITHIN and found.apart <= MOST_APART[found.what]


def compare(
    data: Path, place: Place, *, n: int = 800, seeds: tuple[int, ...] = (1, 2, 3)
) -> list[Comparison]:
    """Compare the crops of a place that have enough points, by month."""
    real = read_worldcereal(data / "points" / f"{place.table}.parquet", label=place.label)
    start, end = (dt.date.fromisoformat(real.attrs[f"season_{k}"]) for k in ("start", "end"))
    window = cubecrop.Season(real.attrs["season_year"], start=start, end=end)
    trees = [
        simulate_points(
            region, window.year, n=n, season=window, calibration="sigma0", seed=seed,
            composite=real.attrs["composite"], missed=place.missed,
        )
        for region in place.regions
        for seed in seeds
    ]  # fmt: skip
    code = real["label"].to_numpy().astype(str)
    found = []
    for crop, wanted in place.crops.items():
        mine = code == wanted
        if mine.sum() < LEAST:
            continue
        for what in ("NDVI", "VH"):
            months, spread = by_month(values_of(real, what)[mine], real["sentinel2"])
            parts = [values_of(t, what)[t["label"].to_numpy() == crop] for t in trees]
            _, ours = by_month(np.concatenate(parts), trees[0]["sentinel2"])
            found.append(
                Comparison(
                    place=place.name, crop=crop, what=what, points=int(mine.sum()),
                    months=months, real=spread, simulated=ours,
                )
            )  # fmt: skip
    return found


def values_of(tree: xr.DataTree, what: str) -> NDArray[np.float64]:
    """(parcel, time)."""
    if what == "VH":
        return tree["sentinel1"]["backscatter"].sel(band="vh")[..., 0].to_numpy()
    reflectance = tree["sentinel2"]["reflectance"]
    red, infrared = (reflectance.sel(band=b)[..., 0].to_numpy() for b in ("B04", "B08"))
    return (infrared - red) / (infrared + red)


def by_month(
    values: NDArray[np.float64], child: xr.DataTree
) -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """Months, and percentiles 10, 50 and 90 over points and steps of each, (3, month)."""
    month = child["time"].to_numpy().astype("datetime64[M]")
    months = np.unique(month)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a month without any clear value
        spread = [np.nanquantile(values[:, month == m], (0.1, 0.5, 0.9)) for m in months]
    return months, np.stack(spread, axis=1)


def draw(found: list[Comparison], path: Path) -> None:
    """Real spread in grey, simulated in colour; a row a crop and place, NDVI and VH."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys((one.place, one.crop) for one in found))
    figure = Figure(figsize=(10, 1.75 * len(rows)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), 2, squeeze=False)
    for one in found:
        axes = grid[rows.index((one.place, one.crop)), 0 if one.what == "NDVI" else 1]
        time = one.months.astype("datetime64[D]") + 14
        axes.fill_between(time, one.real[0], one.real[2], color="#9AA3AD", alpha=0.35, lw=0)
        axes.plot(time, one.real[1], color="#4A525A", lw=1.6, label="real")
        axes.fill_between(
            time, one.simulated[0], one.simulated[2], color="#E4572E", alpha=0.18, lw=0
        )
        axes.plot(time, one.simulated[1], color="#E4572E", lw=1.6, label="simulated")
        axes.set_title(f"{one.crop}, {one.place}, {one.points} points", loc="left", fontsize=9)
        axes.set_ylabel(one.what if one.what == "NDVI" else "VH, dB")
        axes.tick_params(labelsize=8)
        for label in axes.get_xticklabels()[1::2]:
            label.set_visible(False)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0, 0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path)


def main() -> None:
    data = Path(sys.argv[1])
    found = [one for place in COMPARED for one in compare(data, place)]
    for one in found:
        sys.stdout.write(f"{one.describe()}  {'' if is_within(one) else 'OUTSIDE'}\n")
    if len(sys.argv) > 2:
        draw(found, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
