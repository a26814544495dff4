"""A small place with and without land cover, and a model of it, for tests of masks."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from fields import PLACE, make_parcels, write_images

import cubecrop
from cubecrop.testing import LandCover, Optical, season_scenes, write_archive

BBOX = PLACE.bbox


@pytest.fixture(scope="session")
def field_parcels():
    return make_parcels()


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """An archive without land cover."""
    return write_images(tmp_path_factory.mktemp("bare"), 2018)


def half(lon, lat):
    """Cropland in the west, trees in the east, grassland in the south, unknown in the north."""
    west, _, east, _ = BBOX
    codes = np.where(lon < (west + east) / 2, 40, 10)
    codes = np.where(lat < BBOX[1] + 0.0008, 30, codes)
    return np.where(lat > BBOX[3] - 0.0004, 0, codes)


@pytest.fixture(scope="session")
def covered(tmp_path_factory):
    """The same archive with land cover."""
    scenes = [
        Optical(when=one.when, dn=lambda x, _: 2000 + 2 * (x - PLACE.left), place=PLACE)
        if isinstance(one, Optical)
        else one
        for one in season_scenes(2018, place=PLACE)
    ]
    return write_archive(tmp_path_factory.mktemp("covered"), [*scenes, LandCover(codes=half)])


@pytest.fixture(scope="session")
def field_model(field_parcels, bare):
    config = cubecrop.TrainConfig(epochs=2, n_pixels=8)
    return cubecrop.train(field_parcels, "crop", 2018, archive=bare, config=config, progress=False)


def mapped(aoi, archive, model, **options):
    return cubecrop.classify(aoi, 2018, archive=archive, model=model, **options).compute()


def area():
    return gpd.GeoSeries([shapely.box(*PLACE.bounds)], crs=PLACE.crs)


def cover_of(archive):
    cube = cubecrop.open_season(
        area(), 2018, archive=archive, modalities=["sentinel2", "landcover"]
    )
    return cube["landcover"].landcover.to_numpy()
