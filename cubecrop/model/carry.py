"""Models brought to the workers of a cluster that share no disk with its client.

Apart from `cubecrop.model`, since importing ``distributed`` takes a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed import WorkerPlugin

from cubecrop.model.reference import drop, keep
from cubecrop.model.storage import packed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client, Worker

    from cubecrop.model.crop_model import CropModel

__all__ = ["send_model"]


def send_model(model: CropModel, client: Client) -> None:
    """Bring a model to all workers of a cluster, and to those that join later.

    Maps and tables name their model by digest and folder. Workers that see the client's disk
    read it there; call this for those that do not, before computing. Sending a model again
    does nothing.

    Parameters
    ----------
    model : CropModel
        What was given to `classify` or `classify_parcels`.
    client : distributed.Client
        Client of the cluster, not an asynchronous one.
    """
    name = f"cubecrop model {model.digest}"
    client.register_plugin(
        _Carrier(model.digest, packed(model, model.network, model.parcels_seen)), name=name
    )


class _Carrier(WorkerPlugin):
    """Puts the files of a model into a worker's memory."""

    idempotent = True

    def __init__(self, digest: str, files: Mapping[str, bytes]) -> None:
        self.digest = digest
        self.files = files

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 (the interface of distributed)
        keep(self.digest, self.files)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002
        drop(self.digest)
