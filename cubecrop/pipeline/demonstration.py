"""The whole way on a simulated archive: nothing needed but this package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.features import rasterize

from cubecrop.files import check_free
from cubecrop.metrics import Scores, scores
from cubecrop.nomenclature import NODATA
from cubecrop.pipeline.picture import draw_demo
from cubecrop.pipeline.run import classify, classify_parcels, train
from cubecrop.sample import split_parcels
from cubecrop.simulate import simulate_archive
from cubecrop.write import write_map, write_parcels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.model import CropModel

__all__ = ["DemoResult", "demo"]

_YEAR = 2024
_LABEL = "crop:name"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What a demo made, and how right it was on parcels that training had not seen.

    ``parcels`` are scores of the table's held-out parcels, ``pixels`` those of the map's
    pixels whose centre lies in one.
    """

    folder: Path
    model: CropModel
    table: gpd.GeoDataFrame
    parcels: Scores
    pixels: Scores


def demo(
    out: str | Path = "cubecrop-demo",
    *,
    seed: int = 0,
    size_km: float = 2.5,
    progress: bool = True,
) -> DemoResult:
    """Simulate an archive, train on part of its parcels, classify the rest, map the area.

    Needs no network and no data. The simulator is a simple one; see `simulate_archive`.

    Parameters
    ----------
    out : path, default "cubecrop-demo"
        Folder to write: ``archive/``, ``model/``, ``parcels.parquet``, ``map/`` and
        ``demo.png``. Must be missing or empty.
    seed : int, default 0
        Same seed: same archive, same model, same map.
    size_km : float, default 2.5
        Side of the simulated area.
    progress : bool, default True
        Show progress bars on a terminal.

    Returns
    -------
    DemoResult

    Raises
    ------
    OutputError
        The folder is taken.
    """
    folder = Path(out)
    check_free(folder, files=(), overwrite=False)
    archive = simulate_archive(
        folder / "archive", year=_YEAR, seed=seed, size_km=size_km, progress=progress
    )
    declared = gpd.read_parquet(archive / f"parcels-{_YEAR}.parquet")
    model = train(declared, _LABEL, _YEAR, archive=archive, seed=seed, progress=progress)
    model.save(folder / "model")
    table = classify_parcels(declared, _YEAR, archive=archive, model=model, progress=progress)
    table["part"] = split_parcels(declared, _LABEL, seed=seed)
    write_parcels(table, folder / "parcels.parquet")
    write_map(
        classify(declared, _YEAR, archive=archive, model=model),
        folder / "map",
        progress=progress,
    )
    with (
        rasterio.open(folder / "map" / "crop_type.tif") as crop_type,
        rasterio.open(folder / "map" / "confidence.tif") as confidence,
    ):
        mapped, sure = crop_type.read(1), confidence.read(1)
        truth = _burn(table, f"declared:{_LABEL}", model, crop_type)
        unseen = _burn(table[table["part"] == "held out"], f"declared:{_LABEL}", model, crop_type)
    draw_demo(folder / "demo.png", truth, mapped, sure, unseen, model.nomenclature)
    held = table[table["part"] == "held out"]
    n = len(model.nomenclature)
    inside = unseen != NODATA
    return DemoResult(
        folder=folder,
        model=model,
        table=table,
        parcels=scores(
            _indices(held[f"declared:{_LABEL}"], model), _indices(held[_LABEL], model), n
        ),
        pixels=scores(unseen[inside], mapped[inside], n),
    )


def _indices(names: gpd.GeoSeries, model: CropModel) -> NDArray[np.int64]:
    return np.array([model.nomenclature.index(name) for name in names], dtype=np.int64)


def _burn(
    table: gpd.GeoDataFrame, column: str, model: CropModel, like: rasterio.DatasetReader
) -> NDArray[np.uint8]:
    """Class index of the parcel that holds each pixel's centre, 255 = none."""
    shapes = zip(
        table.geometry.to_crs(like.crs), _indices(table[column], model).tolist(), strict=True
    )
    burnt: NDArray[np.uint8] = rasterize(
        shapes, out_shape=like.shape, transform=like.transform, fill=NODATA, dtype="uint8"
    )
    return burnt
