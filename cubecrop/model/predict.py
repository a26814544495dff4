"""From arrays to class probabilities, in blocks that stay in the processor's cache."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from cubecrop.checks import brief
from cubecrop.errors import DeviceError
from cubecrop.model.fast.folding import fold
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

#: Work in one go, in pixels on dates; a date costs as much as some of its pixels. Networks that
#: keep series apart cut it into blocks that stay in the cache, for which they want a choice of
#: members; the others take it as it is. A graphics card wants more at once.
_ROWS = {"cpu": 65536, "cuda": 1_000_000}
_ROWS_APART = {"cpu": 2_000_000, "cuda": 2_000_000}
_A_DATE = 7
#: Members come in multiples of these, so that kernels need no padding.
_EVEN = 16
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
#: Just under the largest block, of 32 MiB, that glibc learns from; see mallopt(3).
_LARGE_BLOCK = 30 * 2**20


def usable_device(device: str | None = None) -> str:
    """The device that is asked for; without one a graphics card where torch finds any.

    Raises
    ------
    DeviceError
        The device is not there.
    """
    check_device_name(device)
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(["cuda"] if n else []), *(f"cuda:{i}" for i in range(n))]
    if device is None:
        return "cuda" if n else "cpu"
    if device not in there:
        raise DeviceError(
            f"device is {device!r}, but torch {torch.__version__} finds {there} here. Choose one "
            "of them, or none."
        )
    return device


def check_device_name(device: object) -> None:
    """Raise `DeviceError` unless a device has a name that torch may know, here or on a worker."""
    if device is not None and not (isinstance(device, str) and _DEVICE.fullmatch(device)):
        raise DeviceError(
            f"device is {brief(device)}, expected 'cpu', 'cuda' or 'cuda:0', or None for a "
            "graphics card where there is one."
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread within.

    Sums of more threads differ in their last digit, and Dask runs as many tasks as there are
    cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Let the allocator keep freed blocks of some megabytes for what comes next.

    glibc's gives such blocks back to the system and gets them back page by page, which can
    take as long as the network itself, until a larger block was once freed. This one is never
    touched.
    """
    np.empty(_LARGE_BLOCK, dtype=np.uint8)


class Predictor:
    """A network made ready to predict: evaluation mode, folded, on a device.

    Parameters
    ----------
    network : CropNetwork
        Stays as it is.
    device : str
        Where to compute.
    temperature : float
        Probabilities are those of logits divided by it.
    precision : {"float32", "bfloat16"}
        Of products of matrices. ``"bfloat16"`` moves probabilities by some thousandths, of
        single pixels by some hundredths; on a processor with AVX-512 BF16 it is no quicker, as
        narrow networks spend their time elsewhere.
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
        """Class probabilities (parcel, class) float32; NaN where nothing can be predicted."""
        out = self.each(
            arrays,
            lambda batch: torch.softmax(self.network(batch).float(), dim=1),
            self.network.config.n_classes,
        )
        return tempered(out, self.temperature)

    def logits(self, arrays: SampleArrays) -> NDArray[np.float32]:
        """Logits (parcel, class) float32; NaN where nothing can be predicted."""
        return self.each(arrays, self.network, self.network.config.n_classes)

    def each(
        self, arrays: SampleArrays, compute: Callable[[Batch], Tensor], width: int
    ) -> NDArray[np.float32]:
        """What a function gives (parcel, width) of all parcels that can be predicted."""
        n = len(arrays)
        out = np.full((n, width), np.nan, dtype=np.float32)
        low = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        )
        with torch.inference_mode(), one_thread(), low:
            for part in self._parts(arrays, n):
                batch = as_batch(arrays.take(part)).to(self.device)
                able = self.network.predictable(batch)
                if not able.any():
                    continue
                found = compute(batch if able.all() else batch.take(able))
                out[part][able.cpu().numpy()] = found.float().cpu().numpy()
        return out

    def _parts(self, arrays: SampleArrays, n: int) -> Iterator[slice]:
        per_member = sum(
            one.valid.shape[1] * (one.valid.shape[2] + _A_DATE) for one in arrays.series.values()
        )
        apart = self.network.config.fusion in {"late", "decision"}
        rows = (_ROWS_APART if apart else _ROWS)[self.device.type]
        step = max(1, rows // max(per_member, 1))
        step -= step % _EVEN if step > _EVEN else 0
        for start in range(0, n, step):
            yield slice(start, min(start + step, n))


def as_batch(arrays: SampleArrays) -> Batch:
    """Arrays as tensors that share their memory where they can."""

    def tensor(array: NDArray[np.float32] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array))

    return Batch(
        {name: _series(one) for name, one in arrays.series.items()},
        tensor(arrays.geometry),
        tensor(arrays.terrain),
    )


def _series(one: SensorArrays) -> Series:
    # A stride of 0 says that all share their dates, which spares work on them.
    days = torch.from_numpy(np.array(one.days)).expand(len(one.values), -1)
    return Series(
        torch.from_numpy(np.ascontiguousarray(one.values)),
        torch.from_numpy(np.ascontiguousarray(one.valid)),
        days,
        None if one.thermal is None else torch.from_numpy(np.ascontiguousarray(one.thermal)),
    )
