"""Predictions: what every model said of every tested parcel, from which all scores follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cubecrop.errors import ReadError, SchemaError
from cubecrop.files import new_file
from cubecrop.nomenclature import Nomenclature, decide

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["COLUMNS", "Predictions"]

#: Columns of a table of predictions and their types.
COLUMNS: Final = {
    "protocol": "category",  # as in `folds`
    "fold": "category",  # name of the test part
    "model": "category",  # name of the row in a table of models
    "seed": "int64",
    "variant": "category",  # how the test samples were changed, "" for as they are
    "level": "float64",  # how far they were changed; NaN without a number
    "n_train": "int64",  # labelled parcels in training
    "parcel": "str",
    "region": "category",
    "year": "int64",
    "group": "str",  # parcels of one group are not independent
    "area": "float64",  # square metres; NaN if unknown
    "truth": "int64",  # class index
    "in_set": "float64",  # 1 if the conformal set holds the true class; NaN without sets
    "set_size": "float64",  # classes in the conformal set; NaN without sets
    "dissimilarity": "float64",  # to the training parcels, in thresholds: above 1 is outside
}
_CLASSES: Final = b"cubecrop:nomenclature"
_PROBABILITY: Final = "probability"


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row for each parcel, model, fold, seed and variant of the test samples.

    Parameters
    ----------
    table : pandas.DataFrame
        The columns of `COLUMNS`.
    probability : numpy.ndarray
        (row, class) float32; NaN for a parcel without prediction.
    nomenclature : Nomenclature
        The classes.
    """

    table: pd.DataFrame
    probability: NDArray[np.float32]
    nomenclature: Nomenclature

    def __post_init__(self) -> None:
        expected = (len(self.table), len(self.nomenclature))
        if self.probability.shape != expected or list(self.table.columns) != list(COLUMNS):
            raise SchemaError(
                f"predictions have the columns {list(self.table.columns)} and probabilities of "
                f"shape {self.probability.shape}, expected {list(COLUMNS)} and {expected}."
            )

    def __len__(self) -> int:
        return len(self.table)

    @property
    def truth(self) -> NDArray[np.int64]:
        """True class index (row,)."""
        return self.table["truth"].to_numpy()

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class index (row,); 255 for a parcel without prediction."""
        return decide(self.probability).astype(np.int64)

    def where(self, **values: object) -> Predictions:
        """The rows whose columns have the given values.

        A list of values selects the rows that have any of them.
        """
        chosen = np.ones(len(self), dtype=bool)
        for name, value in values.items():
            column = self.table[name]
            some = value if isinstance(value, list | tuple | set) else [value]
            chosen &= column.isin(list(some)).to_numpy()
        return self.take(np.flatnonzero(chosen))

    def take(self, rows: NDArray[np.int64]) -> Predictions:
        """Some of the rows, by position."""
        table = self.table.iloc[rows].reset_index(drop=True)
        return Predictions(table, self.probability[rows], self.nomenclature)

    @classmethod
    def concatenated(cls, parts: Sequence[Predictions]) -> Predictions:
        """Join predictions that have the same classes."""
        if len({tuple(part.nomenclature.names) for part in parts}) != 1:
            raise SchemaError(
                f"{len(parts)} predictions are not of the same classes, expected one or more of "
                "the same."
            )
        plain = [part.table.astype(_PLAIN) for part in parts]
        return cls(
            pd.concat(plain, ignore_index=True).astype(COLUMNS),
            np.concatenate([part.probability for part in parts]),
            parts[0].nomenclature,
        )

    def write(self, path: Path) -> None:
        """Write a Parquet file; it appears whole or not at all."""
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        flat = pa.array(self.probability.ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, len(self.nomenclature))
        table = table.append_column(_PROBABILITY, column)
        metadata = {_CLASSES: self.nomenclature.to_json().encode()}
        with new_file(path, cure="Choose another folder.") as staging:
            pq.write_table(table.replace_schema_metadata(metadata), staging, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a file that `write` wrote.

        Raises
        ------
        ReadError
            The file is missing, damaged or of another kind.
        """
        try:
            table = pq.read_table(path)
            nomenclature = Nomenclature.from_json((table.schema.metadata or {})[_CLASSES].decode())
            flat = table[_PROBABILITY].combine_chunks().flatten().to_numpy()
            frame = table.drop_columns(_PROBABILITY).to_pandas()
            if "area" not in frame:  # some files lack it
                frame["area"] = np.nan
            frame = frame[list(COLUMNS)].astype(COLUMNS)
            probability = flat.reshape(len(frame), len(nomenclature)).astype(np.float32)
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise ReadError(
                f"{path} is not a table of predictions: {error}. Make it again with `cubecrop "
                "evaluate`."
            ) from error
        return cls(frame, probability, nomenclature)


_PLAIN: Final[dict[str, Any]] = {
    name: "str" if kind == "category" else kind for name, kind in COLUMNS.items()
}
