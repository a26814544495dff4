"""Presets of the simulator; each changes one thing about the demo's world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cubecrop.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Values for the arguments of `simulate_archive` that the caller leaves out.

    Attributes
    ----------
    regions : tuple of str
    years : tuple of int
    size_km : float
    cloudiness : float
        Shift of the latent normal variable of cloud; 0 is as in Flanders.
    wrong_labels : float
        Share of parcels whose declared crop is wrong.
    sentinel_1b : bool
        Whether the satellite of the descending track flies.
    land_cover : bool
        Whether the archive has a land-cover map.
    """

    regions: tuple[str, ...] = ("flanders",)
    years: tuple[int, ...] = (2024,)
    size_km: float = 3.0
    cloudiness: float = 0.0
    wrong_labels: float = 0.03
    sentinel_1b: bool = True
    land_cover: bool = False


PRESETS: Final[Mapping[str, Preset]] = {
    "demo": Preset(),
    "regions": Preset(regions=("flanders", "bavaria", "aquitaine")),
    "years": Preset(years=(2022, 2023, 2024)),
    "cloudy": Preset(cloudiness=0.8),
    "no-sentinel-1b": Preset(sentinel_1b=False),
}


def find_preset(name: str) -> Preset:
    """Look a preset up by name.

    Raises
    ------
    SimulationError
        There is no such preset.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise SimulationError(
            f"preset is {name!r}, expected one of {list(PRESETS)}, as in "
            "`simulate_archive(out, preset='demo')`."
        )
    return PRESETS[name]
