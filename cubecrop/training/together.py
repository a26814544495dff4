"""Samples of several years, regions and tables, brought together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.errors import SchemaError
from cubecrop.model import NetworkOptions, SensorConfig, in_window, season_of, window_text
from cubecrop.schema import SERIES
from cubecrop.season import windows_alike

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import xarray as xr

    from cubecrop.season import Window

__all__ = ["as_one_season", "sensors_alike", "sensors_together"]


def as_one_season(trees: Sequence[xr.DataTree], options: NetworkOptions) -> list[xr.DataTree]:
    """The trees in the season window that holds all of theirs.

    Positions are days since the season's start: they mean the same in all trees only if these
    start on the same day.

    Raises
    ------
    SchemaError
        Windows differ and the network needs thermal time, a sum from the season's start.
    """
    windows = {season_of(tree).window for tree in trees}
    if all(windows_alike(one, season_of(trees[0]).window) for one in windows):
        return list(trees)
    if options.needs_thermal_time:
        seen = [window_text(one) for one in sorted(windows)]
        raise SchemaError(
            f"samples span the seasons {seen}, expected one: thermal time is summed from its "
            "start. Choose another `time_encoding`, and `thermal_step=0`."
        )
    whole = min(start for start, _ in windows), max(end for _, end in windows)
    return [in_window(tree, whole) for tree in trees]


def sensors_together(
    trees: Sequence[xr.DataTree], may_be_missing: Collection[str]
) -> tuple[SensorConfig, ...]:
    """The sensors that trees have among them, with the bands that all of these share.

    Raises
    ------
    SchemaError
        A tree has no sensor, or lacks one that may not be missing; trees share no band of a
        sensor, or differ in the radar's calibration or the cloud mask.
    """
    _check(trees)
    sensors = []
    for name in (name for name in SERIES if any(name in tree.children for tree in trees)):
        lacking = [i for i, tree in enumerate(trees) if name not in tree.children]
        if lacking and name not in may_be_missing:
            raise SchemaError(
                f"samples {lacking} have no {name!r}, which others have. Leave it out there too, "
                f"or train with `TrainConfig(may_be_missing=({name!r},))`."
            )
        bands = [_bands(tree, name) for tree in trees if name in tree.children]
        shared = tuple(band for band in bands[0] if all(band in other for other in bands))
        if not shared:
            raise SchemaError(f"samples share no band of {name!r}: they have {bands}.")
        sensors.append(SensorConfig(name=name, bands=shared))
    return tuple(sensors)


def sensors_alike(trees: Sequence[xr.DataTree]) -> list[str]:
    """The sensors of trees that all have the same, in the same steps of the same season.

    Raises
    ------
    SchemaError
        They do not.
    """
    _check(trees)
    about = {
        "sensors": [", ".join(name for name in SERIES if name in t.children) for t in trees],
        "season windows": _windows_text([season_of(tree).window for tree in trees]),
        "composites": [str(tree.attrs.get("composite", "")) for tree in trees],
    }
    for what, seen in about.items():
        if len(set(seen)) > 1:
            raise SchemaError(f"samples have the {what} {seen}, expected the same in all.")
    return [name for name in SERIES if name in trees[0].children]


def _windows_text(windows: Sequence[Window]) -> list[str]:
    """Windows for people, those that are alike under one name."""
    return [
        window_text(next(other for other in windows if windows_alike(one, other)))
        for one in windows
    ]


def _check(trees: Sequence[xr.DataTree]) -> None:
    """Raise unless every tree has a sensor, and what can be known of each alone is alike."""
    if lacking := [i for i, t in enumerate(trees) if not set(SERIES) & set(t.children)]:
        raise SchemaError(f"samples {lacking} have no sensor, expected some of {sorted(SERIES)}.")
    radar = [tree["sentinel1"]["backscatter"] for tree in trees if "sentinel1" in tree.children]
    if len(seen := {str(one.attrs.get("calibration", "")) for one in radar}) > 1:
        raise SchemaError(
            f"samples have radar calibrated as {sorted(seen)}, which differ by decibels; expected "
            "one."
        )
    if len(masks := {str(t.attrs["clouds"]) for t in trees if "clouds" in t.attrs}) > 1:
        raise SchemaError(f"samples have the cloud masks {sorted(masks)}, expected one.")


def _bands(tree: xr.DataTree, name: str) -> list[str]:
    return [str(band) for band in tree[name]["band"].to_numpy()]
