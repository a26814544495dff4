"""What a table says of parcels without a prediction, and of second choices."""

from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from samples import make_samples
from shapely import Point, box

from cubecrop.classification import nothing_found, parcel_table
from cubecrop.coverage import Coverage
from cubecrop.training import TrainConfig, fit

ANY = ("sentinel2", "sentinel1")


@pytest.fixture(scope="module")
def models():
    """Models that need 3 dates of Sentinel-2 and 2 of Sentinel-1, by what may be missing."""
    samples, labels = make_samples(n=3)
    coverage = {
        name: Coverage(first=0, last=400, longest_gap=20, dates=20, clear_dates=clear)
        for name, clear in (("sentinel2", 6), ("sentinel1", 4))
    }
    configs = {
        optional: TrainConfig(epochs=1, n_pixels=4, may_be_missing=optional)
        for optional in ((), ("sentinel1",), ANY)
    }
    return {
        optional: replace(fit(samples, labels, config=config), coverage=coverage)
        for optional, config in configs.items()
    }


def table(model, dates, *, within=None, geometry=None, probability=None):
    """The table of parcels with so many valid dates of Sentinel-2 and Sentinel-1."""
    n = len(dates)
    shapes = geometry or [box(i, 0, i + 1, 1) for i in range(n)]
    parcels = gpd.GeoDataFrame({"id": range(n)}, geometry=shapes, crs=32631)
    found = nothing_found(parcels, model)
    assert found["sensor"].values.tolist() == ["sentinel2", "sentinel1"]
    found["valid_dates"][:] = np.array(dates)
    if probability is not None:
        found["probability"][:] = np.array(probability, np.float32)
    return parcel_table(parcels, found, model, within=within)


FEW = "too few observations: "


@pytest.mark.parametrize(
    ("optional", "dates", "status"),
    [
        ((), (0, 0), "no valid observation of sentinel2 and sentinel1"),
        ((), (0, 2), "no valid observation of sentinel2"),
        ((), (3, 0), "no valid observation of sentinel1"),
        ((), (2, 2), FEW + "2 dates of sentinel2, 3 needed"),
        ((), (3, 1), FEW + "1 date of sentinel1, 2 needed"),
        ((), (1, 1), FEW + "1 date of sentinel2, 3 needed and 1 date of sentinel1, 2 needed"),
        ((), (3, 2), FEW + "none for too long a part of the season"),
        (("sentinel1",), (3, 0), FEW + "none for too long a part of the season"),
        (("sentinel1",), (3, 1), FEW + "none for too long a part of the season"),
        (("sentinel1",), (0, 2), "no valid observation of sentinel2"),
        (("sentinel1",), (2, 2), FEW + "2 dates of sentinel2, 3 needed"),
        (("sentinel1",), (2, 0), FEW + "2 dates of sentinel2, 3 needed"),
        (ANY, (0, 0), "no valid observation of sentinel2 and sentinel1"),
        (ANY, (2, 0), FEW + "2 dates of sentinel2, 3 needed"),
        (ANY, (0, 1), FEW + "1 date of sentinel1, 2 needed"),
        (ANY, (2, 2), FEW + "none for too long a part of the season"),
        (ANY, (0, 2), FEW + "none for too long a part of the season"),
    ],
)
def test_a_parcel_without_prediction_says_why(models, optional, dates, status):
    assert table(models[optional], [dates])["status"].tolist() == [status]


def test_each_parcel_has_its_own_reason(models):
    found = table(
        models[()],
        [(3, 2)] * 4,
        within=np.array([True, False, True, True]),
        geometry=[box(0, 0, 1, 1), box(1, 0, 2, 1), Point(), box(3, 0, 4, 1)],
        probability=[[0.5, 0.3, 0.2], [np.nan] * 3, [np.nan] * 3, [np.nan] * 3],
    )
    assert found["status"].tolist() == [
        "predicted", "outside the archive", "no geometry",
        FEW + "none for too long a part of the season",
    ]  # fmt: skip
    assert found["crop:name"].fillna("-").tolist() == ["grass", "-", "-", "-"]


def test_the_second_choice_is_the_next_most_probable(models):
    rows = [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.2, 0.7], [np.nan] * 3]
    found = table(models[()], [(3, 2)] * 4, probability=rows)
    assert found["crop:name"].fillna("-").tolist() == ["maize", "grass", "wheat", "-"]
    assert found["crop:name_2"].fillna("-").tolist() == ["wheat", "wheat", "maize", "-"]
    np.testing.assert_allclose(found["confidence"], [0.5, 0.6, 0.7, np.nan])
    np.testing.assert_allclose(found["confidence_2"], [0.3, 0.3, 0.2, np.nan])


def test_of_two_crops_the_other_is_the_second():
    samples, labels = make_samples(n=2)
    model = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4))
    found = table(model, [(1, 1)], probability=[[0.1, 0.9]])
    assert (found["crop:name"].item(), found["crop:name_2"].item()) == ("maize", "grass")
    assert found["confidence_2"].item() == pytest.approx(0.1)


def test_columns_of_the_same_name_stand_aside_one_by_one(models):
    parcels = gpd.GeoDataFrame(
        {"id": [0], "status": ["sown"], "declared:status": ["kept"], "crop:code": ["7"]},
        geometry=[box(0, 0, 1, 1)], crs=32631,
    )  # fmt: skip
    found = parcel_table(parcels, nothing_found(parcels, models[()]), models[()])
    assert found["declared:declared:status"].tolist() == ["sown"]
    assert found["declared:status"].tolist() == ["kept"]
    assert found["declared:crop:code"].tolist() == ["7"]
    assert found["status"].tolist() == ["no valid observation of sentinel2 and sentinel1"]
