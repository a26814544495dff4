"""Areas, parcels, models and plans for tests of regions."""

import geopandas as gpd
import numpy as np
import shapely

import cubecrop
from cubecrop import region
from cubecrop.testing import Place

YEAR = 2018
PLACE = Place()
LABEL = "crop"
TILE = 160  # 16 pixels


def box(left, bottom, right, top):
    """A rectangle in metres from the lower left corner of the archive, as an area."""
    x, y = PLACE.left, PLACE.top - PLACE.height * PLACE.pixel
    return gpd.GeoSeries([shapely.box(x + left, y + bottom, x + right, y + top)], crs=PLACE.crs)


AREA = box(50, 50, 550, 550)


def parcels(step=70, side=45, crs=PLACE.crs):
    """Squares all over the archive, some across edges of tiles."""
    corners = [(x, y) for x in range(20, 560, step) for y in range(20, 560, step)]
    shapes = [box(x, y, x + side, y + side).iloc[0] for x, y in corners]
    table = gpd.GeoDataFrame(
        {
            "id": [f"p{i:03d}" for i in range(len(corners))],
            LABEL: np.where(np.arange(len(corners)) % 2, "wheat", "maize"),
        },
        geometry=shapes,
        crs=PLACE.crs,
    )
    return table.to_crs(crs)


def trained(archive, **network):
    """A model of one epoch."""
    config = cubecrop.TrainConfig(epochs=1, n_pixels=4, network=cubecrop.NetworkOptions(**network))
    return cubecrop.train(
        parcels(140), LABEL, YEAR, archive=archive, config=config, held_out=0, progress=False
    )  # fmt: skip


def planned(out, archive, model, **options):
    """A plan of the area with tiles of 16 pixels."""
    options = {"aoi": AREA, "year": YEAR, "tile": TILE, **options}
    return region.plan(
        options.pop("aoi"), options.pop("year"), out, archive=archive, model=model,
        progress=False, **options,
    )  # fmt: skip
