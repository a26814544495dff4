"""Colours of crops by name, so that a crop has the same colour in every map."""

from __future__ import annotations

import colorsys
import hashlib
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["SERIES_COLOURS", "colours_of"]

#: Colours of lines and marks on white and on black that colour-blind people can tell apart, in the
#: order of use (Okabe & Ito 2008, "Color universal design", lightened for black).
SERIES_COLOURS: Final = (
    ("#0072B2", "#56B4E9"), ("#D55E00", "#FF8A3D"), ("#009E73", "#3DD6A6"),
    ("#CC79A7", "#E8A3C8"), ("#8A6D00", "#F0E442"), ("#555555", "#BBBBBB"),
)  # fmt: skip

#: Colours and their names in English, German, French and Dutch, with those of the WorldCereal and
#: HCAT lists. Order and case of words do not matter. Crops of one genus have similar hues.
_KNOWN: Final = (
    ("#C8A165", "winter wheat", "winter common soft wheat", "wheat", "soft wheat",
     "common wheat", "winterweizen", "winterweichweizen", "weizen", "ble tendre",
     "ble tendre d hiver", "ble tendre hiver", "ble", "wintertarwe", "tarwe"),
    ("#E9D3A4", "spring wheat", "spring common soft wheat", "summer wheat", "sommerweizen",
     "ble tendre de printemps", "ble tendre printemps", "zomertarwe"),
    ("#96703A", "durum wheat", "durum", "winter durum hard wheat", "hartweizen", "ble dur",
     "ble dur d hiver", "durum hard wheat"),
    ("#DDBB88", "spelt", "winter spelt", "dinkel", "epeautre", "spelt wheat"),
    ("#2F6FAE", "winter barley", "wintergerste", "wintergerst", "orge d hiver", "orge hiver"),
    ("#9CC4E8", "spring barley", "summer barley", "sommergerste", "zomergerst",
     "orge de printemps", "orge printemps"),
    ("#6298CC", "barley", "gerste", "gerst", "orge"),
    ("#0B6B63", "rye", "winter rye", "roggen", "winterroggen", "seigle", "rogge", "winterrogge"),
    ("#5FB3A8", "triticale", "winter triticale", "wintertriticale"),
    ("#8FD3C8", "oats", "oat", "spring oats", "winter oats", "hafer", "avoine", "haver"),
    ("#B79F86", "winter cereals", "winter cereal", "wintergetreide"),
    ("#D9CDBD", "spring cereals", "spring cereal", "summer cereals", "sommergetreide"),
    ("#A4896A", "cereals", "cereal", "other cereals", "getreide", "cereales", "granen"),
    ("#7C5B33", "winter crop", "winter crops"),
    ("#C3B091", "spring crop", "spring crops"),
    ("#D9822B", "summer crop", "summer crops"),
    ("#74B72E", "grass and forage", "grass fodder", "grass and fodder", "fodder", "forage"),
    ("#5E3A1A", "permanent crop", "permanent crops", "permanent", "cultures permanentes",
     "dauerkulturen"),
    ("#8F8F3C", "cropland", "crop", "arable crops", "temporary crops"),
    ("#E3572A", "maize", "corn", "mais", "maize corn"),
    ("#B93F17", "grain maize", "grain maize corn popcorn", "kornermais", "mais grain",
     "korrelmais"),
    ("#F08F63", "silage maize", "green silage maize", "silage corn", "fodder maize", "silomais",
     "mais ensilage", "snijmais", "kuilmais"),
    ("#F9C0A2", "sweet corn", "sweet maize", "sweetcorn", "zuckermais", "mais doux",
     "suikermais"),
    ("#F4E409", "winter rapeseed", "rapeseed", "rape", "oilseed rape", "winter rape",
     "winter oilseed rape", "rapeseed rape", "winter rapeseed rape", "canola", "colza",
     "colza d hiver", "colza hiver", "raps", "winterraps", "koolzaad", "winterkoolzaad"),
    ("#FFB300", "sunflower", "sunflowers", "sonnenblume", "sonnenblumen", "tournesol",
     "zonnebloem", "zonnebloemen"),
    ("#D6C24A", "mustard", "senf", "moutarde", "mosterd"),
    ("#1B7F5C", "soybean", "soybeans", "soy", "soya", "soja", "soy soybeans", "sojabohne",
     "sojabohnen", "sojabonen"),
    ("#79C36A", "pea", "peas", "spring pea", "winter pea", "field pea", "erbse", "erbsen",
     "pois", "erwten", "dry peas"),
    ("#3F9150", "beans", "bean", "field beans", "faba bean", "faba beans", "broad beans",
     "ackerbohne", "ackerbohnen", "feverole", "feveroles", "bonen", "veldbonen"),
    ("#A7CF9A", "dry pulses legumes", "dry pulses", "pulses", "legumes", "grain legumes",
     "lentil", "lentils", "linsen", "lentilles", "hulsenfruchte", "dry pulses legumes unspecified"),
    ("#5B7F2B", "alfalfa", "lucerne", "luzerne", "alfalfa lucerne"),
    ("#8DB03A", "clover", "klee", "trefle", "klaver", "legumes harvested green"),
    ("#A6D96A", "permanent grass", "permanent grassland", "grassland", "grass", "grasslands",
     "pasture", "meadow", "pasture meadow grassland grass", "permanent pasture", "dauergrunland",
     "grunland", "wiese", "prairie permanente", "prairie", "blijvend grasland", "grasland"),
    ("#D4EFB0", "temporary grass", "temporary grassland", "grass leys", "grass fodder crops",
     "temporary grass fodder", "ackergras", "prairie temporaire", "tijdelijk grasland"),
    ("#B3204D", "sugar beet", "sugar beets", "beet", "beets", "zuckerrube", "zuckerruben",
     "betterave sucriere", "betterave", "suikerbiet", "suikerbieten"),
    ("#DE7FA0", "fodder beet", "fodder beets", "futterrube", "futterruben",
     "betterave fourragere", "voederbiet", "voederbieten"),
    ("#6A3D9A", "potato", "potatoes", "kartoffel", "kartoffeln", "pomme de terre",
     "pommes de terre", "aardappel", "aardappelen", "aardappels"),
    ("#4458E0", "flax", "linseed", "flax linseed", "lin", "lein", "vlas", "fibre flax"),
    ("#1F4E3D", "hemp", "hanf", "chanvre", "hennep"),
    ("#8C8CF0", "fibre crops", "fibre crop"),
    ("#E377C2", "vegetables", "vegetable", "fresh vegetables", "gemuse", "legumes frais",
     "groenten", "vegetables fruits"),
    ("#F5B5DD", "onion", "onions", "zwiebel", "zwiebeln", "oignon", "oignons", "ui", "uien"),
    ("#FF6F91", "carrot", "carrots", "karotte", "mohren", "carotte", "carottes", "wortel",
     "wortelen"),
    ("#8C3B2E", "orchard", "orchards", "fruit", "fruits", "fruit trees", "obst", "verger",
     "vergers", "fruitbomen", "orchards fruits", "fruit tree"),
    ("#7B2D5B", "vineyard", "vineyards", "vines", "grapes", "wine", "reben", "weinberg", "vigne",
     "vignes", "wijngaard", "vineyards wine vine rebland grapes"),
    ("#7A7A1F", "olive", "olives", "olive trees", "oliveraie", "olive plantations"),
    ("#00BFC4", "rice", "paddy rice", "reis", "riz", "rijst"),
    ("#C9C9F2", "cotton", "baumwolle", "coton", "katoen"),
    ("#B15928", "sorghum", "sorghum sorgo", "sorgho", "sorghumhirse"),
    ("#CDA0D8", "millet", "millet sorghum", "hirse", "gierst"),
    ("#BCB89A", "fallow", "fallow land", "fallow land not crop", "set aside", "brache",
     "jachere", "braak", "braakland"),
    ("#BFE3D0", "catch crop", "catch crops", "cover crop", "cover crops", "zwischenfrucht"),
    ("#1E4D1E", "forest", "trees", "tree", "woodland", "wood", "tree cover", "wald", "foret",
     "bos", "tree wood forest"),
    ("#8B8F4A", "shrubland", "shrubs", "shrub", "bushes", "landes"),
    ("#1777E6", "water", "permanent water", "wasser", "eau"),
    ("#8A8A8A", "built up", "builtup", "built up areas", "urban", "siedlung", "bati"),
    ("#D8CFC0", "bare", "bare soil", "bare ground", "sparse vegetation", "bare sparse"),
    ("#6B6B6B", "other", "other crops", "other crop", "others", "sonstige", "autres",
     "autres cultures", "overige", "other temporary crops"),
)  # fmt: skip
#: Words that do not identify a crop.
_NOISE: Final = frozenset(
    ("the", "and", "of", "de", "d", "l", "und", "et", "en", "crop", "crops", "unspecified")
)
_HUES: Final = 17
#: Lightness and saturation of the palette's rounds.
_TONES: Final = ((0.42, 0.75), (0.66, 0.7), (0.3, 0.5), (0.55, 0.4), (0.78, 0.55))
#: Differences in lightness of the shades of a colour.
_SHADES: Final = (0.14, -0.14, 0.25, -0.25)


def colours_of(
    names: Iterable[str],
    *,
    but: Iterable[str] = (),
    kin: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Different colours ``#rrggbb`` for crops, chosen by their names.

    A common crop has a fixed colour, however its name is written. A name whose kin is a common
    crop has that crop's colour, or a shade of it. The hash of any other name chooses a colour
    from a palette. If two names would get the same colour, one of them takes the next shade or
    the next colour of the palette, independent of the order of the names.

    Parameters
    ----------
    names : iterable of str
        Distinct names.
    but : iterable of str
        Colours that are already in use.
    kin : mapping of str to sequence of str, optional
        For a name, other names of the crop and of the groups that it belongs to, nearest first.

    Returns
    -------
    list of str
        One colour per name, in the same order.
    """
    order = list(names)
    fixed = _fixed()
    used = {colour.upper() for colour in but}
    chosen: dict[str, str] = {}

    def claim(name: str, colour: str) -> bool:
        if colour in used:
            return False
        used.add(colour)
        chosen[name] = colour
        return True

    ranked = sorted(order, key=lambda name: (_digest(name), name))
    known = {name: found for name in ranked if (found := fixed.get(_key(name))) is not None}
    # Common crops first, so that other names never change their colour. If two names mean one
    # crop, the more common name gets its colour.
    by_use = sorted(known, key=lambda name: (known[name][1], name))
    unsettled = [name for name in by_use if not claim(name, known[name][0])]
    related = {}
    for name in (name for name in ranked if name not in known):
        keys = (_key(one) for one in (kin or {}).get(name, ()))
        if (key := next((key for key in keys if key in fixed), None)) is not None:
            related[name] = fixed[key][0]
    near = {**{name: known[name][0] for name in unsettled}, **related}
    for name in [
        *related,
        *(name for name in ranked if name not in {*known, *related}),
        *unsettled,
    ]:
        next(colour for colour in _candidates(name, near.get(name)) if claim(name, colour))
    return [chosen[name] for name in order]


@cache
def _fixed() -> dict[frozenset[str], tuple[str, int]]:
    """Colour of each common crop name, and its rank among the names of the crop."""
    return {
        _key(name): (colour, rank) for colour, *names in _KNOWN for rank, name in enumerate(names)
    }


@cache
def _palette() -> tuple[str, ...]:
    """Colours that no common crop has."""
    usual = {colour for colour, *_ in _KNOWN}
    made = []
    for lightness, saturation in _TONES:
        for hue in range(_HUES):
            rgb = colorsys.hls_to_rgb(hue / _HUES, lightness, saturation)
            made.append("#" + "".join(f"{round(255 * part):02X}" for part in rgb))
    return tuple(colour for colour in made if colour not in usual)


def _candidates(name: str, near: str | None = None) -> Iterator[str]:
    """Endless colours for a name, best first: those near a colour, then the palette's."""
    palette, digest = _palette(), _digest(name)
    if near is not None:
        usual = {colour for colour, *_ in _KNOWN}
        yield near
        yield from (shade for shade in _shades(near) if shade not in usual)
    number = int.from_bytes(digest[:8], "big")
    yield from (palette[(number + step) % len(palette)] for step in range(len(palette)))
    while True:  # more crops than the palette has colours
        digest = hashlib.sha256(digest).digest()
        yield f"#{digest[:3].hex().upper()}"


def _shades(colour: str) -> Iterator[str]:
    """Lighter and darker tones of a colour, alternately."""
    red, green, blue = (part / 255 for part in bytes.fromhex(colour[1:]))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    for step in _SHADES:
        light = lightness + step
        if 0.15 <= light <= 0.9:
            rgb = colorsys.hls_to_rgb(hue, light, saturation)
            yield "#" + "".join(f"{round(255 * part):02X}" for part in rgb)


def _digest(name: str) -> bytes:
    words = " ".join(sorted(_key(name)))
    return hashlib.sha256((words or name).encode("utf-8", "surrogatepass")).digest()


def _key(name: str) -> frozenset[str]:
    """The words of a name, ignoring accents, order and case."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(one for one in plain if not unicodedata.combining(one))
    words = re.findall(r"[^\W_]+", letters)
    return frozenset(word for word in words if word not in _NOISE) or frozenset(words)
