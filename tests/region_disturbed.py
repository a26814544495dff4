"""Runs of the striped region that fail, and one that does not, which they are compared with."""

import pytest
import region_runs
from region_runs import results
from region_striped import YEAR, scenes_of

from cubecrop.testing import Place, write_archive

#: A region of 1.7 km, which has more than a hundred tiles of 160 m.
LARGER = Place(height=170, width=170)


def mapped(place, aoi, model, out, **options):
    return region_runs.mapped(place, aoi, model, out, year=YEAR, season=None, **options)


@pytest.fixture(scope="session")
def undisturbed(striped_archive, striped_parcels, striped_model, tmp_path_factory):
    """The results of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run = mapped(striped_archive, striped_parcels, striped_model, out, parcels=striped_parcels)
    assert run.is_complete
    return results(out)


@pytest.fixture(scope="session")
def larger(tmp_path_factory):
    """An archive of the larger region."""
    return write_archive(tmp_path_factory.mktemp("larger") / "archive", scenes_of(LARGER))
