"""A demo of all steps on a simulated archive, which needs no network and no data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.features import rasterize

from cubecrop.checks import check_path
from cubecrop.files import check_free
from cubecrop.metrics import Scores, scores
from cubecrop.nomenclature import NODATA
from cubecrop.pipeline.learn import train
from cubecrop.pipeline.picture import Story, draw_demo, read_photo, read_seasons
from cubecrop.pipeline.run import classify, classify_parcels
from cubecrop.simulate import simulate_archive
from cubecrop.write import write_map, write_parcels

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cubecrop.model import CropModel

__all__ = ["DemoResult", "demo"]

_YEAR = 2024
_LABEL = "crop:name"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Results of a demo, with scores on held-out parcels.

    ``parcels`` are the scores of the table's held-out parcels. ``pixels`` are the scores of the
    map's pixels whose centre lies in a held-out parcel. Both compare with the crops that really
    grew. The model was trained on declared crops, a few of which are wrong.
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
    size_km: float = 3.0,
    progress: bool = True,
) -> DemoResult:
    """Simulate an archive, train on part of its parcels, classify the rest, map the area.

    Needs no network and no data. See `simulate_archive` for what is simulated.

    Parameters
    ----------
    out : path, default "cubecrop-demo"
        Folder to write: ``archive/``, ``model/``, ``parcels.parquet``, ``map/`` and
        ``demo.png``. It must be missing or empty.
    seed : int, default 0
        The same seed gives the same archive, model and map.
    size_km : float, default 3.0
        Side length of the simulated area. With 3 km it has about 280 parcels, of which 200 train
        the model.
    progress : bool, default True
        Show progress bars on a terminal or in a notebook.

    Returns
    -------
    DemoResult

    Raises
    ------
    OutputError
        The folder is not empty.
    """
    folder = check_path("out", out)
    check_free(folder, files=(), overwrite=False)
    archive = simulate_archive(
        folder / "archive", preset="demo", seed=seed, size_km=size_km, progress=progress
    )
    declared = gpd.read_parquet(archive / f"parcels-{_YEAR}.parquet")
    model = train(declared, _LABEL, _YEAR, archive=archive, seed=seed, progress=progress)
    model.save(folder / "model")
    table = classify_parcels(declared, _YEAR, archive=archive, model=model, progress=progress)
    write_parcels(table, folder / "parcels.parquet")
    write_map(
        # The picture compares the whole square with an image of it.
        classify(declared, _YEAR, archive=archive, model=model, clip=False),
        folder / "map",
        progress=progress,
    )
    # A crop that grows but was never declared has no class in the model.
    truth = gpd.read_parquet(archive / f"truth-{_YEAR}.parquet")[_LABEL]
    names = [*model.nomenclature.names, *sorted(set(truth) - set(model.nomenclature.names))]
    table = table.assign(truth=[names.index(name) for name in truth])
    held_out = table[table["part"] == "held out"]
    with (
        rasterio.open(folder / "map" / "crop_type.tif") as crop_type,
        rasterio.open(folder / "map" / "confidence.tif") as confidence,
    ):
        mapped, confidences = crop_type.read(1), confidence.read(1)
        everywhere, unseen = _burn(table, crop_type), _burn(held_out, crop_type)
        seasons = read_seasons(declared, truth, _YEAR, archive)
        draw_demo(
            folder / "demo.png",
            Story(
                seasons=seasons,
                photo=read_photo(archive, crop_type.bounds),
                truth=np.where(everywhere < len(model.nomenclature), everywhere, NODATA),
                mapped=mapped,
                confidence=confidences,
                unseen=unseen,
                nomenclature=model.nomenclature,
            ),
        )
    inside = unseen != NODATA
    predicted = np.array([names.index(name) for name in held_out[_LABEL]], dtype=np.int64)
    return DemoResult(
        folder=folder,
        model=model,
        table=table.drop(columns="truth"),
        parcels=scores(held_out["truth"].to_numpy(), predicted, len(names)),
        pixels=scores(unseen[inside], mapped[inside], len(names)),
    )


def _burn(table: gpd.GeoDataFrame, like: rasterio.DatasetReader) -> NDArray[np.uint8]:
    """Index of the crop that grows at each pixel's centre, 255 = no parcel."""
    burnt: NDArray[np.uint8] = rasterize(
        zip(table.geometry.to_crs(like.crs), table["truth"].tolist(), strict=True),
        out_shape=like.shape,
        transform=like.transform,
        fill=NODATA,
        dtype="uint8",
    )
    return burnt
