"""Tables of parcels have usable names, ids and labels, or raise one error with advice."""

import uuid

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from cubecrop.errors import LabelError, ParcelError
from cubecrop.sample import labels_of, plain_parcels, read_parcels, split_parcels

BOXES = [shapely.box(3, 50, 3.1, 50.1), shapely.box(4, 50, 4.1, 50.1)]


def table(*shapes, **columns):
    ids = [f"p{i}" for i in range(len(shapes))]
    return gpd.GeoDataFrame({"id": ids, **columns}, geometry=list(shapes), crs=4326)


def test_a_duplicated_column_is_named():
    parcels = table(BOXES[0], BOXES[1], crop=["a", "b"], ID_PARCEL=[7, 8], CODE=[1, 2])
    for old, name in (("ID_PARCEL", "id"), ("CODE", "crop"), ("CODE", "geometry")):
        twice = parcels.rename(columns={old: name})
        for call in (
            read_parcels,
            lambda t: labels_of(t, "crop"),
            lambda t: split_parcels(t, "crop"),
        ):
            with pytest.raises(ParcelError, match=rf"columns \['{name}'\] more than once.*drop"):
                call(twice)
    levels = parcels.copy()
    levels.columns = pd.MultiIndex.from_product([["a"], parcels.columns])
    with pytest.raises(ParcelError, match="2 levels"):
        read_parcels(gpd.GeoDataFrame(levels, geometry=("a", "geometry")))


def test_advice_names_a_column_that_is_there():
    parcels = table(BOXES[0])
    with pytest.raises(ParcelError, match=r"rename\(columns=\{'OBJECT_ID': 'id'\}"):
        read_parcels(parcels.rename(columns={"id": "OBJECT_ID"}))
    with pytest.raises(ParcelError, match=r"rename\(columns=\{'Id': 'id'\}"):
        read_parcels(parcels.rename(columns={"id": "Id"}).assign(farm_id=1))
    with pytest.raises(ParcelError, match=r"reset_index\(\)"):
        read_parcels(parcels.set_index("id"))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[1], [2]], "have the type list"),
        ([(1, 2), (1, 3)], "have the type tuple"),
        ([2**70, 1], "at most 64 bits"),
        (["a", 1], "have the types"),
    ],
)
def test_ids_that_a_file_cannot_hold_are_refused(ids, message):
    parcels = table(BOXES[0], BOXES[1]).assign(id=pd.Series(ids, dtype=object))
    with pytest.raises(ParcelError, match=rf"{message}.*astype\(str\)"):
        read_parcels(parcels)


def test_an_id_that_is_the_geometry_is_refused():
    with pytest.raises(ParcelError, match="'id' is a geometry"):
        read_parcels(table(*BOXES).drop(columns="id").rename_geometry("id"))


def test_uuids_are_ids():
    ids = [uuid.UUID(int=1), uuid.UUID(int=2)]
    parcels = read_parcels(table(*BOXES).assign(id=ids))
    assert parcels["id"].tolist() == ids
    assert plain_parcels(parcels)["id"].tolist() == [str(one) for one in ids]


def test_unusable_label_columns_are_refused():
    parcels = table(BOXES[0], BOXES[1], crop=[np.zeros(2), np.ones(2)])
    with pytest.raises(LabelError, match="'id' is each parcel's own id"):
        labels_of(parcels, "id")
    with pytest.raises(LabelError, match="'geometry' is the geometry"):
        labels_of(parcels, "geometry")
    with pytest.raises(LabelError, match="holds values that are not labels"):
        labels_of(parcels, "crop")
    with pytest.raises(LabelError, match="expected the name of a column"):
        labels_of(parcels, ["crop"])
