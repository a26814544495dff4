"""Daily state of every parcel's canopy and ground, driven by the weather.

One stand follows another: the crop of the year before, a catch crop or volunteers, the crop of
the year, and so on. Thermal time drives a stand from sowing to harvest, so that a warmer
region, year or valley is earlier; leaf area, senescence and the rest follow from
development. All arrays are (day, unit).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import expit

from cubecrop.simulate.crops import CROPS, crop_index
from cubecrop.simulate.groves import Grove
from cubecrop.simulate.stands import Meadow, Place, Plan, Stand
from cubecrop.simulate.state import Growth
from cubecrop.simulate.weather import LAPSE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Region
    from cubecrop.simulate.weather import Ground, Weather

__all__ = ["make_growth"]

_CATCH: Final = crop_index("catch crop")
_NONE: Final = -1


def make_growth(
    region: Region,
    weather: Weather,
    ground: Ground,
    crops: Mapping[int, NDArray[np.int64]],
    elevation: NDArray[np.floating],
    *,
    seed: int,
) -> Growth:
    """Grow the crops of several harvest years, one after the other, on every unit.

    Parameters
    ----------
    region, weather, ground
        Region, its weather and its ground; the weather begins a year before the first sowing.
    crops : mapping of harvest year to ndarray of int64 (unit,)
        Index into `CROPS`; the years are consecutive.
    elevation : ndarray (unit,)
        Metres; temperature falls by 6.5 K km-1 from the region's mean.
    seed : int
        Sowing, vigour and management of a parcel depend on (seed, region, year, its row).

    Returns
    -------
    Growth
    """
    years = sorted(crops)
    n = crops[years[0]].size
    place = Place(
        region=region, weather=weather, ground=ground, seed=seed,
        cooler=LAPSE * (np.asarray(elevation, dtype=np.float64) - region.elevation),
    )  # fmt: skip
    shape = (weather.mean.size, n)
    state = {
        name: np.zeros(shape, dtype=np.float32)
        for name in (
            "lai",
            "chlorophyll",
            "senescence",
            "flower",
            "litter",
            "rough",
            "ridged",
            "crown_cover",
            "crown_lai",
            "crown_senescence",
            "blossom",
        )
    }
    state["chlorophyll"] += 40
    dates: dict[int, dict[str, NDArray[np.int64]]] = {}
    growth = Growth(crop=np.full(shape, _NONE, dtype=np.int8), dates=dates, **state)
    free = np.zeros(n)  # (unit,) day from which the ground is free
    plans = {year: Plan.draw(place, year, n) for year in years}
    for year in years:
        crop, plan = crops[year], plans[year]
        dates[year] = {
            name: np.full(n, -1, dtype=np.int64) for name in ("sown", "flowering", "harvest")
        }
        stands: list[Stand | Meadow | Grove] = []
        for index in np.unique(crop):
            units = np.flatnonzero(crop == index)
            wood = CROPS[index].wood
            if wood is not None:
                stands.append(Grove.grow(place, CROPS[index], wood, units, year, plan))
            elif CROPS[index].cuts:
                stands.append(Meadow.grow(place, CROPS[index], units, year, plan))
            else:
                stands.append(Stand.grow(place, CROPS[index], units, year, plan, free[units]))
        _between(place, growth, stands, free, year, plan)
        for stand in stands:
            stand.write(growth)
            free[stand.units] = stand.end + 1
            for name, values in stand.dates().items():
                dates[year][name][stand.units] = values
    _after(place, growth, free, years[-1] + 1, Plan.draw(place, years[-1] + 1, n))
    return growth


def _between(
    place: Place,
    growth: Growth,
    stands: Sequence[Stand | Meadow | Grove],
    free: NDArray[np.float64],
    year: int,
    plan: Plan,
) -> None:
    """Fill the time before each new stand: volunteers, catch crop, ploughing, seedbed."""
    until = np.zeros(free.size)
    for stand in stands:
        until[stand.units] = stand.sown if isinstance(stand, Stand) else stand.start
    _idle(place, growth, free, until, year, plan)


def _after(place: Place, growth: Growth, free: NDArray[np.float64], year: int, plan: Plan) -> None:
    until = np.full(free.size, float(place.weather.mean.size))
    _idle(place, growth, free, until, year, plan)


def _idle(
    place: Place,
    growth: Growth,
    free: NDArray[np.float64],
    until: NDArray[np.float64],
    year: int,
    plan: Plan,
) -> None:
    gap = until - free
    # A share of the parcels that are free over winter carries a catch crop; volunteers and
    # weeds grow on the others a few weeks after harvest.
    units = np.flatnonzero((gap > 55) & (free > 0))
    if units.size:
        share = place.region.catch
        catch = plan.catch[units] < np.where(gap[units] > 110, share, 0.35 * share)
        wait = np.where(catch, 12 + 14 * plan.wait[units], 10 + 10 * plan.wait[units])
        thick = np.where(catch, 1.0, 0.4 * share * plan.plough[units])
        # Farmers plough some of them in before winter, others in early spring.
        early = place.day_of(year - 1, 310) + 15 * plan.sowing[units]
        ends = np.where(
            plan.plough[units] < 0.25, early, until[units] - 10 - 20 * plan.plough[units]
        )
        ends = np.minimum(ends, until[units] - 6)
        stand = Stand.grow(
            place, CROPS[_CATCH], units, year, plan, free[units],
            sown=free[units] + wait, until=np.maximum(ends, free[units] + wait + 20),
        )  # fmt: skip
        frost = np.cumsum(place.ground.frozen[:, None] * np.ones(units.size), axis=0)
        killed = 1 - 0.7 * expit((frost - frost[np.minimum(stand.sown, len(frost) - 1),
                                                np.arange(units.size)] - 12) / 3)  # fmt: skip
        stand.lai[:] *= thick * killed
        stand.senescence[:] = 0.05 + 0.7 * (1 - killed)
        ended = np.minimum(stand.end, until[units].astype(np.int64))
        replace(stand, end=ended).write(growth)
    days = np.arange(growth.lai.shape[0])[:, None]
    # Ploughing buries litter and roughens the ground; rain and seedbed work smooth it.
    ploughed = np.where(
        gap > 90, until - 8 - 45 * (1 - plan.plough) ** 2, until - 7 - 6 * plan.plough
    )
    ploughed = np.where(plan.catch < 0.75, np.maximum(ploughed, free + 3), np.inf)
    turned = (days >= ploughed) & (days < until) & (free > 0)
    np.multiply(growth.litter, np.where(turned, 0.15, 1.0), out=growth.litter)
    age = (days - np.where(np.isfinite(ploughed), ploughed, 0)).clip(0)
    growth.rough[...] = np.where(turned, 0.8 + 2.2 * np.exp(-age / 60.0), growth.rough)
    growth.lai[...] = np.where(turned, 0.0, growth.lai)
    growth.crop[...] = np.where(turned, _NONE, growth.crop)
