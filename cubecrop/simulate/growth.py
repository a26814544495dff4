"""State of every parcel's canopy and ground by day, driven by the weather.

One stand follows another: the crop of the year before, a catch crop or volunteers, the crop of
the year, and so on. A stand's development is thermal time between sowing and harvest, so a
warmer region, year or valley really is earlier; leaf area, senescence and the rest follow from
development. All arrays are (day, unit).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.special import expit

from cubecrop.simulate.crops import CROPS, Crop, crop_index
from cubecrop.simulate.draws import Purpose, stream
from cubecrop.simulate.weather import LAPSE, growing_degree_days

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Region
    from cubecrop.simulate.weather import Ground, Weather

__all__ = ["Growth", "make_growth"]

Array = "NDArray[np.float32]"

_CATCH: Final = crop_index("catch crop")
_NONE: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What stands on each unit, float32 (day, unit) unless said otherwise.

    Attributes
    ----------
    crop : ndarray of int8
        Index into `CROPS` of what stands, -1 = nothing.
    lai, chlorophyll, senescence
        As the axes of `canopy.AXES`.
    flower : share of ground that shows petals.
    litter : share of the ground under straw or leaves.
    rough : dB that the tillage adds to the soil's backscatter.
    ridged : dB, row effect of the ground.
    dates : dict
        ``sown``, ``flowering`` and ``harvest`` of the crop of each harvest year, (unit,) as
        index of the day; -1 where there is none.
    """

    crop: NDArray[np.int8]
    lai: NDArray[np.float32]
    chlorophyll: NDArray[np.float32]
    senescence: NDArray[np.float32]
    flower: NDArray[np.float32]
    litter: NDArray[np.float32]
    rough: NDArray[np.float32]
    ridged: NDArray[np.float32]
    dates: Mapping[int, dict[str, NDArray[np.int64]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What all stands of a region share."""

    region: Region
    weather: Weather
    ground: Ground
    cooler: NDArray[np.float64]  # (unit,) K by altitude
    seed: int

    def heat(self, base: float, units: NDArray[np.intp]) -> NDArray[np.float64]:
        """Degree days of each day, (day, unit)."""
        cooler = self.cooler[units][None, :]
        return growing_degree_days(
            self.weather.low[:, None] - cooler, self.weather.high[:, None] - cooler, base=base
        )

    def day_of(self, year: int, day_of_year: float) -> float:
        first = np.datetime64(f"{year}-01-01") - np.datetime64(self.weather.start)
        return float(first.astype(int)) + day_of_year - 1


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
        Where; the weather must begin a year before the first sowing.
    crops : mapping of harvest year to ndarray of int64 (unit,)
        Index into `CROPS`, consecutive years.
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
    place = _Place(
        region=region, weather=weather, ground=ground, seed=seed,
        cooler=LAPSE * (np.asarray(elevation, dtype=np.float64) - region.elevation),
    )  # fmt: skip
    shape = (weather.mean.size, n)
    state = {
        name: np.zeros(shape, dtype=np.float32)
        for name in ("lai", "chlorophyll", "senescence", "flower", "litter", "rough", "ridged")
    }
    state["chlorophyll"] += 40
    growth = Growth(crop=np.full(shape, _NONE, dtype=np.int8), dates={}, **state)
    dates: dict[int, dict[str, NDArray[np.int64]]] = {}
    free = np.zeros(n)  # (unit,) day from which the ground is free
    plans = {year: _Plan.draw(place, year, n) for year in years}
    for year in years:
        crop, plan = crops[year], plans[year]
        dates[year] = {
            name: np.full(n, -1, dtype=np.int64) for name in ("sown", "flowering", "harvest")
        }
        stands = []
        for index in np.unique(crop):
            units = np.flatnonzero(crop == index)
            if CROPS[index].cuts:
                stands.append(_Meadow.grow(place, CROPS[index], units, year, plan, growth))
            else:
                stands.append(_Stand.grow(place, CROPS[index], units, year, plan, free[units]))
        _between(place, growth, stands, free, year, plan)
        for stand in stands:
            stand.write(growth)
            free[stand.units] = stand.end + 1
            for name, values in stand.dates().items():
                dates[year][name][stand.units] = values
    _after(place, growth, free, years[-1] + 1, _Plan.draw(place, years[-1] + 1, n))
    growth.dates.update(dates)  # type: ignore[attr-defined]
    return growth


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How the farmers of one harvest year differ, all (unit,)."""

    sowing: NDArray[np.float64]  # standard normal
    vigour: NDArray[np.float64]  # factor on leaf area
    green: NDArray[np.float64]  # factor on chlorophyll
    cultivar: NDArray[np.float64]  # factor on thermal time
    wait: NDArray[np.float64]  # standard exponential, before the harvest
    catch: NDArray[np.float64]  # uniform
    plough: NDArray[np.float64]  # uniform
    mowing: NDArray[np.float64]  # (unit, 8) standard normal

    @classmethod
    def draw(cls, place: _Place, year: int, n: int) -> _Plan:
        rng = stream(Purpose.GROWTH, place.seed, place.region.index, year)
        draws = rng.standard_normal((12, n))
        uniform = rng.random((3, n))
        return cls(
            sowing=draws[0],
            vigour=(0.92 + 0.17 * draws[1]).clip(0.4, 1.25),
            green=(1 + 0.13 * draws[2]).clip(0.6, 1.35),
            cultivar=1 + 0.055 * draws[3],
            wait=-np.log1p(-uniform[0]).clip(None, 3),
            catch=uniform[1],
            plough=uniform[2],
            mowing=draws[4:12].T,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stand:
    """An annual crop on some units; ``sown`` and ``end`` are days (unit,)."""

    crop: Crop
    units: NDArray[np.intp]
    sown: NDArray[np.int64]
    flowering: NDArray[np.int64]
    end: NDArray[np.int64]
    lai: NDArray[np.float64]
    chlorophyll: NDArray[np.float64]
    senescence: NDArray[np.float64]
    flower: NDArray[np.float64]
    stays: NDArray[np.float64]  # (unit,) litter after harvest

    @classmethod
    def grow(
        cls,
        place: _Place,
        crop: Crop,
        units: NDArray[np.intp],
        year: int,
        plan: _Plan,
        free: NDArray[np.float64],
        sown: NDArray[np.float64] | None = None,
        until: NDArray[np.float64] | None = None,
    ) -> _Stand:
        days = np.arange(place.weather.mean.size)
        if sown is None:
            sown = _sowing_day(place, crop, year) + crop.sown[1] * plan.sowing[units]
        last = days[-1]
        sown = np.maximum(np.round(sown), free + 4).clip(0, last - 1).astype(np.int64)
        heat = place.heat(crop.base, units)
        heat[days[:, None] < sown[None, :]] = 0.0
        emerged = np.cumsum(heat, axis=0) >= crop.heat[0]
        pace = heat * emerged
        tempo = plan.cultivar[units] * place.region.cultivar[0 if crop.winter else 1]
        spring = pace / (crop.heat[1] * tempo)
        if crop.daylength is not None:
            low, high = crop.daylength
            light = ((place.weather.daylength - low) / (high - low)).clip(0, 1)
            spring = spring * light[:, None]
        before = np.cumsum(spring, axis=0)
        ripening = np.where(before >= 1, pace / (crop.heat[2] * tempo), 0.0)
        # Heat and a dry root zone hasten ripening by up to a third.
        ripening *= (1 + 0.35 * (1 - place.ground.stress))[:, None]
        stage = np.minimum(before, 1.0) + np.cumsum(ripening, axis=0)  # (day, unit)
        if until is None:
            ripe, days_after, last_day = crop.harvest
            if crop.name == "maize" and place.region.grain_maize:
                ripe, days_after, last_day = 1.98, 22, 325
            wait = days_after * (0.4 + 0.6 * plan.wait[units])
            latest = place.day_of(year, last_day) + 5 * plan.sowing[units]
            end = np.minimum(_first(stage >= ripe) + wait, latest)
        else:
            end = until
        end = np.maximum(np.round(end), sown + 20).clip(0, last).astype(np.int64)
        leaves = cls._leaf_area(crop, stage, np.cumsum(pace, axis=0))
        fade = expit((stage - crop.fade[0]) / (crop.fade[1] / 2))
        thirst = _thirst(place, stage)
        killed = place.ground.killed[:, None]
        flower = np.zeros_like(stage)
        if crop.flower is not None:
            middle, width, share = crop.flower
            flower = share * np.exp(-0.5 * ((stage - middle) / width) ** 2)
        young = 0.75 + 0.25 * expit((stage - 0.3) / 0.08)
        return cls(
            crop=crop,
            units=units,
            sown=sown,
            flowering=_first(before >= 1),
            end=end,
            lai=leaves * plan.vigour[units] * thirst * (1 - 0.55 * killed),
            chlorophyll=crop.chlorophyll * young * plan.green[units],
            senescence=np.maximum(fade, 0.6 * killed),
            flower=flower,
            stays=crop.litter * (0.5 + plan.catch[units]),
        )

    @staticmethod
    def _leaf_area(
        crop: Crop, stage: NDArray[np.float64], warmth: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        small, peak = crop.lai
        rosette = small * -np.expm1(-warmth / 260.0)
        rise = expit((stage - crop.rise[0]) / crop.rise[1]) - expit(-crop.rise[0] / crop.rise[1])
        # Leaves that yellow still stand: the fall of leaf area keeps two fifths as straw.
        fall = 1 - 0.6 * expit((stage - crop.fall[0]) / (crop.fall[1] / 1.6))
        return (rosette + (peak - rosette) * rise.clip(0)) * fall * (warmth > 0)

    def write(self, growth: Growth) -> None:
        days = np.arange(growth.lai.shape[0])[:, None]
        stands = (days >= self.sown) & (days < self.end)
        grown = stands & (self.lai > 0.02)
        at = np.ix_(np.arange(days.size), self.units)
        for name in ("lai", "chlorophyll", "senescence", "flower"):
            field = getattr(growth, name)
            field[at] = np.where(stands, getattr(self, name), field[at])
        growth.crop[at] = np.where(grown, CROPS.index(self.crop), growth.crop[at])
        since = days - self.end
        stubble = self.stays * np.exp(-since.clip(0) / 60.0)
        growth.litter[at] = np.where(since >= 0, stubble, growth.litter[at])
        growth.litter[at] = np.where(stands, growth.litter[at] * 0.3, growth.litter[at])
        bed = np.exp(-(days - self.sown).clip(0) / 70.0)
        growth.rough[at] = np.where(stands, -1.2 * bed, growth.rough[at])
        growth.rough[at] = np.where(since >= 0, -0.6, growth.rough[at])
        growth.ridged[at] = np.where(stands, self.crop.rows * (0.3 + 0.7 * bed), 0.0)

    def dates(self) -> dict[str, NDArray[np.int64]]:
        return {"sown": self.sown, "flowering": self.flowering, "harvest": self.end}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meadow:
    """Grass or alfalfa that is mown and grows again, from one autumn to the next."""

    crop: Crop
    units: NDArray[np.intp]
    start: int
    end: NDArray[np.int64]
    lai: NDArray[np.float64]
    chlorophyll: NDArray[np.float64]
    brown: NDArray[np.float64]

    @classmethod
    def grow(
        cls,
        place: _Place,
        crop: Crop,
        units: NDArray[np.intp],
        year: int,
        plan: _Plan,
        growth: Growth,
    ) -> _Meadow:
        days = np.arange(place.weather.mean.size)
        # A meadow's year runs from 1 November, since it is neither sown nor harvested.
        start = max(0, int(place.day_of(year - 1, 305)))
        end = min(int(place.day_of(year, 305)), days[-1] + 1)
        heat = place.heat(5.0, units)
        heat[: int(max(0, place.day_of(year, 32)))] = 0.0
        grown = np.cumsum(heat, axis=0)
        low, peak = crop.lai
        # Some are grazed: kept short and even, never mown.
        grazed = (plan.plough[units] < 0.35) & (crop.name == "permanent grass")
        gap = crop.cuts * (1 + 0.16 * plan.mowing[units]).clip(0.6, 1.6)  # (unit, cut)
        gap[:, 0] += 120 * plan.sowing[units].clip(-1, 2)
        threshold = np.cumsum(gap, axis=1)
        since, after = grown.copy(), np.zeros_like(grown, dtype=bool)
        last_cut = place.day_of(year, 288)
        for k in range(gap.shape[1]):
            mown = (grown >= threshold[None, :, k]) & ~grazed
            mown &= _first(mown)[None, :] < last_cut
            since = np.where(mown, grown - threshold[None, :, k], since)
            after |= mown
        thirst = 0.45 + 0.55 * uniform_filter1d(place.ground.stress, 21)[:, None]
        stubble = np.where(after, 0.7, low)
        regrown = stubble + (peak - stubble) * -np.expm1(-since / 300.0)
        regrown = np.where(grazed, low + 1.1 * -np.expm1(-since / 250.0), regrown)
        # Frost and short days take leaf area; alfalfa goes down to the crown.
        chill = uniform_filter1d(place.weather.mean, 25)
        hardy = 0.55 if crop.name == "alfalfa" else 0.72
        winter = 1 - (1 - hardy) * expit((3.0 - chill) / 1.2)
        killed = place.ground.killed
        lai = regrown * thirst * (winter * (1 - 0.4 * killed))[:, None] * plan.vigour[units]
        fresh = np.exp(-since / 90.0) * after
        tall = expit((since - 520) / 60) * 0.12
        cold = 0.2 * expit((1.0 - chill) / 1.5)[:, None]
        dry = 0.5 * (1 - thirst)
        return cls(
            crop=crop,
            units=units,
            start=start,
            end=np.full(units.size, end, dtype=np.int64),
            lai=lai,
            chlorophyll=crop.chlorophyll * plan.green[units] * np.ones_like(lai),
            brown=(0.1 + 0.22 * fresh + tall + cold + dry + 0.6 * killed[:, None]).clip(0, 0.85),
        )

    def write(self, growth: Growth) -> None:
        days = slice(self.start, int(self.end[0]))
        at = (days, self.units)
        growth.lai[at] = self.lai[days]
        growth.chlorophyll[at] = self.chlorophyll[days]
        growth.senescence[at] = self.brown[days]
        growth.crop[at] = CROPS.index(self.crop)
        growth.litter[at] = self.crop.litter
        growth.flower[at] = growth.ridged[at] = 0
        growth.rough[at] = 0.4

    def dates(self) -> dict[str, NDArray[np.int64]]:
        none = np.full(self.units.size, -1, dtype=np.int64)
        return {"sown": none, "flowering": none, "harvest": none}


def _between(
    place: _Place,
    growth: Growth,
    stands: list[_Stand | _Meadow],
    free: NDArray[np.float64],
    year: int,
    plan: _Plan,
) -> None:
    """Fill the time before each new stand: volunteers, catch crop, ploughing, seedbed."""
    until = np.zeros(free.size)
    for stand in stands:
        until[stand.units] = stand.sown if isinstance(stand, _Stand) else stand.start
    _idle(place, growth, free, until, year, plan)


def _after(place: _Place, growth: Growth, free: NDArray[np.float64], year: int, plan: _Plan) -> None:
    until = np.full(free.size, float(place.weather.mean.size))
    _idle(place, growth, free, until, year, plan)


def _idle(
    place: _Place,
    growth: Growth,
    free: NDArray[np.float64],
    until: NDArray[np.float64],
    year: int,
    plan: _Plan,
) -> None:
    gap = until - free
    # Half of the parcels that lie over winter carry a catch crop; others green up by
    # volunteers and weeds a few weeks after harvest.
    units = np.flatnonzero((gap > 55) & (free > 0))
    if units.size:
        catch = plan.catch[units] < np.where(gap[units] > 110, 0.7, 0.25)
        wait = np.where(catch, 12 + 14 * plan.wait[units], 10 + 10 * plan.wait[units])
        thick = np.where(catch, 1.0, 0.28 * plan.plough[units])
        # Some are ploughed in before winter, some in early spring.
        early = place.day_of(year - 1, 310) + 15 * plan.sowing[units]
        ends = np.where(plan.plough[units] < 0.25, early, until[units] - 10 - 20 * plan.plough[units])
        ends = np.minimum(ends, until[units] - 6)
        stand = _Stand.grow(
            place, CROPS[_CATCH], units, year, plan, free[units],
            sown=free[units] + wait, until=np.maximum(ends, free[units] + wait + 20),
        )  # fmt: skip
        frost = np.cumsum(place.ground.frozen[:, None] * np.ones(units.size), axis=0)
        killed = 1 - 0.7 * expit((frost - frost[np.minimum(stand.sown, len(frost) - 1),
                                                np.arange(units.size)] - 12) / 3)  # fmt: skip
        stand.lai[:] *= thick * killed
        stand.senescence[:] = 0.05 + 0.7 * (1 - killed)
        ended = np.minimum(stand.end, until[units].astype(np.int64))
        object.__setattr__(stand, "end", ended)
        stand.write(growth)
    days = np.arange(growth.lai.shape[0])[:, None]
    # Ploughing buries litter and roughens the ground; rain and seedbed work smooth it.
    ploughed = np.where(gap > 90, until - 8 - 45 * (1 - plan.plough) ** 2, until - 7 - 6 * plan.plough)
    ploughed = np.where(plan.catch < 0.75, np.maximum(ploughed, free + 3), np.inf)
    turned = (days >= ploughed) & (days < until) & (free > 0)
    np.multiply(growth.litter, np.where(turned, 0.15, 1.0), out=growth.litter)
    age = (days - np.where(np.isfinite(ploughed), ploughed, 0)).clip(0)
    growth.rough[...] = np.where(turned, 0.8 + 2.2 * np.exp(-age / 60.0), growth.rough)
    growth.lai[...] = np.where(turned, 0.0, growth.lai)
    growth.crop[...] = np.where(turned, _NONE, growth.crop)


def _sowing_day(place: _Place, crop: Crop, year: int) -> float:
    """Day on which the ten-day mean temperature passes the crop's threshold."""
    mean = uniform_filter1d(place.weather.mean, 15)
    if crop.winter:
        first, last = int(place.day_of(year - 1, 225)), int(place.day_of(year - 1, 318))
        passed = mean[first:last] <= crop.sown[0]
    else:
        first, last = int(place.day_of(year, 50)), int(place.day_of(year, 152))
        passed = mean[first:last] >= crop.sown[0]
    # Ten days and not one: a single warm spell does not start a farmer.
    firm = np.convolve(passed, np.ones(10), mode="full")[: passed.size] >= 8
    found = int(np.argmax(firm)) if firm.any() else passed.size - 1
    return first + found + (0.0 if crop.winter else place.region.late_sowing)


def _thirst(place: _Place, stage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factor on leaf area: drought while leaves expand is felt for the rest of the season."""
    lack = (1 - place.ground.stress)[:, None] * (stage > 0.2) * (stage < 1.6)
    return np.asarray(1 - 0.5 * -np.expm1(-np.cumsum(lack, axis=0) / 45.0))


def _first(condition: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First day on which a condition (day, unit) holds; far beyond the end if never."""
    found = np.argmax(condition, axis=0)
    return np.where(condition.any(axis=0), found, 10**6).astype(np.int64)
