"""Searching a full STAC API: pages, collections, intervals and failures; real items."""

import json

import pytest
import shapely
import urllib3
from catalogues import write_catalogue
from servers import FaultyApi
from test_providers import ITEMS, SUPPORTED, load

from cubecrop.archive import api, normalise_item, open_archive, search
from cubecrop.errors import ArchiveError, UnsupportedItemError

AREA = (3.0, 50.0, 3.1, 50.1)
COLLECTION = "sentinel-2-l2a"


def item(name, when, *, collection=COLLECTION, geometry=None, **properties):
    """An item of the Planetary Computer's form whose files nobody opens."""
    shape = shapely.box(2.9, 49.9, 3.2, 50.2) if geometry is None else geometry
    keys = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "SCL")
    found = {
        "datetime": when, "proj:code": "EPSG:32631", "platform": "Sentinel-2A",
        "s2:processing_baseline": "05.00", "s2:mgrs_tile": "31UES", "sat:relative_orbit": 51,
        "sat:orbit_state": "descending",
    }  # fmt: skip
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection,
        "geometry": shapely.geometry.mapping(shape), "bbox": list(shape.bounds), "links": [],
        "properties": found | properties,
        "assets": {key: {"href": f"https://example.org/{name}/{key}.tif"} for key in keys},
    }  # fmt: skip


@pytest.fixture
def holding(pgstac, tmp_path):
    """Give the address of the API that holds some items."""
    return lambda items: pgstac.hold(*write_catalogue(tmp_path, items))


def tile(number):
    """A tile of zone 31, another one for each number below 576."""
    return f"31U{chr(65 + number // 24)}{chr(65 + number % 24)}"


def a_month(n=570):
    """Items of June 2018, tens of which share their moment, as tiles of one pass do."""
    return [
        item(f"S2A_{i:03d}", f"2018-06-{1 + i // 60:02d}T10:56:21Z", **{"s2:mgrs_tile": tile(i)})
        for i in range(n)
    ]


def ids(source, **options):
    found = search(AREA, 2018, archive=source, modalities=["sentinel2"], **options)
    return [scene.id for scene in found]


def test_all_pages_are_read_and_each_item_once(holding, pgstac):
    """Servers answer by pages that follow each other by a token, newest first."""
    items = a_month()
    found = ids(holding(items))
    assert found == sorted(one["id"] for one in items)
    searches = [path for method, path, _ in pgstac.asked() if method == "POST"]
    # A question a month, of 16 with a day on each side, and two more pages of June.
    assert searches == ["/search"] * (16 + 2)


def test_a_failed_page_raises_and_shortens_no_answer(holding, monkeypatch):
    monkeypatch.setattr(urllib3.Retry, "get_backoff_time", lambda _: 0)
    with FaultyApi(holding(a_month())) as server:
        source = open_archive(server.url)
        for fault in (500, "break"):
            posts = []

            def fail(number, path, posts=posts, fault=fault):
                posts.extend([path] if path == "/search" else [])
                return fault if len(posts) > 11 else None  # the second page of June

            server.fault = fail
            with pytest.raises(ArchiveError, match="did not answer as a STAC API"):
                ids(source)
            assert server.failed


def test_one_request_in_five_that_fails_changes_nothing(holding, monkeypatch):
    monkeypatch.setattr(urllib3.Retry, "get_backoff_time", lambda _: 0)
    items = a_month()
    with FaultyApi(holding(items)) as server:
        server.fault = lambda number, path: (429, 503)[number % 2] if number % 5 == 0 else None
        assert ids(open_archive(server.url)) == sorted(one["id"] for one in items)
        failed = {(method, fault) for method, _, fault in server.failed}
        assert {("POST", 429), ("POST", 503)} <= failed
        # 18 pages, the landing page and the collections; each failure is asked again.
        assert len(server.failed) == -(-len(server.asked) // 5)


def test_a_search_that_hangs_is_retried(holding, monkeypatch):
    monkeypatch.setattr(api, "_TIMEOUT", 3)
    with FaultyApi(holding(a_month(3))) as server:
        source = open_archive(server.url)
        posts = []

        def hang_once(number, path):
            posts.extend([path] if path == "/search" else [])
            return "hang" if path == "/search" and len(posts) == 10 else None

        server.fault = hang_once
        assert len(ids(source)) == 3
        assert [method for method, *_ in server.failed] == ["POST"]
        assert server.given_up == 1
        assert len(posts) == 16 + 1


def test_collections_beyond_the_first_page_are_known(holding, pgstac):
    """A server lists ten collections at a time."""
    others = [
        item(f"x{i}", "2018-06-01T10:56:21Z", collection=f"another-{i:02d}") for i in range(25)
    ]
    source = open_archive(holding([*others, *a_month(2)]))
    assert ids(source) == ["S2A_000", "S2A_001"]
    assert len([path for _, path, _ in pgstac.asked() if path.startswith("/collections")]) > 1
    extent = source.extent([COLLECTION])
    assert extent is not None
    assert (extent.start.year, extent.end.year) == (2017, 2022)


def test_items_at_the_edge_of_an_interval_are_found_once(holding):
    moments = {
        "before": "2017-08-31T10:56:21Z", "first": "2017-09-01T10:56:21Z",
        "cut": "2018-03-01T00:00:00Z", "cut-before": "2018-02-28T23:59:59.999Z",
        "cut-next": "2018-03-01T00:00:00.001Z", "last": "2018-10-31T10:56:21Z",
        "after": "2018-11-01T10:56:21Z",
    }  # fmt: skip
    items = [
        item(name, when, **{"s2:mgrs_tile": tile(i), "sat:relative_orbit": i})
        for i, (name, when) in enumerate(moments.items())
    ]
    assert ids(holding(items)) == ["first", "cut-before", "cut", "cut-next", "last"]


def test_an_item_of_a_whole_season_is_found_once(holding):
    """Weather is one item without a moment, with a start and an end, in every month's answer."""
    span = {"start_datetime": "2017-01-01T00:00:00Z", "end_datetime": "2018-12-31T00:00:00Z"}
    weather = item("agera5", None, collection="agera5-daily", **span)
    weather["assets"] = {"zarr": {"href": "https://example.org/agera5.zarr"}}
    source = open_archive(holding([weather, *a_month(1)]))
    found = search(AREA, 2018, archive=source)
    assert [scene.id for scene in found.of("weather")] == ["agera5"]
    assert len(found) == 2


def test_an_item_is_found_by_its_footprint_not_its_box(holding):
    """The box of a triangle covers the area, the triangle does not."""
    triangle = shapely.Polygon([(3.5, 50.2), (4, 50.2), (4, 49), (2.9, 49)])
    assert shapely.box(*triangle.bounds).intersects(shapely.box(*AREA))
    seen = shapely.Polygon([(2.5, 50.2), (4, 50.2), (4, 49)])
    items = [
        item("beside", "2018-06-01T10:56:21Z", geometry=triangle),
        item("over", "2018-06-11T10:56:21Z", geometry=seen),
    ]
    assert ids(holding(items)) == ["over"]


@pytest.mark.parametrize(
    ("source", "collection"),
    # The collection of Earth Search's version 0 is too old for the server.
    [key for key in SUPPORTED if key[0] in {"pc", "es1", "cdse"}],
)
def test_real_items_come_back_from_the_server_as_they_went_in(source, collection, pgstac, tmp_path):
    """The server takes items apart by what their collection says, and puts them together."""
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    provider = SUPPORTED[source, collection]
    items = [load(path) for path in sorted((ITEMS / f"{source}__{collection}").glob("*.json"))]
    *_, about = sorted((ITEMS / "collections").glob(f"{source}__{collection}.*json"))  # newest
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    archive = api.StacApiArchive(pgstac.hold(about, path))
    world = shapely.box(-180, -90, 180, 90)
    found = {one["id"]: one for one in archive.items([collection], world, None)}
    assert sorted(found) == sorted({one["id"] for one in items})
    for one in items:
        assert _normalised(found[one["id"]], provider) == _normalised(one, provider)


def _normalised(one, provider):
    """All that a scene says but for the address of its item, or why it is refused."""
    try:
        scene = normalise_item(one, provider=provider)
    except UnsupportedItemError as error:
        return str(error)
    fields = {name: getattr(scene, name) for name in scene.__slots__ if name != "href"}
    return fields | {"footprint": scene.footprint.wkt}
