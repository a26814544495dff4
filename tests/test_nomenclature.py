"""Classes in order, from labels of any type, there and back through JSON."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubecrop.errors import LabelError
from cubecrop.nomenclature import MAX_CLASSES, Crop, Nomenclature, label_text


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
    assert label_text(np.float64(311.0)) == "311"
    assert label_text(0.5) == "0.5"
    assert label_text("  ") is None


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
def test_what_is_no_nomenclature(text):
    with pytest.raises(LabelError, match="not a nomenclature"):
        Nomenclature.from_json(text)
