"""Models inside Dask graphs: by digest, loaded once a process."""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from cubecrop.errors import ModelFormatError, OutputError
from cubecrop.model.crop_model import CropModel
from cubecrop.model.predict import Predictor, default_device

__all__ = ["ModelReference", "reference_to"]


def reference_to(model: CropModel) -> ModelReference:
    """What goes into a Dask graph in a model's place; writes an unsaved model to a cache."""
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
        """The model made ready, loaded once a process and device."""
        with _LOCK:  # two threads that ask at once share one load
            return _predictor(self, device or default_device())


_LOCK = threading.Lock()


@functools.lru_cache(maxsize=4)
def _predictor(reference: ModelReference, device: str) -> Predictor:
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
