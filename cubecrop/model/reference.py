"""Models inside Dask graphs: by digest, loaded once a process."""

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

__all__ = ["ModelReference", "drop", "keep", "reference_to"]

#: By digest, the files of models that were sent to this process; see `send_model`.
_SENT: dict[str, Mapping[str, bytes]] = {}
_LOCK = threading.Lock()


def reference_to(model: CropModel) -> ModelReference:
    """What goes into a Dask graph in a model's place; writes an unsaved model to a cache.

    The cache is ``$XDG_CACHE_HOME/cubecrop/models``, else ``~/.cache/cubecrop/models``.

    Raises
    ------
    OutputError
        The cache cannot be written.
    """
    home = _cache_folder() / model.digest
    if not home.exists():
        try:
            model.save(home)
        except OutputError:
            if not home.exists():  # else another thread or process was faster
                raise
    return ModelReference(str(home), model.digest)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A model by folder and digest: small enough for every task of a graph."""

    path: str
    digest: str

    def predictor(self, device: str | None = None) -> Predictor:
        """The model made ready, loaded once a process and device.

        Raises
        ------
        ModelFormatError
            The model was neither sent here nor is in its folder, or another one is.
        """
        with _LOCK:  # two threads that ask at once share one load
            return _predictor(self, usable_device(device))


def keep(digest: str, files: Mapping[str, bytes]) -> None:
    """Hold the files of a model in this process, for references to it."""
    _SENT[digest] = files


def drop(digest: str) -> None:
    """Forget what `keep` holds."""
    _SENT.pop(digest, None)


@functools.lru_cache(maxsize=4)
def _predictor(reference: ModelReference, device: str) -> Predictor:
    if (files := _SENT.get(reference.digest)) is not None:
        return CropModel.of(*unpacked(files, "the model that was sent")).predictor(device)
    if not Path(reference.path).exists():
        raise ModelFormatError(
            f"model {reference.digest[:12]} is not on this machine, which sees no folder "
            f"{reference.path}. Workers that share no disk with the client get it by "
            "`cubecrop.send_model(model, client)`, called before computing."
        )
    model = CropModel.load(reference.path)
    if model.digest != reference.digest:
        raise ModelFormatError(
            f"{reference.path} holds model {model.digest[:12]}, expected "
            f"{reference.digest[:12]}: it was replaced after the graph was built."
        )
    return model.predictor(device)


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "cubecrop" / "models"
