"""An archive whose digital numbers name their pixels, and parcels on its grid."""

import geopandas as gpd
import numpy as np
import shapely

from cubecrop.cube import open_season
from cubecrop.testing import Elevation, Optical, Place, Radar, Weather, write_archive

PLACE = Place()
LEFT, TOP = int(PLACE.left), int(PLACE.top)
FINE = ("B02", "B03", "B04", "B08")
#: Clouds stand over the first four rows; 60 m around them are masked too: rows 0 to 9.
CLOUDY_ROWS = 10


def number(x, y):
    """A DN that numbers the pixel: 1000 + row * 60 + column."""
    return 1000 + (TOP - y) // 10 * 60 + (x - LEFT) // 10


def clouds(x, y):
    return np.where(y > TOP - 40, 9, 4)


def write_numbered(folder):
    """Write an archive whose B02 numbers its pixels; cloud in the north on the second date."""
    dn = {
        band: number if band in FINE else 3000
        for band in (*FINE, "B05", "B06", "B07", "B8A", "B11", "B12")
    }
    return write_archive(
        folder,
        [
            Optical(when="2018-05-01T10:56:21Z", dn=dn, baseline="02.07"),
            Optical(when="2018-06-01T10:56:21Z", dn=dn, baseline="02.07", scl=clouds),
            Radar(when="2018-06-02T17:40:42Z", vv=lambda x, y: number(x, y) / 1e4),
            Elevation(elevation=lambda x, y: number(x, y)),
            Weather(start="2018-05-01", end="2018-06-30",
                    variables={"temperature_mean": (np.arange(270, 279).reshape(1, 3, 3), "K")}),
        ],
    )  # fmt: skip


def open_cube(folder, **options):
    box = gpd.GeoSeries([shapely.box(*PLACE.bounds)], crs=PLACE.crs)
    return open_season(box, 2018, archive=folder, **options)


def square(row, column, height, width):
    """A rectangle of whole pixels."""
    left, top = LEFT + column * 10, TOP - row * 10
    return shapely.box(left, top - height * 10, left + width * 10, top)


def table(*shapes, ids=None, crs=PLACE.crs, **columns):
    ids = [f"p{i}" for i in range(len(shapes))] if ids is None else ids
    return gpd.GeoDataFrame({"id": ids, **columns}, geometry=list(shapes), crs=crs)


def drawn(samples, parcel=0):
    """(row, column) of the valid pixels of a parcel on the first, cloudless date."""
    child = samples["sentinel2"].isel(parcel=parcel, time=0)
    b02 = child.reflectance.sel(band="B02").values[child.valid.values]
    dn = np.round(b02.astype(float) * 1e4).astype(int) - 1000
    return set(zip((dn // 60).tolist(), (dn % 60).tolist(), strict=True))


def rectangle(row, column, height, width):
    return {(r, c) for r in range(row, row + height) for c in range(column, column + width)}
