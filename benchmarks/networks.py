"""Predicting with networks: cubecrop against the published computation, restated in plain torch.

The restatement (`benchmarks.restated`) has no masked dates, because its users fill cloudy dates by
interpolation. It runs with the best of several batch sizes.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.restated import CLASSES, Restated
from cubecrop.classification.kernels import Inputs, pixel_block
from cubecrop.coverage import Coverage
from cubecrop.model import (
    MOST_PARCELS,
    CropNetwork,
    NetworkConfig,
    NetworkOptions,
    Predictor,
    SampleArrays,
    SensorArrays,
    SensorConfig,
    TrainingSpace,
    as_batch,
    one_thread,
)
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MaskedNetworks", "Networks", "NetworksOnACard", "PixelMap"]

_BATCHES = (8, 16, 64, 128, 512)
BANDS = {"sentinel2": SENTINEL2_BANDS, "sentinel1": SENTINEL1_BANDS}
#: Dates of a season with two Sentinel-2 and two Sentinel-1 satellites, and the masked share.
SEASON, MASKED = {"sentinel2": 85, "sentinel1": 60}, 0.4


def network_of(options: NetworkOptions, *sensors: str) -> CropNetwork:
    """Make a network with random weights, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CropNetwork(
            NetworkConfig(
                sensors=tuple(SensorConfig(name=name, bands=BANDS[name]) for name in sensors),
                n_classes=CLASSES,
                **asdict(options),
            )
        )


def arrays_of(n: int, n_pixels: int, dates: dict[str, int], *, masked: float = 0.0) -> SampleArrays:
    """Make random sets; a share of their dates is masked and NaN, as without an observation."""
    rng = np.random.default_rng(0)
    series = {}
    for name, n_dates in dates.items():
        shape = (n, n_dates, n_pixels, len(BANDS[name]))
        values = rng.standard_normal(shape, dtype=np.float32)
        clear = rng.random(shape[:2]) >= masked
        clear[:, 0] = True
        values[~clear] = np.nan
        days = np.linspace(0, 400, n_dates).round().astype(np.float32)
        series[name] = SensorArrays(values, np.isfinite(values).all(axis=3), days)
    return SampleArrays(series)


class Networks:
    """How many times as fast as the restatement cubecrop is on one core, for parcels and pixels.

    Sets have 24 clear dates of 10 bands; parcels have 64 pixels. The time is that of the network
    alone, from arrays in memory to logits.
    """

    n_dates, n_pixels = 24, 64
    n_parcels, n_singles = 512, 8192
    repeat = 5
    timeout = 600

    def track_tae_parcels(self) -> float:
        return self._faster("tae", self.n_parcels, self.n_pixels)

    def track_ltae_parcels(self) -> float:
        return self._faster("ltae", self.n_parcels, self.n_pixels)

    def track_tae_pixels(self) -> float:
        return self._faster("tae", self.n_singles, 1)

    def track_ltae_pixels(self) -> float:
        return self._faster("ltae", self.n_singles, 1)

    track_tae_parcels.unit = track_ltae_parcels.unit = "x"
    track_tae_pixels.unit = track_ltae_pixels.unit = "x"

    def _faster(self, temporal: str, n: int, n_pixels: int) -> float:
        options = NetworkOptions.published(temporal)
        return times_faster(options, n, n_pixels, self.n_dates, repeat=self.repeat)


class MaskedNetworks:
    """The same with 40 % of the dates masked, for growing numbers of dates.

    ``default`` compares the default network with the restated L-TAE, which is another network but
    has similar scores (`benchmarks.network_sizes`).
    """

    dates = (24, 85, 145)
    #: Number of dates of all sets together.
    n_parcel_dates, n_single_dates = 4640, 145_000
    n_pixels = 64
    repeat = 3
    timeout = 900


def _masked(kind: str, what: str, n_dates: int) -> Callable[[MaskedNetworks], float]:
    """Make a benchmark of one network, kind of set and number of dates."""
    options = NetworkOptions() if kind == "default" else NetworkOptions.published(kind)

    def track(self: MaskedNetworks) -> float:
        pixels, whole = (
            (self.n_pixels, self.n_parcel_dates) if what == "parcels" else (1, self.n_single_dates)
        )
        n = max(2, whole // n_dates)
        return times_faster(options, n, pixels, n_dates, masked=MASKED, repeat=self.repeat)

    track.unit = "x"
    return track


for _kind in ("tae", "ltae", "default"):
    for _what in ("parcels", "pixels"):
        for _n in MaskedNetworks.dates:
            setattr(MaskedNetworks, f"track_{_kind}_{_what}_{_n}", _masked(_kind, _what, _n))


class PixelMap:
    """CPU seconds for a km² of map, 10,000 pixels of 85 + 60 dates, 40 % of them masked.

    The time is that from the cube's blocks in memory to probabilities.
    """

    side = 100
    repeat = 3
    timeout = 600

    def track_default(self) -> float:
        return self._seconds(NetworkOptions(), MASKED)

    def track_default_without_masks(self) -> float:
        return self._seconds(NetworkOptions(), 0.0)

    def track_default_with_limits(self) -> float:
        """With the dissimilarity of each pixel to the parcels that a model stores."""
        return self._seconds(NetworkOptions(), MASKED, distant=True)

    def track_published_sizes(self) -> float:
        return self._seconds(NetworkOptions.published(), MASKED)

    def track_published_sizes_without_masks(self) -> float:
        return self._seconds(NetworkOptions.published(), 0.0)

    track_default.unit = track_default_without_masks.unit = "CPU s"
    track_default_with_limits.unit = "CPU s"
    track_published_sizes.unit = track_published_sizes_without_masks.unit = "CPU s"

    def _seconds(self, options: NetworkOptions, masked: float, *, distant: bool = False) -> float:
        arrays = arrays_of(self.side**2, 1, SEASON, masked=masked)
        blocks = {
            name: one.values.reshape(self.side, self.side, *one.values.shape[1::2])
            for name, one in arrays.series.items()
        }
        inputs = Inputs(
            days={name: one.days for name, one in arrays.series.items()},
            # The coverage of a model that was trained on such a season.
            coverage={
                name: Coverage(
                    first=0, last=400, longest_gap=20, dates=n, clear_dates=n // 4, clear_pause=60
                )
                for name, n in SEASON.items()
            },
        )
        network = network_of(options, *SEASON)
        handle = _Handle(Predictor(network, "cpu"), _space(network.config.embedding_width))

        def run() -> object:
            return pixel_block(
                *blocks.values(), names=tuple(blocks), reference=handle, inputs=inputs,
                n_classes=CLASSES, device=None, distant=distant,
            )  # fmt: skip

        best = best_times({"map": run}, self.repeat)["map"]
        return best * 10_000 / self.side**2


class _Handle:
    """Model handle of a model in memory."""

    def __init__(self, predictor: Predictor, space: TrainingSpace | None = None) -> None:
        self.ready, self.training_space = predictor, space

    def model(self) -> _Handle:
        return self

    def predictor(self, _device: str | None) -> Predictor:
        return self.ready


class NetworksOnACard:
    """The default network on a graphics card with 145 dates, 40 % masked; needs a card.

    It gives pixels and parcels a second. ``bandwidth`` is the time that the card would need to read
    the satellite series from its memory once, as fast as it copies, as a share of the run.
    """

    device = "cuda"
    n_singles, n_parcels, n_pixels = 65_536, 2048, 64
    repeat = 5
    timeout = 600

    def setup(self) -> None:
        if self.device == "cuda" and not torch.cuda.is_available():
            raise NotImplementedError("no graphics card")

    def track_pixels(self) -> float:
        return self._measured(self.n_singles, 1)[0]

    def track_pixels_bandwidth(self) -> float:
        return self._measured(self.n_singles, 1)[1]

    def track_parcels(self) -> float:
        return self._measured(self.n_parcels, self.n_pixels)[0]

    def track_parcels_bandwidth(self) -> float:
        return self._measured(self.n_parcels, self.n_pixels)[1]

    track_pixels.unit = track_parcels.unit = "a second"
    track_pixels_bandwidth.unit = track_parcels_bandwidth.unit = "% of bandwidth"

    def _measured(self, n: int, n_pixels: int) -> tuple[float, float]:
        """Sets a second from the card's memory to logits, and the share of its bandwidth."""
        arrays = arrays_of(n, n_pixels, SEASON, masked=MASKED)
        predictor = Predictor(network_of(NetworkOptions(), *SEASON), self.device)
        batch = as_batch(arrays).to(self.device)

        def run() -> None:
            with torch.inference_mode():
                predictor.network(batch)
            self._wait()

        size = sum(one.values.numel() * one.values.element_size() for one in batch.series.values())
        source = torch.empty(max(size, 2**20), dtype=torch.uint8, device=self.device)

        def copy() -> None:
            source.clone()
            self._wait()

        seconds = {name: self._shortest(each) for name, each in (("run", run), ("copy", copy))}
        # A copy reads and writes; the network only reads the series.
        bandwidth = 2 * source.numel() / seconds["copy"]
        return n / seconds["run"], 100 * size / seconds["run"] / bandwidth

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def _shortest(self, run: Callable[[], None]) -> float:
        run()  # the first run loads the kernels
        best = float("inf")
        for _ in range(self.repeat):
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
        return best


def times_faster(
    options: NetworkOptions,
    n: int,
    n_pixels: int,
    n_dates: int,
    *,
    masked: float = 0.0,
    repeat: int,
) -> float:
    """How many times as fast as the restatement; best of several alternating runs of each."""
    arrays = arrays_of(n, n_pixels, {"sentinel2": n_dates}, masked=masked)
    one = arrays.series["sentinel2"]
    with one_thread():
        predictor = Predictor(network_of(options, "sentinel2"), "cpu")
        restated = Restated(options.temporal, n_dates).eval()
        # The published code takes (batch, time, band, pixel) with cloudy dates filled.
        theirs = torch.from_numpy(np.ascontiguousarray(np.nan_to_num(one.values).swapaxes(2, 3)))
        mask, days = torch.ones(one.valid.shape), torch.from_numpy(one.days)
        runs: dict[object, Callable[[], object]] = {"ours": lambda: predictor.logits(arrays)}
        sizes = [size for size in _BATCHES if size <= max(n, _BATCHES[0])]
        for size in sizes:
            runs[size] = _in_batches(restated, theirs, mask, days, size)
        best = best_times(runs, repeat)
    return min(best[size] for size in sizes) / best["ours"]


def _in_batches(
    network: nn.Module, values: Tensor, mask: Tensor, days: Tensor, size: int
) -> Callable[[], object]:
    def run() -> list[Tensor]:
        with torch.inference_mode():
            parts = zip(values.split(size), mask.split(size), strict=True)
            return [network(v, m, days) for v, m in parts]

    return run


def best_times(runs: dict[object, Callable[[], object]], repeat: int) -> dict[object, float]:
    """Minimum processor time of each, which a busy machine distorts little."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeat):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def _space(width: int) -> TrainingSpace:
    """As many embeddings as a model stores at most."""
    drawn = np.random.default_rng(0).normal(size=(MOST_PARCELS, width))
    return TrainingSpace(
        embedding=drawn.astype(np.float16),
        mean=np.zeros(width, np.float32),
        deviation=np.ones(width, np.float32),
        mean_distance=1.0,
        threshold=1.0,
    )
