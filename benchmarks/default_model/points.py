"""Real and simulated points of the default model: monthly series, one pixel a parcel."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import xarray as xr

from benchmarks.points import simulate_points
from cubecrop.model import in_window
from cubecrop.nomenclature import Nomenclature
from cubecrop.sample import read_worldcereal
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "BANDS", "CLASSES", "DATA", "SIMULATED_REGIONS", "WINDOW", "Points", "classes_of", "coarse_of",
    "nomenclature", "read_points", "simulated_points",
]  # fmt: skip

DATA: Final = Path(__file__).parents[3] / "shared/data"
#: September of the year before to December of the harvest year; all points are brought to it.
WINDOW: Final = ((-1, 9, 1), (0, 12, 31))
#: Bands of Sentinel-2 that all tables have: B8A is missing in those of France and Corsica.
BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
_TREE: Final = Nomenclature.from_hierarchy("coarse")
#: Classes of the model, and the group above each.
CLASSES: Final = {name: _TREE.ancestors(i)[0].name for i, name in enumerate(_TREE.names)}
#: Tables: file, column of the labels, and the list of `classes.csv` that holds their codes.
_TABLES: Final = {
    "Canada": ("canada-2017-monthly.parquet", "CROPTYPE_LABEL", "croptype"),
    "France": ("france-2023-dekad.parquet", "ewoc_code", "ewoc"),
    "Corsica": ("corsica-2022-monthly.parquet", "ewoc_code", "ewoc"),
    "Flanders": ("flanders-2018-monthly-wide.parquet", "CT", "croptype"),
}
#: The real patch of Flanders, on which the model is checked, as longitude and latitude; points
#: within this many degrees of it are left out (about 5 km).
_PATCH: Final = (3.024, 50.816)
_NEAR: Final = 0.05
#: Regions of the simulator.
SIMULATED_REGIONS: Final = ("flanders", "normandy", "bavaria", "aquitaine", "ontario", "maritimes")


@dataclass(frozen=True, eq=False, kw_only=True)
class Points:
    """Points of a region in one year; ``labels`` are classes of the model, None for others."""

    name: str
    samples: xr.DataTree
    labels: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> dict[str, int]:
        """Number of points by class, in the order of the classes."""
        return {name: n for name in CLASSES if (n := list(self.labels).count(name))}

    def take(self, chosen: NDArray[np.integer] | NDArray[np.bool_], name: str = "") -> Points:
        """Some of the points."""
        index = np.flatnonzero(chosen) if np.asarray(chosen).dtype == bool else np.asarray(chosen)
        return Points(
            name=name or self.name,
            samples=self.samples.isel(parcel=index),
            labels=[self.labels[i] for i in index],
        )

    def labelled(self, *, without: str | None = None) -> Points:
        """The points that have a class, other than ``without``."""
        return self.take(np.array([label not in {None, without} for label in self.labels]))


def nomenclature() -> Nomenclature:
    """The classes of the model, in the packaged tree of crops, seasons and all crops."""
    return _TREE


def coarse_of() -> tuple[list[str], NDArray[np.int64]]:
    """Names of the groups, and the group of each class."""
    names = list(dict.fromkeys(CLASSES.values()))
    return names, np.array([names.index(coarse) for coarse in CLASSES.values()])


def read_points(data: Path = DATA) -> list[Points]:
    """Read the real points by region; those of Canada are two regions, 1,000 km apart.

    Points whose label is no class of the model stay, without a label.
    """
    tables = {
        name: _read(data / "points" / file, column, codes)
        for name, (file, column, codes) in _TABLES.items()
    }
    canada, flanders = tables["Canada"], tables["Flanders"]
    lon, lat = flanders.samples["lon"].to_numpy(), flanders.samples["lat"].to_numpy()
    away = np.hypot((lon - _PATCH[0]) * np.cos(np.radians(_PATCH[1])), lat - _PATCH[1]) > _NEAR
    lon = canada.samples["lon"].to_numpy()
    return [
        canada.take((lon > -85) & (lon < -79), "Ontario"),
        canada.take(lon > -72, "Maritimes"),
        *(_named(tables[name], name) for name in ("France", "Corsica")),
        flanders.take(away, "Flanders"),
    ]


def simulated_points(
    years: Iterable[int], *, n: int, seed: int = 0, regions: Sequence[str] = SIMULATED_REGIONS
) -> list[Points]:
    """Simulate ``n`` points in each region and year; regions differ in cloud and in its mask."""
    classes = classes_of("simulated")
    rng = np.random.default_rng(seed)
    out = []
    for year in years:
        for region in regions:
            samples = simulate_points(
                region, year, n=n, season=_season(year), calibration="sigma0",
                cloudiness=float(rng.uniform(0, 0.4)), missed=float(rng.uniform(0.05, 0.5)),
                seed=seed,
            )  # fmt: skip
            labels = [classes.get(str(label)) for label in samples["label"].to_numpy()]
            samples = _in_bands(samples)
            out.append(Points(name=f"simulated {region} {year}", samples=samples, labels=labels))
    return out


def _season(year: int) -> Season:
    return Season(year, start=dt.date(year - 1, 9, 1), end=dt.date(year, 12, 31))


def _named(points: Points, name: str) -> Points:
    return Points(name=name, samples=points.samples, labels=points.labels)


def classes_of(codes: str) -> dict[str, str]:
    """Class by code, of one list of codes.

    `cubecrop.map_codes` differs from this table: it gives no class to oats of unknown season, to
    permanent legumes and flowers, and to grassland under trees, and it gives one to wheat of
    unknown season. The weights were trained and tested on this table. That of the simulator has no
    packaged list.
    """
    with (Path(__file__).parent / "classes.csv").open(encoding="utf-8", newline="") as file:
        return {row["code"]: row["class"] for row in csv.DictReader(file) if row["list"] == codes}


def _read(path: Path, column: str, codes: str) -> Points:
    classes = classes_of(codes)
    samples = read_worldcereal(path, label=column)
    labels = [classes.get(str(label)) for label in samples["label"].to_numpy()]
    if samples.attrs["composite"] == "dekad":
        samples = _monthly(samples)
    samples = in_window(_in_bands(samples), WINDOW)
    # Ids are unique in a table only.
    ids = [f"{path.stem}-{parcel}" for parcel in samples["parcel"].to_numpy()]
    samples.dataset = samples.to_dataset().assign_coords(parcel=ids)
    return Points(name=path.stem, samples=samples, labels=labels)


def _in_bands(samples: xr.DataTree) -> xr.DataTree:
    """The two sensors alone, with the bands of the model."""
    nodes = {"/": samples.to_dataset().drop_vars("label", errors="ignore")}
    nodes["sentinel2"] = samples["sentinel2"].to_dataset(inherit=False).sel(band=list(BANDS))
    nodes["sentinel1"] = samples["sentinel1"].to_dataset(inherit=False)
    for name, variable in (("sentinel2", "reflectance"), ("sentinel1", "backscatter")):
        values = nodes[name][variable]
        valid = np.isfinite(values).all("band").transpose("parcel", "time", "pixel")
        nodes[name] = nodes[name].assign(valid=valid)
    return xr.DataTree.from_dict(nodes, name="pixel_sets")


def _monthly(samples: xr.DataTree) -> xr.DataTree:
    """Composites of dekads to composites of months, as a season cube makes them.

    Reflectance is the median of the dekads that have a value, backscatter their mean power.
    """
    nodes = {"/": samples.to_dataset().assign_attrs(composite="month")}
    for name, variable in (("sentinel2", "reflectance"), ("sentinel1", "backscatter")):
        node = samples[name].to_dataset(inherit=False)
        values = node[variable].where(node["valid"])
        month = node["time"].to_numpy().astype("datetime64[M]")
        steps, parts = np.unique(month), []
        for step in steps:
            part = values.isel(time=np.flatnonzero(month == step))
            if variable == "reflectance":
                parts.append(part.median("time", skipna=True))
            else:
                parts.append(10 * np.log10((10 ** (part / 10)).mean("time", skipna=True)))
        first = steps.astype("datetime64[D]")
        after = (steps + np.timedelta64(1, "M")).astype("datetime64[D]")
        joined = xr.concat(parts, "time").transpose("parcel", "time", "band", "pixel")
        joined = joined.astype(np.float32).assign_attrs(node[variable].attrs)
        joined = joined.assign_coords(time=(first + (after - first) // 2).astype("datetime64[ns]"))
        nodes[name] = joined.to_dataset(name=variable)
        nodes[name]["valid"] = np.isfinite(joined).all("band")
    return xr.DataTree.from_dict(nodes, name="pixel_sets")
