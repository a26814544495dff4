"""Perennial woody crops: vines or trees over an alley of grass or tilled soil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import expit

from cubecrop.simulate.draws import Purpose, stream
from cubecrop.simulate.stands import Meadow, Place, Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.crops import Crop, Wood
    from cubecrop.simulate.state import Growth

__all__ = ["Grove"]

# Area of twigs and trunks within leafless crowns, m2 per m2 of crown.
_TWIGS: Final = 0.3
# Share of the alley's plants that stay where it is tilled or sprayed: weeds in winter, few plants
# from spring to the first rains of autumn.
_WEEDS, _CLEAN = 0.4, 0.08
# Leaves turn yellow about ten days before half of them have fallen, hours of day length.
_TURNING: Final = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Grove:
    """Vines or trees and their alley, from one November to the next.

    ``cover`` is (unit,); ``lai``, ``senescence`` and ``blossom`` of the crowns are (day, unit).
    """

    alley: Meadow
    cover: NDArray[np.float64]
    lai: NDArray[np.float64]
    senescence: NDArray[np.float64]
    blossom: NDArray[np.float64]

    @classmethod
    def grow(
        cls, place: Place, crop: Crop, wood: Wood, units: NDArray[np.intp], year: int, plan: Plan
    ) -> Grove:
        """Leaf out, bloom and shed leaves; cover, vigour and tillage last from year to year."""
        rng = stream(Purpose.WOOD, place.seed, place.region.index)
        cover, tilled = rng.random((2, plan.sowing.size))[:, units]
        vigour, tempo = rng.standard_normal((2, plan.sowing.size))[:, units]
        lowest, highest = wood.cover
        alley = Meadow.grow(place, crop, units, year, plan)
        alley.lai[:] *= np.where(tilled < wood.tilled, _tillage(place)[:, None], 1.0)
        _, slow = plan.common(place, crop, year)
        # Varieties and species are early or late.
        warmth = _warmth(place, units, year) / (slow * (1 + 0.08 * tempo).clip(0.75, 1.25))
        leaves, yellow = _leaves(place, wood, warmth, year)
        green = wood.lai * (1 + 0.15 * vigour).clip(0.6, 1.35) * leaves
        blossom = np.zeros_like(green)
        if wood.blossom is not None:
            middle, width, share = wood.blossom
            blossom = share * np.exp(-0.5 * ((warmth - middle) / width) ** 2)
        return cls(
            alley=alley,
            cover=lowest + (highest - lowest) * cover,
            lai=_TWIGS + green,
            senescence=(_TWIGS + green * yellow) / (_TWIGS + green),
            blossom=blossom,
        )

    @property
    def units(self) -> NDArray[np.intp]:
        """Units under the crop."""
        return self.alley.units

    @property
    def start(self) -> int:
        """First day."""
        return self.alley.start

    @property
    def end(self) -> NDArray[np.int64]:
        """Day after the last, (unit,)."""
        return self.alley.end

    def write(self, growth: Growth) -> None:
        """Write the year of the grove to the state of the region."""
        self.alley.write(growth)
        days = slice(self.start, int(self.end[0]))
        at = (days, self.units)
        growth.ridged[at] = self.alley.crop.rows
        growth.crown_cover[at] = self.cover
        growth.crown_lai[at] = self.lai[days]
        growth.crown_senescence[at] = self.senescence[days]
        growth.blossom[at] = self.blossom[days]

    def dates(self) -> dict[str, NDArray[np.int64]]:
        """Days of sowing, flowering and harvest, (unit,): none."""
        return self.alley.dates()


def _tillage(place: Place) -> NDArray[np.float64]:
    """Share of the plants of a tilled alley that stay, (day,)."""
    doy = place.weather.day_of_year
    clean = expit((doy - 85) / 6) - expit((doy - 290) / 10)
    return np.asarray(_WEEDS + (_CLEAN - _WEEDS) * clean, dtype=np.float64)


def _warmth(place: Place, units: NDArray[np.intp], year: int) -> NDArray[np.float64]:
    """Thermal time from 1 March over 0 degree Celsius, K d, (day, unit)."""
    heat = place.heat(0.0, units)
    heat[: int(max(0, place.day_of(year, 60)))] = 0.0
    return np.asarray(np.cumsum(heat, axis=0), dtype=np.float64)


def _leaves(
    place: Place, wood: Wood, warmth: NDArray[np.float64], year: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the leaves that hang, and how yellow they are, (day, unit)."""
    if wood.leafing is None:
        return np.ones_like(warmth), np.full_like(warmth, 0.05)
    half, width = wood.leafing
    days = np.arange(warmth.shape[0])
    autumn = place.weather.day_of_year > 200
    fallen = expit((wood.leaf_fall - place.weather.daylength) / 0.15) * autumn
    # Leaves of the year before hang until they fall; twigs are bare from January on.
    old = (days < place.day_of(year, 1))[:, None]
    leaves = np.where(old, 1.0, expit((warmth - half) / width)) * (1 - fallen)[:, None]
    leaves *= old | (days >= place.day_of(year, 60))[:, None]
    yellow = expit((wood.leaf_fall + _TURNING - place.weather.daylength) / 0.15) * autumn
    return leaves, np.broadcast_to(0.05 + 0.7 * yellow[:, None], leaves.shape)
