"""Simulated seasons beside real ones: ``python -m benchmarks.seasons DATA [PICTURE.png]``.

DATA is the folder whose ``points`` hold WorldCereal's extraction tables. The simulated crops
grow in weather with the monthly temperature and rain of the real points. Values that are bright in
the blue are missed cloud or snow, and are left out of the NDVI of both.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import cubecrop
from benchmarks.points import simulate_points
from cubecrop.sample import read_worldcereal
from cubecrop.simulate.regions import find_region
from cubecrop.simulate.weather import make_weather

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.simulate.weather import Weather

LEAST = 20  # minimum points of a crop; Flanders has 11 of wheat and fewer of the others
LEAST_IN_MONTH = 10  # minimum values of a crop in a month
#: Reflectance; vegetation and soil are darker, cloud and snow are brighter (Hagolle et al. 2010,
#: Remote Sens. Environ. 114, 1747-1755, detect cloud by the blue band as well).
BRIGHT_BLUE = 0.15
#: Maximum mean difference of the medians, of NDVI and of VH in dB.
MOST_APART = {"NDVI": 0.15, "VH": 1.5}
SHARE_WITHIN = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Part of a real table between two longitudes, and the simulated region for it.

    ``crops`` maps each simulated crop to the table's code; ``missed`` is the share of cloud that
    the table's mask missed.
    """

    name: str
    table: str
    label: str
    region: str
    lon: tuple[float, float] = (-180, 180)
    crops: dict[str, str]
    missed: float = 0.08


_CANADA = {"winter wheat": "1110", "maize": "1200", "permanent grass": "9120", "potato": "5100"}

COMPARED = (
    Place(
        name="Ontario 2017", table="canada-2017-monthly", label="CROPTYPE_LABEL",
        region="ontario", lon=(-180, -75), crops=_CANADA, missed=0.5,
    ),
    Place(
        name="Maritimes 2017", table="canada-2017-monthly", label="CROPTYPE_LABEL",
        region="maritimes", lon=(-75, 0), crops=_CANADA, missed=0.5,
    ),
    Place(
        name="France 2023", table="france-2023-dekad", label="ewoc_code", region="normandy",
        crops={
            "winter wheat": "1101010011", "maize": "1101060000",
            "permanent grass": "2001020022",
        },
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Percentiles 10, 50 and 90 by month: ``real`` and ``simulated``, both (3, month)."""

    place: str
    crop: str
    what: str
    points: int
    months: NDArray[np.datetime64]
    real: NDArray[np.float64]
    simulated: NDArray[np.float64]

    @property
    def outside(self) -> NDArray[np.datetime64]:
        """Months whose simulated median lies outside the middle 80 % of the real values."""
        low, _, high = self.real
        middle = self.simulated[1]
        return self.months[(middle < low) | (middle > high)]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Months for which both have enough values."""
        return np.asarray(np.isfinite(self.real[1]) & np.isfinite(self.simulated[1]))

    @property
    def within(self) -> float:
        """Share of months whose simulated median lies in the middle 80 % of the real values."""
        return float(1 - self.outside.size / self.known.sum())

    @property
    def apart(self) -> float:
        """Mean difference of the medians."""
        return float(np.nanmean(np.abs(self.real[1] - self.simulated[1])))

    def describe(self) -> str:
        """Describe the comparison in one line."""
        months = " ".join(str(month) for month in self.outside)
        return (
            f"{self.place:14s} {self.crop:16s} {self.what:5s} n = {self.points:3d}  "
            f"within {self.within:4.0%} of {self.known.sum():2d} months  apart {self.apart:.2f}  "
            f"{months}"
        ).rstrip()


def is_within(found: Comparison) -> bool:
    """Whether a comparison is within both bounds."""
    return found.within >= SHARE_WITHIN and found.apart <= MOST_APART[found.what]


def compare(
    data: Path, place: Place, *, n: int = 800, seeds: tuple[int, ...] = (1, 2, 3)
) -> list[Comparison]:
    """Compare by month the crops of a place that have enough points."""
    table = read_worldcereal(data / "points" / f"{place.table}.parquet", label=place.label)
    lon = table["lon"].to_numpy()
    real = table.isel(parcel=np.flatnonzero((lon > place.lon[0]) & (lon < place.lon[1])))
    start, end = (dt.date.fromisoformat(table.attrs[f"season_{k}"]) for k in ("start", "end"))
    window = cubecrop.Season(table.attrs["season_year"], start=start, end=end)
    trees = [
        simulate_points(
            place.region, window.year, n=n, season=window, calibration="sigma0", seed=seed,
            composite=table.attrs["composite"], missed=place.missed,
            weather=weather_of(real, place.region, window.year, seed=seed),
        )
        for seed in seeds
    ]  # fmt: skip
    code = real["label"].to_numpy().astype(str)
    found = []
    for crop, table_code in place.crops.items():
        mine = code == table_code
        if mine.sum() < LEAST:
            continue
        for what, child in (("NDVI", "sentinel2"), ("VH", "sentinel1")):
            months, spread = by_month(values_of(real, what)[mine], real[child])
            parts = [values_of(t, what)[t["label"].to_numpy() == crop] for t in trees]
            theirs, ours = by_month(np.concatenate(parts), trees[0][child])
            found.append(
                Comparison(
                    place=place.name, crop=crop, what=what, points=int(mine.sum()),
                    months=months, real=spread, simulated=ours[:, np.isin(theirs, months)],
                )
            )  # fmt: skip
    return found


def weather_of(real: xr.DataTree, region: str, year: int, *, seed: int) -> Weather:
    """Make simulated daily weather with the real monthly temperature and rain."""
    drawn = make_weather(find_region(region), year - 2, year + 1, seed=seed)
    day = np.datetime64(drawn.start) + np.arange(drawn.mean.size)
    month = day.astype("datetime64[M]")
    child = real["weather"]
    stamp = child["time"].to_numpy().astype("datetime64[M]")
    shift, factor = np.zeros(day.size), np.ones(day.size)
    for each in np.unique(stamp):
        mine = month == each
        steps = child["weather"].isel(time=stamp == each).median("parcel")
        warmth = steps.sel(variable="temperature_mean")
        # The table has 250 K at every point in the middle dekad of January 2023, an error.
        warmth = float(warmth.where(warmth > 255).mean())
        shift[mine] = warmth - 273.15 - drawn.mean[mine].mean()
        rain = float(steps.sel(variable="precipitation").mean())
        factor[mine] = rain / max(drawn.rain[mine].mean(), 0.1)
    warmer = {name: getattr(drawn, name) + shift for name in ("mean", "low", "high")}
    return replace(drawn, rain=drawn.rain * factor, **warmer)


def values_of(tree: xr.DataTree, what: str) -> NDArray[np.float64]:
    """Give VH or NDVI (parcel, time); NDVI is NaN where the blue is bright."""
    if what == "VH":
        return tree["sentinel1"]["backscatter"].sel(band="vh")[..., 0].to_numpy()
    reflectance = tree["sentinel2"]["reflectance"][..., 0]
    blue, red, infrared = (reflectance.sel(band=b).to_numpy() for b in ("B02", "B04", "B08"))
    return np.where(blue < BRIGHT_BLUE, (infrared - red) / (infrared + red), np.nan)


def by_month(
    values: NDArray[np.float64], child: xr.DataTree
) -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """Compute the months, and their percentiles 10, 50 and 90 over points and steps, (3, month)."""
    month = child["time"].to_numpy().astype("datetime64[M]")
    months = np.unique(month)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a month without any clear value
        spread = np.stack(
            [np.nanquantile(values[:, month == m], (0.1, 0.5, 0.9)) for m in months], axis=1
        )
    enough = [np.isfinite(values[:, month == m]).sum() >= LEAST_IN_MONTH for m in months]
    return months, np.where(enough, spread, np.nan)


def draw(found: list[Comparison], path: Path) -> None:
    """Draw NDVI and VH, a row for each crop and place; real in grey, simulated in colour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import ConciseDateFormatter, MonthLocator
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys((one.place, one.crop) for one in found))
    figure = Figure(figsize=(10, 1.7 * len(rows) + 0.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), 2, squeeze=False)
    for one in found:
        axes = grid[rows.index((one.place, one.crop)), 0 if one.what == "NDVI" else 1]
        time = one.months.astype("datetime64[D]") + 14
        for (low, middle, high), colour, name in (
            (one.real, "#4A525A", "real"), (one.simulated, "#D1491F", "simulated"),
        ):  # fmt: skip
            axes.fill_between(time, low, high, color=colour, alpha=0.2, lw=0)
            axes.plot(time, middle, color=colour, lw=1.6, label=name)
        axes.set_title(f"{one.crop}, {one.place}, {one.points} points", loc="left", fontsize=9)
        axes.set_ylabel(one.what if one.what == "NDVI" else "VH, dB", fontsize=9)
        axes.set_ylim((-0.05, 1.0) if one.what == "NDVI" else (-25, -11))
        axes.tick_params(labelsize=8)
        locator = MonthLocator(bymonth=(1, 4, 7, 10))
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
        axes.spines[["top", "right"]].set_visible(False)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, [f"{name}: median, 10 to 90 %" for name in names], loc="outside upper right",
        ncols=2, frameon=False, fontsize=9,
    )  # fmt: skip
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seasons", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("picture", type=Path, metavar="PICTURE.png", nargs="?")
    given = parser.parse_args()
    found = [one for place in COMPARED for one in compare(given.data, place)]
    for one in found:
        sys.stdout.write(f"{one.describe()}{'' if is_within(one) else '  OUT OF BOUNDS'}\n")
    if given.picture:
        draw(found, given.picture)


if __name__ == "__main__":
    main()
