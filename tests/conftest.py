"""Fixtures that several test modules share."""

import importlib
from pathlib import Path

import pytest
import xarray as xr
from hypothesis import settings
from masked_place import bare, covered, field_model, field_parcels  # noqa: F401
from postgres import Pgstac, pgstac
from recipe_countries import (  # noqa: F401
    countries,
    countries_archive,
    countries_running,
    countries_server,
)
from region_disturbed import larger, undisturbed  # noqa: F401
from region_striped import striped_archive, striped_model, striped_parcels  # noqa: F401
from seasons import two_crops_archive, two_crops_model  # noqa: F401
from small_region import declared, model, place, table  # noqa: F401

from cubecrop.cube import open_season
from cubecrop.testing import write_archive

# A slow machine is no error.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
FLANDERS = ROOT.parent / "shared" / "data" / "flanders-2018"


@pytest.fixture(scope="session")
def flanders() -> Path:
    """The real archive of a patch in Flanders."""
    if not FLANDERS.is_dir():
        pytest.skip(f"no real archive at {FLANDERS}")
    return FLANDERS


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """A small archive of 2018 with all four modalities; see `cubecrop.testing`."""
    return write_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def real_season(flanders) -> xr.DataTree:
    """The season cube of the real archive, in memory."""
    return open_season(flanders / "parcels.parquet", 2018, archive=flanders).load()


@pytest.fixture(scope="session", name="pgstac")
def one_pgstac() -> Pgstac:
    """A whole STAC API; where it cannot run, what needs it is skipped."""
    with pgstac() as server:
        yield server


@pytest.fixture
def benchmarks(monkeypatch):
    """Give a class of benchmarks by name, with other parameters."""
    monkeypatch.syspath_prepend(str(ROOT))
    # Processes that a benchmark starts must find it too.
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def small(module: str, name: str, **parameters: object):
        suite = getattr(importlib.import_module(f"benchmarks.{module}"), name)
        for key, value in parameters.items():
            assert hasattr(suite, key)
            monkeypatch.setattr(suite, key, value)
        return suite

    return small
