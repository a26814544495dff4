"""A lazy crop map to a folder: two COGs and their styles, a STAC item and a picture."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import dask.array as da
import numpy as np

from cubecrop.checks import check_flag, check_path, check_share
from cubecrop.errors import OutputError, ReadError, SchemaError
from cubecrop.files import check_free, new_folder
from cubecrop.losses import count_items, tolerate
from cubecrop.nomenclature import NODATA
from cubecrop.progress import check_scheduler, compute
from cubecrop.write.cog import write_confidence, write_crop_type
from cubecrop.write.facts import MapFacts
from cubecrop.write.picture import write_quicklook
from cubecrop.write.qgis import (
    write_categories,
    write_class_style,
    write_confidence_style,
    write_statistics,
)
from cubecrop.write.stac import write_item

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.losses import Loss
    from cubecrop.progress import Scheduler

__all__ = ["MAP_FILES", "write_map"]

#: Losses that an error tells in full.
_TOLD: Final = 5
#: Clear dates are counted up to here; three satellites on four orbits make 400 in a season.
_MOST_DATES: Final = 2048
#: What a map's folder holds, and nothing else.
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


def write_map(
    dataset: xr.Dataset,
    out: str | os.PathLike[str],
    *,
    max_lost: float = 0,
    overwrite: bool = False,
    progress: bool = True,
    scheduler: Scheduler | None = None,
) -> Path:
    """Compute a crop map once and write it to a folder, all of it or nothing.

    This reads the archive's pixels. Class and confidence are computed together, and held in
    memory at 5 bytes a pixel; class probabilities are not computed. The folder appears under
    its name only when it is complete, so a run that fails or is killed leaves none.

    Parameters
    ----------
    dataset : xarray.Dataset
        What `cubecrop.classify` returns: ``crop_type (y, x)`` uint8, 255 = nodata, 254 = too
        few observations, or another code that its ``flag_values`` name, and ``confidence
        (y, x)`` float32, NaN where there is no class, on pixel centres in metres of a projected
        CRS, with the season, model and items in attrs; and, if it is there, ``clear_dates
        (sensor, y, x)``, of which the medians are written.
    out : path
        Folder to write. Missing parents are made. It gets ``crop_type.tif`` and
        ``confidence.tif`` (cloud-optimised GeoTIFF), each with its style for QGIS (``.qml``)
        and what GDAL knows of its values (``.tif.aux.xml``), ``item.json`` (STAC item 1.1 with
        classes and provenance) and ``quicklook.png``.
    max_lost : float, default 0
        Share of the map's items, 0 to 1, that may be lost: could not be read, in part or
        whole, after all attempts. The map is then made without what was lost, and the item
        lists it with the reasons under ``cubecrop:lost``. By default the first file that
        cannot be read ends the run.
    overwrite : bool, default False
        Replace a folder that holds an earlier map and nothing else.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.
    scheduler : {"threads", "synchronous"}, optional
        Compute in this process, in several threads or in one; by default where Dask would, which
        inside a task of a cluster is the cluster.

    Returns
    -------
    pathlib.Path
        ``out``.

    Raises
    ------
    SchemaError
        ``dataset`` is not a crop map; found before any pixel is read.
    ReadError
        More scenes than ``max_lost`` could not be read; names items and assets. Nothing is
        written.
    OutputError
        ``out`` is a file or holds files, cannot be written, or a pixel of the map has no
        class of the nomenclature.
    """
    facts = MapFacts.of(dataset)
    max_lost = check_share("max_lost", max_lost, whole=True, error=SchemaError)
    check_flag("progress", progress)
    check_scheduler(scheduler)
    folder = check_path("out", out)
    check_free(folder, files=MAP_FILES, overwrite=overwrite)
    arrays, report = tolerate(
        [dataset["crop_type"].data, dataset["confidence"].data, _clear_counts(dataset)],
        lose=max_lost > 0,
    )
    crop_type, confidence, clear, lost = compute(
        *arrays, report, description="Mapping crops", progress=progress, scheduler=scheduler
    )
    _check_losses(lost or [], facts.items, max_lost)
    _check_values(crop_type, confidence, facts)
    facts = replace(
        facts,
        coverage=_with_medians(facts.coverage, dataset, clear),
        # A legend names what is there, and nothing that could have been.
        marks=tuple(mark for mark in facts.marks if (crop_type == mark.value).any()),
    )
    with new_folder(folder, files=MAP_FILES, overwrite=overwrite) as staging:
        write_crop_type(staging / "crop_type.tif", crop_type, facts)
        write_confidence(staging / "confidence.tif", confidence, facts)
        write_quicklook(staging / "quicklook.png", staging / "crop_type.tif", facts)
        write_categories(staging / "crop_type.tif.aux.xml", facts)
        write_class_style(staging / "crop_type.qml", facts)
        write_statistics(staging / "confidence.tif.aux.xml", confidence)
        write_confidence_style(staging / "confidence.qml")
        write_item(
            staging / "item.json",
            facts,
            counts=np.bincount(crop_type.ravel(), minlength=NODATA + 1),
            home=folder.resolve(),
            lost=lost or [],
        )
    return folder


def _clear_counts(dataset: xr.Dataset) -> Any:  # noqa: ANN401
    """How many pixels have each number of clear dates, (sensor, number), lazily if the map is.

    Counted block by block with the map itself, so that no pixel is held or read for it again.
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
        chunks=(data.chunks[0], (_MOST_DATES,), *((1,) * len(c) for c in data.chunks[1:])),
        dtype=np.int64,
        meta=np.empty((0, 0, 0, 0), np.int64),
    )
    return blocks.sum(axis=(2, 3))


def _count_block(values: NDArray[np.uint16]) -> NDArray[np.int64]:
    return _count_numbers(values)[:, :, None, None]


def _count_numbers(values: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Pixels (sensor, number) of (sensor, y, x); more dates than are counted count as the most."""
    rows = [np.minimum(one.ravel(), _MOST_DATES - 1) for one in values]
    return np.stack([np.bincount(row, minlength=_MOST_DATES) for row in rows])


def _with_medians(
    coverage: Mapping[str, Mapping[str, Any]], dataset: xr.Dataset, clear: NDArray[np.int64] | None
) -> dict[str, Mapping[str, Any]]:
    """Coverage with the median over all pixels of their clear dates."""
    out = dict(coverage)
    if clear is None:
        return out
    for name, counts in zip(dataset["sensor"].to_numpy().tolist(), clear, strict=True):
        total = np.cumsum(counts)
        ranks = (total[-1] - 1) // 2, total[-1] // 2  # of the one or two pixels in the middle
        middle = np.searchsorted(total, ranks, side="right")
        out[name] = {**out.get(name, {}), "median_clear_dates": float(middle.mean())}
    return out


def _check_losses(lost: Sequence[Loss], items: Sequence[str], max_lost: float) -> None:
    """Raise where more scenes were lost than may be."""
    count = count_items(lost)
    # Divided, not multiplied: 0.29 * 100 is less than 29.
    if count / max(len(items), 1) <= max_lost:
        return
    told = "\n".join(f"  {loss.error}" for loss in lost[:_TOLD])
    more = f"\n  and {len(lost) - _TOLD} more files" if len(lost) > _TOLD else ""
    raise ReadError(
        f"{count} of {len(items)} items could not be read, more than max_lost={max_lost:g} "
        f"allows; nothing was written.\n{told}{more}\nTry again later, or allow for it: "
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
        seen = np.unique(unknown).tolist()
        *some, last = (f"{mark.value} ({mark.title.lower()})" for mark in facts.without_class)
        raise OutputError(
            f"{unknown.size} of {crop_type.size} pixels have a class index of "
            f"{', '.join(map(str, seen[:_TOLD]))}{', ...' if len(seen) > _TOLD else ''}, expected "
            f"0 to {n_classes - 1}, {', '.join(some)} or {last}. The nomenclature in "
            "`dataset.attrs` is not the model's, or `flag_values` of crop_type lack a code; "
            "classify again."
        )
    unsure = np.isnan(confidence)
    without = int(np.count_nonzero(unsure & ~empty))
    surplus = int(np.count_nonzero(empty & ~unsure))
    if without or surplus:
        raise OutputError(
            f"{without} pixels have a class but no confidence and {surplus} have a confidence "
            "but no class, expected confidence NaN exactly where crop_type is one of "
            f"{codes}. Mask both alike, as in "
            f"`dataset['confidence'].where(dataset['crop_type'] < {n_classes})`."
        )
