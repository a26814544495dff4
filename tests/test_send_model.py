"""Models on workers that share no disk with the client."""

import shutil

import numpy as np
import pytest
from distributed import Client, LocalCluster
from samples import make_samples

import cubecrop
from cubecrop.classification import classify_pixel_sets
from cubecrop.errors import ModelFormatError
from cubecrop.model import handle_to
from cubecrop.training import TrainConfig, fit


def digest_there(reference):
    """Make the model ready on a worker, or raise."""
    reference.predictor("cpu")
    return reference.digest


@pytest.mark.slow
def test_a_model_is_sent_to_workers_of_another_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "client"))
    samples, labels = make_samples(sensors=("sentinel2",))
    model = fit(samples, labels, config=TrainConfig(epochs=1, n_pixels=4))
    lazy = classify_pixel_sets(samples.chunk({"parcel": 4}), model)["probability"]
    reference = handle_to(model)
    here = lazy.compute(scheduler="synchronous")
    # The path that the graph holds leads nowhere, as it does on another machine.
    shutil.rmtree(tmp_path / "client")
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, protocol="tcp", host="127.0.0.1",
            dashboard_address="127.0.0.1:0", env={"XDG_CACHE_HOME": str(tmp_path / "worker")},
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        with pytest.raises(ModelFormatError, match=r"send_model\(model, client\)"):
            lazy.compute()
        cubecrop.send_model(model, client)
        cubecrop.send_model(model, client)
        np.testing.assert_allclose(lazy.compute(), here, atol=1e-5)
        cluster.scale(2)
        client.wait_for_workers(2)
        digests = client.run(digest_there, reference)
        assert list(digests.values()) == [model.digest] * 2
    assert not (tmp_path / "client").exists()
    assert not (tmp_path / "worker").exists()
