"""Neither the network nor the forest learns from held-out parcels.

In these tests each held-out parcel looks like the other crop. A classifier trained only on training
parcels is wrong about all of them, and its weights do not depend on how they look.
"""

import numpy as np
import pytest
import torch
from fields import CORNERS, PLACE, make_parcels

import cubecrop
from cubecrop.testing import Optical, write_archive

DAYS = ("03-01", "05-01", "06-15", "08-01")
PART = cubecrop.split_parcels(make_parcels(), "crop", held_out=0.3).to_numpy()


def write_images(folder, of_held_out):
    """Training parcels of wheat near DN 2000, of maize near 4000; held-out ones as given."""
    held = PART == "held out"
    shown = np.array([2000 if i < 2 else 4000 for i, _ in CORNERS]) + 5 * np.arange(16)
    shown[held] = of_held_out(shown[held])

    def ground(x, y):
        column, row = (x - PLACE.left) // 100, (PLACE.top - y) // 100
        return shown[(4 * column + row).astype(int)]

    days = [Optical(when=f"2018-{day}T10:56:21Z", dn=ground, place=PLACE) for day in DAYS]
    return write_archive(folder, days)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Trained where held-out parcels look as the other crop, and where they are very bright."""
    looks = {"the other crop": lambda dn: 6000 - dn, "very bright": lambda dn: 0 * dn + 9000}
    return [
        cubecrop.train(
            make_parcels(), "crop", 2018, sensors=("sentinel2",), progress=False,
            archive=write_images(tmp_path_factory.mktemp("images"), look),
            config=cubecrop.TrainConfig(epochs=1, n_pixels=4),
        )
        for look in looks.values()
    ]  # fmt: skip


def test_the_network_is_the_same_however_held_out_parcels_look(models):
    one, other = (model.network.state_dict() for model in models)
    assert all(torch.equal(one[name], other[name]) for name in one)
    n_held = int((PART == "held out").sum())
    assert n_held == 4
    assert sum(models[0].training.parcels.values()) == 16 - n_held
    assert models[0].scores["train"]["n"] == 16 - n_held


def test_the_forest_is_wrong_about_every_held_out_parcel(models):
    forest = models[0].scores["held out, random forest"]
    assert (forest["n"], forest["accuracy"]) == (4, 0)
