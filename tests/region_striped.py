"""Small archives whose values change from field to field and from pixel to pixel."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

import cubecrop
from cubecrop.schema import WEATHER_UNITS
from cubecrop.testing import Elevation, Optical, Place, Radar, Weather, write_archive

YEAR = 2018
LABEL = "crop"
_LATITUDE = 50.8


def place_beside(zone, left, width=60):
    """A place whose left edge lies so many metres from 6 degrees E, in the CRS of a zone."""
    x, y = pyproj.Transformer.from_crs(4326, zone, always_xy=True).transform(6.0, _LATITUDE)
    return Place(crs=zone, left=x // 10 * 10 + left, top=y // 10 * 10 + 300, width=width)


def scenes_of(place):
    """Few dates, whose values change from field to field of 70 m and from pixel to pixel."""

    def stripes(x, y):
        return (x // 70 + y // 70) % 2

    def optical(i):
        return lambda x, y: 1500 + 300 * i * stripes(x, y) + (x // 10 * 7 + y // 10 * 13) % 400

    def radar(i):
        return lambda x, y: 0.05 + 0.02 * i * stripes(x, y) + (x // 10 % 5 + y // 10 % 3) / 500

    days = ("04-01", "05-10", "06-20", "08-01")
    return [
        *(Optical(when=f"{YEAR}-{day}T10:56:21Z", dn=optical(i), place=place)
          for i, day in enumerate(days)),
        *(Radar(when=f"{YEAR}-{day}T17:40:42Z", vv=radar(i), place=place)
          for i, day in enumerate(days)),
    ]  # fmt: skip


def with_surroundings(place):
    """Also elevation, a slope, and weather that differs from cell to cell."""
    cells = Place(crs="EPSG:4326", left=5.85, top=50.95, height=3, width=3, pixel=0.1)
    start, end = f"{YEAR - 1}-08-01", f"{YEAR}-11-30"
    days = np.arange(len(pd.date_range(start, end)))[:, None, None]
    cell = np.arange(9).reshape(1, 3, 3)
    variables = {
        name: ((280.0 if unit == "K" else 2.0) + cell + np.sin(days / 58) * 1.5, unit)
        for name, unit in WEATHER_UNITS.items()
    }
    return [
        *scenes_of(place),
        Elevation(place=place, elevation=lambda x, y: 20 + (x - place.left) / 10 + y % 90),
        Weather(place=cells, start=start, end=end, variables=variables),
    ]


def squares(place, step=50, side=38):
    """Squares all over a place; some lie across the meridian."""
    left, bottom, right, top = place.bounds
    corners = [
        (x, y)
        for x in np.arange(left + 15, right - side - 10, step)
        for y in np.arange(bottom + 15, top - side - 10, step)
    ]
    shapes = [shapely.box(x, y, x + side, y + side) for x, y in corners]
    table = gpd.GeoDataFrame({"id": range(100, 100 + len(shapes))}, geometry=shapes, crs=place.crs)
    return table.assign(**{LABEL: np.where(table["id"] % 2, "wheat", "maize")})


#: A place west of the meridian between two zones.
STRIPED = place_beside("EPSG:32631", -900, width=48)


@pytest.fixture(scope="session")
def striped_archive(tmp_path_factory):
    """An archive of 480 x 600 m with four dates a satellite: its tiles are cheap to map."""
    return write_archive(tmp_path_factory.mktemp("striped") / "archive", with_surroundings(STRIPED))


@pytest.fixture(scope="session")
def striped_parcels():
    return squares(STRIPED, step=70, side=45)


@pytest.fixture(scope="session")
def striped_model(striped_archive, striped_parcels):
    config = cubecrop.TrainConfig(epochs=1, n_pixels=8)
    return cubecrop.train(
        striped_parcels, LABEL, YEAR, archive=striped_archive, config=config, held_out=0,
        progress=False,
    )  # fmt: skip


def compare(found, expected):
    assert (expected["status"] == "predicted").all()
    for name in expected.columns.drop("geometry"):
        if pd.api.types.is_float_dtype(expected[name]):
            # Distances between embeddings enlarge what blocks of other sizes round differently.
            within = 1e-3 if name == "dissimilarity" else 1e-5
            assert np.allclose(found[name], expected[name], atol=within, equal_nan=True), name
        else:
            assert found[name].astype(object).equals(expected[name].astype(object)), name
