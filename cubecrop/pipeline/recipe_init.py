"""The model that a recipe starts from, and where it has learned already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from cubecrop.model import CropModel
from cubecrop.training import check_init

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd

    from cubecrop.pipeline.recipe_file import Recipe

__all__ = ["init_of", "regions_of_init"]


def init_of(recipe: Recipe) -> CropModel | None:
    """The model whose encoders the training starts from."""
    if recipe.init is None:
        return None
    init = CropModel.default() if recipe.init == "default" else CropModel.load(recipe.init)
    check_init(init)
    return init


def regions_of_init(
    init: CropModel | None, recipe: Recipe, tables: Sequence[gpd.GeoDataFrame]
) -> tuple[str, ...]:
    """Regions of a recipe where ``init`` has learned: there it must not start what is tested.

    Parameters
    ----------
    init : CropModel or None
        Without a record of its training areas, it may have learned everywhere.
    recipe : Recipe
        The recipe.
    tables : sequence of geopandas.GeoDataFrame
        The parcels of its sources, in their order.

    Returns
    -------
    tuple of str
        Names, in the order of the recipe.
    """
    if init is None:
        return ()
    bboxes = init.training.bboxes
    seen = []
    for source, table in zip(recipe.sources, tables, strict=True):
        points = table.geometry.to_crs("EPSG:4326").representative_point()
        x, y = shapely.get_x(points.to_numpy()), shapely.get_y(points.to_numpy())
        inside = np.full(len(points), not bboxes)
        for west, south, east, north in bboxes:
            within = (x >= west) & (x <= east) if west <= east else (x >= west) | (x <= east)
            inside |= within & (y >= south) & (y <= north)
        if inside.any():
            seen.append(source.region)
    return tuple(dict.fromkeys(seen))
