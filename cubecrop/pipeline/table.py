"""`train_table`: train on an existing table of samples, without an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.checks import brief, check_path, check_share
from cubecrop.errors import LabelError, ReadError
from cubecrop.nomenclature import NODATA, Nomenclature, warn_of_spellings
from cubecrop.pipeline.inputs import as_nomenclature
from cubecrop.pipeline.score import fit_and_score
from cubecrop.sample import read_pixel_set_folder, read_worldcereal, split_groups
from cubecrop.texts import label_text
from cubecrop.training import Init, TrainConfig, as_init, check_fit_options

if TYPE_CHECKING:
    import xarray as xr

    from cubecrop.model import CropModel

__all__ = ["read_samples", "train_table"]


def train_table(
    table: str | Path,
    label: str,
    *,
    held_out: float = 0.3,
    nomenclature: Nomenclature | str | Path | None = None,
    config: TrainConfig | None = None,
    init: Init | str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> CropModel:
    """Train a model on a table of samples; reads it into memory.

    Parameters
    ----------
    table : path
        A Parquet file in one of WorldCereal's forms (see
        `cubecrop.sample.read_worldcereal`), or a folder with ``DATA`` and ``META`` (see
        `cubecrop.sample.read_pixel_set_folder`, which has options for other channels).
    label : str
        Column, or nomenclature of the folder, that holds the crop.
    held_out : float, default 0.3
        Share of the parcels of each class that is held out from training and only scored. If the
        table has groups (``location_id``), whole groups are held out.
    nomenclature, config, init, seed, device, checkpoint, progress
        As for `cubecrop.train`.

    Returns
    -------
    CropModel
        With the same scores as from `cubecrop.train`.

    Raises
    ------
    LabelError
        The label is missing, has fewer than two classes, or has labels that the nomenclature
        lacks.
    ReadError, SchemaError, ParcelError
        The table is damaged or has another form.
    """
    check_share("held_out", held_out, error=LabelError)
    init = as_init(init)
    check_fit_options(config=config, seed=seed, device=device, checkpoint=checkpoint,
                      progress=progress)  # fmt: skip
    if not isinstance(table, str | Path):
        raise ReadError(
            f"table is {brief(table)}, expected the path of a Parquet file or of a folder with "
            "DATA and META. For pixel sets in memory, use `cubecrop.fit`."
        )
    samples = read_samples(table, label)
    truth = [label_text(value) for value in samples["label"].to_numpy()]
    listed = as_nomenclature(nomenclature, truth)
    if listed is not None:
        truth = listed.names_of(truth)
    classes = listed.only(truth) if listed else Nomenclature.from_labels(truth, name=label)
    if listed is None:
        warn_of_spellings(classes.names, label)
    if len(classes) < 2:
        raise LabelError(f"{label!r} holds the classes {classes.names}, expected two or more.")
    index = np.array([classes.index(text) for text in truth])
    groups = samples["group" if "group" in samples.coords else "parcel"].to_numpy()
    labelled = np.flatnonzero(index != NODATA)
    held_out_mask = split_groups(
        index[labelled], groups[labelled].tolist(), held_out, salt="split", seed=seed
    )
    part = np.full(len(index), "unlabelled", dtype=object)
    part[labelled] = np.where(held_out_mask, "held out", "train")
    return fit_and_score(
        [samples],
        [truth],
        [part],
        nomenclature=classes,
        config=config,
        init=init,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
        groups=[groups] if "group" in samples.coords else None,
    )


def read_samples(table: str | Path, label: str | None) -> xr.DataTree:
    """Read a table of samples, a Parquet file or a folder, into memory; None reads no labels."""
    path = check_path("table", table, error=ReadError)
    if path.is_dir():
        return read_pixel_set_folder(path, label=label)
    return read_worldcereal(path, label=label)
