"""Dates, clouds and gaps of a search's scenes, by satellite, orbit and tile."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import pandas as pd

from cubecrop.checks import check_number
from cubecrop.errors import SchemaError
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cubecrop.archive.search import Scenes
    from cubecrop.schema import Scene
    from cubecrop.season import Season

__all__ = [
    "LOW_CLOUD", "Gap", "availability", "check_low_cloud", "gaps_between", "is_low_cloud",
    "series_names",
]  # fmt: skip

#: A whole scene with at most this percentage of cloud likely shows the ground.
LOW_CLOUD: Final = 20.0

#: First and last day without an acquisition, both included.
Gap = tuple[dt.date, dt.date]

_COLUMNS: Final = (
    "series", "modality", "scenes", "dates", "low_cloud_dates", "first", "last",
    "cloud_cover", "longest_gap", "gap_start", "gap_end",
)  # fmt: skip
_TITLES: Final = {"sentinel2": "Sentinel-2", "sentinel1": "Sentinel-1"}


def availability(scenes: Scenes, *, low_cloud: float = LOW_CLOUD) -> pd.DataFrame:
    """Summarise the dates, clouds and gaps of each satellite series of a search.

    Parameters
    ----------
    scenes : Scenes
        The result of `search`.
    low_cloud : float, default 20
        A scene with at most this percentage of cloud counts as showing the ground.

    Returns
    -------
    pandas.DataFrame
        One row per series. A Sentinel-2 series is a tile and relative orbit, a Sentinel-1
        series a direction and relative orbit. A satellite with several series has a first row
        for all of them. Columns: ``series`` and ``modality``; ``scenes``; ``dates``;
        ``low_cloud_dates`` (every date of radar; no date if the archive does not state cloud
        cover); ``first`` and ``last`` date; ``cloud_cover``, the median in percent;
        ``longest_gap``, the longest run of days without a low-cloud acquisition, the edges of
        the season included, from ``gap_start`` to ``gap_end``.

    Raises
    ------
    SchemaError
        ``low_cloud`` is not a percentage.
    """
    check_low_cloud(low_cloud)
    rows = []
    for modality in SERIES:
        series = series_names(s for s in scenes if s.modality == modality)
        if len(series) > 1:
            every = [scene for members in series.values() for scene in members]
            rows.append(_row(f"{_TITLES[modality]}, all", every, scenes.season, low_cloud))
        rows += [_row(name, members, scenes.season, low_cloud) for name, members in series.items()]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def check_low_cloud(low_cloud: object) -> None:
    """Raise unless a cloud limit is a percentage."""
    what = "percent from 0 to 100"
    if check_number("low_cloud", low_cloud, minimum=0, what=what, error=SchemaError) > 100:
        raise SchemaError(f"low_cloud is {low_cloud!r}, expected {what}.")


def series_names(scenes: Iterable[Scene]) -> dict[str, list[Scene]]:
    """Group satellite scenes by the name of their series, in the order of the names."""
    series: dict[str, list[Scene]] = {}
    for scene in scenes:
        if scene.modality not in SERIES:
            continue
        orbit = "" if scene.relative_orbit is None else f"R{scene.relative_orbit:03d}"
        where = scene.tile if scene.modality == "sentinel2" else scene.orbit_state
        name = " ".join(part for part in (_TITLES[scene.modality], where, orbit) if part)
        series.setdefault(name, []).append(scene)
    # Optical first, as in a cube.
    return dict(
        sorted(series.items(), key=lambda pair: (pair[1][0].modality != "sentinel2", pair[0]))
    )


def is_low_cloud(scene: Scene, low_cloud: float = LOW_CLOUD) -> bool:
    """Whether a scene likely shows the ground: it is radar, or its stated cloud cover is low."""
    if scene.modality != "sentinel2":
        return True
    return scene.cloud_cover is not None and scene.cloud_cover <= low_cloud


def gaps_between(days: Iterable[dt.date], season: Season) -> list[Gap]:
    """Runs of days in a season that are not among the given days, in order."""
    one_day = dt.timedelta(days=1)
    gaps, free = [], season.start
    for day in sorted({day for day in days if season.start <= day <= season.end}):
        if day > free:
            gaps.append((free, day - one_day))
        free = day + one_day
    if free <= season.end:
        gaps.append((free, season.end))
    return gaps


def _row(name: str, scenes: Sequence[Scene], season: Season, low_cloud: float) -> dict[str, object]:
    dates = sorted({scene.solar_day for scene in scenes})
    low = {scene.solar_day for scene in scenes if is_low_cloud(scene, low_cloud)}
    clouds = pd.Series([s.cloud_cover for s in scenes if s.cloud_cover is not None], dtype=float)
    longest = max(gaps_between(low, season), key=_length, default=None)
    return {
        "series": name,
        "modality": scenes[0].modality,
        "scenes": len(scenes),
        "dates": len(dates),
        "low_cloud_dates": len(low),
        "first": dates[0],
        "last": dates[-1],
        "cloud_cover": clouds.median(),
        "longest_gap": _length(longest) if longest else 0,
        "gap_start": longest[0] if longest else None,
        "gap_end": longest[1] if longest else None,
    }


def _length(gap: Gap) -> int:
    return (gap[1] - gap[0]).days + 1
