"""Terrain checked by hand: planes, coarse heights, missing heights."""

import numpy as np
import pytest
from cubes import DAY, season

from cubecrop.cube.terrain import slope_and_aspect
from cubecrop.testing import Elevation, Optical, Place


@pytest.mark.parametrize(
    ("east", "north", "slope", "sine", "cosine"),
    [
        (1.0, 0.0, 45.0, -1.0, 0.0),  # rises to the east: falls to the west
        (0.0, 1.0, 45.0, 0.0, -1.0),
        (-0.5, -0.5, np.degrees(np.arctan(np.sqrt(0.5))), np.sqrt(0.5), np.sqrt(0.5)),
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_terrain_of_a_plane(tmp_path, east, north, slope, sine, cosine):
    wide = Place(left=499_900, top=5_630_100, height=80, width=80)

    def plane(x, y):
        return 500 + east * (x - 500_000) + north * (y - 5_629_000)

    found = season(tmp_path, Optical(when=DAY), Elevation(elevation=plane, place=wide))
    terrain = found["terrain/terrain"]
    assert found["terrain"].units.values.tolist() == ["m", "degree", "1", "1"]
    x, y = np.meshgrid(found.x, found.y)
    np.testing.assert_allclose(terrain.sel(variable="elevation"), plane(x, y), rtol=1e-6)
    for name, value in (("slope", slope), ("aspect_sine", sine), ("aspect_cosine", cosine)):
        np.testing.assert_allclose(terrain.sel(variable=name), value, atol=1e-3)


def test_a_coarse_elevation_is_interpolated_smoothly(tmp_path):
    coarse = Place(left=499_800, top=5_630_200, height=50, width=50, pixel=20.0)
    scenes = [Optical(when=DAY), Elevation(elevation=lambda x, y: x - 499_000, place=coarse)]
    slope = season(tmp_path, *scenes)["terrain/terrain"].sel(variable="slope")
    np.testing.assert_allclose(slope, 45, atol=0.01)


def test_terrain_beside_missing_heights():
    z = np.full((5, 5), 100, np.float32)
    z[2, 3] = np.nan
    slope, sine, _ = slope_and_aspect(z, 10)
    assert np.isnan(slope[1, 2])
    assert np.isnan(sine).sum() == 1
    assert np.nansum(slope) == 0
