"""From arrays to class probabilities, in blocks that stay in the processor's cache."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from cubecrop.model.calibration import tempered
from cubecrop.model.networks import LateFusion, Series, fold_norms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from cubecrop.model.arrays import SensorArrays

__all__ = ["Predictor", "one_thread"]

#: Valid-pixel rows computed in one go on a processor: their widest layer then takes some
#: megabytes. A graphics card wants more at once.
_ROWS = {"cpu": 32768, "cuda": 1_000_000}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within: Dask runs as many tasks as there are cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Predictor:
    """A network made ready to predict: evaluation mode, folded, on a device.

    Its probabilities are those of logits divided by ``temperature``.
    """

    def __init__(
        self, network: LateFusion, device: str = "cpu", *, temperature: float = 1.0
    ) -> None:
        self.device = torch.device(device)
        self.temperature = temperature
        self.network = fold_norms(network).to(self.device)

    def __call__(self, sensors: Mapping[str, SensorArrays]) -> NDArray[np.float32]:
        """Class probabilities (parcel, class) float32; NaN where nothing can be predicted."""
        n = len(next(iter(sensors.values())).valid)
        out = np.full((n, self.network.config.n_classes), np.nan, dtype=np.float32)
        with torch.inference_mode():
            for part in self._parts(sensors, n):
                batch = {name: self._series(arrays, part) for name, arrays in sensors.items()}
                able = self.network.predictable(batch)
                if not able.any():
                    continue
                if not able.all():
                    batch = {
                        name: Series(s.values[able], s.valid[able], s.days[able])
                        for name, s in batch.items()
                    }
                probability = torch.softmax(self.network(batch), dim=1)
                out[part][able.cpu().numpy()] = probability.float().cpu().numpy()
        return tempered(out, self.temperature)

    def _parts(self, sensors: Mapping[str, SensorArrays], n: int) -> Iterator[slice]:
        per_member = sum(arrays.valid[0].size for arrays in sensors.values()) if n else 1
        step = max(1, _ROWS[self.device.type] // per_member)
        for start in range(0, n, step):
            yield slice(start, min(start + step, n))

    def _series(self, arrays: SensorArrays, part: slice) -> Series:
        values = np.ascontiguousarray(arrays.values[part])
        days = np.broadcast_to(arrays.days, (len(values), len(arrays.days)))
        return Series(
            torch.from_numpy(values).to(self.device),
            torch.from_numpy(np.ascontiguousarray(arrays.valid[part])).to(self.device),
            torch.from_numpy(days.copy()).to(self.device),
        )
