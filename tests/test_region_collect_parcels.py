"""The table of a region's parcels: complete, sorted by place, and told why where none is known."""

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from region_made import (
    COLLECTION,
    planned,
    provenance,
    write_evidence,
    write_failure,
    write_tile,
)

from cubecrop.errors import OutputError
from cubecrop.region.collect import collect
from cubecrop.region.output import Output
from cubecrop.region.parcels import ABSENT, OWNER

DONE, OTHER, FAILED, EMPTY = TILES = [planned(column, 0) for column in range(4)]


def results(parcels, code="Winter wheat", sensors=("sentinel2", "sentinel1"), status=None):
    """The table of a tile, as `classify_parcels` has its columns."""
    n = len(parcels)
    known = np.ones(n, bool) if status is None else np.array([one == "predicted" for one in status])
    table = pd.DataFrame({"parcel": np.array(parcels, dtype="int64")})
    table["crop:code"] = [code if one else None for one in known]
    table["crop:name"] = [code if one else None for one in known]
    table["confidence"] = np.where(known, 0.75, np.nan).astype("float32")
    for sensor in sensors:
        table[f"valid_dates:{sensor}"] = np.where(known, 7, 0)
        first = pd.Series(pd.Timestamp("2018-03-01"), index=range(n)).where(known)
        table[f"first_date:{sensor}"] = first.astype("datetime64[ns]")
    table["status"] = ["predicted"] * n if status is None else status
    table["part"] = "unseen"
    return table


def input_table(owners, absent=None, **columns):
    """Parcels of 20 m, one after another along the tiles, and none without an owner's square."""
    n = len(owners)
    x, y = 500_010 + 30 * np.arange(n), 5_649_990 - 600 * (np.arange(n) % 2)
    shapes = shapely.box(x, y - 20, x + 20, y)
    table = {"id": [f"p{i}" for i in range(n)], "declared": np.arange(n) % 3, **columns}
    table |= {OWNER: owners, ABSENT: absent or [""] * n}
    return gpd.GeoDataFrame(table, geometry=shapes, crs="EPSG:32631").to_crs("EPSG:4326")


def put_together(output, tiles, table):
    with output.new_file("plan/parcels.parquet") as path:
        table.to_parquet(path)
    return collect(output, tiles, provenance(), name=COLLECTION, resolution=10, parcels=True)


def fill(output):
    """Write results of parcels: predicted and not, across edges, of a failed tile; none of others.

    Returns the output and the table of the plan.
    """
    write_tile(
        output, DONE, parcels=results([0, 3], status=["predicted", "no valid observation of it"])
    )
    write_tile(output, OTHER, parcels=results([1], code="Grassland", sensors=["sentinel2"]))
    with output.new_folder(f"tiles/{EMPTY.tile.id}") as folder:
        write_evidence(folder, counts=[0] * 255 + [64], outcome="no images")
    write_failure(output, FAILED, "S2A_1 is truncated")
    with output.new_folder(f"edges/{DONE.tile.id}") as folder:
        results([2], code="Maize (grain)").to_parquet(folder / "parcels.parquet")
        write_evidence(folder, inputs={one.tile.id: one.digest for one in (DONE, OTHER)})
    write_failure(output, OTHER, "parts differ", kind="edges")
    done, other, failed, empty = (one.tile.id for one in TILES)
    owners = [done, other, done, done, failed, "", "", empty, other]
    absent = [""] * 5 + ["outside the archive", "no geometry"] + [""] * 2
    table = input_table(owners, absent)
    table.loc[6, "geometry"] = None
    return output, table


@pytest.fixture
def region(tmp_path):
    return fill(Output.at(tmp_path / "run"))


def read(found):
    return gpd.read_parquet(found.parcels).set_index("id")


def test_each_parcel_has_its_result_or_the_reason_why_not(region):
    output, table = region
    found = put_together(output, TILES, table)
    rows = read(found)
    assert sorted(rows.index) == sorted(table["id"])
    assert rows.index.is_unique
    assert rows["status"].to_dict() == {
        "p0": "predicted",
        "p1": "predicted",
        "p2": "predicted",
        "p3": "no valid observation of it",
        "p4": f"tile failed: {FAILED.tile.id}: S2A_1 is truncated",
        "p5": "outside the archive",
        "p6": "no geometry",
        "p7": "no image of its tile",
        "p8": f"crosses the edge of its tile: {OTHER.tile.id}: parts differ",
    }
    names = rows["crop:name"].dropna().to_dict()
    assert names == {"p0": "Winter wheat", "p1": "Grassland", "p2": "Maize (grain)"}
    assert rows["declared"].to_dict() == dict(zip(table["id"], table["declared"], strict=True))
    assert {OWNER, ABSENT, "parcel"}.isdisjoint(rows.columns)
    assert rows.crs == table.crs
    pd.testing.assert_series_equal(
        rows.geometry.sort_index(), table.set_index("id").geometry.sort_index()
    )
    assert found.sentences[1:4] == (
        "Predicted 3 of 9 parcels.",
        "1 parcel: crosses the edge of its tile",
        "1 parcel: no geometry",
    )


def test_a_table_in_other_storage_has_the_same_bytes(region):
    output, table = region
    put_together(output, TILES, table)
    remote = Output.at("memory://parcels")
    try:
        fill(remote)
        put_together(remote, TILES, table)
        assert remote.read_bytes("parcels.parquet") == output.read_bytes("parcels.parquet")
        assert remote.read_bytes("areas.csv") == output.read_bytes("areas.csv")
    finally:
        for name in remote.names():
            remote.remove(name)


def test_types_do_not_depend_on_which_tiles_failed(region, tmp_path):
    output, table = region
    types = pq.read_schema(put_together(output, TILES, table).parcels).remove_metadata()
    whole = Output.at(tmp_path / "whole")
    write_tile(whole, DONE, parcels=results(range(9)))
    table[OWNER] = DONE.tile.id
    complete = put_together(whole, [DONE], table)
    assert pq.read_schema(complete.parcels).remove_metadata() == types
    assert types.field("valid_dates:sentinel2").type == "int64"
    assert types.field("crop:name").type in ("string", "large_string")
    # A tile in which no parcel is predicted has columns without a type.
    none = Output.at(tmp_path / "none")
    write_tile(none, DONE, parcels=results(range(9), status=["no valid observation of it"] * 9))
    nothing = put_together(none, [DONE], table)
    names = pq.read_schema(nothing.parcels).field("crop:name").type
    assert names in ("string", "large_string")


def test_edges_made_from_other_tiles_are_no_result(region):
    output, table = region
    with output.new_folder(f"edges/{DONE.tile.id}") as folder:
        results([2], code="Maize (grain)").to_parquet(folder / "parcels.parquet")
        write_evidence(folder, inputs={DONE.tile.id: "d", OTHER.tile.id: "of another plan"})
    rows = read(put_together(output, TILES, table))
    assert rows.loc["p2", "status"].startswith("crosses the edge of its tile: ")
    assert rows.loc["p2", "status"].endswith("a tile next to it failed")


def test_two_results_of_one_parcel_are_an_error(region):
    output, table = region
    write_tile(output, OTHER, parcels=results([0, 1]))
    with pytest.raises(OutputError, match=r"1 parcels have results of two tiles, such as number 0"):
        put_together(output, TILES, table)
    assert not output.exists("parcels.parquet")


def test_columns_of_the_input_keep_their_values_under_another_name(tmp_path):
    output = Output.at(tmp_path)
    write_tile(output, DONE, parcels=results([0, 1]))
    own = {"crop:code": ["a", "b"], "bbox": [1, 2], "status": ["ok", "old"]}
    rows = read(put_together(output, [DONE], input_table([DONE.tile.id] * 2, **own)))
    assert rows.sort_index()["declared:crop:code"].tolist() == ["a", "b"]
    assert rows.sort_index()["declared:status"].tolist() == ["ok", "old"]
    assert rows.sort_index()["declared:bbox"].tolist() == [1, 2]
    assert rows["crop:code"].tolist() == ["Winter wheat"] * 2


def test_a_run_none_of_whose_tiles_has_parcels_still_lists_them(tmp_path):
    output = Output.at(tmp_path)
    write_tile(output, DONE)
    rows = read(put_together(output, [DONE], input_table([""] * 3)))
    assert rows["status"].tolist() == ["outside the area"] * 3


def test_areas_count_parcels_and_their_hectares_by_crop(region):
    output, table = region
    areas = pd.read_csv(put_together(output, TILES, table).areas).set_index("name")
    assert areas["parcels"].to_dict() == {
        "Grassland": 1, "Maize (grain)": 1, "Potatoes": 0, "Winter wheat": 1, "No data": 0,
        "Not predicted": 6,
    }  # fmt: skip
    # Parcels measure 20 x 20 m; one of those without a prediction has no geometry.
    ares = areas["parcel_hectares"].to_numpy() / 0.04
    np.testing.assert_allclose(ares, [1, 1, 0, 1, 0, 5], rtol=1e-2)


def test_model_and_calibration_stand_in_the_file(region):
    output, table = region
    attrs = gpd.read_parquet(put_together(output, TILES, table).parcels).attrs
    assert attrs["model_digest"] == "ab" * 32


# --- reading by bbox ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """45,000 parcels of a square grid in random order."""
    output = Output.at(tmp_path_factory.mktemp("many") / "run")
    n, side = 45_000, 213
    place = np.random.default_rng(0).permutation(n)
    x, y = 3 + 0.001 * (place % side), 50 + 0.001 * (place // side)
    table = gpd.GeoDataFrame(
        {"id": np.arange(n), OWNER: DONE.tile.id, ABSENT: ""},
        geometry=shapely.box(x, y, x + 0.0008, y + 0.0008),
        crs="EPSG:4326",
    )
    write_tile(output, DONE, parcels=results(range(n)))
    return put_together(output, [DONE], table).parcels, table


def test_a_reader_of_a_rectangle_needs_few_row_groups(many):
    path, table = many
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(5)] == [10_000] * 4 + [5_000]
    columns = [file.metadata.row_group(0).column(i) for i in range(file.metadata.num_columns)]
    at = {one.path_in_schema: i for i, one in enumerate(columns)}
    west, south, east, north = 3.02, 50.02, 3.03, 50.03

    def meets(group):
        low = [file.metadata.row_group(group).column(at[f"bbox.{s}"]).statistics.min
               for s in ("xmin", "ymin")]  # fmt: skip
        high = [file.metadata.row_group(group).column(at[f"bbox.{s}"]).statistics.max
                for s in ("xmax", "ymax")]  # fmt: skip
        return low[0] <= east and low[1] <= north and high[0] >= west and high[1] >= south

    assert sum(map(meets, range(5))) == 1
    assert len(gpd.read_parquet(path, bbox=(west, south, east, north))) == int(
        table.intersects(shapely.box(west, south, east, north)).sum()
    )


def test_duckdb_finds_the_parcels_of_a_rectangle(many):
    path, table = many
    inside = "bbox.xmin <= 3.03 and bbox.xmax >= 3.02 and bbox.ymin <= 50.03 and bbox.ymax >= 50.02"
    query = f"select id from read_parquet('{path}') where {inside} order by id"
    ids = [row[0] for row in duckdb.sql(query).fetchall()]
    box = shapely.box(3.02, 50.02, 3.03, 50.03)
    assert ids == sorted(table["id"][table.intersects(box)].tolist())
    plan = "\n".join(row[1] for row in duckdb.sql(f"explain analyze {query}").fetchall())
    assert "Row Groups Scanned: 1 / 5" in plan
