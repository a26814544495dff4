"""Whole calls inside one task of a cluster: with the threads scheduler no task leaves it."""

import datetime as dt

import geopandas as gpd
import numpy as np
import pytest
from distributed import Client, LocalCluster

import cubecrop
from cubecrop.errors import ArgumentError

YEAR = 2024
SEASON = cubecrop.Season(YEAR, start=dt.date(2024, 5, 1), end=dt.date(2024, 7, 15))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "archive"
    return cubecrop.simulate_archive(out, years=[YEAR], size_km=0.5, seed=4, progress=False)


@pytest.fixture(scope="module")
def declared(place):
    return gpd.read_parquet(place / f"parcels-{YEAR}.parquet")


@pytest.fixture(scope="module")
def model(place, declared):
    return learnt(place, declared, "threads")


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, protocol="tcp",
            host="127.0.0.1", dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


def learnt(place, declared, scheduler):
    return cubecrop.train(
        declared, "crop:name", YEAR, archive=place, season=SEASON, progress=False,
        config=cubecrop.TrainConfig(epochs=1, n_pixels=4), scheduler=scheduler,
    )  # fmt: skip


def mapped(place, declared, model, out, scheduler):
    found = cubecrop.classify(declared, YEAR, archive=place, season=SEASON, model=model)
    return cubecrop.write_map(found, out, progress=False, scheduler=scheduler)


def tabled(place, declared, model, scheduler):
    return cubecrop.classify_parcels(
        declared, YEAR, archive=place, season=SEASON, model=model, progress=False,
        scheduler=scheduler,
    )  # fmt: skip


def tasks_of(client, call, *arguments):
    """What a call in a task gives, and how many tasks the cluster ran for it."""
    log = client.cluster.scheduler.transition_log
    log.clear()
    result = client.submit(call, *arguments, pure=False).result()
    return result, len({key for key, _, finish, *_ in log if finish == "processing"})


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_a_map_is_one_task(client, place, declared, model, tmp_path, scheduler):
    out, n_tasks = tasks_of(client, mapped, place, declared, model, tmp_path / "map", scheduler)
    assert (out / "crop_type.tif").is_file()
    assert n_tasks == 1


def test_a_table_is_one_task(client, place, declared, model):
    found, n_tasks = tasks_of(client, tabled, place, declared, model, "threads")
    assert n_tasks == 1
    np.testing.assert_array_equal(found["id"], declared["id"])


def test_a_training_is_one_task(client, place, declared, model):
    found, n_tasks = tasks_of(client, learnt, place, declared, "threads")
    assert n_tasks == 1
    assert found.nomenclature == model.nomenclature


def test_without_a_scheduler_tasks_go_to_the_cluster(client, place, declared, model):
    _, n_tasks = tasks_of(client, tabled, place, declared, model, None)
    assert n_tasks > 1


@pytest.mark.parametrize("scheduler", ["processes", "distributed", 4, True])
def test_another_scheduler_is_refused(place, declared, model, tmp_path, scheduler):
    for call in (
        lambda: mapped(place, declared, model, tmp_path / "map", scheduler),
        lambda: tabled(place, declared, model, scheduler),
        lambda: learnt(place, declared, scheduler),
    ):
        with pytest.raises(ArgumentError, match=r"scheduler is .*'threads'"):
            call()
