"""Combine samples of several years, regions and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.errors import SchemaError
from cubecrop.model import NetworkOptions, SensorConfig, in_window, season_of, window_text
from cubecrop.model.presto import MONTHS
from cubecrop.schema import SERIES
from cubecrop.season import windows_alike

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import xarray as xr

    from cubecrop.model import ModelSpec
    from cubecrop.season import Season, Window

__all__ = ["as_one_season", "in_season_of", "sensors_alike", "sensors_together"]


def in_season_of(model: ModelSpec, tree: xr.DataTree) -> xr.DataTree:
    """The tree in the model's season window, from whose start the model counts days."""
    window = model.season_window
    if window is None or windows_alike(season_of(tree).window, window):
        return tree
    return in_window(tree, window)


def as_one_season(trees: Sequence[xr.DataTree], options: NetworkOptions) -> list[xr.DataTree]:
    """Give all trees one season window, which contains those of all trees.

    Positions are days since the season's start, so all trees must start on the same day.

    Raises
    ------
    SchemaError
        Windows differ, and the network needs thermal time, which is summed from the season's
        start; or the network is Presto, and the season is too long for it.
    """
    windows = {season_of(tree).window for tree in trees}
    if all(windows_alike(window, season_of(trees[0]).window) for window in windows):
        _check_months(season_of(trees[0]), options)
        return list(trees)
    if options.needs_thermal_time:
        texts = [window_text(window) for window in sorted(windows)]
        raise SchemaError(
            f"samples span the seasons {texts}, expected one: thermal time is summed from its "
            "start. Choose another `time_encoding`, and `thermal_step=0`."
        )
    whole = min(start for start, _ in windows), max(end for _, end in windows)
    placed = [in_window(tree, whole) for tree in trees]
    _check_months(season_of(placed[0]), options)
    return placed


def _check_months(season: Season, options: NetworkOptions) -> None:
    """Raise if a season has more months than Presto."""
    first, last = (day.year * 12 + day.month for day in (season.start, season.end))
    if options.temporal == "presto" and (n := last - first + 1) > MONTHS:
        raise SchemaError(
            f"samples span the season {season}, {n} months, but Presto takes {MONTHS} at most. Use "
            "samples of a shorter season."
        )


def sensors_together(
    trees: Sequence[xr.DataTree], may_be_missing: Collection[str]
) -> tuple[SensorConfig, ...]:
    """All sensors of the trees, each with the bands that its trees share.

    Raises
    ------
    SchemaError
        A tree has no sensor, or lacks one that may not be missing; trees share no band of a
        sensor, or differ in radar calibration or cloud mask.
    """
    _check(trees)
    sensors = []
    for name in (name for name in SERIES if any(name in tree.children for tree in trees)):
        lacking = [i for i, tree in enumerate(trees) if name not in tree.children]
        if lacking and name not in may_be_missing:
            raise SchemaError(
                f"samples {lacking} have no {name!r}, which others have. Leave it out of all "
                f"samples, or train with `TrainConfig(may_be_missing=({name!r},))`."
            )
        bands = [_bands(tree, name) for tree in trees if name in tree.children]
        shared = tuple(band for band in bands[0] if all(band in other for other in bands))
        if not shared:
            raise SchemaError(
                f"samples share no band of {name!r}: they have {bands}, expected a common band."
            )
        sensors.append(SensorConfig(name=name, bands=shared))
    return tuple(sensors)


def sensors_alike(trees: Sequence[xr.DataTree]) -> list[str]:
    """The sensors of the trees, which must agree in sensors, season window and composite.

    Raises
    ------
    SchemaError
        The trees differ in one of these.
    """
    _check(trees)
    properties = {
        "sensors": [", ".join(name for name in SERIES if name in t.children) for t in trees],
        "season windows": _windows_text([season_of(tree).window for tree in trees]),
        "composites": [str(tree.attrs.get("composite", "")) for tree in trees],
    }
    for name, values in properties.items():
        if len(set(values)) > 1:
            raise SchemaError(f"samples have the {name} {values}, expected the same in all.")
    return [name for name in SERIES if name in trees[0].children]


def _windows_text(windows: Sequence[Window]) -> list[str]:
    """Windows as text; windows that differ only by the leap day get the same text."""
    return [
        window_text(next(other for other in windows if windows_alike(window, other)))
        for window in windows
    ]


def _check(trees: Sequence[xr.DataTree]) -> None:
    """Raise unless every tree has a sensor, and all agree in radar calibration and cloud mask."""
    if lacking := [i for i, t in enumerate(trees) if not set(SERIES) & set(t.children)]:
        raise SchemaError(f"samples {lacking} have no sensor, expected some of {sorted(SERIES)}.")
    radar = [tree["sentinel1"]["backscatter"] for tree in trees if "sentinel1" in tree.children]
    calibrations = {str(array.attrs.get("calibration", "")) for array in radar}
    if len(calibrations) > 1:
        raise SchemaError(
            f"samples have radar calibrated as {sorted(calibrations)}, which differ by decibels; "
            "expected one."
        )
    if len(masks := {str(t.attrs["clouds"]) for t in trees if "clouds" in t.attrs}) > 1:
        raise SchemaError(f"samples have the cloud masks {sorted(masks)}, expected one.")


def _bands(tree: xr.DataTree, name: str) -> list[str]:
    return [str(band) for band in tree[name]["band"].to_numpy()]
