"""How hard the simulated world is: a random forest where it was trained, and elsewhere.

The forest sees what a first attempt would use: mean series of each parcel, brought to common
dates by linear interpolation. It learns the crops as declared and is scored on those that grow.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score

import cubecrop
from cubecrop import open_season, sample_pixel_sets

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

HOME, OTHER_REGION, OTHER_YEAR = ("flanders", 2024), ("aquitaine", 2024), ("flanders", 2022)
_STEP_DAYS = 15
_TREES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Features ``series (parcel, step, band)``, declared and true crops by name."""

    series: NDArray[np.float32]
    declared: NDArray[np.object_]
    truth: NDArray[np.object_]


def series_of(tree: xr.DataTree) -> NDArray[np.float32]:
    """Mean over the valid pixels, then linear in time to steps of 15 days of the season."""
    start = np.datetime64(tree.attrs["season_start"])
    end = np.datetime64(tree.attrs["season_end"])
    steps = np.arange(start, end, np.timedelta64(_STEP_DAYS, "D")).astype("datetime64[D]")
    parts = []
    for name, variable in (("sentinel2", "reflectance"), ("sentinel1", "backscatter")):
        child = tree[name].to_dataset()
        mean = child[variable].where(child["valid"]).mean("pixel")
        time = child["time"].to_numpy().astype("datetime64[D]")
        for band in range(mean.sizes["band"]):
            table = pd.DataFrame(mean.isel(band=band).transpose("time", "parcel").to_numpy(), time)
            daily = table.groupby(level=0).mean()
            wanted = daily.index.union(steps)
            filled = daily.reindex(wanted).interpolate("time", limit_direction="both")
            parts.append(filled.loc[steps].to_numpy().T)
    return np.nan_to_num(np.stack(parts, axis=2).astype(np.float32))


def from_archive(folder: Path, region: str, year: int, *, size_km: float, seed: int) -> Samples:
    """Simulate one region and year, and read its parcels back as any archive's."""
    archive = cubecrop.simulate_archive(
        folder / f"{region}-{year}", regions=[region], years=[year], size_km=size_km, seed=seed,
        progress=False,
    )  # fmt: skip
    parcels, truth = (
        gpd.read_parquet(archive / f"{n}-{year}.parquet") for n in ("parcels", "truth")
    )
    cube = open_season(parcels, year, archive=archive, modalities=("sentinel2", "sentinel1"))
    tree = sample_pixel_sets(cube, parcels, n_pixels=32).load()
    return Samples(
        series=series_of(tree),
        declared=parcels["crop:name"].to_numpy(dtype=object),
        truth=truth["crop:name"].to_numpy(dtype=object),
    )


def standardised(series: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each band to mean 0 and deviation 1 over the parcels and dates of its region."""
    return (series - series.mean(axis=(0, 1))) / series.std(axis=(0, 1))


def macro_f1(truth: NDArray[np.object_], found: NDArray[np.object_]) -> float:
    """Over the classes of the truth."""
    return float(
        f1_score(truth, found, labels=sorted(set(truth)), average="macro", zero_division=0)
    )


def scores_of(home: Samples, elsewhere: dict[str, Samples], *, seed: int = 0) -> dict[str, float]:
    """Macro-F1 at home (half of the parcels held out) and elsewhere, raw and standardised.

    Elsewhere, parcels of crops that home does not grow are left out, and the score at home is
    given over the same crops too, as ``home, crops of NAME``.
    """
    n = len(home.truth)
    order = np.random.default_rng(seed).permutation(n)
    train, held = order[: n // 2], order[n // 2 :]
    found: dict[str, float] = {}
    for form, change in (("raw", lambda s: s), ("standardised", standardised)):
        forest = RandomForestClassifier(_TREES, random_state=seed, n_jobs=1)
        mine = change(home.series).reshape(n, -1)
        forest.fit(mine[train], home.declared[train].astype(str))
        said = forest.predict(mine[held]).astype(object)
        found[f"home, {form}"] = macro_f1(home.truth[held], said)
        for name, other in elsewhere.items():
            known = np.isin(other.truth, home.truth[held])
            there = change(other.series).reshape(len(other.truth), -1)[known]
            shared = np.isin(home.truth[held], other.truth)
            found[f"home, crops of {name}, {form}"] = macro_f1(
                home.truth[held][shared], said[shared]
            )
            found[f"{name}, {form}"] = macro_f1(
                other.truth[known], forest.predict(there).astype(object)
            )
    return found


def fall_that_stays(found: dict[str, float], name: str) -> float:
    """Share of the fall from home that is left after standardising bands by region, percent."""
    raw, standard = (
        found[f"home, crops of {name}, {form}"] - found[f"{name}, {form}"]
        for form in ("raw", "standardised")
    )
    return 100 * standard / raw


class Difficulty:
    """A random forest at home, in another region and in another year."""

    size_km = 3.5
    seed = 0
    timeout = 1800

    def setup_cache(self) -> dict[str, float]:
        with tempfile.TemporaryDirectory(prefix="cubecrop-difficulty-") as folder:
            home, region, year = (
                from_archive(Path(folder), *place, size_km=self.size_km, seed=self.seed)
                for place in (HOME, OTHER_REGION, OTHER_YEAR)
            )
        return scores_of(home, {"region": region, "year": year})

    def track_home(self, found: dict[str, float]) -> float:
        return 100 * found["home, raw"]

    track_home.unit = "% macro-F1"

    def track_other_region(self, found: dict[str, float]) -> float:
        return 100 * found["region, raw"]

    track_other_region.unit = "% macro-F1"

    def track_other_year(self, found: dict[str, float]) -> float:
        return 100 * found["year, raw"]

    track_other_year.unit = "% macro-F1"

    def track_fall_by_region_that_stays(self, found: dict[str, float]) -> float:
        """After standardising bands by region."""
        return fall_that_stays(found, "region")

    track_fall_by_region_that_stays.unit = "%"

    def track_fall_by_year_that_stays(self, found: dict[str, float]) -> float:
        return fall_that_stays(found, "year")

    track_fall_by_year_that_stays.unit = "%"


if __name__ == "__main__":
    for key, value in Difficulty().setup_cache().items():
        sys.stdout.write(f"{key:45s} {value:.3f}\n")
