"""Model handles: models in Dask graphs, identified by digest and loaded once per process."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cubecrop.errors import ModelFormatError, OutputError
from cubecrop.model.crop_model import CropModel
from cubecrop.model.predict import Predictor, usable_device
from cubecrop.model.storage import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelHandle", "drop", "handle_to", "keep"]

#: Files of the models that were sent to this process, by digest; see `send_model`.
_SENT: dict[str, Mapping[str, bytes]] = {}
_LOCK = threading.Lock()


def handle_to(model: CropModel) -> ModelHandle:
    """Make the handle that stands for a model in a Dask graph; saves the model to a cache.

    The cache is ``$XDG_CACHE_HOME/cubecrop/models``, else ``~/.cache/cubecrop/models``.

    Raises
    ------
    OutputError
        The cache cannot be written.
    """
    home = _cache_folder() / model.digest
    # A process that the model was sent to needs no folder.
    if model.digest not in _SENT and not home.exists():
        try:
            model.save(home)
        except OutputError:
            if not home.exists():  # else another thread or process was faster
                raise
    return ModelHandle(str(home), model.digest)


@dataclass(frozen=True, slots=True)
class ModelHandle:
    """Folder and digest of a model: small enough for every task of a graph."""

    path: str
    digest: str

    def predictor(self, device: str | None = None) -> Predictor:
        """The model's predictor, loaded once per process and device.

        Raises
        ------
        ModelFormatError
            The model was not sent to this process, and its folder is missing or holds another
            model.
        """
        with _LOCK:  # threads that ask at the same time share one load
            return _predictor(self, usable_device(device))

    def model(self) -> CropModel:
        """The model, loaded once per process; raises like `predictor`."""
        with _LOCK:
            return _model(self)


def keep(digest: str, files: Mapping[str, bytes]) -> None:
    """Keep the files of a model in this process, for handles to it."""
    _SENT[digest] = files


def drop(digest: str) -> None:
    """Drop the files that `keep` has stored."""
    _SENT.pop(digest, None)


@functools.lru_cache(maxsize=4)
def _predictor(handle: ModelHandle, device: str) -> Predictor:
    return _model(handle).predictor(device)


@functools.lru_cache(maxsize=4)
def _model(handle: ModelHandle) -> CropModel:
    if (files := _SENT.get(handle.digest)) is not None:
        return CropModel.of(*unpacked(files, "the model that was sent"))
    if not Path(handle.path).exists():
        raise ModelFormatError(
            f"model {handle.digest[:12]} is not on this machine, which has no folder "
            f"{handle.path}. If workers share no disk with the client, call "
            "`cubecrop.send_model(model, client)` before computing."
        )
    model = CropModel.load(handle.path)
    if model.digest != handle.digest:
        raise ModelFormatError(
            f"{handle.path} holds model {model.digest[:12]}, expected "
            f"{handle.digest[:12]}: it was replaced after the graph was built. Build the graph "
            "again."
        )
    return model


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "cubecrop" / "models"
