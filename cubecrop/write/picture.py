"""Crop maps as pictures, in the colours of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from rasterio.enums import Resampling

from cubecrop.nomenclature import NODATA, WITHOUT_CLASS, Mark, Nomenclature
from cubecrop.write.words import PLAIN, words

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.legend import Legend
    from numpy.typing import NDArray

    from cubecrop.write.facts import MapFacts

__all__ = [
    "coverage_lines", "draw_in", "draw_map", "legend", "map_figure", "new_figure",
    "shape_drawn", "write_quicklook",
]  # fmt: skip

_DPI: Final = 150
_LONG_SIDE: Final = 9.0  # inches of map; with legend and margins under 2,000 pixels
_SHORT_SIDE: Final = 2.5
_LEGEND_WIDTH: Final = 3.4
_TITLE_HEIGHT: Final = 1.2
_LEGEND_LINE: Final = 0.21
_LEGEND_ENTRIES: Final = 30
_NAME: Final = 28  # characters
_NOTE_LINE: Final = 0.17
_NOTE_WIDTH: Final = 7.5  # inches of a whole line of coverage
_SENSORS: Final = {"sentinel2": "Sentinel-2", "sentinel1": "Sentinel-1"}


def draw_map(
    axes: Axes,
    values: NDArray[np.uint8],
    nomenclature: Nomenclature,
    *,
    marks: Iterable[Mark] = tuple(WITHOUT_CLASS.values()),
    extent: tuple[float, float, float, float] | None = None,
) -> AxesImage:
    """Draw class indices in the colours of their classes, pixels without a class in grey.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw; its aspect becomes equal.
    values : numpy.ndarray
        Class index ``(y, x)``, north up; 254 = too few observations, 255 = nodata.
    nomenclature : Nomenclature
        Classes by index.
    marks : iterable of Mark
        Codes without a class.
    extent : tuple of float, optional
        Left, right, bottom, top of the outer edges, in units of the axes. By default pixels.

    Returns
    -------
    matplotlib.image.AxesImage
    """
    colours = np.zeros((NODATA + 1, 3), dtype="uint8")
    colours[: len(nomenclature)] = [_rgb(colour) for colour in nomenclature.colours]
    for mark in marks:
        colours[mark.value] = _rgb(mark.colour)
    image = colours[np.asarray(values)]  # (y, x, rgb)
    axes.set_aspect("equal")
    return axes.imshow(image, interpolation="nearest", extent=extent)


def legend(
    target: Figure | Axes,
    values: NDArray[np.uint8],
    nomenclature: Nomenclature,
    *,
    marks: Iterable[Mark] = tuple(WITHOUT_CLASS.values()),
    **place: Any,  # noqa: ANN401
) -> Legend:
    """Add a legend of the classes that are present, in the order of their index.

    With more than 30 classes it shows the most frequent ones and counts the rest.

    Parameters
    ----------
    target : matplotlib.figure.Figure or matplotlib.axes.Axes
        Where to add the legend.
    values : numpy.ndarray
        Class indices, any shape; 254 = too few observations, 255 = nodata.
    nomenclature : Nomenclature
        Classes by index.
    marks : iterable of Mark
        Codes without a class, listed after the classes.
    **place : Any
        Passed to ``target.legend``: ``loc``, ``ncols`` and the like.

    Returns
    -------
    matplotlib.legend.Legend
    """
    from matplotlib.patches import Patch

    names = {value: words(name, length=_NAME) for value, name in enumerate(nomenclature.names)}
    counts = np.bincount(np.asarray(values).ravel(), minlength=NODATA + 1)
    present = np.flatnonzero(counts[: len(nomenclature)])
    shown = np.sort(present[np.argsort(-counts[present], kind="stable")][:_LEGEND_ENTRIES])
    entries = [(names[i], nomenclature.colours[i]) for i in shown.tolist()]
    if hidden := len(present) - len(shown):
        entries.append((f"and {hidden} more", "none"))
    entries += [
        (words(mark.title, length=_NAME), mark.colour) for mark in marks if counts[mark.value]
    ]
    handles = [
        Patch(facecolor=colour, edgecolor="none" if colour == "none" else "#555555", linewidth=0.5)
        for _, colour in entries
    ]
    # Set the labels afterwards: matplotlib omits a label that begins with "_".
    made = target.legend(
        handles=handles,
        labels=[""] * len(handles),
        **{"frameon": False, "fontsize": 9, **place},
    )
    for text, (label, _) in zip(made.get_texts(), entries, strict=True):
        text.set(text=label, **PLAIN)
    return made


def write_quicklook(path: Path, crop_type: Path, facts: MapFacts) -> None:
    """Draw a map from its COG to a PNG of at most 2,000 pixels a side.

    Parameters
    ----------
    path : pathlib.Path
        PNG to write.
    crop_type : pathlib.Path
        COG of class indices; a large one is read at lower resolution, by mode.
    facts : MapFacts
        Grid, classes and provenance.
    """
    with rasterio.open(crop_type) as raster:
        values = raster.read(1, out_shape=shape_drawn(facts.shape), resampling=Resampling.mode)
    map_figure(values, facts).savefig(path)


def shape_drawn(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the picture of a map with this shape."""
    rows, columns = shape
    reduction = max(1.0, max(rows, columns) / (_LONG_SIDE * _DPI))
    return max(1, round(rows / reduction)), max(1, round(columns / reduction))


def map_figure(values: NDArray[np.uint8], facts: MapFacts) -> Figure:
    """Draw a map in a figure of its own.

    Parameters
    ----------
    values : numpy.ndarray
        Class indices of the whole map, at the resolution of the picture.
    facts : MapFacts
        Grid, classes and provenance.
    """
    left, bottom, right, top = facts.bounds
    width, height = (right - left) / 1000, (top - bottom) / 1000  # km
    note = "\n".join(coverage_lines(facts))
    if _width_of(width, height) < _NOTE_WIDTH:
        note = note.replace("; ", ";\n")
    figure = new_figure(width, height, values, note=note)
    draw_in(figure.add_subplot(), values, facts, note=note)
    return figure


def new_figure(width: float, height: float, values: NDArray[np.uint8], *, note: str = "") -> Figure:
    """A figure with room for a map of some km, its legend, its title and a note above it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from cubecrop.write.figure import Figure

    entries = min(_LEGEND_ENTRIES, len(np.unique(values))) + 2
    map_height = height * _LONG_SIDE / max(width, height)
    tall = max(_SHORT_SIDE, map_height, entries * _LEGEND_LINE) + _TITLE_HEIGHT + _room(note)
    figure = Figure(figsize=(_width_of(width, height), tall), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _width_of(width: float, height: float) -> float:
    """Width in inches of the figure of a map of some km."""
    return max(_SHORT_SIDE, width * _LONG_SIDE / max(width, height)) + _LEGEND_WIDTH


def draw_in(axes: Axes, values: NDArray[np.uint8], facts: MapFacts, *, note: str = "") -> None:
    """Draw a map in axes, with title and legend; arguments as for `map_figure`.

    ``note`` is small text between title and map.
    """
    left, bottom, right, top = facts.bounds
    width, height = (right - left) / 1000, (top - bottom) / 1000  # km
    draw_map(
        axes,
        values,
        facts.nomenclature,
        marks=facts.without_class,
        extent=(0, width, 0, height),
    )
    axes.set_title(
        f"{facts.title}\n{facts.subtitle}",
        loc="left",
        fontsize=11,
        pad=6 + 72 * _room(note),
    )
    annotation = axes.annotate(
        note, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", va="bottom",
        fontsize=8, color="#555555", **PLAIN,
    )  # fmt: skip
    annotation.set_in_layout(False)  # long lines must not make the map narrower
    axes.set_xlabel(f"km, {words(facts.crs.to_string(), length=20)}", **PLAIN)
    axes.set_ylabel("km")
    legend(
        axes,
        values,
        facts.nomenclature,
        marks=facts.without_class,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
    )


def _room(note: str) -> float:
    """Height in inches of lines in small letters."""
    return _NOTE_LINE * (note.count("\n") + 1 if note else 0)


def coverage_lines(facts: MapFacts) -> list[str]:
    """Coverage of the map's images, one line per sensor."""
    lines = []
    for name, one in facts.coverage.items():
        parts = []
        if "first" in one:
            parts.append(f"{one['dates']} dates, {one['first']} to {one['last']}")
            parts.append(f"at most {one['longest_gap_days']} days apart, from {one['gap_start']}")
        if "median_clear_dates" in one:
            parts.append(f"clear on {one['median_clear_dates']:g} (median)")
        title = _SENSORS.get(name) or words(name, length=_NAME)
        lines.append(f"{title}: {'; '.join(parts)}")
    return lines


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
