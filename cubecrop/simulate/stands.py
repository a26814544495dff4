"""Single stands of crops, from sowing to harvest, driven by farmers and weather."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.special import expit

from cubecrop.simulate.crops import CROPS, Crop
from cubecrop.simulate.draws import Purpose, stream
from cubecrop.simulate.weather import growing_degree_days, monthly_course

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Region
    from cubecrop.simulate.state import Growth
    from cubecrop.simulate.weather import Ground, Weather

__all__ = ["Meadow", "Place", "Plan", "Stand"]

# Soil moisture, m3 m-3, above which farmers do not drive on a field, and days after which they
# drive anyway: before winter they wait less.
_BEARS, _WAIT = 0.27, {True: 10, False: 28}
# Share of stands that fail at first; they are drilled again about three weeks later and are thin.
_FAILED = 0.06
# Light and nitrogen limit the leaf area.
_DENSEST = 1.27
# Base temperature, degree Celsius, of crops from warm countries, which frost kills.
_TENDER = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Region, weather and ground that all stands of a region share."""

    region: Region
    weather: Weather
    ground: Ground
    cooler: NDArray[np.float64]  # (unit,) K below the weather's temperature, by altitude
    seed: int

    def heat(self, base: float, units: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute the degree days of each day, (day, unit)."""
        cooler = self.cooler[units][None, :]
        return growing_degree_days(
            self.weather.low[:, None] - cooler, self.weather.high[:, None] - cooler, base=base
        )

    def day_of(self, year: int, day_of_year: float) -> float:
        """Index of a day of a year, which may lie outside the weather's days."""
        first = np.datetime64(f"{year}-01-01") - np.datetime64(self.weather.start)
        return float(first.astype(int)) + day_of_year - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Differences between the farmers of one harvest year, all (unit,)."""

    sowing: NDArray[np.float64]  # standard normal
    vigour: NDArray[np.float64]  # factor on leaf area
    green: NDArray[np.float64]  # factor on chlorophyll
    cultivar: NDArray[np.float64]  # standard normal, for the thermal time that it needs
    wait: NDArray[np.float64]  # standard exponential, for the days before the harvest
    catch: NDArray[np.float64]  # uniform
    plough: NDArray[np.float64]  # uniform
    mowing: NDArray[np.float64]  # (unit, 8) standard normal

    @staticmethod
    def common(place: Place, crop: Crop, year: int) -> tuple[float, float]:
        """Draw the factors of a year on the leaf area and thermal time of all stands of a crop.

        Density, nutrition and disease differ between years by a tenth (as yields do from their
        trend: Ray et al. 2015, Nature Communications 6, 5989). Thermal time alone predicts
        flowering in another year to about five days of sixty (Kumudini et al. 2014, Agron. J.
        106, 2169-2174).
        """
        key = (place.seed, place.region.index, year, CROPS.index(crop))
        vigour, tempo = stream(Purpose.GROWTH, *key).standard_normal(2)
        return float(np.exp(0.11 * vigour)), float(np.exp(0.07 * tempo))

    @classmethod
    def draw(cls, place: Place, year: int, n: int) -> Plan:
        """Draw the plan of ``n`` units by (seed, region, year)."""
        rng = stream(Purpose.GROWTH, place.seed, place.region.index, year)
        draws = rng.standard_normal((12, n))
        uniform = rng.random((4, n))
        failed = uniform[3] < _FAILED
        return cls(
            sowing=draws[0] + 2.0 * failed,
            vigour=(0.92 + 0.24 * draws[1]).clip(0.3, 1.35) * np.where(failed, 0.6, 1.0),
            green=(1 + 0.16 * draws[2]).clip(0.55, 1.4),
            cultivar=draws[3],
            wait=-np.log1p(-uniform[0]).clip(None, 3),
            catch=uniform[1],
            plough=uniform[2],
            mowing=draws[4:12].T,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
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
        place: Place,
        crop: Crop,
        units: NDArray[np.intp],
        year: int,
        plan: Plan,
        free: NDArray[np.float64],
        sown: NDArray[np.float64] | None = None,
        until: NDArray[np.float64] | None = None,
    ) -> Stand:
        """Sow, develop and harvest on some units.

        Parameters
        ----------
        place : Place
        crop : Crop
        units : ndarray of int (unit,)
        year : int
            Harvest year.
        plan : Plan
        free : ndarray (unit,)
            Day from which the ground is free.
        sown, until : ndarray (unit,), optional
            Days of sowing and ploughing; by default the crop's own rules decide.
        """
        days = np.arange(place.weather.mean.size)
        if sown is None:
            sown = _sowing_day(place, crop, year) + crop.sown[1] * plan.sowing[units]
        last = days[-1]
        start = np.maximum(np.round(sown), free + 4).clip(0, last - 1).astype(np.int64)
        heat = place.heat(crop.base, units)
        heat[days[:, None] < start[None, :]] = 0.0
        emerged = np.cumsum(heat, axis=0) >= crop.heat[0]
        pace = heat * emerged
        dense, slow = plan.common(place, crop, year)
        tempo = slow * (1 + crop.cultivars * plan.cultivar[units]).clip(0.6, 1.4)
        tempo *= place.region.cultivar[0 if crop.winter else 1]
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
        end = np.maximum(np.round(end), start + 20).clip(0, last).astype(np.int64)
        leaves = cls._leaf_area(crop, stage, np.cumsum(pace, axis=0))
        fade = expit((stage - crop.fade[0]) / (crop.fade[1] / 2))
        if not crop.winter and crop.base >= _TENDER:
            # Hard frost in autumn kills the leaves of summer crops.
            hard = (place.weather.low[:, None] - place.cooler[units] < -2.0) & (stage > 1)
            fade = np.maximum(fade, -np.expm1(-np.cumsum(hard, axis=0) / 3.0))
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
            sown=start,
            flowering=_first(before >= 1),
            end=end,
            lai=leaves
            * (dense * plan.vigour[units]).clip(None, _DENSEST)
            * thirst
            * (1 - 0.55 * killed),
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
        # Yellow leaves still stand, so two fifths of the leaf area remain as straw.
        fall = 1 - 0.6 * expit((stage - crop.fall[0]) / (crop.fall[1] / 1.6))
        leaves = (rosette + (peak - rosette) * rise.clip(0)) * fall * (warmth > 0)
        return np.asarray(leaves, dtype=np.float64)

    def write(self, growth: Growth) -> None:
        """Write the stand and its stubble to the state of the region."""
        days = np.arange(growth.lai.shape[0])[:, None]
        stands = (days >= self.sown) & (days < self.end)
        visible = stands & (self.lai > 0.02)
        at = np.ix_(np.arange(days.size), self.units)
        for name in ("lai", "chlorophyll", "senescence", "flower"):
            field = getattr(growth, name)
            field[at] = np.where(stands, getattr(self, name), field[at])
        growth.crop[at] = np.where(visible, CROPS.index(self.crop), growth.crop[at])
        since = days - self.end
        stubble = self.stays * np.exp(-since.clip(0) / 60.0)
        growth.litter[at] = np.where(since >= 0, stubble, growth.litter[at])
        growth.litter[at] = np.where(stands, growth.litter[at] * 0.3, growth.litter[at])
        bed = np.exp(-(days - self.sown).clip(0) / 70.0)
        growth.rough[at] = np.where(stands, -1.2 * bed, growth.rough[at])
        growth.rough[at] = np.where(since >= 0, -0.6, growth.rough[at])
        growth.ridged[at] = np.where(stands, self.crop.rows * (0.3 + 0.7 * bed), 0.0)

    def dates(self) -> dict[str, NDArray[np.int64]]:
        """Days of sowing, flowering and harvest, (unit,)."""
        return {"sown": self.sown, "flowering": self.flowering, "harvest": self.end}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meadow:
    """Grass or alfalfa that is mown and regrows, from one autumn to the next."""

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
        place: Place,
        crop: Crop,
        units: NDArray[np.intp],
        year: int,
        plan: Plan,
    ) -> Meadow:
        """Grow grass or alfalfa by warmth since its last cut, limited by frost and drought."""
        days = np.arange(place.weather.mean.size)
        # A meadow is neither sown nor harvested, so its year starts on 1 November.
        start = max(0, int(place.day_of(year - 1, 305)))
        end = min(int(place.day_of(year, 305)), days[-1] + 1)
        heat = place.heat(5.0, units)
        heat[: int(max(0, place.day_of(year, 32)))] = 0.0
        # Alfalfa reaches water below the root zone of grass.
        curing = 0.0 if crop.name == "alfalfa" else place.region.curing
        cured = curing * place.ground.cured[:, None]
        heat *= 1 - cured
        warmth = np.cumsum(heat, axis=0)
        low, peak = crop.lai
        # Some meadows are grazed, which keeps them short and even, and never mown.
        grazed = (plan.plough[units] < 0.35) & (crop.name == "permanent grass")
        gap = crop.cuts * (1 + 0.26 * plan.mowing[units]).clip(0.5, 1.7)  # (unit, cut)
        gap[:, 0] += 120 * plan.sowing[units].clip(-1, 2)
        threshold = np.cumsum(gap, axis=1)
        since, after = warmth.copy(), np.zeros_like(warmth, dtype=bool)
        last_cut = place.day_of(year, 288)
        for k in range(gap.shape[1]):
            mown = (warmth >= threshold[None, :, k]) & ~grazed
            mown &= _first(mown)[None, :] < last_cut
            since = np.where(mown, warmth - threshold[None, :, k], since)
            after |= mown
        thirst = 0.45 + 0.55 * uniform_filter1d(place.ground.stress, 21)[:, None]
        stubble = np.where(after, 0.7, low)
        regrown = stubble + (peak - stubble) * -np.expm1(-since / 300.0)
        regrown = np.where(grazed, low + 1.4 * -np.expm1(-since / 250.0), regrown)
        # Frost and short days reduce the leaf area; alfalfa dies back to the crown.
        chill = uniform_filter1d(place.weather.mean, 25)
        hardy = 0.55 if crop.name == "alfalfa" else 0.72
        winter = 1 - (1 - hardy) * expit((3.0 - chill) / 1.2)
        killed = place.ground.killed
        dense, _ = plan.common(place, crop, year)
        lai = regrown * thirst * (winter * (1 - 0.6 * killed))[:, None]
        # Dead leaves break off one by one, and the rain of autumn finds a short sward.
        this_year = np.arange(cured.size)[:, None] >= place.day_of(year, 1)
        lai *= 1 - 0.5 * np.maximum.accumulate(cured * this_year, axis=0)
        lai = lai * (dense * plan.vigour[units]).clip(None, _DENSEST)
        fresh = np.exp(-since / 90.0) * after
        tall = expit((since - 520) / 60) * 0.12
        cold = 0.45 * expit((1.5 - chill) / 1.2)[:, None]
        dry = 0.5 * (1 - thirst)
        brown = 0.06 + 0.22 * fresh + tall + cold + dry + 0.95 * killed[:, None]
        return cls(
            crop=crop,
            units=units,
            start=start,
            end=np.full(units.size, end, dtype=np.int64),
            lai=lai,
            chlorophyll=crop.chlorophyll * plan.green[units] * np.ones_like(lai),
            brown=np.maximum(brown, cured).clip(0, 0.95),
        )

    def write(self, growth: Growth) -> None:
        """Write the year of the meadow to the state of the region."""
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
        """Days of sowing, flowering and harvest, (unit,)."""
        none = np.full(self.units.size, -1, dtype=np.int64)
        return {"sown": none, "flowering": none, "harvest": none}


def _sowing_day(place: Place, crop: Crop, year: int) -> float:
    """Find the day on which the mean temperature has passed the crop's threshold for ten days.

    The temperature is mostly the year's own (15 days' mean) and partly the climate's: farmers
    follow the calendar as much as the weather, and years of a region differ by one to three
    weeks (Sacks et al. 2010, Global Ecol. Biogeogr. 19, 607-620; USDA NASS crop progress).
    """
    weather = place.weather
    usual = monthly_course(place.region.temperature, weather.day_of_year)
    mean = 0.6 * uniform_filter1d(weather.mean, 15) + 0.4 * usual
    if crop.winter:
        first, last = int(place.day_of(year - 1, 225)), int(place.day_of(year - 1, 318))
        passed = mean[first:last] <= crop.sown[0]
    else:
        first, last = int(place.day_of(year, 50)), int(place.day_of(year, 152))
        passed = mean[first:last] >= crop.sown[0]
    # A farmer waits for about ten such days, not for a single warm spell.
    firm = np.convolve(passed, np.ones(10), mode="full")[: passed.size] >= 8
    found = int(np.argmax(firm)) if firm.any() else passed.size - 1
    # Wet ground does not bear a tractor (Rounsevell & Jones 1993, Soil Use Manage. 9, 15-22).
    longest = _WAIT[crop.winter]
    soft = uniform_filter1d(place.ground.moisture, 5)[first + found :][:longest] > _BEARS
    wait = float(longest if soft.all() else np.argmin(soft))
    return first + found + wait + (0.0 if crop.winter else place.region.late_sowing)


def _thirst(place: Place, stage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factor on leaf area; drought while leaves expand lasts for the rest of the season."""
    lack = (1 - place.ground.stress)[:, None] * (stage > 0.2) * (stage < 1.6)
    return np.asarray(1 - 0.5 * -np.expm1(-np.cumsum(lack, axis=0) / 45.0))


def _first(condition: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First day on which a condition (day, unit) holds; a day far beyond the end if never."""
    first = np.argmax(condition, axis=0)
    return np.where(condition.any(axis=0), first, 10**6).astype(np.int64)
