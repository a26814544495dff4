"""Draw a crop map in a notebook."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from cubecrop.errors import ReadError, SchemaError
from cubecrop.nomenclature import NODATA, Crop, Mark, Nomenclature
from cubecrop.progress import compute
from cubecrop.season import Season
from cubecrop.texts import one_line
from cubecrop.write.facts import UNREADABLE, MapFacts, read_coverage
from cubecrop.write.picture import draw_in, map_figure, shape_drawn
from cubecrop.write.smoothing import Smoothing

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["plot_map"]


def plot_map(
    crop_map: xr.Dataset | str | os.PathLike[str],
    *,
    ax: Axes | None = None,
    progress: bool = True,
) -> Figure:
    """Draw a crop map in the colours of its classes, with a legend.

    A lazy map is computed for the drawing, which reads the archive's pixels, and the result is
    not kept. To avoid that, draw a folder that `write_map` wrote, or compute the map first. A
    large map is drawn at lower resolution, each pixel with its most frequent class.

    Parameters
    ----------
    crop_map : xarray.Dataset or path
        The result of `classify`, lazy or computed, or a folder that `write_map` wrote.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a figure of its own.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    matplotlib.figure.Figure
        The figure of ``ax``, or one that pyplot does not know. A notebook shows it, and
        ``figure.savefig("map.png")`` writes it.

    Raises
    ------
    SchemaError
        ``crop_map`` is not a crop map, nor a folder with one.
    ReadError
        The folder does not exist, or its ``crop_type.tif`` or the archive cannot be read.
    """
    if isinstance(crop_map, xr.Dataset):
        facts = MapFacts.of(crop_map)
        classes = crop_map["crop_type"].data
        (values,) = compute(classes, description="Mapping crops", progress=progress)
        values = _reduced(np.asarray(values), facts)
    elif isinstance(crop_map, str | Path) or hasattr(crop_map, "__fspath__"):
        values, facts = _from_folder(Path(crop_map))
    else:
        raise SchemaError(
            f"crop map is a {type(crop_map).__name__}, expected the result of "
            "`cubecrop.classify(...)`, or the path of a folder that `cubecrop.write_map(...)` "
            "wrote."
        )
    if ax is None:
        return map_figure(values, facts)
    draw_in(ax, values, facts)
    figure = ax.get_figure(root=True)
    if figure is None:
        raise SchemaError(
            "`ax` is in no figure, expected axes such as those of `figure.add_subplot()`."
        )
    return figure


def _reduced(values: NDArray[np.uint8], facts: MapFacts) -> NDArray[np.uint8]:
    """Reduce the map to the resolution of the picture, by mode."""
    if shape_drawn(values.shape) == values.shape:
        return values
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=values.shape[0],
            width=values.shape[1],
            count=1,
            dtype="uint8",
            nodata=NODATA,
            transform=facts.transform,
            bigtiff="IF_SAFER",
        ) as raster:
            raster.write(values, 1)
        with memory.open() as raster:
            return _read(raster)


def _from_folder(folder: Path) -> tuple[NDArray[np.uint8], MapFacts]:
    path = folder / "crop_type.tif"
    if not path.is_file():
        raise ReadError(
            f"there is no map at {folder}: expected a folder with crop_type.tif, as "
            "`cubecrop.write_map(crop_map, folder)` writes it."
        )
    try:
        with rasterio.open(path) as raster:
            tags, colours = raster.tags(), raster.colormap(1)
            facts = MapFacts(
                nomenclature=_nomenclature(tags, colours),
                season=Season.from_attrs({key.lower(): tag for key, tag in tags.items()}),
                crs=raster.crs,
                transform=raster.transform,
                shape=raster.shape,
                archive=tags.get("ARCHIVE", ""),
                model_name=tags.get("MODEL_NAME", ""),
                model_digest=tags.get("MODEL_DIGEST", ""),
                calibration=tags.get("MODEL_CALIBRATION", ""),
                gaps=tags.get("SEASON_GAPS", ""),
                mask=tags.get("MASK", ""),
                smoothing=_smoothing(tags),
                items=(),
                item_hrefs=(),
            )
            facts = replace(facts, **_from_item(folder / "item.json", len(facts.nomenclature)))
            return _read(raster), facts
    except RasterioError as error:
        raise ReadError(f"{path} cannot be read: {error}. Write the map again.") from error
    except (KeyError, ValueError, TypeError) as error:
        raise SchemaError(
            f"{path} does not name its classes and season ({error!r}), expected a file that "
            "`cubecrop.write_map(crop_map, folder)` wrote."
        ) from error


def _from_item(path: Path, n_classes: int) -> dict[str, Any]:
    """Coverage and codes without a class, as far as a map's item states them.

    They are optional in a picture, so a missing or foreign item is not an error.
    """
    facts: dict[str, Any] = {}
    with suppress(OSError, *UNREADABLE):
        item = json.loads(path.read_text(encoding="utf-8"))
        with suppress(*UNREADABLE):
            coverage = json.dumps(item["properties"]["cubecrop:coverage"])
            facts["coverage"] = read_coverage(coverage)
        with suppress(*UNREADABLE):
            entries = item["assets"]["crop_type"]["classification:classes"]
            facts["marks"] = tuple(
                Mark(
                    value=int(one["value"]),
                    slug=str(one["name"]),
                    title=one_line(one["title"]),
                    colour=f"#{int(one['color_hint'], 16) & 0xFFFFFF:06X}",
                )
                for one in entries
                if n_classes <= int(one["value"]) < NODATA
            )
    return facts


def _nomenclature(
    tags: dict[str, str], colours: dict[int, tuple[int, int, int, int]]
) -> Nomenclature:
    names, codes = (json.loads(tags[f"CLASS_{what}"]) for what in ("NAMES", "CODES"))
    crops = tuple(
        Crop(code=code, name=name, colour="#" + bytes(colours[i][:3]).hex().upper())
        for i, (name, code) in enumerate(zip(names, codes, strict=True))
    )
    return Nomenclature(crops=crops, name=tags.get("NOMENCLATURE", ""))


def _smoothing(tags: dict[str, str]) -> Smoothing | None:
    text = tags.get("SMOOTHING")
    return Smoothing.from_json(json.loads(text)) if text else None


def _read(raster: rasterio.DatasetReader) -> NDArray[np.uint8]:
    values: NDArray[np.uint8] = raster.read(
        1, out_shape=shape_drawn(raster.shape), resampling=Resampling.mode
    )
    return values
