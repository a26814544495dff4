"""Draw the acquisition dates that a search found."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.archive.acquisitions import (
    LOW_CLOUD,
    check_low_cloud,
    gaps_between,
    is_low_cloud,
    series_names,
)
from cubecrop.errors import NoScenesError, OutputError
from cubecrop.files import new_file
from cubecrop.texts import place_name
from cubecrop.write.words import PLAIN, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from cubecrop.archive import Scenes
    from cubecrop.schema import Scene
    from cubecrop.season import Season

__all__ = ["check_timeline_path", "plot_timeline", "write_timeline"]

_DPI: Final = 150
_WIDTH: Final = 11.0
_ROW_HEIGHT: Final = 0.42
_MARGINS: Final = 1.5
#: With more rows the labels would be unreadable.
_ROWS: Final = 60
_NAME: Final = 60  # characters
_RADAR: Final = "#8856A7"
_UNKNOWN: Final = "#BBBBBB"
_GAP: Final = "#F4D9C6"
#: From clear to cloudy, dark to pale, so that gaps look empty.
_CLOUDS: Final = ["#00572E", "#2E8B57", "#8FBF8F", "#C9D6DC", "#E9EDF0"]


def plot_timeline(scenes: Scenes, *, low_cloud: float = LOW_CLOUD, gap_days: int = 20) -> Figure:
    """Draw when each satellite series saw an area.

    Each series has a row, as in `cubecrop.availability`, and each date a dot. Sentinel-2 dots are
    coloured by cloud cover. Runs of more than ``gap_days`` days without a low-cloud acquisition
    are shaded.

    Parameters
    ----------
    scenes : Scenes
        The result of `search`; only metadata is used.
    low_cloud : float, default 20
        A scene with at most this percentage of cloud counts as showing the ground.
    gap_days : int, default 20
        A gap of more days is shaded.

    Returns
    -------
    matplotlib.figure.Figure
        A figure that pyplot does not know. A notebook shows it, and
        ``figure.savefig("timeline.png")`` writes it.

    Raises
    ------
    NoScenesError
        There is no satellite scene.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from cubecrop.write.figure import Figure

    check_low_cloud(low_cloud)
    series = series_names(scenes)
    if not series:
        raise NoScenesError(
            f"the search of {scenes.archive} has no satellite scene to draw. Search with "
            "`modalities=('sentinel2', 'sentinel1')`."
        )
    rows = dict(list(series.items())[:_ROWS])
    figure = Figure(
        figsize=(_WIDTH, _MARGINS + _ROW_HEIGHT * len(rows)), dpi=_DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, members in enumerate(rows.values()):
        _shade_gaps(axes, row, members, scenes.season, low_cloud, gap_days)
        _draw_dates(axes, row, members)
    left_out = f", the first {_ROWS} of {len(series)} series" if len(series) > _ROWS else ""
    archive = words(place_name(scenes.archive), length=_NAME)
    axes.set_title(f"{archive}, season {scenes.season}{left_out}", loc="left", fontsize=11, **PLAIN)
    labels = [_label(name, members) for name, members in rows.items()]
    axes.set_yticks(range(len(rows)), labels, fontsize=9, **PLAIN)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    _dress(axes, scenes.season)
    _explain(figure, axes, series, low_cloud, gap_days)
    return figure


def write_timeline(
    scenes: Scenes, path: str | Path, *, low_cloud: float = LOW_CLOUD, gap_days: int = 20
) -> None:
    """Write the picture of `plot_timeline` as PNG, complete or not at all.

    Parameters
    ----------
    path : path
        Picture to write, ending in .png. Missing parents are made, and an existing picture is
        replaced.
    scenes, low_cloud, gap_days
        As for `plot_timeline`.

    Raises
    ------
    OutputError
        The path does not end in .png, or cannot be written.
    NoScenesError
        There is no satellite scene.
    """
    path = check_timeline_path(path)
    figure = plot_timeline(scenes, low_cloud=low_cloud, gap_days=gap_days)
    with new_file(path, cure="Name another file.") as part:
        figure.savefig(part, format="png")


def check_timeline_path(path: str | Path) -> Path:
    """Raise unless a picture can have this path; call it before a long search."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OutputError(
            f"{path} does not end in .png, but the picture is a PNG. Name it "
            f"'{path.stem or 'timeline'}.png'."
        )
    return path


def _shade_gaps(
    axes: Axes, row: int, scenes: Sequence[Scene], season: Season, low_cloud: float, days: int
) -> None:
    from matplotlib.dates import date2num

    low_cloud_days = {scene.solar_day for scene in scenes if is_low_cloud(scene, low_cloud)}
    for first, last in gaps_between(low_cloud_days, season):
        length = last - first + dt.timedelta(days=1)
        if length.days > days:
            start = date2num(first)
            axes.broken_barh([(start, length.days)], (row - 0.42, 0.84), facecolor=_GAP, zorder=1)
            axes.annotate(
                f"{length.days} d",
                (start + length.days / 2, row - 0.4),
                ha="center",
                va="top",
                fontsize=6.5,
                color="#8A5A3C",
                zorder=2,
            )


def _draw_dates(axes: Axes, row: int, scenes: Sequence[Scene]) -> None:
    style: Any = {"s": 24, "edgecolor": "#333333", "linewidth": 0.4, "zorder": 3}
    days = np.array([scene.solar_day for scene in scenes], dtype="datetime64[D]")
    y = np.full(len(days), row)
    if scenes[0].modality != "sentinel2":
        axes.scatter(days, y, c=_RADAR, **style)
        return
    clouds = np.array([scene.cloud_cover for scene in scenes], dtype=np.float64)  # None is NaN
    unknown = np.isnan(clouds)
    axes.scatter(days[unknown], y[unknown], c=_UNKNOWN, **style)
    # Draw the clearest dates last, on top.
    order = np.argsort(-clouds)[: np.count_nonzero(~unknown)]
    colours: Any = {"cmap": _cloud_colours(), "vmin": 0, "vmax": 100}
    axes.scatter(days[order], y[order], c=clouds[order], **colours, **style)


def _dress(axes: Axes, season: Season) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    axes.set_xlim(date2num(season.start) - 4, date2num(season.end) + 5)
    locator = AutoDateLocator(minticks=6, maxticks=16)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _explain(
    figure: Figure, axes: Axes, series: dict[str, list[Scene]], low_cloud: float, days: int
) -> None:
    """Add a colour bar of cloud cover and a legend of the other signs."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    scenes = [scene for members in series.values() for scene in members]
    optical = [scene for scene in scenes if scene.modality == "sentinel2"]
    dot: Any = {
        "marker": "o",
        "linestyle": "",
        "markeredgecolor": "#333333",
        "markeredgewidth": 0.5,
    }
    handles: list[Any] = []
    if len(optical) < len(scenes):
        handles.append(Line2D([], [], color=_RADAR, label="radar acquisition", **dot))
    if any(scene.cloud_cover is None for scene in optical):
        handles.append(Line2D([], [], color=_UNKNOWN, label="cloud cover not stated", **dot))
    clear = f" (Sentinel-2: without one of at most {low_cloud:g} % cloud)" if optical else ""
    label = f"more than {days} days without an acquisition{clear}"
    handles.append(Patch(facecolor=_GAP, label=label))
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=9)
    if optical:
        colours = ScalarMappable(Normalize(0, 100), _cloud_colours())
        bar = figure.colorbar(colours, ax=axes, fraction=0.025, pad=0.01, aspect=12)
        bar.set_label("cloud cover, %", fontsize=9)
        bar.ax.tick_params(labelsize=8)


def _cloud_colours() -> Colormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("clouds", _CLOUDS)


def _label(name: str, scenes: Sequence[Scene]) -> str:
    dates = len({scene.solar_day for scene in scenes})
    return f"{words(name, length=_NAME)}  ({dates})"
