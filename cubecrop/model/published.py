"""Weights of the published code: PSE+TAE and PSE+L-TAE of Garnot, Landrieu and colleagues.

A checkpoint folder holds ``conf.json``, the options of a training, and ``Fold_k/model.pth.tar``,
a dict whose ``state_dict`` has the weights. Sizes are taken from the weights, and compared with
the options that state them. Options that the weights do not show (pooling, the period and kind of
positions) are read from ``conf.json``, with the defaults of the published code.

================================================  =======================================
published code                                    cubecrop
================================================  =======================================
``spatial_encoder.mlp1.{i}.lin``, ``.bn``         ``encoders.S.pixels.{3i}``, ``.{3i+1}``
``spatial_encoder.mlp2.{3i}``, ``.{3i+1}``        ``encoders.S.sets.{3i}``, ``.{3i+1}``
``temporal_encoder.inlayernorm``                  ``temporal.S.norm_in``
``temporal_encoder.inconv.0``, a convolution      ``temporal.S.widen.linear``
``temporal_encoder.inconv.1``, (channel, date)    ``temporal.S.widen.norm``, (date, channel)
``temporal_encoder.inconv``, in some versions     ``temporal.S.widen.linear``, without a norm
``temporal_encoder.attention_heads.Q``            ``temporal.S.query``
``temporal_encoder.attention_heads.fc1_q``        ``temporal.S.queries``
``temporal_encoder.attention_heads.fc1_k``        ``temporal.S.keys``
``temporal_encoder.attention_heads.fc2.{0, 1}``   ``temporal.S.master.{0, 1}``
``temporal_encoder.mlp.{3i}``, ``.{3i+1}``        ``temporal.S.out.0.{3i}``, ``.{3i+1}``
``temporal_encoder.outlayernorm``                 ``temporal.S.norm_out``
``temporal_encoder.position_enc``, a table        computed
``decoder.{3i}``, ``.{3i+1}``                     ``decoders.fused.{3i}``, ``.{3i+1}``
================================================  =======================================

where S is ``sentinel2``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from cubecrop.errors import ModelFormatError
from cubecrop.model.config import NetworkConfig, SensorConfig
from cubecrop.model.networks import CropNetwork
from cubecrop.model.torch_file import read_weights
from cubecrop.schema import SENTINEL2_BANDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike
    from torch import Tensor

__all__ = ["Normalisation", "read_published"]

Normalisation = tuple["ArrayLike", "ArrayLike"]

#: Pattern of a name in the published code, and the name in cubecrop. ``%d`` stands for three times
#: the number in the pattern, plus the last entry: a layer of the published code combines a linear
#: layer, a normalisation and a ReLU.
_RENAMED: Final = (
    (r"spatial_encoder\.mlp1\.(\d+)\.lin\.", "encoders.sentinel2.pixels.%d.", 0),
    (r"spatial_encoder\.mlp1\.(\d+)\.bn\.", "encoders.sentinel2.pixels.%d.", 1),
    (r"spatial_encoder\.mlp2\.", "encoders.sentinel2.sets.", 0),
    (r"temporal_encoder\.inlayernorm\.", "temporal.sentinel2.norm_in.", 0),
    (r"temporal_encoder\.inconv\.0\.", "temporal.sentinel2.widen.linear.", 0),
    (r"temporal_encoder\.inconv\.1\.", "temporal.sentinel2.widen.norm.", 0),
    (r"temporal_encoder\.inconv\.(?=weight$|bias$)", "temporal.sentinel2.widen.linear.", 0),
    (r"temporal_encoder\.attention_heads\.Q$", "temporal.sentinel2.query", 0),
    (r"temporal_encoder\.attention_heads\.fc1_q\.", "temporal.sentinel2.queries.", 0),
    (r"temporal_encoder\.attention_heads\.fc1_k\.", "temporal.sentinel2.keys.", 0),
    (r"temporal_encoder\.attention_heads\.fc2\.", "temporal.sentinel2.master.", 0),
    (r"temporal_encoder\.mlp\.", "temporal.sentinel2.out.0.", 0),
    (r"temporal_encoder\.outlayernorm\.", "temporal.sentinel2.norm_out.", 0),
    (r"decoder\.", "decoders.fused.", 0),
)
_WIDENING: Final = re.compile(r"temporal_encoder\.inconv\.")
_TABLE: Final = "temporal_encoder.position_enc.weight"
_CHECKPOINT: Final = "model.pth.tar"


def read_published(
    folder: Path,
    *,
    fold: int = 1,
    normalisation: Normalisation | None = None,
    geometry_normalisation: Normalisation | None = None,
) -> CropNetwork:
    """Build the network of a checkpoint folder; see `CropModel.from_reference`."""
    options, weights = _options(folder), _weights(_checkpoint(folder, fold))
    try:
        config = _config(options, weights)
        network = CropNetwork(config)
        renamed = _renamed(weights)
        own = {"mean", "deviation", "extras_mean", "extras_deviation"}
        wanted = {key for key in network.state_dict() if key.rpartition(".")[2] not in own}
        if missing := sorted(wanted - set(renamed)):
            raise ValueError(f"weights lack {missing}")
        network.load_state_dict(network.state_dict() | renamed, strict=True)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFormatError(
            f"{folder} does not hold weights of the published PSE+TAE or PSE+L-TAE: {error}."
        ) from error
    if not all(bool(torch.isfinite(t).all()) for t in network.state_dict().values()):
        raise ModelFormatError(f"{folder} has weights that are not finite.")
    n_bands = len(config.sensors[0].bands)
    if normalisation is not None:
        network.normalise_by("sentinel2", *_pair(normalisation, n_bands, "normalisation"))
    if geometry_normalisation is not None:
        if not config.n_geometry:
            raise ModelFormatError(
                "geometry_normalisation is given, but these weights take no geometry."
            )
        pair = _pair(geometry_normalisation, config.n_geometry, "geometry_normalisation")
        network.normalise_by("extras", *pair)
    return network.eval()


def _options(folder: Path) -> dict[str, Any]:
    path = folder / "conf.json"
    try:
        options = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelFormatError(
            f"{folder} is not a checkpoint folder of the published code: it has no readable "
            "conf.json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is not JSON: {error}.") from error
    if not isinstance(options, dict):
        raise ModelFormatError(f"{path} holds a {type(options).__name__}, expected an object.")
    if options.get("gru") or options.get("tcnn"):
        raise ModelFormatError(
            f"{folder} holds a GRU or a TempCNN, expected weights of PSE+TAE or PSE+L-TAE."
        )
    return options


def _checkpoint(folder: Path, fold: int) -> Path:
    path = folder / f"Fold_{fold}" / _CHECKPOINT
    if not path.is_file():
        folds = sorted(
            file.parent.name for file in folder.glob(f"Fold_*/{_CHECKPOINT}") if file.is_file()
        )
        raise ModelFormatError(
            f"{folder} has no {path.parent.name}/{path.name}; it has weights of "
            f"{', '.join(folds) or 'no fold'}. Choose one with `fold=`."
        )
    return path


def _weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint; nothing in the file is executed."""
    example = "its `state_dict`: `torch.save({'state_dict': model.state_dict()}, path)`"
    content = read_weights(path, example=example)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelFormatError(f"{path} has no 'state_dict' with weights.")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _config(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> NetworkConfig:
    """The configuration: sizes from the weights, the rest from the options."""
    pixel = _widths(weights, r"spatial_encoder\.mlp1\.(\d+)\.lin\.weight")
    sets = _widths(weights, r"spatial_encoder\.mlp2\.(\d+)\.weight")
    # With a single width in mlp3, the heads' outputs are not transformed.
    summary = _widths(weights, r"temporal_encoder\.mlp\.(\d+)\.weight") or (
        weights["temporal_encoder.outlayernorm.weight"].shape[0],
    )
    decoder = _widths(weights, r"decoder\.(\d+)\.weight")
    for name, widths in {"mlp1": pixel, "mlp2": sets, "mlp4": decoder}.items():
        if not widths:
            raise ValueError(f"weights have no layer of {name}")
    statistics = tuple(str(options.get("pooling", "mean_std")).split("_"))
    light = "temporal_encoder.attention_heads.Q" in weights
    keys = weights["temporal_encoder.attention_heads.fc1_k.weight"]
    inner, width = keys.shape
    heads = weights["temporal_encoder.attention_heads.Q"].shape[0] if light else summary[0] // width
    if not light and weights["temporal_encoder.attention_heads.fc2.1.weight"].shape[0] != inner:
        raise ValueError("fc2 is smaller than all heads together, as in an early form of the TAE")
    norm = weights.get("temporal_encoder.inconv.1.weight")
    # In the published code any other value means the number of the date.
    positions = options.get("positions", "bespoke")
    by_days = positions == "bespoke" or isinstance(positions, list)
    n_geometry = sets[0] - pixel[-1] * len(statistics)
    if n_geometry < 0 or (n_geometry and options.get("geomfeat", 1) == 0):
        raise ValueError(
            f"mlp2 takes {sets[0]} features, but pooling {'_'.join(statistics)!r} of {pixel[-1]} "
            f"gives {pixel[-1] * len(statistics)} and geomfeat is {options.get('geomfeat', 1)}"
        )
    config = NetworkConfig(
        sensors=(SensorConfig(name="sentinel2", bands=_bands(pixel[0])),),
        n_classes=decoder[-1],
        fusion="late",
        temporal="ltae" if light else "tae",
        statistics=statistics,  # type: ignore[arg-type]
        time_encoding="first-date" if by_days else "order",
        geometry=n_geometry > 0,
        n_geometry=n_geometry,
        pixel_mlp=pixel[1:],
        set_mlp=sets[1:-1],
        embedding=sets[-1],
        attention_width=width if any(map(_WIDENING.match, weights)) else 0,
        n_dates=norm.shape[1] if norm is not None and norm.ndim == 2 else 0,
        normalises_widened=norm is not None or not any(map(_WIDENING.match, weights)),
        heads=heads,
        key_width=inner // heads,
        temporal_mlp=summary[1:],
        decoder=decoder[1:-1],
        period=float(options.get("T", 1000)),
    )  # fmt: skip
    _agree(options, {"mlp1": pixel, "mlp2": sets, "mlp3": summary, "mlp4": decoder})
    return config


def _agree(options: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise if options state sizes that the weights do not have."""
    for name, actual in sizes.items():
        stated = options.get(name)
        if isinstance(stated, str):
            stated = [int(number) for number in re.findall(r"\d+", stated)]
        if stated is None:
            continue
        # Some versions state the first width of mlp2 without the geometry.
        rest = slice(1, None) if name == "mlp2" else slice(None)
        if list(stated)[rest] != list(actual)[rest]:
            raise ValueError(f"conf.json says {name} = {stated}, the weights have {list(actual)}")


def _widths(weights: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    """Widths of a stack of linear layers; its normalisations have one dimension and are skipped."""
    layers = {
        int(match[1]): value
        for key, value in weights.items()
        if (match := re.fullmatch(pattern, key)) and value.ndim == 2
    }
    ordered = [layers[index] for index in sorted(layers)]
    return (ordered[0].shape[1], *(layer.shape[0] for layer in ordered)) if ordered else ()


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for key, value in weights.items():
        if key == _TABLE:
            continue
        for pattern, name, step in _RENAMED:
            if match := re.match(pattern, key):
                start = name % (3 * int(match[1]) + step) if "%d" in name else name
                renamed = start + key[match.end() :]
                break
        else:
            raise ValueError(f"weight {key!r} is unknown")
        if ".widen.linear.weight" in renamed:
            value = value.squeeze(-1)
        elif ".widen.norm." in renamed and value.ndim == 2:
            value = value.transpose(0, 1)
        out[renamed] = value
    return out


def _bands(n: int) -> tuple[str, ...]:
    if n == len(SENTINEL2_BANDS):
        return tuple(SENTINEL2_BANDS)
    return tuple(f"band{i + 1}" for i in range(n))


def _pair(pair: Normalisation, n: int, what: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation (feature,), from one number for all features or one for each."""
    try:
        mean, deviation = (np.asarray(part, dtype=np.float64) for part in pair)
    except (TypeError, ValueError) as error:
        raise ModelFormatError(f"{what} is not a mean and a deviation: {error}.") from error
    if mean.ndim > 1 or deviation.ndim > 1:
        raise ModelFormatError(
            f"{what} has shapes {mean.shape} and {deviation.shape}, expected () or ({n},). If it "
            f"differs by date, standardise the samples, `(reflectance - mean) / deviation`, and "
            f"leave {what} out."
        )
    numbers = np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()
    if not {mean.size, deviation.size} <= {1, n} or not numbers:
        raise ModelFormatError(
            f"{what} has {mean.size} means and {deviation.size} deviations, expected 1 or {n} of "
            "each, finite, and deviations above 0."
        )
    mean, deviation = (np.broadcast_to(part, n).astype("f4") for part in (mean, deviation))
    return torch.from_numpy(mean), torch.from_numpy(deviation)
