"""Fixtures that several test modules share."""

from pathlib import Path

import pytest
import xarray as xr
from hypothesis import settings
from postgres import Pgstac, pgstac

from cubecrop.cube import open_season
from cubecrop.testing import write_archive

# A slow machine is no error.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

FLANDERS = Path(__file__).parents[1].parent / "shared" / "data" / "flanders-2018"


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
