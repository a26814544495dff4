"""Classes in order, from labels of any type, and unchanged by a round trip through JSON."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from cubecrop.errors import LabelError
from cubecrop.nomenclature import MAX_CLASSES, Crop, Nomenclature, decide, warn_of_spellings
from cubecrop.texts import label_text


def test_classes_are_the_distinct_labels_sorted():
    labels = ["wheat", None, "maize", " wheat ", np.nan, "", pd.NA, pd.NaT, "maize"]
    nomenclature = Nomenclature.from_labels(labels, name="list")
    assert nomenclature.names == nomenclature.codes == ["maize", "wheat"]
    assert [nomenclature.index(x) for x in ("maize", "wheat ", None, np.nan)] == [
        0,
        1,
        255,
        255,
    ]
    assert len(nomenclature) == 2
    with pytest.raises(LabelError, match="'oats' is not in the nomenclature"):
        nomenclature.index("oats")


def test_codes_read_as_floats_are_the_whole_numbers_they_were():
    # A null turns a column of integers into floats.
    assert label_text(311.0) == label_text(311) == label_text(np.int64(311)) == "311"
    assert label_text(np.float64(311.0)) == label_text(np.float32(311.0)) == "311"
    assert label_text(Decimal("311.00")) == label_text(b"311") == "311"
    assert label_text("311.0") == "311"  # as astype(str) writes them
    assert label_text(0.5) == "0.5"
    assert label_text("3.10") == "3.10"
    assert label_text("  ") is None


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "<NA>", "NaT", "NULL", "null"])
def test_what_programs_write_for_a_missing_label_is_no_class(text):
    assert label_text(text) is None
    assert Nomenclature.from_labels(["wheat", text]).names == ["wheat"]


def test_an_accent_is_part_of_its_letter_in_any_file():
    composed, apart = "ma\u00efs", "mai\u0308s"  # as macOS writes names of files
    assert Nomenclature.from_labels([composed, apart]).names == [composed]
    # Names of a saved model stay as they are, and are found as they are.
    for name in (apart, "311.0"):
        saved = Nomenclature.from_names(["wheat", name])
        assert saved.index(name) == 1
        assert saved.only([name]).names == [name]


def test_a_list_of_classes_from_a_spreadsheet_has_the_codes_of_the_parcels(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("code,name\n311.0,wheat\n312.0,mai\u0308s\n", encoding="utf-8")
    listed = Nomenclature.from_csv(path)
    assert listed.codes == ["311", "312"]
    assert listed.names_of([311, "312.0", "ma\u00efs", None]) == ["wheat", *["ma\u00efs"] * 2, None]


def test_labels_are_a_list_and_not_one_text():
    column = xr.DataArray(["wheat", "maize"], dims="parcel")
    assert Nomenclature.from_labels(column).names == ["maize", "wheat"]
    table = pd.DataFrame({"crop": ["wheat"], "id": [1]})
    for wrong in ("wheat", 5, None, table, {"wheat": 1}):
        with pytest.raises(LabelError, match="expected a list or a column"):
            Nomenclature.from_labels(wrong)


def test_labels_that_differ_only_in_case_or_blanks_are_named():
    with pytest.warns(UserWarning, match=r"\['Winter wheat', 'winter  wheat'\]\. Each counts"):
        warn_of_spellings(["Winter wheat", "winter  wheat", "maize"], "crop")
    warn_of_spellings(["winter wheat", "summer wheat"], "crop")  # a warning is an error in tests


@given(st.lists(st.text(min_size=1).filter(label_text), min_size=1, max_size=30))
def test_json_round_trip(labels):
    nomenclature = Nomenclature.from_labels(labels, name="any")
    assert Nomenclature.from_json(nomenclature.to_json()) == nomenclature
    assert nomenclature.names == Nomenclature.from_labels(labels[::-1]).names
    for label in labels:
        assert nomenclature.names[nomenclature.index(label)] == label_text(label)


def test_nodata_is_never_a_class():
    assert len(Nomenclature.from_labels(range(MAX_CLASSES))) == 252
    with pytest.raises(LabelError, match="253 classes, expected at most 252"):
        Nomenclature.from_labels(range(MAX_CLASSES + 1))
    with pytest.raises(LabelError, match="every label is null"):
        Nomenclature.from_labels([None])


def test_decide_takes_the_most_probable_class():
    nan = np.nan
    probability = np.array(
        [[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [nan, nan, nan], [nan, 0.9, 0.1], [0.0, 0.0, 1.0]],
        np.float32,
    )
    found = decide(probability)
    assert found.dtype == np.uint8
    assert found.tolist() == [1, 0, 255, 255, 2]
    assert decide(probability[:4].reshape(2, 2, 3)).tolist() == [[1, 0], [255, 255]]
    assert decide(probability[:0]).shape == (0,)


def test_bad_classes_are_refused():
    crop = Crop(code="1", name="maize", colour="#ffffff")
    with pytest.raises(LabelError, match=r"repeats the codes \['1'\]"):
        Nomenclature(crops=(crop, Crop(code="1", name="oats", colour="#000000")))
    with pytest.raises(LabelError, match=r"repeats the names \['maize'\]"):
        Nomenclature(crops=(crop, Crop(code="2", name="maize", colour="#000000")))
    with pytest.raises(LabelError, match="expected '#rrggbb'"):
        Crop(code="1", name="maize", colour="yellow")
    with pytest.raises(LabelError, match="empty name"):
        Crop(code="1", name="", colour="#ffffff")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "a", "crops": [{"code": "1"}]}', "3"])
def test_objects_that_are_no_nomenclature_are_refused(text):
    with pytest.raises(LabelError, match="not a nomenclature"):
        Nomenclature.from_json(text)


# --- tables of classes --------------------------------------------------------------------

TABLE = 'code,name,colour,parent\n1,Maïs,#FF0000,9\n2,"Blé, dur",,\n03,Pois,00ff00,\n'


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (TABLE, "utf-8"),
        (TABLE, "utf-8-sig"),
        (TABLE, "cp1252"),
        (TABLE, "utf-16"),
        (TABLE.replace(",", ";").replace("Blé; dur", "Blé, dur"), "utf-8"),
        (TABLE.replace(",", "\t").replace("Blé\t dur", "Blé, dur"), "cp1252"),
        ("sep=,\n" + TABLE, "utf-8"),
        (TABLE.replace("\n", "\r\n").replace("2,", "\r\n2,"), "utf-8"),
        (TABLE.replace("colour", " Color ").replace("code", "CODE"), "utf-8"),
    ],
)
def test_a_table_of_classes_is_read_in_the_forms_that_people_have(tmp_path, text, encoding):
    path = tmp_path / "my crops.csv"
    path.write_bytes(text.encode(encoding))
    found = Nomenclature.from_csv(path)
    assert found.name == "my crops"
    assert found.codes == ["1", "2", "03"]
    assert found.names == ["Maïs", "Blé, dur", "Pois"]
    assert found.colours[::2] == ["#FF0000", "#00ff00"]
    # A row without a colour has that of its name.
    assert found.colours[1] == Nomenclature.from_names(["Blé dur"]).colours[0]
    assert [crop.parent for crop in found.crops] == ["9", None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1 has the columns \[\]"),
        ("code;nom\n1;a\n", r"line 1 .*\['name'\] is missing.*code,name,colour"),
        ("code,name,name\n1,a,b\n", "column 'name' twice"),
        ("code,name\n", "but no classes"),
        ("code,name\n1,a\n2,\n", r"line 3, column 'name' is empty"),
        ("code,name\n,a\n", r"line 2, column 'code' is empty"),
        ("code,name\n1\n", r"line 2, column 'name' is empty"),
        ("code,name,colour\n1,a,red\n", r"line 2, column 'colour' holds 'red', expected '#rrggbb'"),
        ("code,name\n1,a\n\n1,b\n", r"line 4, column 'code' repeats '1' of line 2"),
        ("code,name\n1,a\n2,a\n", r"line 3, column 'name' repeats 'a' of line 2"),
        ("code,name\n1,oats, winter\n", r"line 2 has 3 fields, .*double quotes"),
        ('code,name\n1,"a\n2,b\n', r"line 3 cannot be read as CSV"),
    ],
)
def test_an_error_names_line_and_column(tmp_path, text, message):
    path = tmp_path / "crops.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=message):
        Nomenclature.from_csv(path)


def test_a_table_that_cannot_be_read_raises_label_error(tmp_path):
    with pytest.raises(LabelError, match=r"No such file.*Name a CSV"):
        Nomenclature.from_csv(tmp_path / "none.csv")
    with pytest.raises(LabelError, match="cannot be read"):
        Nomenclature.from_csv(tmp_path)
    (tmp_path / "odd.csv").write_bytes(b"code,name\n1,\x81\n")
    with pytest.raises(LabelError, match="neither UTF-8 nor cp1252"):
        Nomenclature.from_csv(tmp_path / "odd.csv")


def test_only_the_classes_of_the_labels_are_kept(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("code,name\n" + "".join(f"C{n},crop {n}\n" for n in range(600)))
    found = Nomenclature.from_csv(path, labels=["crop 7", "C500", None, " C7 "])
    assert found.names == ["crop 7", "crop 500"]
    with pytest.raises(LabelError, match="600 classes, expected at most"):
        Nomenclature.from_csv(path)
    with pytest.raises(LabelError, match=r"2 labels are neither.*long\.csv: 'oats', 'rye'"):
        Nomenclature.from_csv(path, labels=["oats", "C1", "rye", "oats"])


def test_labels_are_codes_first_and_then_names():
    crops = (
        Crop(code="1", name="maize", colour="#ffffff"),
        Crop(code="2", name="1", colour="#000000"),
    )
    nomenclature = Nomenclature(crops=crops, name="list")
    assert nomenclature.names_of([1, 1.0, "1", "maize", None, "2"]) == [
        "maize", "maize", "maize", "maize", None, "1",
    ]  # fmt: skip
    # By name alone, an index is that of the name.
    assert nomenclature.index("1") == 1
    assert nomenclature.only(["1", None]).codes == ["2"]
    with pytest.raises(LabelError, match=r"nomenclature 'list': 'oats'\. Add them"):
        nomenclature.names_of(["oats"])


def test_a_lone_surrogate_is_no_name():
    with pytest.raises(LabelError, match="lone surrogate"):
        Nomenclature.from_names(["wheat", "a\ud800"])
