"""Where the tiles of a region run, and which workers may have them."""

import json

import dask
import geopandas as gpd
import pytest
import shapely
from distributed import Client, LocalCluster
from region_striped import STRIPED, YEAR

import cubecrop
from cubecrop.errors import ArgumentError
from cubecrop.region import capacity


def mapped(out, archive, model, **options):
    aoi = gpd.GeoSeries([shapely.box(*STRIPED.bounds).buffer(-60)], crs=STRIPED.crs)
    options = {"tile": 220, "progress": False} | options
    return cubecrop.map_region(aoi, YEAR, out, archive=archive, model=model, **options)


def cluster(**options):
    return LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0",
        protocol="tcp", **options,
    )  # fmt: skip


def n_transitions(client):
    """Steps of all tasks that the scheduler has seen."""
    return client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_counter)


def test_without_client_nothing_goes_to_a_cluster_that_is_active(
    striped_archive, striped_model, striped_parcels, tmp_path
):
    """Dask's default client would take any graph that names no scheduler."""
    with cluster() as made, Client(made) as client:
        before = n_transitions(client)
        run = mapped(tmp_path / "run", striped_archive, striped_model, parcels=striped_parcels)
        assert run.is_complete
        assert len(run.table) >= 4
        assert n_transitions(client) == before
        assert run.table["worker"].str.startswith("process ").all()
        again = mapped(
            tmp_path / "other",
            striped_archive,
            striped_model,
            parcels=striped_parcels,
            client=client,
        )
        assert n_transitions(client) > before
    assert not again.table["worker"].str.startswith("process ").any()


def test_a_worker_of_little_memory_is_refused_before_any_tile(
    striped_archive, striped_model, tmp_path
):
    out = tmp_path / "run"
    with cluster(memory_limit="1.2GB") as made, Client(made) as client:
        with pytest.raises(
            ArgumentError, match=r"needs 1\.3 GB: 1 thread .* has 1\.2 GB.*memory=1\.0e"
        ):
            mapped(out, striped_archive, striped_model, client=client)
        assert not (out / "tiles").exists()
        # What the message advises.
        assert mapped(out, striped_archive, striped_model, client=client, memory=1e8).is_complete


def test_workers_that_get_no_tiles_may_be_small(striped_archive, striped_model, tmp_path):
    """Only the workers with the resources count."""
    small = cluster(memory_limit="0.9GB")
    with small as made, Client(made) as client:
        workers = client.run_on_scheduler(capacity._described)
        assert [memory for memory, _ in workers] == [0.9e9]
        made_plan = cubecrop.region.plan(
            shapely.box(*STRIPED.bbox),
            YEAR,
            tmp_path,
            archive=striped_archive,
            model=striped_model,
            progress=False,
        )
        capacity.check_capacity(made_plan, client, {"GPU": 1})
        with pytest.raises(ArgumentError, match="more memory or fewer threads"):
            capacity.check_capacity(made_plan, client)


def test_this_process_must_have_the_memory_for_one_thread(
    striped_archive, striped_model, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 1_100_000_000)
    with pytest.raises(ArgumentError, match=r"1 thread .* has 1\.1 GB"):
        mapped(out, striped_archive, striped_model)
    assert not (out / "tiles").exists()


def test_a_tile_uses_the_threads_that_fit_the_memory(
    striped_archive, striped_model, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 2 * 10**9)
    with dask.config.set(num_workers=8):
        assert mapped(out, striped_archive, striped_model).is_complete
    evidence = [json.loads(path.read_text()) for path in out.glob("tiles/*/evidence.json")]
    assert {one["threads"] for one in evidence} <= {2, 3, 4}


def test_status_knows_parcels_that_must_be_classified_again(
    striped_archive, striped_model, striped_parcels, tmp_path
):
    """After a change of the model, the edges' earlier results do not count."""
    out = tmp_path / "run"
    run = mapped(out, striped_archive, striped_model, parcels=striped_parcels)
    assert run.is_complete
    names = sorted(path.name for path in out.glob("edges/*"))
    assert names
    proof = out / "edges" / names[0] / "evidence.json"
    evidence = json.loads(proof.read_text())
    evidence["inputs"] = dict.fromkeys(evidence["inputs"], "of another model")
    proof.write_text(json.dumps(evidence))
    found = cubecrop.region.status(out)
    assert not found.is_complete
    assert found.edges_waiting == 1
    assert found.table["predicted"].sum() < run.table["predicted"].sum()


def test_parcels_across_edges_that_failed_are_told(
    striped_archive, striped_model, striped_parcels, tmp_path, monkeypatch
):
    def fails(*_):
        raise ValueError("no such parts")

    out = tmp_path / "run"
    monkeypatch.setattr("cubecrop.region.tile.whole_sets", fails)
    run = mapped(out, striped_archive, striped_model, parcels=striped_parcels)
    assert (run.table["state"] == "done").all()
    assert not run.is_complete
    assert run.edges_waiting == len(run.edges_failed) > 0
    assert "parcels across edges of 32631_" in repr(run)
    assert "no such parts" in repr(run)
    monkeypatch.undo()
    again = mapped(out, striped_archive, striped_model, parcels=striped_parcels, retry_failed=True)
    assert again.is_complete
    assert not again.edges_failed
