"""Crop maps as pictures, in the colours of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from rasterio.enums import Resampling

from cubecrop.nomenclature import NODATA, TOO_FEW, TOO_FEW_COLOUR, Nomenclature

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.legend import Legend
    from numpy.typing import NDArray

    from cubecrop.write.facts import MapFacts

__all__ = ["NODATA_COLOUR", "coverage_lines", "draw_map", "legend", "write_quicklook"]

NODATA_COLOUR: Final = "#E0E0E0"

_DPI: Final = 150
_LONG_SIDE: Final = 9.0  # inches of map; with legend and margins under 2,000 pixels
_SHORT_SIDE: Final = 2.5
_LEGEND_WIDTH: Final = 3.4
_TITLE_HEIGHT: Final = 1.2
_LEGEND_LINE: Final = 0.21
_LEGEND_ENTRIES: Final = 30
_TOLD_LINE: Final = 0.17
_TOLD_WIDTH: Final = 7.5  # inches that a whole line of coverage takes
_SENSORS: Final = {"sentinel2": "Sentinel-2", "sentinel1": "Sentinel-1"}


def draw_map(
    axes: Axes,
    values: NDArray[np.uint8],
    nomenclature: Nomenclature,
    *,
    extent: tuple[float, float, float, float] | None = None,
) -> AxesImage:
    """Draw class indices in the colours of their classes, what has none in greys.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw; its aspect becomes equal.
    values : numpy.ndarray
        Class index ``(y, x)``, north up; 254 = too few observations, 255 = nodata.
    nomenclature : Nomenclature
        Classes by index.
    extent : tuple of float, optional
        Left, right, bottom, top of the outer edges, in units of the axes. By default pixels.

    Returns
    -------
    matplotlib.image.AxesImage
    """
    colours = np.zeros((NODATA + 1, 3), dtype="uint8")
    colours[: len(nomenclature)] = [_rgb(colour) for colour in nomenclature.colours]
    colours[TOO_FEW], colours[NODATA] = _rgb(TOO_FEW_COLOUR), _rgb(NODATA_COLOUR)
    image = colours[np.asarray(values)]  # (y, x, rgb)
    axes.set_aspect("equal")
    return axes.imshow(image, interpolation="nearest", extent=extent)


def legend(
    target: Figure | Axes,
    values: NDArray[np.uint8],
    nomenclature: Nomenclature,
    **place: Any,  # noqa: ANN401
) -> Legend:
    """Add a legend of the classes that are present, in the order of their index.

    Of more than 30 classes the most frequent are shown, and the rest counted.

    Parameters
    ----------
    target : matplotlib.figure.Figure or matplotlib.axes.Axes
        What gets the legend.
    values : numpy.ndarray
        Class indices, any shape; 254 = too few observations, 255 = nodata.
    nomenclature : Nomenclature
        Classes by index.
    **place : Any
        Passed to ``target.legend``: ``loc``, ``ncols`` and the like.

    Returns
    -------
    matplotlib.legend.Legend
    """
    from matplotlib.patches import Patch

    counts = np.bincount(np.asarray(values).ravel(), minlength=NODATA + 1)
    present = np.flatnonzero(counts[: len(nomenclature)])
    shown = np.sort(present[np.argsort(-counts[present], kind="stable")][:_LEGEND_ENTRIES])
    handles = [
        Patch(facecolor=nomenclature.colours[i], edgecolor="#555555", linewidth=0.5,
              label=_short(nomenclature.names[i]))
        for i in shown
    ]  # fmt: skip
    if hidden := len(present) - len(shown):
        handles.append(Patch(facecolor="none", edgecolor="none", label=f"and {hidden} more"))
    handles += [
        Patch(facecolor=colour, edgecolor="#555555", linewidth=0.5, label=text)
        for index, colour, text in (
            (TOO_FEW, TOO_FEW_COLOUR, "Too few observations"), (NODATA, NODATA_COLOUR, "No data"),
        )
        if counts[index]
    ]  # fmt: skip
    return target.legend(handles=handles, **{"frameon": False, "fontsize": 9, **place})


def write_quicklook(path: Path, crop_type: Path, facts: MapFacts) -> None:
    """Draw a map from its COG to a PNG of at most 2,000 pixels a side.

    Parameters
    ----------
    path : pathlib.Path
        PNG to write.
    crop_type : pathlib.Path
        COG of class indices; large ones are read at lower resolution, by mode.
    facts : MapFacts
        Grid, classes and provenance.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = facts.shape
    reduction = max(1.0, max(rows, columns) / (_LONG_SIDE * _DPI))
    with rasterio.open(crop_type) as raster:
        values = raster.read(
            1,
            out_shape=(max(1, round(rows / reduction)), max(1, round(columns / reduction))),
            resampling=Resampling.mode,
        )
    left, bottom, right, top = facts.bounds
    width, height = (right - left) / 1000, (top - bottom) / 1000  # km
    inches = _LONG_SIDE / max(width, height)
    entries = min(_LEGEND_ENTRIES, len(np.unique(values))) + 2
    wide = max(_SHORT_SIDE, width * inches) + _LEGEND_WIDTH
    told = "\n".join(coverage_lines(facts))
    if wide < _TOLD_WIDTH:
        told = told.replace("; ", ";\n")
    room = _TOLD_LINE * (told.count("\n") + 1 if told else 0)
    tall = max(_SHORT_SIDE, height * inches, entries * _LEGEND_LINE) + _TITLE_HEIGHT + room
    figure = Figure(figsize=(wide, tall), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw_map(axes, values, facts.nomenclature, extent=(0, width, 0, height))
    axes.set_title(
        f"Crop types {facts.season.year}\n{facts.season.start} to {facts.season.end}",
        loc="left",
        fontsize=11,
        pad=6 + 72 * room,
    )
    note = axes.annotate(
        told, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", va="bottom",
        fontsize=8, color="#555555",
    )  # fmt: skip
    note.set_in_layout(False)  # long lines must not make the map narrower
    axes.set_xlabel(f"km, {facts.crs.to_string()[:20]}")
    axes.set_ylabel("km")
    legend(
        axes,
        values,
        facts.nomenclature,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
    )
    figure.savefig(path)


def coverage_lines(facts: MapFacts) -> list[str]:
    """What the map's images cover, a line a sensor."""
    lines = []
    for name, one in facts.coverage.items():
        parts = []
        if "first" in one:
            parts.append(f"{one['dates']} dates, {one['first']} to {one['last']}")
            parts.append(f"longest gap {one['longest_gap_days']} days from {one['gap_start']}")
        if "median_clear_dates" in one:
            parts.append(f"clear on {one['median_clear_dates']:g} (median)")
        lines.append(f"{_SENSORS.get(name, name)}: {'; '.join(parts)}")
    return lines


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _short(name: str, *, length: int = 28) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
