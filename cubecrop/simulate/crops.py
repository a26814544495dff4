"""Crops of the simulated world: their thermal time, canopy and radar.

Thermal times follow the form of WOFOST's crop files (Boogaard et al. 2014, user's guide for
WOFOST 7.1; de Wit et al. 2019, Agric. Syst. 168, 154-167). They are set by hand so that emergence,
flowering and ripening fall in the months of crop calendars (JRC MARS; FAO) in each region.
Leaf area and chlorophyll at the peak are within the field campaigns that PROSAIL was tested on
(Jacquemoud et al. 2009, Remote Sens. Environ. 113, S56-S66). Radar levels are those of Sentinel-1
over crops through a season (Veloso et al. 2017, Remote Sens. Environ. 199, 415-426; Meroni et al.
2021, Remote Sens. Environ. 253, 112232).

Vines and trees stand in an alley of grass or tilled soil. Their cover and leaf area are within
Allen & Pereira 2009 (Irrig. Sci. 28, 17-34), Johnson 2003 (vines; Aust. J. Grape Wine Res. 9,
96-101) and Villalobos et al. 1995 (olives; Agric. For. Meteorol. 73, 29-42). The thermal time of
vines follows the form of Parker et al. 2011 (Aust. J. Grape Wine Res. 17, 206-216): from 1 March
over 0 degree Celsius, with flowering at about 1,280 K d, when two thirds of the leaves are out.
Closed crowns scatter half a decibel to one and a half less than temperate forest (Dostalova et al.
2018, Int. J. Remote Sens. 39, 7738-7760), as they are lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CROPS", "Crop", "Wood", "crop_index"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wood:
    """Vines or trees of a perennial crop.

    Attributes
    ----------
    cover : tuple of 2 floats
        Share of the ground under crowns, in the sparsest and the densest parcels.
    lai : float
        Leaf area within the crowns in full leaf, m2 per m2 of crown.
    chlorophyll, water, leaf_angle
        Traits of the green leaf, in the units of `canopy.AXES`.
    leafing : tuple of 2 floats or None
        Thermal time from 1 March over 0 degree Celsius to half of the leaves, and its width, K d;
        None is evergreen.
    leaf_fall : float
        Day length at which half of the leaves have fallen, hours.
    blossom : tuple of 3 floats or None
        Thermal time to full bloom, its width, and share of the crowns that shows petals.
    tilled : float
        Share of the parcels whose alley is tilled or sprayed from spring to autumn.
    vv, vh : float
        Gamma nought of closed crowns, dB.
    """

    cover: tuple[float, float]
    lai: float
    chlorophyll: float
    water: float = 0.016
    leaf_angle: float = 55.0
    leafing: tuple[float, float] | None
    leaf_fall: float = 0.0
    blossom: tuple[float, float, float] | None = None
    tilled: float
    vv: float
    vh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """One crop. Its development runs from 0 (emergence) over 1 (flowering) to 2 (ripe).

    Attributes
    ----------
    code, name : str
        Code in the French parcel register (RPG, IGN/ASP, 2022), and English name.
    winter : bool
        Whether it is sown in the autumn before the harvest year.
    sown : tuple of 2 floats
        Ten-day mean temperature at sowing, degree Celsius (spring crops wait for it to rise to
        this, winter crops for it to fall to this), and standard deviation of the day of sowing
        among parcels, d.
    base : float
        Base temperature, degree Celsius.
    heat : tuple of 3 floats
        Thermal time from sowing to emergence, to flowering, to ripeness, K d.
    cultivars : float
        Standard deviation among parcels of a factor on thermal time, as varieties are early or
        late.
    daylength : tuple of 2 floats or None
        Until flowering, development stops below the first day length and is full above the
        second, hours.
    lai : tuple of 2 floats
        Leaf area index of the rosette or tillers, and at the peak, m2 m-2.
    rise, fall : tuple of 2 floats
        Development at half the rise (fall) of leaf area, and its width.
    chlorophyll, water, leaf_angle
        Traits of the green leaf, in the units of `canopy.AXES`.
    fade : tuple of 2 floats
        Development at half senescence, and its width.
    harvest : tuple of 3 floats
        Development at which it is ready, mean wait until the harvest in d, latest day of the
        year.
    vv, vh : tuple of 2 floats
        Gamma nought of a dense canopy in dB, and attenuation per kg m-2 of plant water.
    plant_water : float
        Plant water per leaf area, kg m-2.
    dries : float
        Share of the plant water that is lost when ripe.
    ears : float
        Increase of a dense canopy's VH by ripening, dB.
    rows : float
        Row effect of the bare seedbed, dB.
    flower : tuple of 3 floats or None
        Development, its width, and share of ground that shows petals.
    cuts : float
        Thermal time between mowings over 5 degree Celsius, K d; 0 = never mown.
    litter : float
        Share of the ground under straw or leaves after harvest.
    wood : Wood or None
        Vines or trees; the other attributes then describe the alley between them.
    """

    code: str
    name: str
    winter: bool = False
    sown: tuple[float, float]
    base: float
    heat: tuple[float, float, float]
    cultivars: float = 0.1
    daylength: tuple[float, float] | None = None
    lai: tuple[float, float]
    rise: tuple[float, float]
    fall: tuple[float, float]
    chlorophyll: float
    water: float = 0.016
    leaf_angle: float = 55.0
    fade: tuple[float, float] = (1.62, 0.12)
    harvest: tuple[float, float, float] = (2.0, 8.0, 250.0)
    vv: tuple[float, float]
    vh: tuple[float, float]
    plant_water: float = 0.7
    dries: float = 0.62
    ears: float = 0.0
    rows: float = 0.5
    flower: tuple[float, float, float] | None = None
    cuts: float = 0.0
    litter: float = 0.35
    wood: Wood | None = None


def _woody(code: str, name: str, wood: Wood, *, rows: float) -> Crop:
    """A perennial crop over an alley of mown grass, which is thinner than a meadow."""
    return Crop(
        code=code, name=name, winter=True, sown=(99, 0), base=3, heat=(0, 1, 1), lai=(0.9, 2.3),
        rise=(0, 1), fall=(9, 1), chlorophyll=40, water=0.015, leaf_angle=62, vv=(-11.3, 0.22),
        vh=(-16.7, 0.24), cuts=680, harvest=(9, 0, 366), litter=0.2, rows=rows, wood=wood,
    )  # fmt: skip


#: Keep the order: the index is part of random keys.
CROPS: Final = (
    Crop(
        code="BTH", name="winter wheat", winter=True, sown=(11.5, 10), base=0,
        heat=(130, 1020, 830), daylength=(7, 15), lai=(0.75, 5.4), rise=(0.39, 0.085),
        fall=(1.6, 0.12), chlorophyll=46, leaf_angle=62, litter=0.5,
        vv=(-14.8, 0.22), ears=2.5, vh=(-20.2, 0.11),
    ),
    Crop(
        code="ORH", name="winter barley", winter=True, sown=(13.2, 9), base=0,
        heat=(120, 900, 740), daylength=(7, 14.6), lai=(0.95, 5.2), rise=(0.37, 0.085),
        fall=(1.55, 0.12), chlorophyll=40, leaf_angle=58, litter=0.5,
        vv=(-14.6, 0.22), ears=2.5, vh=(-18.9, 0.13), fade=(1.55, 0.13),
    ),
    Crop(
        code="CZH", name="winter rapeseed", winter=True, sown=(16.8, 8), base=1,
        heat=(90, 480, 1060), daylength=(10.4, 14), lai=(2.2, 4.6), rise=(0.42, 0.1),
        fall=(1.55, 0.12), chlorophyll=44, water=0.02, leaf_angle=42, litter=0.35,
        vv=(-8.0, 0.26), vh=(-10.4, 0.12), plant_water=0.9, flower=(1.06, 0.11, 0.45),
        fade=(1.65, 0.12),
    ),
    Crop(
        code="ORP", name="spring barley", sown=(7.2, 9), base=0,
        heat=(130, 830, 740), lai=(0.4, 5.0), rise=(0.46, 0.1), fall=(1.58, 0.12),
        chlorophyll=40, leaf_angle=58, litter=0.45, vv=(-11.5, 0.20), ears=2.5, vh=(-14.9, 0.2),
        fade=(1.55, 0.13),
    ),
    Crop(
        code="BTP", name="spring wheat", sown=(7.0, 9), base=0,
        heat=(130, 930, 800), lai=(0.4, 4.8), rise=(0.46, 0.1), fall=(1.58, 0.12),
        chlorophyll=46, leaf_angle=62, litter=0.45, vv=(-13.5, 0.20), ears=2.5, vh=(-17.2, 0.14),
    ),
    Crop(
        code="MIS", name="maize", sown=(12.7, 10), base=8,
        heat=(65, 620, 720), cultivars=0.12, lai=(0.0, 4.8), rise=(0.64, 0.11), fall=(1.8, 0.13),
        chlorophyll=50, leaf_angle=52, fade=(1.85, 0.13), harvest=(1.76, 12, 300), rows=1.0,
        vv=(-8.4, 0.20), vh=(-13.7, 0.28), plant_water=0.9, dries=0.1, litter=0.3,
    ),
    Crop(
        code="TRN", name="sunflower", sown=(12.2, 10), base=7,
        heat=(65, 720, 720), lai=(0.0, 3.6), rise=(0.48, 0.1), fall=(1.5, 0.12),
        chlorophyll=44, water=0.022, leaf_angle=36, fade=(1.52, 0.13), harvest=(2.0, 10, 290),
        vv=(-7.8, 0.24), vh=(-14.0, 0.28), plant_water=1.0, flower=(1.03, 0.09, 0.22), rows=1.0,
    ),
    Crop(
        code="BTN", name="sugar beet", sown=(8.6, 9), base=3,
        heat=(110, 1500, 1500), lai=(0.0, 4.8), rise=(0.36, 0.07), fall=(2.2, 0.2),
        chlorophyll=50, water=0.028, leaf_angle=44, fade=(2.3, 0.2), harvest=(1.62, 20, 318),
        vv=(-7.0, 0.26), vh=(-13.7, 0.30), plant_water=1.1, rows=0.8, litter=0.1,
    ),
    Crop(
        code="PTC", name="potato", sown=(10.8, 12), base=4,
        heat=(190, 420, 1000), cultivars=0.16, lai=(0.0, 4.6), rise=(0.62, 0.13), fall=(1.62, 0.12),
        chlorophyll=42, water=0.024, leaf_angle=40, fade=(1.62, 0.13), harvest=(1.9, 18, 285),
        vv=(-6.8, 0.26), vh=(-13.0, 0.32), plant_water=1.0, rows=2.2, litter=0.15,
        flower=(1.1, 0.1, 0.04),
    ),
    Crop(
        code="SOJ", name="soybean", sown=(14.3, 12), base=8,
        heat=(65, 420, 820), daylength=None, lai=(0.0, 4.8), rise=(0.72, 0.13),
        fall=(1.68, 0.1), chlorophyll=42, leaf_angle=38, fade=(1.66, 0.11),
        harvest=(2.0, 10, 300), vv=(-6.8, 0.28), vh=(-13.0, 0.34), plant_water=0.8, rows=0.4,
    ),
    Crop(
        code="PPR", name="spring pea", sown=(6.2, 10), base=1,
        heat=(130, 780, 620), lai=(0.2, 4.4), rise=(0.45, 0.1), fall=(1.55, 0.12),
        chlorophyll=44, water=0.022, leaf_angle=45, litter=0.3, vv=(-10.0, 0.26),
        vh=(-14.8, 0.28), fade=(1.5, 0.12),
    ),
    Crop(
        code="LUZ", name="alfalfa", winter=True, sown=(99, 0), base=3, heat=(0, 1, 1),
        lai=(0.9, 4.6), rise=(0, 1), fall=(9, 1), chlorophyll=48, water=0.02, leaf_angle=45,
        vv=(-10.6, 0.20), vh=(-15.3, 0.24), cuts=560, harvest=(9, 0, 366), litter=0.2,
    ),
    Crop(
        code="PPH", name="permanent grass", winter=True, sown=(99, 0), base=3, heat=(0, 1, 1),
        lai=(1.8, 4.4), rise=(0, 1), fall=(9, 1), chlorophyll=40, water=0.015, leaf_angle=62,
        vv=(-11.3, 0.22), vh=(-16.7, 0.24), cuts=680, harvest=(9, 0, 366), litter=0.3,
    ),
    Crop(
        code="", name="catch crop", winter=True, sown=(99, 12), base=2, heat=(110, 900, 2000),
        lai=(0.0, 3.2), rise=(0.35, 0.1), fall=(9, 1), chlorophyll=40, water=0.02, leaf_angle=45,
        vv=(-9.5, 0.24), vh=(-15.0, 0.28), plant_water=0.9, litter=0.25,
    ),
    _woody("VRC", "vineyard", rows=1.0, wood=Wood(
        cover=(0.28, 0.5), lai=3.4, chlorophyll=40, leafing=(1000, 170), leaf_fall=10.7,
        tilled=0.65, vv=-9.8, vh=-15.4,
    )),
    _woody("VRG", "orchard", rows=0.5, wood=Wood(
        cover=(0.3, 0.6), lai=4.0, chlorophyll=46, leafing=(600, 110), leaf_fall=10.3,
        blossom=(400, 80, 0.3), tilled=0.25, vv=-9.4, vh=-14.8,
    )),
    _woody("OLI", "olive grove", rows=0.3, wood=Wood(
        cover=(0.2, 0.4), lai=4.5, chlorophyll=60, water=0.018, leafing=None, tilled=0.6,
        vv=-9.4, vh=-14.8,
    )),
)  # fmt: skip


def crop_index(name: str) -> int:
    """Index of a crop in `CROPS`."""
    return next(i for i, crop in enumerate(CROPS) if crop.name == name)
