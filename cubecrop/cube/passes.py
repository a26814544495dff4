"""Group scenes into dates: one step per solar day and pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.archive.identity import HALF_ORBIT, newness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cubecrop.schema import Scene

__all__ = ["Pass", "group_passes"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One date of a satellite series: its time (UTC), the indices of its scenes, its orbit."""

    time: np.datetime64
    members: tuple[int, ...]
    orbit_state: str
    relative_orbit: int | None


def group_passes(scenes: Sequence[Scene]) -> tuple[Pass, ...]:
    """Group scenes of one modality into passes, sorted by time.

    Parameters
    ----------
    scenes : sequence of Scene
        Scenes in any order.

    Returns
    -------
    tuple of Pass
        Members are sorted by processing (newest first), time, id and files. So newer pixels
        come before older ones, and the order of ``scenes`` changes nothing. The time is the
        datatake's, which all tiles of a pass share, or the earliest scene's if the item does
        not give a datatake.
    """
    orbits = _orbits(scenes)
    tracks: dict[tuple[str, str, int | None], list[int]] = {}
    for index, scene in enumerate(scenes):
        own = (scene.orbit_state, scene.relative_orbit)
        key = (scene.platform, *orbits.get((scene.platform, scene.datatake), own))
        tracks.setdefault(key, []).append(index)
    passes = []
    for key, track in tracks.items():
        _, state, number = key
        in_order = sorted(track, key=lambda i: _by_time(scenes[i]))
        for members in _split(in_order, scenes, once_a_day=number is not None):
            first = scenes[members[0]]
            newest = sorted(members, key=lambda i: _made(scenes[i]), reverse=True)
            passes.append(Pass(_time(first), tuple(newest), state, number))
    return tuple(sorted(passes, key=lambda p: (p.time, *_by_time(scenes[p.members[0]]))))


def _orbits(scenes: Sequence[Scene]) -> dict[tuple[str, str], tuple[str, int | None]]:
    """Orbit of each datatake, from those of its tiles that state an orbit."""
    orbits: dict[tuple[str, str], tuple[str, int | None]] = {}
    for scene in scenes:
        if scene.datatake:
            key = (scene.platform, scene.datatake)
            state, number = orbits.get(key, ("", None))
            if scene.relative_orbit is not None:
                number = max(scene.relative_orbit, number or 0)
            orbits[key] = max(state, scene.orbit_state), number
    return orbits


def _made(scene: Scene) -> tuple[bool, str, str]:
    return newness(scene.baseline, scene.generated)


def _by_time(scene: Scene) -> tuple[object, ...]:
    return scene.start, scene.id, scene.files


def _split(track: Sequence[int], scenes: Sequence[Scene], *, once_a_day: bool) -> list[list[int]]:
    """Cut the scenes of one track, sorted by time, into passes.

    A satellite flies a relative orbit once a day at most (``once_a_day``). Without the orbit, a
    day may have several passes: of radar in the morning and the evening, or near the poles. Times
    are compared too, since tiles of one pass on both sides of the date line have different solar
    days.
    """
    groups: list[list[int]] = []
    for index in track:
        last = scenes[groups[-1][-1]] if groups else None
        scene = scenes[index]
        if last is not None and (
            (once_a_day and scene.solar_day == last.solar_day)
            or scene.start - last.start < HALF_ORBIT
        ):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _time(scene: Scene) -> np.datetime64:
    if scene.datatake:
        day, clock = scene.datatake.split("T")
        return np.datetime64(
            f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}", "ns"
        )
    return np.datetime64(scene.start.replace(tzinfo=None), "ns")
