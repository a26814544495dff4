"""Crops of the simulated archive and how their canopies come and go.

Curves are logistic rises and falls with plausible dates for Flanders and northern France,
not a growth model. Double logistic seasons follow Beck et al. 2006 (Remote Sensing of
Environment 100, 321-334), radar behaviour follows in shape alone Veloso et al. 2017
(Remote Sensing of Environment 199, 415-426).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cubecrop.simulate.draws import Purpose, stream

__all__ = [
    "CROPS",
    "MARGIN_UNIT",
    "MIN_PARCELS",
    "WOOD_UNIT",
    "Canopy",
    "Crop",
    "Growth",
    "make_growth",
]

Array = NDArray[np.float64]

MARGIN_UNIT: Final = 0
WOOD_UNIT: Final = 1
#: Enough for five parcels of each crop beside the woods.
MIN_PARCELS: Final = 54


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """One crop. Days count from 1 January of the harvest year; covers are fractions.

    ``winter`` is (emergence, cover) of an overwintering canopy; ``main`` is (middle of the
    rise, its width, middle of the fall, its width). ``nir``, ``edge`` and ``swir`` scale the
    leaf spectrum; ``vv`` and ``vh`` are the backscatter of a closed canopy in dB.
    """

    code: str
    name: str
    share: float
    main: tuple[float, float, float, float]
    peak: float = 0.93
    winter: tuple[float, float] | None = None
    harvest: float | None = None
    cuts: tuple[float, ...] = ()
    flower: float | None = None
    permanent: bool = False
    nir: float = 1.0
    edge: float = 1.0
    swir: float = 1.0
    vv: float = -11.0
    vh: float = -17.0


# Codes are those of the French parcel register (RPG, IGN/ASP, list of crops 2022).
CROPS: Final = (
    Crop(
        code="BTH", name="winter wheat", share=24, winter=(-55, 0.35), main=(92, 10, 180, 6),
        harvest=207, nir=0.95, edge=0.95, vv=-15.0, vh=-20.0,
    ),
    Crop(
        code="ORH", name="winter barley", share=11, winter=(-66, 0.42), main=(85, 10, 166, 6),
        harvest=192, nir=0.93, edge=1.02, vv=-14.2, vh=-19.2,
    ),
    Crop(
        code="CZH", name="winter rapeseed", share=9, winter=(-112, 0.6), main=(74, 9, 168, 7),
        harvest=199, flower=112, nir=1.02, edge=1.03, vv=-10.5, vh=-14.0,
    ),
    Crop(
        code="MIS", name="maize", share=16, main=(163, 8, 258, 9), harvest=272,
        nir=0.92, edge=0.95, swir=0.98, vv=-9.8, vh=-16.0,
    ),
    Crop(
        code="BTN", name="sugar beet", share=11, main=(158, 8, 310, 12), harvest=300,
        nir=1.1, edge=1.1, swir=0.88, vv=-9.2, vh=-15.0,
    ),
    Crop(
        code="PTC", name="potato", share=9, main=(160, 7, 242, 9), harvest=268, peak=0.9,
        nir=1.05, edge=1.05, swir=0.92, vv=-8.8, vh=-14.6,
    ),
    Crop(
        code="PPH", name="permanent grass", share=14, winter=(-250, 0.62),
        main=(82, 14, 330, 20), peak=0.9, cuts=(146, 205, 258), permanent=True,
        nir=0.95, vv=-11.5, vh=-17.5,
    ),
    Crop(
        code="LUZ", name="alfalfa", share=7, winter=(-250, 0.5), main=(88, 11, 315, 15),
        cuts=(136, 176, 216, 258), nir=1.05, swir=0.94, vv=-11.2, vh=-16.6,
    ),
    Crop(
        code="", name="wood", share=0, main=(112, 8, 305, 9), peak=0.9, winter=(-250, 0.25),
        permanent=True, nir=0.8, edge=0.85, swir=0.8, vv=-9.5, vh=-14.5,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Canopy:
    """Covers of each unit on one day, float64 (unit,): green leaf, flower, dry matter."""

    green: Array
    flower: Array
    dry: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What is particular to each unit, all float64 (unit,); cuts are (unit, cut).

    ``rise`` and ``fall`` shift the season in days, ``before`` and ``after`` are covers of
    catch crops before sowing and after harvest, ``until`` the day that the first ends.
    """

    crop: NDArray[np.int64]
    rise: Array
    fall: Array
    vigour: Array
    before: Array
    until: Array
    after: Array
    cuts: Array
    spectrum: Array
    soil: Array
    structure: Array

    def canopy(self, day: float) -> Canopy:
        """Evaluate the curves on a day counted from 1 January of the harvest year."""
        green, flower, dry = (np.zeros(self.crop.size) for _ in range(3))
        for index in np.unique(self.crop):
            at = np.flatnonzero(self.crop == index)
            green[at], flower[at], dry[at] = self._covers(CROPS[index], at, day)
        # Overlapping covers share the ground.
        total = np.maximum(green + flower + dry, 1.0)
        return Canopy(green=green / total, flower=flower / total, dry=dry / total)

    def _covers(self, crop: Crop, at: NDArray[np.intp], day: float) -> tuple[Array, ...]:
        up, up_width, down, down_width = crop.main
        up_day, down_day = up + self.rise[at], down + self.fall[at]
        fading = expit((down_day - day) / down_width)
        green = crop.peak * self.vigour[at] * expit((day - up_day) / up_width) * fading
        if crop.winter is not None:
            emergence, cover = crop.winter
            emerged = expit((day - emergence - 1.5 * self.rise[at]) / 9)
            green = np.maximum(green, cover * self.vigour[at] * emerged * fading)
        green = green * self._uncut(crop, at, day)
        flower = np.zeros_like(green)
        if crop.flower is not None:
            open_ = np.exp(-0.5 * ((day - crop.flower - self.rise[at]) / 9) ** 2)
            flower, green = 0.55 * open_ * green, (1 - 0.55 * open_) * green
        if crop.harvest is None:
            return green, flower, (crop.peak - green).clip(0) * 0.25
        harvest = crop.harvest + self.fall[at]
        standing = expit((harvest - day) / 1.2)
        dry = 0.8 * crop.peak * self.vigour[at] * (1 - fading) * standing
        stubble = 0.4 * (1 - standing) * np.exp(-(day - harvest).clip(0) / 40)
        before = self.before[at] * expit((day + 128) / 8) * expit((self.until[at] - day) / 5)
        after = self.after[at] * expit((day - harvest - 38) / 8)
        return np.maximum.reduce([green * standing, before, after]), flower, dry + stubble

    def _uncut(self, crop: Crop, at: NDArray[np.intp], day: float) -> Array:
        """Share of the canopy that stands, after mowing and regrowth in about a month."""
        standing = np.ones(at.size)
        for k in range(len(crop.cuts)):
            since = day - self.cuts[at, k]
            standing *= np.where(since >= 0, 1 - 0.65 * np.exp(-since.clip(0) / 14), 1.0)
        return standing


def make_growth(crop: NDArray[np.int64], *, year: int, seed: int, shift: float) -> Growth:
    """Draw how each unit differs from its crop's curve.

    Parameters
    ----------
    crop : ndarray of int64 (unit,)
        Index into `CROPS`.
    year, seed : int
        Harvest year and seed.
    shift : float
        Days that the whole season runs late, from its weather.

    Returns
    -------
    Growth
        Sowing differs by up to 8 days between parcels, and ripening by a few more.
    """
    rng = stream(Purpose.GROWTH, seed, year)
    n = crop.size
    rise = rng.uniform(-8, 8, n) + shift
    winter = [CROPS[i].winter for i in crop]
    emergence = np.array([np.nan if w is None else w[0] for w in winter])
    most = max(len(c.cuts) for c in CROPS)
    planned = np.array([list(CROPS[i].cuts) + [0.0] * (most - len(CROPS[i].cuts)) for i in crop])
    cuts = planned + rng.normal(0, 8, (n, most))
    # A pasture is mown seldom, an alfalfa field nearly always.
    mown = np.array([0.5 if CROPS[i].permanent else 0.85 for i in crop])
    cuts = np.where(rng.random((n, most)) < mown[:, None], cuts, 1e4)
    cuts[: WOOD_UNIT + 1] = 1e4
    catch = rng.random((2, n)) < 0.5
    until = np.where(np.isnan(emergence), rng.uniform(-40, 55, n), emergence - 15)
    return Growth(
        crop=crop,
        rise=rise,
        fall=0.5 * rise + rng.normal(0, 4, n) + 0.5 * shift,
        vigour=rng.uniform(0.72, 1.05, n),
        before=np.where(catch[0], rng.uniform(0.3, 0.75, n), 0.0),
        until=until,
        after=np.where(catch[1], rng.uniform(0.2, 0.7, n), 0.0),
        cuts=cuts,
        spectrum=rng.normal(1, 0.06, (n, 3)),
        soil=rng.uniform(0.75, 1.25, n),
        structure=rng.normal(0, 0.9, (n, 2)),
    )
