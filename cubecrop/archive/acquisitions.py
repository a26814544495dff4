"""What a search found, by satellite, orbit and tile: dates, clouds and gaps."""

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

#: Percent of cloud in a whole scene up to which it likely shows the ground.
LOW_CLOUD: Final = 20.0

#: First and last day on which nothing was seen, both included.
Gap = tuple[dt.date, dt.date]

_COLUMNS: Final = (
    "series", "modality", "scenes", "dates", "low_cloud_dates", "first", "last",
    "cloud_cover", "longest_gap", "gap_start", "gap_end",
)  # fmt: skip
_TITLES: Final = {"sentinel2": "Sentinel-2", "sentinel1": "Sentinel-1"}


def availability(scenes: Scenes, *, low_cloud: float = LOW_CLOUD) -> pd.DataFrame:
    """Tell what each satellite series of a search holds, and where it is blind.

    Parameters
    ----------
    scenes : Scenes
        What `search` found.
    low_cloud : float, default 20
        Percent of cloud up to which a scene counts as one that shows the ground.

    Returns
    -------
    pandas.DataFrame
        One row a series (of Sentinel-2 a tile and relative orbit, of Sentinel-1 a direction
        and relative orbit), after one for all of a satellite where it has several:
        ``series`` and ``modality``; ``scenes``; ``dates`` and, of them, ``low_cloud_dates``
        (of radar all; where an archive does not state cloud cover, none); ``first`` and
        ``last`` date; ``cloud_cover``, the median in percent; ``longest_gap``, the most days
        on end without a low-cloud acquisition, the edges of the season included, from
        ``gap_start`` to ``gap_end``.

    Raises
    ------
    SchemaError
        ``low_cloud`` is no percentage.
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
    """Raise unless a limit of cloud is a number of percent."""
    what = "percent from 0 to 100"
    if check_number("low_cloud", low_cloud, least=0, what=what, error=SchemaError) > 100:
        raise SchemaError(f"low_cloud is {low_cloud!r}, expected {what}.")


def series_names(scenes: Iterable[Scene]) -> dict[str, list[Scene]]:
    """Satellite scenes by the name of their series, in the order of the names."""
    found: dict[str, list[Scene]] = {}
    for scene in scenes:
        if scene.modality not in SERIES:
            continue
        orbit = "" if scene.relative_orbit is None else f"R{scene.relative_orbit:03d}"
        where = scene.tile if scene.modality == "sentinel2" else scene.orbit_state
        name = " ".join(part for part in (_TITLES[scene.modality], where, orbit) if part)
        found.setdefault(name, []).append(scene)
    # Optical first, as in a cube.
    return dict(sorted(found.items(), key=lambda one: (one[1][0].modality != "sentinel2", one[0])))


def is_low_cloud(scene: Scene, low_cloud: float = LOW_CLOUD) -> bool:
    """Whether a scene likely shows the ground: radar, or little cloud as far as is stated."""
    if scene.modality != "sentinel2":
        return True
    return scene.cloud_cover is not None and scene.cloud_cover <= low_cloud


def gaps_between(days: Iterable[dt.date], season: Season) -> list[Gap]:
    """Stretches of a season's days that are not among some days, in order."""
    one = dt.timedelta(days=1)
    found, free = [], season.start
    for day in sorted({day for day in days if season.start <= day <= season.end}):
        if day > free:
            found.append((free, day - one))
        free = day + one
    if free <= season.end:
        found.append((free, season.end))
    return found


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
