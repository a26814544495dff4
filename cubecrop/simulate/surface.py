"""Reflectance and backscatter of every unit on a day: canopy, soil, litter, snow, and covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.special import expit

from cubecrop.simulate.canopy import load_table
from cubecrop.simulate.crops import CROPS
from cubecrop.simulate.draws import Purpose, stream
from cubecrop.simulate.land import COVERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Region
    from cubecrop.simulate.state import Growth
    from cubecrop.simulate.weather import Ground, Weather

__all__ = ["SPOTS", "Surface", "sun_zenith", "water_cloud"]

#: Factors on leaf area of a parcel's thin, usual and dense spots.
SPOTS: Final = (0.62, 1.0, 1.45)

# Reflectances in the order of SENTINEL2_BANDS, read by eye from typical curves of the USGS
# spectral library version 7 (Kokaly et al. 2017, doi:10.3133/ds1035) and rounded; snow from
# winter medians of the Canadian points that docs/simulator.md compares with.
_STRAW = np.array([0.090, 0.130, 0.180, 0.210, 0.24, 0.26, 0.28, 0.30, 0.37, 0.29])
_PETAL = np.array([0.045, 0.230, 0.240, 0.280, 0.38, 0.46, 0.49, 0.49, 0.25, 0.12])
_SNOW = np.array([0.800, 0.790, 0.780, 0.780, 0.77, 0.75, 0.77, 0.74, 0.15, 0.14])
_GRAVEL = np.array([0.110, 0.140, 0.170, 0.180, 0.19, 0.20, 0.21, 0.215, 0.26, 0.24])
_ROOFS = np.array([0.095, 0.110, 0.135, 0.145, 0.155, 0.16, 0.17, 0.175, 0.20, 0.19])
# Factor on PROSAIL's dry soil, which is bright: loam reflects about half as much, and less at
# 2.2 um, where clay absorbs (LUCAS topsoil, Orgiazzi et al. 2018, Eur. J. Soil Sci. 69, 140-153).
_LOAM = np.array([0.38, 0.40, 0.41, 0.43, 0.44, 0.46, 0.475, 0.49, 0.52, 0.46])
# Iron oxides absorb blue and green, not red and infrared (Ben-Dor et al. 1999, in
# Manual of Remote Sensing 3, chapter 3).
_REDNESS = np.array([-1.0, -0.5, 0.35, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3])
# White and pink petals of fruit trees scatter the visible light that rapeseed's yellow ones absorb.
_BLOSSOM = np.array([0.380, 0.420, 0.430, 0.460, 0.50, 0.52, 0.54, 0.54, 0.32, 0.18])
_WATER = np.array([0.040, 0.045, 0.030, 0.022, 0.016, 0.015, 0.012, 0.010, 0.005, 0.004])


# Crowns shade each other. Shaded ground still has the light of the sky, and light that leaves pass.
_CROWN_SHADE, _GROUND_SHADE = 0.78, 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Units of one region through time; the first are `land.COVERS` unless ``bare`` is set.

    Attributes
    ----------
    covers : int
        Number of units, the first ones, that are not parcels: ``len(COVERS)`` or 0.
    soil : ndarray (unit, 2)
        Brightness and redness of each unit's topsoil.
    azimuth : ndarray (unit,)
        Direction of the rows, radians from north.
    structure : ndarray (unit, 3)
        Standard normal deviations of the ground's roughness, and of the canopy in VV and VH.
    leaf : ndarray (unit, 2)
        Factor on the leaves' water; degrees on their inclination. They differ within a crop by
        a sixth and by about 6 degree (Hosgood et al. 1995, LOPEX93; Zou et al. 2014,
        Biogeosciences 11, 6725-6740).
    gaps : ndarray (unit,)
        Share of the ground that leaves never hide.
    rain, leafing : ndarray (day,)
        Rain in mm d-1, and share of the leaves that deciduous trees bear.
    """

    growth: Growth
    ground: Ground
    region: Region
    covers: int
    soil: NDArray[np.float64]
    azimuth: NDArray[np.float64]
    structure: NDArray[np.float64]
    leaf: NDArray[np.float64]
    gaps: NDArray[np.float64]
    rain: NDArray[np.float64]
    leafing: NDArray[np.float64]

    @classmethod
    def make(
        cls,
        region: Region,
        weather: Weather,
        ground: Ground,
        growth: Growth,
        *,
        covers: int,
        seed: int,
    ) -> Surface:
        """Draw the properties of each unit that do not change with time."""
        n = growth.lai.shape[1]
        rng = stream(Purpose.SOIL, seed, region.index)
        soil = np.array(region.soil) * (1 + rng.normal(0, (0.14, 0.05), (n, 2)))
        return cls(
            growth=growth, ground=ground, region=region, covers=covers, soil=soil.clip(0.4, 1.7),
            azimuth=np.asarray(np.pi * rng.random(n)), structure=rng.normal(0, 1, (n, 3)),
            gaps=np.asarray(0.02 + 0.12 * rng.random(n)),
            leaf=np.column_stack(
                [np.exp(0.17 * rng.standard_normal(n)), 6.0 * rng.standard_normal(n)]
            ),
            rain=weather.rain, leafing=_leafing(weather),
        )  # fmt: skip

    def reflectance(
        self, day: int, zenith: float, units: slice = slice(None)
    ) -> NDArray[np.float32]:
        """Compute the reflectance factor of thin, usual and dense spots.

        Parameters
        ----------
        day : int
            Index of the day.
        zenith : float
            Zenith angle of the sun, degrees.
        units : slice
            Units to compute.

        Returns
        -------
        ndarray of float32 (unit, spot, band)
        """
        table, growth = load_table(), self.growth
        crop = growth.crop[day, units]
        traits = np.array([(c.water, c.leaf_angle) for c in CROPS] + [(0.015, 55.0)])[crop]
        wet = ((self.ground.moisture[day] - 0.06) / 0.3).clip(0, 1)
        soil = self.soil[units]
        # Wet soil is darker by a third to a half, more so in the shortwave infrared, where
        # water absorbs (Lobell & Asner 2002, Soil Sci. Soc. Am. J. 66, 722-727).
        dry = table.soil_dry * _LOAM * (1 - 0.38 * wet)
        dry = dry * np.where(np.arange(10) >= 8, 1 - 0.22 * wet, 1.0)
        tilt = _REDNESS * (soil[:, 1:] - 1)
        bare = dry * soil[:, :1] * (1 + tilt)
        litter = growth.litter[day, units][:, None]
        below = (1 - litter) * bare + litter * _STRAW * (1 - 0.25 * wet)
        petals = growth.flower[day, units][:, None]
        images = []
        for factor in SPOTS:
            leaves = table.reflectance(
                lai=growth.lai[day, units] * factor,
                chlorophyll=growth.chlorophyll[day, units],
                senescence=growth.senescence[day, units],
                water=traits[:, 0] * self.leaf[units, 0],
                leaf_angle=traits[:, 1] + self.leaf[units, 1],
                sun_zenith=zenith,
                ground=below,
            )
            # Tramlines, headlands and gaps in the rows show the ground through any canopy.
            leaves = (1 - self.gaps[units, None]) * leaves + self.gaps[units, None] * below
            images.append((1 - petals) * leaves + petals * _PETAL)
        image = np.stack(images, axis=1)  # (unit, spot, band)
        self._crowns(image, below, day, zenith, units)
        if self.covers and units == slice(None):
            self._cover(image, day, zenith)
        # Snow hides fields, but only a part of hedges and trees.
        hidden = np.full(image.shape[0], 0.95 * self.ground.snow[day])
        if self.covers and units == slice(None):
            hidden[[COVERS.index(name) for name in ("hedge", "wood", "conifers")]] *= 0.35
        image = image * (1 - hidden[:, None, None]) + hidden[:, None, None] * _SNOW
        return np.asarray(image, dtype=np.float32)

    def _crowns(
        self,
        image: NDArray[np.float64],
        below: NDArray[np.float64],
        day: int,
        zenith: float,
        units: slice,
    ) -> None:
        """Put crowns over the alley, which they shade.

        Of the ground that is seen from above between round crowns of cover c, the sun lights
        (1 - c) to the power 1 / cos(zenith) - 1 (Li & Strahler 1985, IEEE Trans. Geosci. Remote
        Sens. GE-23, 705-721). The ground below crowns is bare or mulched.
        """
        growth = self.growth
        some = np.flatnonzero(growth.crown_cover[day, units])
        if not some.size:
            return
        woods = [CROPS[i].wood for i in growth.crop[day, units][some]]
        traits = np.array([(w.chlorophyll, w.water, w.leaf_angle) for w in woods if w is not None])
        leaf = self.leaf[units][some]
        lai = growth.crown_lai[day, units][some]
        petals = growth.blossom[day, units][some, None]
        for spot, factor in enumerate(SPOTS):
            # Where plants are vigorous, crowns are both wider and denser.
            cover = (growth.crown_cover[day, units][some] * factor**0.5).clip(0, 0.9)[:, None]
            opaque = -np.expm1(-0.5 * lai * factor**0.5)[:, None]
            crowns = _CROWN_SHADE * load_table().reflectance(
                lai=lai * factor**0.5,
                chlorophyll=traits[:, 0],
                senescence=growth.crown_senescence[day, units][some],
                water=traits[:, 1] * leaf[:, 0],
                leaf_angle=traits[:, 2] + leaf[:, 1],
                sun_zenith=zenith,
                ground=below[some],
            )
            crowns = (1 - petals) * crowns + petals * _BLOSSOM
            lit = (1 - cover * opaque) ** (1 / np.cos(np.radians(zenith)) - 1)
            shaded = lit + _GROUND_SHADE * (1 - lit)
            image[some, spot] = (1 - cover) * shaded * image[some, spot] + cover * crowns

    def _cover(self, image: NDArray[np.float64], day: int, zenith: float) -> None:
        table, leaf = load_table(), self.leafing[day]
        trees = {"hedge": 0.5 + 3.0 * leaf, "wood": 0.5 + 4.2 * leaf, "conifers": 4.0}
        for name, lai in trees.items():
            autumn = 0.1 + 0.5 * (1 - leaf) if name != "conifers" else 0.0
            spots = table.reflectance(
                lai=np.array([0.75, 1.0, 1.2]) * lai,
                chlorophyll=np.full(3, 44.0),
                senescence=np.full(3, autumn),
                water=np.full(3, 0.014),
                leaf_angle=np.full(3, 50.0),
                sun_zenith=zenith,
                ground=np.tile(0.7 * table.soil_dry * 0.5 + 0.3 * _STRAW, (3, 1)),
            )
            image[COVERS.index(name)] = spots * (0.52 if name == "conifers" else _CROWN_SHADE)
        grass = image[COVERS.index("margin")]
        image[COVERS.index("track")] = _GRAVEL
        image[COVERS.index("village")] = 0.65 * _ROOFS + 0.35 * grass
        image[COVERS.index("water")] = _WATER

    def backscatter(
        self, day: int, *, incidence: float, heading: float, units: slice = slice(None)
    ) -> NDArray[np.float64]:
        """Compute gamma nought in linear power, (unit, polarisation): VV, VH.

        Parameters
        ----------
        day : int
            Index of the day.
        incidence : float
            Incidence angle, degrees.
        heading : float
            Azimuth of the look direction, radians from north.
        units : slice
            Units to compute.

        Notes
        -----
        Soil backscatter is linear in dB with moisture, 14 dB per m3 m-3 in VV
        (Bauer-Marschallinger et al. 2019, IEEE Trans. Geosci. Remote Sens. 57, 520-539, and
        references there). Rougher ground is brighter; VH is below VV and less sensitive; frozen
        soil acts as dry soil. Ice in plants scatters and absorbs less than water: frozen grass is
        about 3 dB darker (Baghdadi et al. 2018, Remote Sens. 10, 1218).
        """
        growth = self.growth
        frozen = bool(self.ground.frozen[day])
        moisture = 0.08 if frozen else self.ground.moisture[day]
        rough = growth.rough[day, units] + 0.9 * self.structure[units, 0]
        row = growth.ridged[day, units] * np.cos(self.azimuth[units] - heading) ** 2
        steep = incidence - 39.0
        soil_vv = -11.5 + 14.0 * moisture + rough + row - 0.16 * steep
        soil_vh = -19.4 + 11.0 * moisture + 1.2 * rough + 0.3 * row - 0.08 * steep
        soil = np.stack([soil_vv, soil_vh], axis=1)
        crop = growth.crop[day, units]
        values = [(*c.vv, *c.vh, c.plant_water, c.dries, c.ears) for c in CROPS]
        traits = np.array([*values, (-12.0, 0.2, -18.0, 0.2, 0.6, 0.62, 0.0)])[crop]
        ripe = growth.senescence[day, units]
        # Differences between parcels of a crop, mostly alike in both polarisations.
        own = 1.3 * self.structure[units, 1:2] + 0.8 * self.structure[units, 2:]
        dense = traits[:, (0, 2)] + own
        dense[:, 1] += traits[:, 6] * ripe
        water = traits[:, 4] * growth.lai[day, units] * (1 - traits[:, 5] * ripe)
        if frozen:
            dense, water = dense - 3.0, 0.5 * water
        else:  # rain on leaves brightens the canopy by up to 1 dB for the day
            dense = dense + 1.0 * -np.expm1(-self.rain[day] / 4.0)
        power = water_cloud(water[:, None], dense, traits[:, (1, 3)], soil, incidence=incidence)
        self._crown_power(power, own, day, incidence, units)
        if self.covers and units == slice(None):
            self._cover_power(power, day)
        return power

    def _crown_power(
        self,
        power: NDArray[np.float64],
        own: NDArray[np.float64],
        day: int,
        incidence: float,
        units: slice,
    ) -> None:
        """Put crowns over the alley; seen from the side, they hide more of it than from above.

        Twigs and trunks scatter without leaves too, so that crowns have no season but frost.
        """
        cover = self.growth.crown_cover[day, units].astype(np.float64)
        some = np.flatnonzero(cover)
        if not some.size:
            return
        woods = [CROPS[i].wood for i in self.growth.crop[day, units][some]]
        crowns = np.array([(w.vv, w.vh) for w in woods if w is not None]) + own[some]
        crowns -= 3.0 * bool(self.ground.frozen[day])
        hidden = 1 - (1 - cover[some, None]) ** (1 / np.cos(np.radians(incidence)))
        power[some] = (1 - hidden) * power[some] + hidden * 10 ** (crowns / 10)

    def _cover_power(self, power: NDArray[np.float64], day: int) -> None:
        leaf = self.leafing[day]
        for name, vv, vh in (
            ("hedge", -9.2, -14.8 - 0.4 * leaf),
            ("wood", -8.8, -14.2 - 0.5 * leaf),
            ("conifers", -9.3, -14.6),
            ("village", -4.5, -12.0),
            ("track", -12.0, -19.0),
            ("water", -20.5, -27.0),
        ):
            power[COVERS.index(name)] = 10 ** (np.array([vv, vh]) / 10)


def water_cloud(
    water: NDArray[np.floating],
    dense: NDArray[np.floating],
    attenuation: NDArray[np.floating],
    soil: NDArray[np.floating],
    *,
    incidence: float,
) -> NDArray[np.float64]:
    """Compute the backscatter of a canopy over soil by the water-cloud model, linear power.

    Parameters
    ----------
    water : ndarray
        Plant water, kg m-2.
    dense : ndarray
        Backscatter of an infinitely dense canopy, dB.
    attenuation : ndarray
        One-way extinction per plant water, m2 kg-1.
    soil : ndarray
        Backscatter of the bare soil, dB.
    incidence : float
        Incidence angle, degrees.

    References
    ----------
    Attema & Ulaby 1978, Radio Science 13, 357-364: canopy = dense (1 - t), soil weakened by
    t = exp(-2 attenuation water / cos(incidence)).
    """
    through = np.exp(-2 * attenuation * water / np.cos(np.radians(incidence)))
    canopy = 10 ** (np.asarray(dense) / 10) * (1 - through)
    return np.asarray(canopy + through * 10 ** (np.asarray(soil) / 10), dtype=np.float64)


def sun_zenith(latitude: float, day_of_year: int, *, hour: float = 10.75) -> float:
    """Zenith angle of the sun in degrees at a local solar hour (FAO-56, equation 24)."""
    declination = 0.409 * np.sin(2 * np.pi * day_of_year / 365 - 1.39)
    phi, angle = np.radians(latitude), np.pi / 12 * (hour - 12)
    cosine = np.sin(phi) * np.sin(declination)
    cosine += np.cos(phi) * np.cos(declination) * np.cos(angle)
    return float(np.degrees(np.arccos(cosine)))


def _leafing(weather: Weather) -> NDArray[np.float64]:
    """Share of leaves on deciduous trees: warmth since January brings them, short days end them."""
    n = weather.mean.size
    day = np.datetime64(weather.start) + np.arange(n)
    years = day.astype("datetime64[Y]")
    leaves = np.zeros(n)
    for year in np.unique(years):
        mine = years == year
        warmth = np.cumsum((weather.mean[mine] - 4.0).clip(0))
        spring = expit((warmth - 260) / 40)
        late = np.arange(mine.sum()) > 200
        short = expit((10.9 - weather.daylength[mine]) / 0.25) * late
        leaves[mine] = spring * (1 - short)
    return np.asarray(uniform_filter1d(leaves, 5))
