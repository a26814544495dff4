"""How hard the simulated world is: scores of a random forest at home and elsewhere.

The forest gets simple features: the mean satellite series of each parcel, interpolated linearly to
common dates. It learns the declared crops and is scored on the true ones.
``python -m benchmarks.difficulty`` prints every home and seed, and whether the bounds hold.
"""

from __future__ import annotations

import argparse
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
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

#: Home region, where the forest is trained, and the other region where it is tested.
PAIRS = (("flanders", "aquitaine"), ("bavaria", "flanders"), ("ontario", "maritimes"))
YEAR, OTHER_YEAR = 2024, 2022
#: Bounds of the macro-F1 at home, and minimum share of the fall that remains after standardising.
AT_HOME, LEFT = (0.6, 0.95), 0.7
_STEP_DAYS = 15
_TREES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Features ``series (parcel, step, band)``, declared and true crops by name."""

    series: NDArray[np.float32]
    declared: NDArray[np.object_]
    truth: NDArray[np.object_]


def series_of(tree: xr.DataTree) -> NDArray[np.float32]:
    """Average the valid pixels and interpolate to steps of 15 days through the season."""
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
            dates = daily.index.union(steps)
            filled = daily.reindex(dates).interpolate("time", limit_direction="both")
            parts.append(filled.loc[steps].to_numpy().T)
    return np.nan_to_num(np.stack(parts, axis=2).astype(np.float32))


def from_archive(folder: Path, region: str, year: int, *, size_km: float, seed: int) -> Samples:
    """Simulate one region and year, and read its parcels as from any archive."""
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
    """Scale each band to mean 0 and deviation 1 over the parcels and dates of its region."""
    return (series - series.mean(axis=(0, 1))) / series.std(axis=(0, 1))


def macro_f1(truth: NDArray[np.object_], predicted: NDArray[np.object_]) -> float:
    """Compute the macro-F1 over the true classes."""
    return float(
        f1_score(truth, predicted, labels=sorted(set(truth)), average="macro", zero_division=0)
    )


def scores_of(home: Samples, elsewhere: dict[str, Samples], *, seed: int = 0) -> dict[str, float]:
    """Compute the macro-F1 at home (on half of the parcels) and elsewhere, raw and standardised.

    Parcels elsewhere whose crop does not grow at home are left out. ``home, crops of NAME`` is the
    score at home over the crops that grow in both.
    """
    n = len(home.truth)
    order = np.random.default_rng(seed).permutation(n)
    train, test = order[: n // 2], order[n // 2 :]
    results: dict[str, float] = {}
    for form, change in (("raw", lambda s: s), ("standardised", standardised)):
        forest = RandomForestClassifier(_TREES, random_state=seed, n_jobs=1)
        mine = change(home.series).reshape(n, -1)
        forest.fit(mine[train], home.declared[train].astype(str))
        predicted = forest.predict(mine[test]).astype(object)
        results[f"home, {form}"] = macro_f1(home.truth[test], predicted)
        for name, other in elsewhere.items():
            known = np.isin(other.truth, home.truth[test])
            there = change(other.series).reshape(len(other.truth), -1)[known]
            shared = np.isin(home.truth[test], other.truth)
            results[f"home, crops of {name}, {form}"] = macro_f1(
                home.truth[test][shared], predicted[shared]
            )
            results[f"{name}, {form}"] = macro_f1(
                other.truth[known], forest.predict(there).astype(object)
            )
    return results


def falls(results: dict[str, float], name: str) -> tuple[float, float]:
    """Fall of the macro-F1 from home to elsewhere, raw and after standardising bands by region."""
    raw, standard = (
        results[f"home, crops of {name}, {form}"] - results[f"{name}, {form}"]
        for form in ("raw", "standardised")
    )
    return raw, standard


def summary(cases: Sequence[dict[str, float]]) -> dict[str, float]:
    """Summarise the cases: extremes at home, mean falls, and the share of the falls that stays."""
    home = [case["home, raw"] for case in cases]
    results = {
        "home, least": min(home),
        "home, mean": float(np.mean(home)),
        "home, most": max(home),
    }
    for name in ("region", "year"):
        raw, standard = np.mean([falls(case, name) for case in cases], axis=0)
        results |= {
            f"fall by {name}": float(raw),
            f"share that stays, {name}": float(standard / raw),
        }
    return results


def holds(results: dict[str, float]) -> bool:
    """Whether the simulated world is hard enough, and not only because of offsets between bands."""
    return (
        AT_HOME[0] <= results["home, least"]
        and results["home, most"] <= AT_HOME[1]
        and all(results[f"fall by {name}"] > 0 for name in ("region", "year"))
        and all(results[f"share that stays, {name}"] >= LEFT for name in ("region", "year"))
    )


def measure(home: str, region: str, *, size_km: float, seed: int) -> dict[str, float]:
    """Simulate a home region, another region and another year of home, and score the forest."""
    places = ((home, YEAR), (region, YEAR), (home, OTHER_YEAR))
    with tempfile.TemporaryDirectory(prefix="cubecrop-difficulty-") as folder:
        here, there, then = (
            from_archive(Path(folder), *place, size_km=size_km, seed=seed) for place in places
        )
    return scores_of(here, {"region": there, "year": then}, seed=seed)


class Difficulty:
    """A random forest at home, in another region and in another year, over homes and seeds."""

    size_km = 3.5
    seeds = (0, 1)
    timeout = 3600

    def setup_cache(self) -> dict[str, float]:
        return summary(
            [
                measure(*pair, size_km=self.size_km, seed=seed)
                for seed in self.seeds
                for pair in PAIRS
            ]
        )

    def track_home_least(self, results: dict[str, float]) -> float:
        return 100 * results["home, least"]

    track_home_least.unit = "% macro-F1"

    def track_home_most(self, results: dict[str, float]) -> float:
        return 100 * results["home, most"]

    track_home_most.unit = "% macro-F1"

    def track_fall_by_region(self, results: dict[str, float]) -> float:
        return 100 * results["fall by region"]

    track_fall_by_region.unit = "% macro-F1"

    def track_fall_by_year(self, results: dict[str, float]) -> float:
        return 100 * results["fall by year"]

    track_fall_by_year.unit = "% macro-F1"

    def track_share_by_region_that_stays(self, results: dict[str, float]) -> float:
        """Share of the fall that remains after standardising bands by region."""
        return 100 * results["share that stays, region"]

    track_share_by_region_that_stays.unit = "%"

    def track_share_by_year_that_stays(self, results: dict[str, float]) -> float:
        return 100 * results["share that stays, year"]

    track_share_by_year_that_stays.unit = "%"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.difficulty", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size-km", type=float, default=3.5)
    given = parser.parse_args()
    cases = []
    for seed in given.seeds:
        for home, region in PAIRS:
            results = measure(home, region, size_km=given.size_km, seed=seed)
            cases.append(results)
            ends = [
                f"{name} {results[f'{name}, raw']:.2f} of "
                f"{results[f'home, crops of {name}, raw']:.2f}, "
                f"fall {raw:.2f}, standardised {standard:.2f}"
                for name in ("region", "year")
                for raw, standard in [falls(results, name)]
            ]
            line = (
                f"seed {seed}  {home:9s} {results['home, raw']:.2f}  to {region}: {'; '.join(ends)}"
            )
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    total = summary(cases)
    for key, value in total.items():
        sys.stdout.write(f"{key:24s} {value:.2f}\n")
    sys.stdout.write(f"bounds {'hold' if holds(total) else 'DO NOT HOLD'}\n")


if __name__ == "__main__":
    main()
