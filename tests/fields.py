"""Sixteen parcels of two crops and an archive of them, for end-to-end tests."""

from dataclasses import replace

import geopandas as gpd
from shapely import box

from cubecrop.testing import Optical, Place, season_scenes, write_archive

PLACE = Place(height=40, width=40)
#: Column and row of each parcel; the two western columns grow other crops than the rest.
CORNERS = [(i, j) for i in range(4) for j in range(4)]


def write_images(folder, *years):
    """An archive of few dates a year, in which the ground is brighter the further east."""
    scenes = [scene for year in years for scene in season_scenes(year, place=PLACE)]
    for i, one in enumerate(scenes):
        if isinstance(one, Optical):
            scenes[i] = replace(one, dn=lambda x, _: 2000 + 2 * (x - PLACE.left))
    return write_archive(folder, scenes)


def make_parcels(*, label="crop", crops=None):
    """Parcels with a crop each, in the order of `CORNERS`; by default wheat west of maize."""
    crops = crops or ["wheat" if i < 2 else "maize" for i, _ in CORNERS]
    boxes = [
        box(x, y, x + 80, y + 80)
        for x, y in ((PLACE.left + 100 * i, PLACE.top - 100 * (j + 1)) for i, j in CORNERS)
    ]
    return gpd.GeoDataFrame({"id": range(16), label: crops}, geometry=boxes, crs=PLACE.crs)
