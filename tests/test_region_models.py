"""Regions mapped by models of each kind give what one cube gives."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rioxarray
import shapely
from region_runs import table_of
from region_striped import LABEL, STRIPED, YEAR, compare

import cubecrop

TILE = 220


@pytest.fixture(scope="module")
def area():
    left, bottom, right, top = STRIPED.bounds
    inner = shapely.box(left + 60, bottom + 60, right - 60, top - 60)
    return gpd.GeoSeries([inner], crs=STRIPED.crs)


def trained(archive, parcels, network=None, **options):
    config = cubecrop.TrainConfig(
        epochs=1, n_pixels=16, network=cubecrop.NetworkOptions(**network or {})
    )
    return cubecrop.train(
        parcels, LABEL, YEAR, archive=archive, config=config, held_out=0, progress=False, **options
    )


def mapped(area, out, archive, model, **options):
    options = {"tile": TILE, "progress": False} | options
    return cubecrop.map_region(area, YEAR, out, archive=archive, model=model, **options)


KINDS = {
    "weather and terrain": ({"weather": True, "terrain": True}, {}),
    "monthly composites": ({}, {"composite": "month"}),
    "radar only": ({}, {"sensors": ("sentinel1",)}),
}


@pytest.mark.parametrize(("network", "options"), KINDS.values(), ids=KINDS)
def test_tiles_give_what_one_cube_gives(
    striped_archive, striped_parcels, area, tmp_path, network, options
):
    model = trained(striped_archive, striped_parcels, network, **options)
    out = tmp_path / "run"
    run = mapped(area, out, striped_archive, model, parcels=striped_parcels)
    assert run.is_complete
    assert len(run.table) >= 4
    whole = cubecrop.classify(area, YEAR, archive=striped_archive, model=model).compute()
    for name in ("crop_type", "confidence"):
        with rioxarray.open_rasterio(out / f"{name}.vrt") as joined:
            assert np.allclose(joined.to_numpy()[0], whole[name], atol=1e-5, equal_nan=True), name
    with rioxarray.open_rasterio(out / "clear_dates.vrt") as joined:
        assert np.array_equal(joined.to_numpy(), whole["clear_dates"])
    expected = cubecrop.classify_parcels(
        striped_parcels, YEAR, archive=striped_archive, model=model, progress=False
    ).set_index("id")
    table = table_of(out).set_index("id")
    found = table.index[table["status"] == "predicted"]
    assert len(found) == (striped_parcels.representative_point().within(area.iloc[0])).sum()
    compare(table.loc[found], expected.loc[found])
    pairs = pd.read_parquet(out / "plan" / "parcel_tiles.parquet")
    assert (~pairs["is_whole"]).sum() > 5


@pytest.fixture(scope="module")
def shaped(striped_archive, striped_parcels):
    """A model that takes the shape of parcels, so it maps no pixels."""
    return trained(striped_archive, striped_parcels, {"geometry": True})


def test_a_model_of_parcel_shapes_classifies_the_parcels(
    striped_archive, striped_parcels, area, shaped, tmp_path
):
    out = tmp_path / "run"
    run = mapped(area, out, striped_archive, shaped, parcels=striped_parcels)
    assert run.is_complete
    assert set(run.files) == {"areas", "parcels"}
    assert {path.name for path in out.iterdir()} == {
        "areas.csv", "edges", "parcels.parquet", "plan", "run.log", "state.json", "tiles",
    }  # fmt: skip
    assert not list(out.glob("tiles/*/*.tif"))
    expected = cubecrop.classify_parcels(
        striped_parcels, YEAR, archive=striped_archive, model=shaped, progress=False
    ).set_index("id")
    table = table_of(out).set_index("id")
    assert sorted(table.index) == sorted(striped_parcels["id"])
    found = table.index[table["status"] == "predicted"]
    assert len(found) == striped_parcels.representative_point().within(area.iloc[0]).sum()
    compare(table.loc[found], expected.loc[found])
    areas = pd.read_csv(out / "areas.csv")
    assert areas["pixels"].sum() == 0
    crops = areas[areas["name"].isin(["wheat", "maize"])]
    assert crops["parcels"].sum() == len(found)
    assert "predicted" in (out / "run.log").read_text()


def test_maps_of_an_earlier_model_do_not_stay(
    striped_archive, striped_parcels, area, shaped, tmp_path
):
    out = tmp_path / "run"
    whole = {"parcels": striped_parcels, "tile": 600}
    assert mapped(
        area, out, striped_archive, trained(striped_archive, striped_parcels), **whole
    ).is_complete
    assert (out / "crop_type.vrt").exists()
    assert (out / "collection.json").exists()
    run = mapped(area, out, striped_archive, shaped, **whole)
    assert run.is_complete
    assert {path.name for path in out.glob("*.*")} == {
        "areas.csv", "parcels.parquet", "run.log", "state.json",
    }  # fmt: skip
    assert not list(out.glob("tiles/*/*.tif"))
    state = json.loads((out / "state.json").read_text())
    assert set(state["files"]) == {"areas", "parcels"}
