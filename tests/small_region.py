"""A small simulated region with parcels, a model of it and the table that the model gives."""

import datetime as dt

import geopandas as gpd
import pytest

import cubecrop

YEAR = 2024
# Half a season: half the files to open.
SEASON = cubecrop.Season(YEAR, start=dt.date(2024, 4, 1), end=dt.date(2024, 9, 15))
LABEL = "crop:name"


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A simulated archive of 600 m."""
    out = tmp_path_factory.mktemp("simulated") / "archive"
    return cubecrop.simulate_archive(out, years=[YEAR], size_km=0.6, seed=4, progress=False)


@pytest.fixture(scope="session")
def declared(place):
    return gpd.read_parquet(place / f"parcels-{YEAR}.parquet")


@pytest.fixture(scope="session")
def model(place, declared):
    config = cubecrop.TrainConfig(epochs=25, n_pixels=32)
    return cubecrop.train(
        declared, LABEL, YEAR, archive=place, season=SEASON, config=config, progress=False
    )


@pytest.fixture(scope="session")
def table(place, declared, model):
    return cubecrop.classify_parcels(
        declared, YEAR, archive=place, season=SEASON, model=model, progress=False
    )


def crop_map(place, aoi, model, **options):
    return cubecrop.classify(
        aoi, YEAR, archive=place, season=SEASON, model=model, **options
    ).compute()


def tabled(place, parcels, model):
    return cubecrop.classify_parcels(
        parcels, YEAR, archive=place, season=SEASON, model=model, progress=False
    )
