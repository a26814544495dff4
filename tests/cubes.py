"""Small archives written for tests, and season cubes of them."""

import geopandas as gpd
import numpy as np
import shapely

from cubecrop.cube import open_season
from cubecrop.testing import Place, write_archive

PLACE = Place()
DAY, NEXT = "2018-06-01T10:56:21Z", "2018-06-06T10:56:21Z"
RADAR_DAY = "2018-06-02T17:40:42Z"


def area(place, *, rows=slice(None), columns=slice(None)):
    """The area of a place, or of some of its pixels."""
    left, _, _, top = place.bounds
    r0, r1, _ = rows.indices(place.height)
    c0, c1, _ = columns.indices(place.width)
    size = place.pixel
    box = shapely.box(left + c0 * size, top - r1 * size, left + c1 * size, top - r0 * size)
    return gpd.GeoSeries([box], crs=place.crs)


def season(folder, *scenes, aoi=None, **options):
    """The computed cube of an archive of these scenes."""
    source = write_archive(folder, scenes) if scenes else folder
    return open_season(area(PLACE) if aoi is None else aoi, 2018, archive=source, **options).load()


def optical(folder, *scenes, **options):
    return season(folder, *scenes, **options)["sentinel2"].dataset


def radar(folder, *scenes, **options):
    return season(folder, *scenes, **options)["sentinel1"].dataset


def block(values):
    """Pixels of 20 m painted over a whole place."""
    out = np.full((30, 30), 4, np.uint8)
    for (row, column), value in values.items():
        out[row, column] = value
    return out


def noise(x, y):
    return 1000 + (x * 7 + y * 13) % 997
