"""Classes as a tree: coarser classes, sums of probabilities, and packaged lists of codes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubecrop import Nomenclature, code_table, map_codes
from cubecrop.class_lists import CODE_LISTS
from cubecrop.errors import LabelError
from cubecrop.nomenclature import Crop, Group

COARSE = Nomenclature.from_hierarchy("coarse")


def test_the_default_tree_says_what_stands_above_maize():
    assert COARSE.levels == ["crop", "season", "all"]
    maize = COARSE.index("maize")
    assert [group.name for group in COARSE.ancestors(maize)] == ["summer crop", "crop"]
    seasons = COARSE.at_level("season")
    assert seasons.names == ["winter crop", "spring crop", "summer crop", "grass", "permanent"]
    assert seasons.levels == ["crop", "all"]
    assert COARSE.at_level("all").names == ["crop"]
    assert COARSE.at_level("crop").crops == COARSE.crops


def test_a_doubtful_parcel_gets_the_finest_class_that_is_sure():
    probability = np.zeros((5, len(COARSE)))
    probability[0, COARSE.index("maize")] = 1
    probability[1, [COARSE.index("maize"), COARSE.index("potato")]] = 0.5
    # The most probable season is not that of the most probable crop.
    winter = [COARSE.index("winter cereal"), COARSE.index("winter rapeseed")]
    probability[2, [COARSE.index("maize"), *winter]] = 0.4, 0.3, 0.3
    probability[3] = 0.1
    probability[4] = np.nan
    node, level = COARSE.finest(probability, 0.6)
    names = [None if i == 255 else COARSE.nodes[i].name for i in node]
    assert names == ["maize", "summer crop", "winter crop", "crop", None]
    assert level.tolist() == [0, 1, 1, 2, 255]
    grouped = COARSE.coarsen(probability, "season")
    assert grouped[2].tolist() == pytest.approx([0.6, 0, 0.4, 0, 0])
    assert np.isnan(grouped[4]).all()


def test_without_groups_a_doubtful_parcel_has_no_class():
    flat = Nomenclature.from_names(["maize", "wheat"])
    node, level = flat.finest(np.array([[0.5, 0.5], [0.1, 0.9]]), 0.8)
    assert node.tolist() == [255, 1]
    assert level.tolist() == [255, 0]
    assert (flat.levels, flat.ancestors(0)) == (["crop"], ())
    with pytest.raises(LabelError, match="no level 'season'"):
        flat.at_level("season")


@given(st.lists(st.floats(0, 1), min_size=10, max_size=10).filter(any))
def test_a_coarser_class_is_never_less_probable(weights):
    probability = np.array(weights) / np.sum(weights)
    best = [COARSE.coarsen(probability, level).max() for level in COARSE.levels]
    assert np.all(np.diff(best) >= -1e-6)
    assert best[-1] == pytest.approx(1, abs=1e-5)


def test_a_class_without_a_group_stays_itself():
    crops = (
        Crop(code="1", name="maize", colour="#000001", parent="s"),
        Crop(code="2", name="vines", colour="#000002", parent="a"),
        Crop(code="3", name="woods", colour="#000003"),
    )
    groups = (
        Group(code="s", name="summer", colour="#000004", parent="a", level="season"),
        Group(code="a", name="all crops", colour="#000005", level="all"),
    )
    tree = Nomenclature(crops=crops, groups=groups)
    assert tree.at_level("season").names == ["vines", "woods", "summer"]
    assert tree.at_level("all").names == ["woods", "all crops"]
    assert tree.coarsen(np.array([0.2, 0.3, 0.5]), "all").tolist() == pytest.approx([0.5, 0.5])
    assert tree.only(["woods"]).groups == ()
    assert tree.only(["vines"]).groups == groups[1:]
    assert Nomenclature.from_json(tree.to_json()) == tree
    assert "2 levels" not in repr(tree)
    assert "in 3 levels" in repr(tree)
    assert "level season" in tree._repr_html_()


def test_bad_trees_are_refused():
    crop = Crop(code="1", name="maize", colour="#000001", parent="a")

    def group(code, parent, level="all"):
        return Group(code=code, name=f"group {code}", colour="#000002", parent=parent, level=level)

    for groups, message in [
        ([group("b", None)], "parent 'a' is no group"),
        ([group("a", "b"), group("b", "a", "more")], "in a circle"),
        ([group("a", "b"), group("b", None)], "each above the other"),
        ([group("a", None, "")], "names that are not empty"),
        ([group("1", None), group("a", None)], "repeats the codes"),
    ]:
        with pytest.raises(LabelError, match=message):
            Nomenclature(crops=(crop,), groups=tuple(groups))


def test_models_of_old_nomenclatures_keep_their_text():
    text = (
        '{"name": "x", "crops": [{"code": "1", "name": "a", "colour": "#000000", "parent": "9"}]}'
    )
    found = Nomenclature.from_json(text)
    assert found.to_json() == text
    assert (found.crops[0].parent, found.groups) == ("9", ())


def test_a_table_with_parents_is_a_tree(tmp_path):
    path = tmp_path / "crops.csv"
    path.write_text(
        "code,name,parent\n1,crops,\n11,cereals,1\n111,maize,11\n112,wheat,11\n12,beet,1\n"
    )
    tree = Nomenclature.from_csv(path)
    assert tree.names == ["maize", "wheat", "beet"]
    assert [(g.name, g.level) for g in tree.groups] == [
        ("crops", "level 1"),
        ("cereals", "level 2"),
    ]
    # A label may name a group: then that is a class, and what is below it hangs above it.
    some = Nomenclature.from_csv(path, labels=["cereals", "maize"])
    assert some.names == ["cereals", "maize"]
    assert [g.name for g in some.ancestors(1)] == ["crops"]
    path.write_text("code,name,parent\n1,a,2\n2,b,1\n")
    with pytest.raises(LabelError, match="in a circle"):
        Nomenclature.from_csv(path)


@pytest.mark.parametrize("name", CODE_LISTS)
def test_packaged_lists_are_whole(name):
    table = code_table(name)
    assert table["code"].is_unique
    assert table["name"].notna().all()
    assert table.attrs["licence"] in {"MIT", "CC-BY-4.0", "Apache-2.0"}
    if name != "coarse":
        assert set(table["coarse"].dropna()) == set(COARSE.codes)
    if "parent" in table:
        assert set(table["parent"].dropna()) <= set(table["code"])
    if target := CODE_LISTS[name].target:
        assert set(table[target].dropna()) <= set(code_table(target)["code"])


def test_codes_of_every_list_lead_to_the_same_classes():
    wanted = ["winter_cereal", "maize", "grass_and_forage", None]
    assert map_codes(["BTH", "MIS", "PPH", None], "rpg") == wanted
    assert map_codes([311, 201.0, "60", np.nan], "lbg") == wanted
    assert map_codes([1101010011, "11-01-06-000-0", 2001020022, 1105010022], "ewoc") == wanted
    assert map_codes([1110, "1200.0", 9120, 0], "croptype") == wanted
    assert map_codes(["BTH"], "rpg", to="hcat3") == ["3301010101"]
    with pytest.raises(LabelError, match=r"1 codes are not in the list 'rpg'.*XYZ"):
        map_codes(["XYZ"], "rpg")
    for wrong, name in (("bth", "rpg"), ("0201", "lbg")):
        with pytest.raises(LabelError, match=r"did you mean \['(BTH|201)'\]"):
            map_codes([wrong], name)
    for wrong in ("BTH", None):
        with pytest.raises(LabelError, match="expected a list or a column"):
            map_codes(wrong, "rpg")
    with pytest.raises(LabelError, match="not mapped to 'ewoc'"):
        map_codes(["BTH"], "rpg", to="ewoc")
    with pytest.raises(LabelError, match="no packaged list 'hcat4'"):
        code_table("hcat4")


def test_classes_of_a_hierarchy_know_their_groups():
    labels = [1101010011, "maize", "11-06-00-003-1"]
    tree = Nomenclature.from_hierarchy("ewoc", labels=labels)
    assert tree.codes == ["1101010011", "1101060000", "1106000031"]
    assert tree.names_of(labels) == tree.names  # what made the classes are labels of them
    assert [g.name for g in tree.ancestors(2)] == [
        "rapeseed_rape",
        "oilseed_crops",
        "temporary_crops",
    ]
    assert tree.at_level("level 2").names == ["unspecified_cereal", "oilseed_crops"]
    with pytest.raises(LabelError, match="neither a code nor a name of the list 'ewoc'"):
        Nomenclature.from_hierarchy("ewoc", labels=["wheaty"])


def test_wheat_and_grass_have_one_colour_in_every_list():
    lists = [
        (Nomenclature.from_hierarchy("rpg", labels=["BTH", "ORH", "PPH"]), "BTH", "PPH"),
        (Nomenclature.from_hierarchy("lbg", labels=[60, 311]), "311", "60"),
        (Nomenclature.from_hierarchy("ewoc", labels=[1101010011, 2001000000]),
         "1101010011", "2001000000"),
        (Nomenclature.from_names(["winter wheat", "grassland"]), "winter wheat", "grassland"),
    ]  # fmt: skip
    found = [
        tuple(crops.colours[crops.codes.index(code)] for code in codes) for crops, *codes in lists
    ]
    assert set(found) == {("#C8A165", "#A6D96A")}


def test_the_order_of_levels_is_the_same_in_every_process(tmp_path):
    rows = "code,name,parent\nall,all,\nwi,winter,all\nsp,spring,all\nsc,spring cereal,sp\n"
    rows += "sw,spring wheat,sc\nsb,spring barley,sc\nww,winter wheat,wi\n"
    (tmp_path / "crops.csv").write_text(rows)
    script = (
        "import cubecrop; print(cubecrop.Nomenclature.from_csv('crops.csv', labels=['spring', "
        "'spring wheat', 'spring barley', 'winter wheat']).levels)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(told) == 1
