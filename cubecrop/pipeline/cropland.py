"""Which classes of land cover are cropland, by the words in the names of a model's classes."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cubecrop.nomenclature import Nomenclature

__all__ = ["cropland_classes"]

#: Words of class names, in English, German, French and Dutch, without accents: those that grow on
#: grassland, on shrubland (WorldCover's class of many vineyards and young orchards), and as trees.
_GRASS: Final = frozenset(
    (
        "grass", "grasses", "grassland", "grasslands", "meadow", "meadows", "pasture", "pastures",
        "fodder", "forage", "hay", "ley", "leys", "alfalfa", "lucerne", "clover", "gras",
        "grunland", "dauergrunland", "ackergras", "wiese", "wiesen", "weide", "klee", "luzerne",
        "prairie", "prairies", "fourrage", "fourragere", "herbe", "trefle", "grasland", "klaver",
    )
)  # fmt: skip
_PERMANENT: Final = frozenset(
    (
        "orchard", "orchards", "vineyard", "vineyards", "vine", "vines", "grapes", "olive",
        "olives", "fruit", "fruits", "nuts", "shrub", "shrubs", "shrubland", "coffee", "tea",
        "citrus", "obst", "obstbau", "reben", "weinberg", "verger", "vergers", "vigne", "vignes",
        "boomgaard", "fruitbomen", "wijngaard",
    )
)  # fmt: skip
_WOODS: Final = frozenset(
    (
        "tree", "trees", "forest", "forests", "wood", "woods", "woodland", "plantation",
        "plantations", "cocoa", "wald", "foret", "bois", "bos",
    )
)  # fmt: skip


def cropland_classes(nomenclature: Nomenclature) -> tuple[str, ...]:
    """Classes of land cover on which the classes of a model grow.

    Cropland always; grassland if a class is named after grass or forage; shrubland if a class is
    named after orchards, vineyards or other permanent crops; trees if a class is named after trees
    or woods. Orchards with closed crowns are trees in land cover too, but far more trees are woods.
    """
    words: set[str] = set()
    permanent = False
    for crop in nomenclature.crops:
        for text in (crop.name, crop.code):
            found = _words(text)
            words |= found
            permanent |= {"permanent"} <= found and bool(found & {"crop", "crops"})
    kept = ["cropland"]
    if words & _GRASS:
        kept.append("grassland")
    if permanent or words & _PERMANENT:
        kept.append("shrubland")
    if words & _WOODS:
        kept.append("trees")
    return tuple(kept)


def _words(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", text.lower())
    return set(re.findall(r"[a-z]+", "".join(c for c in plain if not unicodedata.combining(c))))
