"""Archives of two crops on chosen dates, for tests of season coverage."""

import datetime as dt

import geopandas as gpd
import numpy as np
import pytest
import shapely

import cubecrop
from cubecrop.testing import Optical, Place, Radar, write_archive

PLACE = Place(height=16, width=16)
LABEL = "crop"


def every(step, first, last):
    """Days from the first to the last, so many apart."""
    day, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    while day <= end:
        yield day.isoformat()
        day += dt.timedelta(days=step)


#: Every 20 days from August 2018 to 13 November 2019: one whole season and bits of two.
OPTICAL = list(every(20, "2018-08-10", "2019-11-13"))
RADAR = list(every(24, "2018-08-12", "2019-11-13"))


def two_crops(x, y):
    """Digital numbers of wheat in the west and maize in the east."""
    return np.where(x < PLACE.left + 80, 2000, 4000)


def two_crops_of_radar(x, y):
    return np.where(x < PLACE.left + 80, 0.05, 0.2)


def optical(day, *, scl=4, place=PLACE, dn=two_crops):
    return Optical(when=f"{day}T10:56:21Z", dn=dn, scl=scl, place=place)


def radar(day, *, place=PLACE):
    return Radar(when=f"{day}T17:40:42Z", vv=two_crops_of_radar, place=place)


def seen_on(folder, optical_days, radar_days=(), **options):
    """An archive with clear images on some days."""
    scenes = [optical(day, **options) for day in optical_days]
    return write_archive(folder, [*scenes, *(radar(day) for day in radar_days)])


def declared():
    """Sixteen parcels of 40 m, of two crops."""
    corners = [(40 * i, 40 * j) for i in range(4) for j in range(4)]
    left, top = PLACE.left, PLACE.top
    return gpd.GeoDataFrame(
        {
            "id": [f"p{i:02d}" for i in range(16)],
            LABEL: ["wheat" if x < 80 else "maize" for x, _ in corners],
        },
        geometry=[
            shapely.box(left + x + 1, top - y - 39, left + x + 39, top - y - 1) for x, y in corners
        ],
        crs=PLACE.crs,
    )


def train(archive, year, *, may_be_missing=(), **options):
    """A model of one epoch on all parcels."""
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8, may_be_missing=may_be_missing)
    return cubecrop.train(
        declared(), LABEL, year, archive=archive, config=config, held_out=0, progress=False,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="session")
def two_crops_archive(tmp_path_factory):
    """An archive with images of the whole season 2019."""
    return seen_on(tmp_path_factory.mktemp("two-crops") / "archive", OPTICAL, RADAR)


@pytest.fixture(scope="session")
def two_crops_model(two_crops_archive):
    return train(two_crops_archive, 2019)
