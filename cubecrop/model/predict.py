"""Class probabilities from arrays, computed in blocks that fit the processor's cache."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from cubecrop.checks import brief
from cubecrop.errors import DeviceError
from cubecrop.model.fast.folding import fold
from cubecrop.model.fast.gathering import DATE_COST, block_size
from cubecrop.model.probability_calibration import tempered
from cubecrop.model.series import Batch, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from cubecrop.model.arrays import SampleArrays, SensorArrays
    from cubecrop.model.networks import CropNetwork

__all__ = [
    "Predictor", "as_batch", "check_device_name", "keep_freed_memory", "one_thread",
    "usable_device",
]  # fmt: skip

Precision = Literal["float32", "bfloat16"]

#: Work of one batch, in pixels on dates. A graphics card needs larger batches than a processor.
_WORK = {"cpu": 65536, "cuda": 1_000_000}
#: The same for networks that encode each satellite series by itself: these cut a batch into
#: blocks that fit the cache, and need many members to choose from.
_WORK_APART = {"cpu": 2_000_000, "cuda": 2_000_000}
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
#: Just under the largest block, of 32 MiB, that glibc learns from; see mallopt(3).
_LARGE_BLOCK = 30 * 2**20


def usable_device(device: str | None = None) -> str:
    """The requested device; by default a graphics card if torch finds one, else the CPU.

    Raises
    ------
    DeviceError
        Torch does not find the device.
    """
    check_device_name(device)
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    available = ["cpu", *(["cuda"] if n else []), *(f"cuda:{i}" for i in range(n))]
    if device is None:
        return "cuda" if n else "cpu"
    if device not in available:
        raise DeviceError(
            f"device is {device!r}, but torch {torch.__version__} finds {available} here. Choose "
            "one of them, or None for the default."
        )
    return device


def check_device_name(device: object) -> None:
    """Raise `DeviceError` unless this is a name of a device that may exist here or on a worker."""
    if device is not None and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
        raise DeviceError(
            f"device is {brief(device)}, expected 'cpu', 'cuda' or 'cuda:0', or None for a "
            "graphics card if there is one."
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside.

    Sums of several threads differ in their last digit, and Dask runs as many tasks as there are
    cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let the allocator keep freed blocks of some megabytes for the next arrays.

    By default glibc returns such blocks to the system and gets them back page by page, which can
    take as long as the network itself. It keeps them after a larger block was freed once. The
    large block here is allocated for that, and its memory is never touched.
    """
    np.empty(_LARGE_BLOCK, dtype=np.uint8)


class Predictor:
    """A network prepared for prediction: in evaluation mode, folded, on a device.

    Parameters
    ----------
    network : CropNetwork
        Is copied, not changed.
    device : str
        Device that computes.
    temperature : float
        Divides the logits before the softmax.
    precision : {"float32", "bfloat16"}
        Precision of matrix products. ``"bfloat16"`` changes probabilities of parcels by some
        thousandths, and of single pixels by some hundredths. On a processor with AVX-512 BF16 it
        is not faster, as narrow networks spend little time in matrix products.
    """

    def __init__(
        self,
        network: CropNetwork,
        device: str = "cpu",
        *,
        temperature: float = 1.0,
        precision: Precision = "float32",
    ) -> None:
        if precision not in get_args(Precision):
            raise ValueError(
                f"precision is {brief(precision)}, expected one of {list(get_args(Precision))}."
            )
        self.device = torch.device(device)
        self.temperature = temperature
        self.precision = precision
        self.network = fold(network).to(self.device)
        keep_freed_memory()

    def __call__(self, arrays: SampleArrays) -> NDArray[np.float32]:
        """Class probabilities (parcel, class) float32; NaN for parcels without prediction."""
        out = self.each(
            arrays,
            lambda batch: torch.softmax(self.network(batch).float(), dim=1),
            self.network.config.n_classes,
        )
        return tempered(out, self.temperature)

    def with_embedding(
        self, arrays: SampleArrays
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Class probabilities (parcel, class) and embeddings (parcel, feature), in one pass."""
        n = self.network.config.n_classes

        def both(batch: Batch) -> Tensor:
            found = self.network.forward_all(batch, attention=False)
            probability = torch.softmax(found.logits.float(), dim=1)
            return torch.cat([probability, found.embedding.float()], dim=1)

        out = self.each(arrays, both, n + self.network.config.embedding_width)
        return tempered(out[:, :n], self.temperature), out[:, n:]

    def logits(self, arrays: SampleArrays) -> NDArray[np.float32]:
        """Logits (parcel, class) float32; NaN for parcels without prediction."""
        return self.each(arrays, self.network, self.network.config.n_classes)

    def each(
        self, arrays: SampleArrays, compute: Callable[[Batch], Tensor], width: int
    ) -> NDArray[np.float32]:
        """Apply a function to batches: (parcel, width), NaN for parcels without prediction."""
        n = len(arrays)
        out = np.full((n, width), np.nan, dtype=np.float32)
        precision = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        )
        with torch.inference_mode(), one_thread(), precision:
            for part in self._parts(arrays, n):
                batch = as_batch(arrays.take(part)).to(self.device)
                predictable = self.network.predictable(batch)
                if not predictable.any():
                    continue
                values = compute(batch if predictable.all() else batch.take(predictable))
                out[part][predictable.cpu().numpy()] = values.float().cpu().numpy()
        return out

    def _parts(self, arrays: SampleArrays, n: int) -> Iterator[slice]:
        per_member = sum(
            sensor.valid.shape[1] * (sensor.valid.shape[2] + DATE_COST)
            for sensor in arrays.series.values()
        )
        apart = self.network.config.fusion in {"late", "decision"}
        step = block_size((_WORK_APART if apart else _WORK)[self.device.type], per_member)
        for start in range(0, n, step):
            yield slice(start, min(start + step, n))


def as_batch(arrays: SampleArrays) -> Batch:
    """Arrays as tensors, which share the arrays' memory where possible."""

    def tensor(array: NDArray[np.float32] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array))

    return Batch(
        {name: _series(sensor) for name, sensor in arrays.series.items()},
        tensor(arrays.geometry),
        tensor(arrays.terrain),
    )


def _series(sensor: SensorArrays) -> Series:
    # A stride of 0 marks dates that all members share, so that they are encoded only once.
    days = torch.from_numpy(np.array(sensor.days)).expand(len(sensor.values), -1)
    thermal = sensor.thermal
    return Series(
        torch.from_numpy(np.ascontiguousarray(sensor.values)),
        torch.from_numpy(np.ascontiguousarray(sensor.valid)),
        days,
        None if thermal is None else torch.from_numpy(np.ascontiguousarray(thermal)),
    )
