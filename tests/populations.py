"""Populations of parcels at given places, for tests of evaluation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pyproj import Geod
from samples import make_samples

from cubecrop.evaluation import Population
from cubecrop.sample import read_worldcereal

CANADA = Path(__file__).parents[2] / "shared/data/points/canada-2017-monthly.parquet"
#: Degrees of latitude in one metre.
METRE = 180 / (np.pi * 6_371_008.8)
SPHERE = Geod(a=6_371_008.8, f=0)


def sets_at(lon, lat, *, ids=None, groups=None, year=2018, seed=0, **options):
    """Pixel sets of parcels at places in degrees."""
    n = len(lon)
    tree, _ = make_samples(n=n, seed=seed, **{"n_pixels": 2, "dates": (5, 4), **options})
    root = tree.to_dataset().assign_coords(lon=("parcel", lon), lat=("parcel", lat))
    root = root.assign_coords(parcel=[f"p{i}" for i in range(n)] if ids is None else ids)
    if groups is not None:
        root = root.assign_coords(group=("parcel", groups))
    shift = np.datetime64(f"{year}-01-01") - np.datetime64("2018-01-01")
    root.attrs |= {
        "season_year": year,
        "season_start": f"{year - 1}-09-01",
        "season_end": f"{year}-10-31",
    }
    nodes = {
        name: node.to_dataset(inherit=False).assign_coords(time=node["time"].to_numpy() + shift)
        for name, node in tree.children.items()
    }
    return xr.DataTree.from_dict({"/": root, **nodes})


def crops_of(n, seed=0):
    """Crops that follow from nothing."""
    return np.random.default_rng(seed).choice(["grass", "maize", "wheat"], n).tolist()


def population_at(lon, lat, labels=None, *, regions=None, **options):
    """One source; crops at random."""
    labels = crops_of(len(lon)) if labels is None else labels
    return Population.of(sets_at(lon, lat, **options), labels, regions=regions)


def scattered(n, *, width=2.0, seed=0, lon=3.0, lat=50.0):
    """Places at random in a square of ``width`` degrees."""
    rng = np.random.default_rng(seed)
    return lon + width * rng.random(n), lat + width * rng.random(n)


def canadian():
    """The real points of Canada, of their nine most frequent classes."""
    if not CANADA.exists():
        pytest.skip(f"the real table is not there: {CANADA}")
    samples = read_worldcereal(CANADA, label="CROPTYPE_LABEL")
    labels = pd.Series(samples["label"].to_numpy())
    labels[~labels.isin(labels.value_counts().index[:9])] = None
    return Population.of(samples, labels.tolist())
