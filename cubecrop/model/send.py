"""Send models to the workers of a cluster that share no disk with its client.

`cubecrop.model` does not import this module, since importing ``distributed`` takes a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed import WorkerPlugin

from cubecrop.model.handle import drop, keep
from cubecrop.model.storage import packed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Client, Worker

    from cubecrop.model.crop_model import CropModel

__all__ = ["send_model"]


def send_model(model: CropModel, client: Client) -> None:
    """Send a model to all workers of a cluster, and to those that join later.

    The graphs of maps and tables refer to their model by digest and folder. Workers that share
    the client's disk read it there. If workers do not, call this function before computing.
    Sending a model again does nothing.

    Parameters
    ----------
    model : CropModel
        The model that was passed to `classify` or `classify_parcels`.
    client : distributed.Client
        Client of the cluster; an asynchronous one does not work.
    """
    name = f"cubecrop model {model.digest}"
    files = packed(model, model.network, model.parcels_seen, model.training_space)
    client.register_plugin(_SentModel(model.digest, files), name=name)


class _SentModel(WorkerPlugin):
    """Keeps the files of a model in a worker's memory."""

    idempotent = True

    def __init__(self, digest: str, files: Mapping[str, bytes]) -> None:
        self.digest = digest
        self.files = files

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 (the interface of distributed)
        keep(self.digest, self.files)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002
        drop(self.digest)
