"""A parcel or pixel has the weather of its nearest cell."""

import datetime as dt

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from cubes import PLACE, area

import cubecrop
from cubecrop.classification import classify_pixel_sets, classify_pixels
from cubecrop.model import NetworkOptions
from cubecrop.sample import sample_pixel_sets
from cubecrop.testing import Optical, Place, Weather, write_archive
from cubecrop.training import TrainConfig, fit

SEASON = cubecrop.Season(2018, start=dt.date(2018, 5, 1), end=dt.date(2018, 6, 30))
#: Five rows and eight columns of cells that are some 200 m wide, over a place of 600 m.
CELLS = Place(crs="EPSG:4326", left=2.998, top=50.822, height=5, width=8, pixel=0.002)
ROW, COLUMN = np.mgrid[:5, :8]
#: No two cells are alike.
KELVIN = 260.0 + 8 * ROW + COLUMN
#: Rows and columns of some pixels of the place, its corners among them.
PIXELS = [(r, c) for r in (0, 11, 30, 43, 59) for c in (0, 9, 21, 34, 50, 59)]


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """A season in which all pixels look the same: nothing but weather tells them apart."""
    days = (SEASON.end - SEASON.start).days + 1
    warmth = {"temperature_mean": (np.broadcast_to(KELVIN, (days, 5, 8)), "K")}
    scenes = [
        *(Optical(when=f"2018-{day}T10:56:21Z") for day in ("05-05", "06-01", "06-20")),
        Weather(start=str(SEASON.start), end=str(SEASON.end), place=CELLS, variables=warmth),
    ]
    archive = write_archive(tmp_path_factory.mktemp("weather"), scenes)
    return cubecrop.open_season(area(PLACE), SEASON, archive=archive, chunks=25)


def parcels_of(pixels):
    """Parcels of one pixel each."""
    boxes = [
        shapely.box(PLACE.left + 10 * c + 1, PLACE.top - 10 * r - 9,
                    PLACE.left + 10 * c + 9, PLACE.top - 10 * r - 1)
        for r, c in pixels
    ]  # fmt: skip
    return gpd.GeoDataFrame({"id": range(len(boxes))}, geometry=boxes, crs=PLACE.crs)


def warmth_of(pixels):
    """Temperature of the cell that holds the centre of each pixel."""
    x = [PLACE.left + 10 * c + 5 for _, c in pixels]
    y = [PLACE.top - 10 * r - 5 for r, _ in pixels]
    lon, lat = pyproj.Transformer.from_crs(PLACE.crs, 4326, always_xy=True).transform(x, y)
    row = np.floor((CELLS.top - np.array(lat)) / CELLS.pixel).astype(int)
    column = np.floor((np.array(lon) - CELLS.left) / CELLS.pixel).astype(int)
    return KELVIN[row, column]


def test_a_parcel_has_the_weather_of_its_cell(cube):
    expected = warmth_of(PIXELS)
    assert len(set(expected)) > 12
    found = sample_pixel_sets(cube, parcels_of(PIXELS))["weather"]["weather"]
    assert found.dims == ("parcel", "time", "variable")
    assert (found.to_numpy()[:, :, 0] == expected[:, None]).all()


def test_a_parcel_far_from_every_cell_has_no_weather(cube):
    """North, east and away from both by 60 km, which is more than half a degree."""
    (one,) = parcels_of([(20, 31)]).geometry
    places = [one, *(shapely.affinity.translate(one, *d) for d in ((0, 6e4), (6e4, 0), (6e4, 6e4)))]
    parcels = gpd.GeoDataFrame({"id": range(4)}, geometry=places, crs=PLACE.crs)
    found = sample_pixel_sets(cube, parcels)["weather"]["weather"].to_numpy()
    assert np.isnan(found).all(axis=(1, 2)).tolist() == [False, True, True, True]


def test_a_pixel_is_mapped_as_the_parcel_that_is_that_pixel(cube):
    samples = sample_pixel_sets(cube, parcels_of(PIXELS), n_pixels=1)
    warm = warmth_of(PIXELS)
    labels = np.where(warm > np.median(warm), "maize", "rye").tolist()
    config = TrainConfig(epochs=3, n_pixels=1, network=NetworkOptions(weather=True))
    model = fit(samples, labels, config=config, progress=False)
    parcels = classify_pixel_sets(samples, model)["probability"][:, 0].compute().to_numpy()
    mapped = classify_pixels(cube, model)["probability"][0].compute().to_numpy()
    np.testing.assert_allclose([mapped[at] for at in PIXELS], parcels, atol=1e-5)
    # Under other weather each would be another.
    other = warm[:, None] != warm[None, :]
    assert np.abs(parcels[:, None] - parcels[None, :])[other].min() > 1e-4
