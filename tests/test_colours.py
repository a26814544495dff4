"""A crop has one colour in every map, and no two crops of a map have the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubecrop.colours import _KNOWN, _palette, colours_of
from cubecrop.nomenclature import Nomenclature


@pytest.mark.parametrize(
    "names",
    [
        ("winter wheat", "Winter_Wheat", "WHEAT, WINTER", "winter_common_soft_wheat"),
        ("maize", "Mais", "Maïs", "corn", "MAIZE"),
        ("Maize (grain)", "grain maize", "grain_maize_corn_popcorn"),
        ("sugar beet", "Zuckerrüben", "betterave sucrière", "suikerbieten", "sugar_beets"),
        ("permanent grass", "Grassland", "pasture_meadow_grassland_grass", "Dauergrünland"),
        ("rapeseed", "rapeseed_rape", "Colza d'hiver", "winter rapeseed", "koolzaad"),
    ],
)  # fmt: skip
def test_a_usual_crop_has_its_colour_however_it_is_written(names):
    assert len({colours_of([name])[0] for name in names}) == 1


def test_a_colour_depends_on_the_name_and_not_on_the_others():
    alone = {name: colours_of([name])[0] for name in ("maize", "winter wheat", "quinoa")}
    others = ["winter wheat", "amaranth", "quinoa", "zucchini", "maize"]
    for order in (others, others[::-1]):
        found = dict(zip(order, colours_of(order), strict=True))
        assert {name: found[name] for name in alone} == alone
    assert Nomenclature.from_labels(others).colours == colours_of(sorted(others))


def test_of_two_names_of_one_crop_the_more_usual_one_has_its_colour():
    (usual,) = colours_of(["maize"])
    for names in (["maize", "corn"], ["corn", "maize"]):
        found = dict(zip(names, colours_of(names), strict=True))
        assert found["maize"] == usual != found["corn"]


def test_taken_colours_stay_with_their_crops():
    (usual,) = colours_of(["maize"])
    assert colours_of(["maize"], but=[usual.lower()]) != [usual]


@given(st.lists(st.text(max_size=8), max_size=255, unique=True))
def test_no_two_are_alike_and_order_changes_nothing(names):
    found = colours_of(names)
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"#[0-9A-F]{6}", colour) for colour in found)
    assert dict(zip(names, found, strict=True)) == dict(
        zip(names[::-1], colours_of(names[::-1]), strict=True)
    )


def test_a_map_may_have_as_many_colours_as_classes():
    assert len(set(colours_of(f"crop {n}" for n in range(255)))) == 255


def test_usual_colours_differ_visibly():
    usual = [colour for colour, *_ in _KNOWN]
    assert len(set(usual)) == len(usual)
    assert not set(usual) & set(_palette())
    assert len(set(_palette())) == len(_palette()) > 80
