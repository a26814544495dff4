"""Which parcels are held out depends on the seed, the ids and the labels."""

import geopandas as gpd
import numpy as np
import pytest
import shapely

from cubecrop.errors import LabelError, ParcelError
from cubecrop.sample import split_parcels

LABELS = ["wheat"] * 10 + ["maize"] * 3 + ["oats"] * 2 + ["hemp", None, np.nan, " "]


@pytest.fixture
def parcels():
    n = len(LABELS)
    squares = shapely.box(np.arange(n), 0, np.arange(n) + 1, 1)
    return gpd.GeoDataFrame(
        {"id": [f"p{i}" for i in range(n)], "crop": LABELS}, geometry=squares, crs=32631,
        index=np.arange(100, 100 + n),
    )  # fmt: skip


def test_a_share_of_each_class_is_held_out(parcels):
    part = split_parcels(parcels, "crop", held_out=0.3)
    assert part.index.equals(parcels.index)
    counts = {
        name: (part[parcels["crop"] == name] == "held out").sum()
        for name in ("wheat", "maize", "oats", "hemp")
    }
    assert counts == {"wheat": 3, "maize": 1, "oats": 1, "hemp": 0}
    assert part[parcels["crop"] == "hemp"].tolist() == ["train"]
    assert part.tolist()[-3:] == ["unlabelled"] * 3


@pytest.mark.parametrize("held_out", [0.0, 0.01, 0.5, 0.99])
def test_no_class_of_two_is_all_on_one_side(parcels, held_out):
    part = split_parcels(parcels, "crop", held_out=held_out)
    for name in ("wheat", "maize", "oats"):
        mine = part[parcels["crop"] == name]
        assert (mine == "train").any()
        assert (mine == "held out").any() == (held_out > 0)


def test_order_and_other_parcels_change_nothing(parcels):
    part = split_parcels(parcels, "crop", seed=3).rename(index=parcels["id"])
    shuffled = parcels.sample(frac=1, random_state=0)
    again = split_parcels(shuffled, "crop", seed=3).rename(index=shuffled["id"])
    assert again.loc[part.index].equals(part)
    wheat = parcels[parcels["crop"] == "wheat"]
    alone = split_parcels(wheat, "crop", seed=3).rename(index=wheat["id"])
    assert alone.equals(part[alone.index])


def test_another_seed_is_another_split(parcels):
    splits = {tuple(split_parcels(parcels, "crop", seed=seed)) for seed in range(8)}
    assert len(splits) > 4


def test_bad_arguments_are_refused(parcels):
    with pytest.raises(LabelError, match=r"no column 'culture'; .*\['crop'\]"):
        split_parcels(parcels, "culture")
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(LabelError, match="held_out"):
            split_parcels(parcels, "crop", held_out=share)
    with pytest.raises(ParcelError, match="duplicated"):
        split_parcels(parcels.assign(id=1), "crop")
