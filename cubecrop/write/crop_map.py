"""Write a lazy crop map to a folder: COGs and their styles, a STAC item and a picture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import dask.array as da
import numpy as np

from cubecrop.checks import check_flag, check_path, check_share
from cubecrop.errors import OutputError, ReadError, SchemaError
from cubecrop.files import check_free, new_folder
from cubecrop.lost_scenes import count_items, tolerate
from cubecrop.nomenclature import NODATA
from cubecrop.progress import check_scheduler, compute
from cubecrop.write.cog import (
    NO_DATES,
    write_clear_dates,
    write_confidence,
    write_crop_type,
    write_layer,
)
from cubecrop.write.facts import MapFacts
from cubecrop.write.layers import LAYER_FILES, LAYERS, check_layers, layer_facts, layers_in
from cubecrop.write.picture import write_quicklook
from cubecrop.write.qgis import (
    write_categories,
    write_class_style,
    write_confidence_style,
    write_statistics,
)
from cubecrop.write.smoothing import ParcelMajority, as_smoother, smooth
from cubecrop.write.stac import write_item

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import geopandas as gpd
    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.lost_scenes import Loss
    from cubecrop.progress import Scheduler

__all__ = ["MAP_FILES", "REPLACED", "check_losses", "write_map", "write_rasters"]

#: Losses, or class indices, that an error lists.
_LISTED: Final = 5
#: Clear dates are counted up to here; three satellites on four orbits make 400 in a season.
_MOST_DATES: Final = 2048
#: The files of a map without layers.
MAP_FILES: Final = (
    "crop_type.tif",
    "crop_type.tif.aux.xml",
    "crop_type.qml",
    "confidence.tif",
    "confidence.tif.aux.xml",
    "confidence.qml",
    "item.json",
    "quicklook.png",
)
#: All files that a map's folder may have, which a later map may replace.
REPLACED: Final = (*MAP_FILES, *LAYER_FILES)


def write_map(
    dataset: xr.Dataset,
    out: str | os.PathLike[str],
    *,
    sieve: int | None = None,
    majority: gpd.GeoDataFrame | str | Path | None = None,
    layers: Sequence[str] = (),
    max_lost: float = 0,
    overwrite: bool = False,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> Path:
    """Compute a crop map once and write it to a folder, complete or not at all.

    This reads the archive's pixels. Class and confidence are computed together and take 5 bytes
    of memory per pixel; a layer takes one more, and smoothing takes more. Class probabilities are
    not computed. The folder gets its name only when it is complete, so a run that fails or is
    killed leaves none.

    Parameters
    ----------
    dataset : xarray.Dataset
        The result of `cubecrop.classify`: ``crop_type (y, x)`` uint8, 255 = nodata, 254 = too
        few observations, 252 = not cropland, or another code among its ``flag_values``; and
        ``confidence (y, x)`` float32, NaN for pixels without a class. Coordinates are pixel
        centres in metres of a projected CRS; attrs hold season, model and items. Medians of the
        optional ``clear_dates (sensor, y, x)`` are written as well.
    out : path
        Folder to write. Missing parents are made. It gets ``crop_type.tif`` and
        ``confidence.tif`` (cloud-optimised GeoTIFF), each with its style for QGIS (``.qml``)
        and metadata of its values for GDAL (``.tif.aux.xml``), ``item.json`` (STAC item 1.1 with
        classes and provenance) and ``quicklook.png``.
    sieve : int, optional
        Smooth the map: connected groups (4 neighbours) of fewer than this many pixels of one
        class, 2 or more, take the class of their largest neighbouring group. A group without a
        large enough neighbour stays. By default no map is smoothed.
    majority : geopandas.GeoDataFrame or path, optional
        Smooth the map: all pixels with a class whose centre lies in a parcel take its most
        frequent class; of equally frequent ones the one with the highest mean confidence, then
        the lowest index. Any CRS; where parcels overlap, a pixel belongs to the last one. With
        either option, codes without a class stay, pixels that change get the confidence NaN, and
        the item's ``cubecrop:smoothing``, the tags and the picture state the share that changed.
    layers : sequence of {"set_size", "level", "crop_at_level"}, default ()
        Layers of ``dataset`` to write as well, each as a cloud-optimised GeoTIFF of its name, uint8
        ``(y, x)``; the latter two have styles too. ``set_size`` is 0 and the others are 255 where
        there is nothing to say, and where smoothing changed the class.
    max_lost : float, default 0
        Share of the map's items, 0 to 1, that may be lost, that is, not read completely after
        all attempts. The map is then made without them, and ``cubecrop:lost`` in the STAC item
        lists them with the reasons. By default the first unreadable file ends the run.
    overwrite : bool, default False
        Replace a folder that holds an earlier map and nothing else.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.
    scheduler : {"threads", "synchronous"}, optional
        Compute in this process, in several threads or in one. By default Dask chooses; inside a
        task of a cluster that is the cluster.

    Returns
    -------
    pathlib.Path
        ``out``.

    Raises
    ------
    SchemaError
        ``dataset`` is not a crop map; found before any pixel is read.
    ArgumentError
        ``sieve`` is not a whole number of 2 or more, ``majority`` is no table of parcels, or both
        are given; or the map lacks one of ``layers``, since its model does not give it.
    ParcelError
        The parcels have no CRS, or none meets the map; found before any pixel is read.
    ReadError
        More scenes than ``max_lost`` could not be read; names items and assets. Nothing is
        written.
    OutputError
        ``out`` is a file, holds files or cannot be written, or a pixel has a class index that
        the nomenclature lacks.
    """
    facts = MapFacts.of(dataset)
    max_lost = check_share("max_lost", max_lost, whole=True, error=SchemaError)
    check_flag("progress", progress)
    check_scheduler(scheduler)
    layers = check_layers(layers)
    more = layers_in(dataset, layers)
    smoother = as_smoother(sieve, majority)
    if isinstance(smoother, ParcelMajority):
        smoother = smoother.on(facts)
    folder = check_path("out", out)
    check_free(folder, files=REPLACED, overwrite=overwrite)
    arrays, report = tolerate(
        [
            dataset["crop_type"].data, dataset["confidence"].data, _clear_counts(dataset),
            *(one.data for one in more),
        ],
        lose=max_lost > 0,
    )  # fmt: skip
    crop_type, confidence, clear, *values, lost = compute(
        *arrays, report, description="Mapping crops", progress=progress, scheduler=scheduler
    )
    extra = dict(zip(layers, values, strict=True))
    check_losses(lost or [], facts.items, max_lost)
    _check_values(crop_type, confidence, facts)
    facts = _as_mapped(facts, dataset, crop_type, clear)
    if smoother is not None:
        unsmoothed = crop_type
        crop_type, confidence, smoothing = smooth(smoother, crop_type, confidence, facts)
        facts = replace(facts, smoothing=smoothing)
        for name, one in extra.items():  # they speak of the class that the model gave
            extra[name] = np.where(crop_type == unsmoothed, one, np.uint8(LAYERS[name].nodata))
    with new_folder(folder, files=REPLACED, overwrite=overwrite) as staging:
        write_crop_type(staging / "crop_type.tif", crop_type, facts)
        write_confidence(staging / "confidence.tif", confidence, facts)
        write_quicklook(staging / "quicklook.png", staging / "crop_type.tif", facts)
        write_categories(staging / "crop_type.tif.aux.xml", facts)
        write_class_style(staging / "crop_type.qml", facts)
        write_statistics(staging / "confidence.tif.aux.xml", confidence)
        write_confidence_style(staging / "confidence.qml")
        for name, one in extra.items():
            write_layer(staging / f"{name}.tif", name, one, facts)
            if (named := layer_facts(name, facts)) is not None:
                write_categories(staging / f"{name}.tif.aux.xml", named)
                write_class_style(staging / f"{name}.qml", named)
        write_item(
            staging / "item.json",
            facts,
            counts=np.bincount(crop_type.ravel(), minlength=NODATA + 1),
            home=folder.resolve(),
            lost=lost or [],
            layers=extra,
            outside=0 if clear is None else int(clear[0, -1]),
        )
    return folder


def write_rasters(
    folder: Path,
    crop_map: xr.Dataset,
    *,
    home: Path,
    collection: str,
    lost: Sequence[Loss] = (),
) -> None:
    """Write the rasters of a computed crop map and its STAC item, without styles or pictures.

    Parameters
    ----------
    folder : pathlib.Path
        An existing folder. It gets ``crop_type.tif``, ``confidence.tif``, ``clear_dates.tif``
        (one band a sensor), the layers that the map has, and ``item.json``.
    crop_map : xarray.Dataset
        As for `write_map`, with ``clear_dates``, computed.
    home : pathlib.Path
        Final folder of the files, for links to source items on the same disk.
    collection : str
        Id of the STAC collection that the item belongs to; see `write_item`.
    lost : sequence of Loss
        Scenes that could not be read, for the item.

    Raises
    ------
    SchemaError, OutputError
        As for `write_map`.
    """
    facts = MapFacts.of(crop_map)
    crop_type, confidence = crop_map["crop_type"].to_numpy(), crop_map["confidence"].to_numpy()
    clear = crop_map["clear_dates"].transpose("sensor", "y", "x")
    _check_values(crop_type, confidence, facts)
    numbers = _count_numbers(clear.to_numpy())
    facts = _as_mapped(facts, crop_map, crop_type, numbers)
    write_crop_type(folder / "crop_type.tif", crop_type, facts)
    write_confidence(folder / "confidence.tif", confidence, facts)
    sensors = [str(name) for name in clear["sensor"].to_numpy()]
    write_clear_dates(folder / "clear_dates.tif", clear.to_numpy(), facts, sensors)
    layers = {name: crop_map[name].to_numpy() for name in LAYERS if name in crop_map}
    for name, one in layers.items():
        write_layer(folder / f"{name}.tif", name, one, facts)
    write_item(
        folder / "item.json",
        facts,
        counts=np.bincount(crop_type.ravel(), minlength=NODATA + 1),
        home=home,
        lost=lost,
        sensors=sensors,
        layers=layers,
        collection=collection,
        outside=int(numbers[0, -1]),
    )


def _as_mapped(
    facts: MapFacts,
    dataset: xr.Dataset,
    crop_type: NDArray[np.uint8],
    clear: NDArray[np.int64] | None,
) -> MapFacts:
    """Facts with what only the pixels show: median clear dates, and the codes that occur."""
    return replace(
        facts,
        coverage=_with_medians(facts.coverage, dataset, clear),
        # A legend lists only codes that occur in the map.
        marks=tuple(mark for mark in facts.marks if (crop_type == mark.value).any()),
    )


def _clear_counts(dataset: xr.Dataset) -> Any:  # noqa: ANN401
    """Count the pixels of each number of clear dates, (sensor, number); lazy if the map is.

    It counts block by block together with the map, so that no pixel is read again or kept.
    """
    if "clear_dates" not in dataset.data_vars:
        return None
    data = dataset["clear_dates"].transpose("sensor", "y", "x").data
    if not isinstance(data, da.Array):
        return _count_numbers(data)
    data = data.rechunk({0: -1})
    blocks = da.map_blocks(
        _count_block,
        data,
        new_axis=1,
        chunks=(data.chunks[0], (_MOST_DATES + 1,), *((1,) * len(c) for c in data.chunks[1:])),
        dtype=np.int64,
        meta=np.empty((0, 0, 0, 0), np.int64),
    )
    return blocks.sum(axis=(2, 3))


def _count_block(values: NDArray[np.uint16]) -> NDArray[np.int64]:
    return _count_numbers(values)[:, :, None, None]


def _count_numbers(values: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Count pixels, (sensor, y, x) to (sensor, number).

    The last number counts the pixels that are not part of the map, the one before it includes all
    above it.
    """
    rows = [
        np.where(one == NO_DATES, _MOST_DATES, np.minimum(one, _MOST_DATES - 1)).ravel()
        for one in values
    ]
    return np.stack([np.bincount(row, minlength=_MOST_DATES + 1) for row in rows])


def _with_medians(
    coverage: Mapping[str, Mapping[str, Any]], dataset: xr.Dataset, clear: NDArray[np.int64] | None
) -> dict[str, Mapping[str, Any]]:
    """Coverage with the median number of clear dates over all pixels."""
    out = dict(coverage)
    if clear is None:
        return out
    for name, counts in zip(dataset["sensor"].to_numpy().tolist(), clear, strict=True):
        total = np.cumsum(counts[:-1])
        if not total[-1]:
            continue  # all pixels lie outside of the area
        ranks = (total[-1] - 1) // 2, total[-1] // 2  # of the one or two pixels in the middle
        middle = np.searchsorted(total, ranks, side="right")
        out[name] = {**out.get(name, {}), "median_clear_dates": float(middle.mean())}
    return out


def check_losses(lost: Sequence[Loss], items: Sequence[str], max_lost: float) -> None:
    """Raise `ReadError` if more items were lost than ``max_lost`` allows."""
    count = count_items(lost)
    # Divided, not multiplied: 0.29 * 100 is less than 29.
    if count / max(len(items), 1) <= max_lost:
        return
    lines = "\n".join(f"  {loss.error}" for loss in lost[:_LISTED])
    more = f"\n  and {len(lost) - _LISTED} more files" if len(lost) > _LISTED else ""
    raise ReadError(
        f"{count} of {len(items)} items could not be read, more than max_lost={max_lost:g} "
        f"allows; nothing was written.\n{lines}{more}\nTry again later, or allow for it: "
        f"`write_map(..., max_lost={math.ceil(100 * count / max(len(items), 1)) / 100:g})`."
    )


def _check_values(
    crop_type: NDArray[np.uint8], confidence: NDArray[np.float32], facts: MapFacts
) -> None:
    """Raise unless every pixel has a class and a confidence, or neither."""
    n_classes = len(facts.nomenclature)
    codes = [mark.value for mark in facts.without_class]
    empty = np.zeros(crop_type.shape, bool)
    for code in codes:  # `np.isin` would take 8 bytes a pixel
        empty |= crop_type == code
    unknown = crop_type[(crop_type >= n_classes) & ~empty]
    if unknown.size:
        indices = np.unique(unknown).tolist()
        *some, last = (f"{mark.value} ({mark.title.lower()})" for mark in facts.without_class)
        raise OutputError(
            f"{unknown.size} of {crop_type.size} pixels have a class index of "
            f"{', '.join(map(str, indices[:_LISTED]))}{', ...' if len(indices) > _LISTED else ''}, "
            f"expected 0 to {n_classes - 1}, {', '.join(some)} or {last}. The nomenclature in "
            "`dataset.attrs` is not the model's, or `flag_values` of crop_type lack a code; "
            "classify again."
        )
    no_confidence = np.isnan(confidence)
    without = int(np.count_nonzero(no_confidence & ~empty))
    surplus = int(np.count_nonzero(empty & ~no_confidence))
    if without or surplus:
        raise OutputError(
            f"{without} pixels have a class but no confidence and {surplus} have a confidence "
            "but no class, expected confidence NaN exactly where crop_type is one of "
            f"{codes}. Mask both alike, as in "
            f"`dataset['confidence'].where(dataset['crop_type'] < {n_classes})`."
        )
