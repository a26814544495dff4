"""A date of a cube that is no composite is one acquisition."""

from cubes import DAY, NEXT, RADAR_DAY, season

from cubecrop.testing import Optical, Radar


def test_each_date_is_one_acquisition(tmp_path):
    cube = season(tmp_path, Optical(when=DAY), Optical(when=NEXT), Radar(when=RADAR_DAY))
    assert cube["sentinel2"]["acquisitions"].values.tolist() == [1, 1]
    assert cube["sentinel1"]["acquisitions"].values.tolist() == [1]
