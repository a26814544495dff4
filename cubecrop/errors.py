"""The exceptions of cubecrop.

Every message states the problem, what was expected and the cure.
Each class is also a builtin, so that ``except ValueError`` keeps working.
"""

from __future__ import annotations

__all__ = [
    "AoiError",
    "ArchiveError",
    "ArgumentError",
    "ClusterError",
    "CubecropError",
    "DeviceError",
    "LabelError",
    "MissingExtraError",
    "ModelFormatError",
    "ModelMismatchError",
    "NoScenesError",
    "OutputError",
    "ParcelError",
    "ReadError",
    "SchemaError",
    "SeasonError",
    "SimulationError",
    "UnsupportedItemError",
]


class CubecropError(Exception):
    """Base class of every error that cubecrop raises on purpose."""


class ArgumentError(CubecropError, ValueError):
    """An argument with a wrong type, or out of range."""


class AoiError(CubecropError, ValueError):
    """An area of interest that cannot be understood."""


class SeasonError(CubecropError, ValueError):
    """An impossible season, such as one that ends before it starts."""


class SchemaError(CubecropError, ValueError):
    """Dims, bands, units or CRS are not those of a season cube or of pixel sets."""


class ArchiveError(CubecropError, OSError):
    """An archive that cannot be opened or searched."""


class UnsupportedItemError(CubecropError, ValueError):
    """A STAC item that cubecrop cannot use; the message names it and says why."""


class NoScenesError(CubecropError, LookupError):
    """A search that found nothing to map with."""


class ReadError(CubecropError, OSError):
    """An asset that could not be read; the message names the item and the asset."""


class ParcelError(CubecropError, ValueError):
    """A parcel table with duplicated ids, without CRS, or without its columns."""


class LabelError(CubecropError, ValueError):
    """Labels that cannot be learned from."""


class ModelFormatError(CubecropError, ValueError):
    """A folder that is not a model, or one that was damaged."""


class DeviceError(CubecropError, ValueError):
    """A graphics card that does not exist."""


class ModelMismatchError(CubecropError, ValueError):
    """Data that the model was not made for."""


class ClusterError(CubecropError, RuntimeError):
    """A Dask cluster that is not there, or that went away during a run."""


class OutputError(CubecropError, OSError):
    """An output that cannot be written to its path."""


class SimulationError(CubecropError, ValueError):
    """A simulated world that cannot be made."""


class MissingExtraError(CubecropError, ImportError):
    """An optional dependency that is not installed; the message has its install line."""
