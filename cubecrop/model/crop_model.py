"""CropModel: a network with all that is needed to apply it correctly, and its files."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cubecrop.checks import check_path
from cubecrop.errors import ModelMismatchError
from cubecrop.files import check_free, new_folder
from cubecrop.model.description import describe, describe_html
from cubecrop.model.network_model import NetworkModel
from cubecrop.model.published import Normalisation, read_published
from cubecrop.model.shipped import DEFAULT, shipped_folder
from cubecrop.model.spec import ModelSpec
from cubecrop.model.spec_file import MODEL_FILES, model_files
from cubecrop.model.storage import digest_with, packed, unpacked
from cubecrop.nomenclature import Nomenclature

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from cubecrop.model.applicability import TrainingSpace
    from cubecrop.model.knowledge_limits import KnowledgeLimits
    from cubecrop.model.networks import CropNetwork
    from cubecrop.model.probability_calibration import Calibration

__all__ = ["CropModel"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CropModel(NetworkModel):
    """A trained network with its specification: its classes and the data that it needs.

    Parameters
    ----------
    network : CropNetwork
        The network on the CPU, with its normalisation. Its configuration becomes ``config``.
    parcels_seen : mapping
        Part ("train", "held out") to sorted fingerprints (parcel,) uint64 of its parcels, by
        id and place. A user who has the parcels can find those that were used in training.
        Empty if they were not recorded.
    training_space : TrainingSpace, optional
        Embeddings of training parcels, for `applicability`. They are the given network's: a
        model with other weights needs other embeddings, or None.
    nomenclature, season_window and so on
        As for `ModelSpec`.
    """

    parcels_seen: Mapping[str, NDArray[np.uint64]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return describe(self, self.digest)

    def _repr_html_(self) -> str:
        return describe_html(self, self.digest)

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        network: CropNetwork,
        parcels_seen: Mapping[str, NDArray[np.uint64]],
        training_space: TrainingSpace | None,
    ) -> CropModel:
        """Join a specification and a network to a model."""
        values = {f.name: getattr(spec, f.name) for f in fields(ModelSpec) if f.name != "config"}
        return cls(
            network=network, parcels_seen=parcels_seen, training_space=training_space, **values
        )

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over weights and metadata, which identifies the model."""
        return digest_with(self, self.network, self.parcels_seen, self.training_space)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the model to a folder; if that fails, nothing is left there.

        Parameters
        ----------
        path : path
            Folder to write: ``model.safetensors`` and ``model.json``, a STAC item with the
            machine learning model (MLM) extension.
        overwrite : bool, default False
            Replace a folder that holds only a model.

        Raises
        ------
        OutputError
            The folder exists already or cannot be written.
        """
        folder = check_path("path", path)
        check_free(folder, files=MODEL_FILES, overwrite=overwrite)
        with new_folder(folder, files=MODEL_FILES, overwrite=overwrite) as staging:
            files = packed(self, self.network, self.parcels_seen, self.training_space)
            for name, content in files.items():
                (staging / name).write_bytes(content)
        return folder

    @classmethod
    def load(cls, path: str | Path) -> CropModel:
        """Read a model that `save` wrote. Nothing in it is executed.

        Raises
        ------
        ModelFormatError
            The folder is not a model, is damaged, or was changed after it was written.
        """
        return cls.of(*unpacked(model_files(path), path))

    @classmethod
    def default(cls) -> CropModel:
        """The model that is part of the package, used where no model is given.

        Its classes are common crops and groups of crops. It was trained on points of a few
        regions, and is worse elsewhere than a model of your own region: `cubecrop models show
        default` prints its card, with its scores in regions that it had not seen.
        """
        return _shipped(DEFAULT)

    def with_calibration(self, calibration: Calibration | None) -> CropModel:
        """The same model with another calibration, and without limits, which depend on it."""
        return replace(self, calibration=calibration, limits=None)

    def with_limits(self, limits: KnowledgeLimits | None) -> CropModel:
        """The same model with other limits of its knowledge; see `cubecrop.training.fit_limits`.

        Raises
        ------
        ModelMismatchError
            The model has no embeddings of its training parcels.
        """
        if limits is not None and self.training_space is None:
            raise ModelMismatchError(
                "the model has no embeddings of its training parcels, which limits of its "
                "knowledge need. Train it again with `fit`."
            )
        return replace(self, limits=limits)

    @classmethod
    def from_reference(
        cls,
        folder: str | Path,
        *,
        normalisation: Normalisation | None = None,
        geometry_normalisation: Normalisation | None = None,
        fold: int = 1,
    ) -> CropModel:
        """Read weights that were trained with the published code of PSE+TAE or PSE+L-TAE.

        Parameters
        ----------
        folder : path
            Output of that code: ``conf.json``, ``Fold_1/model.pth.tar`` and so on.
        normalisation : tuple of arrays, optional
            Mean and standard deviation of each band, (band,), with which its inputs were
            standardised. By default reflectance is not standardised.
        geometry_normalisation : tuple of arrays, optional
            The same for the features of a parcel's shape.
        fold : int, default 1
            Number of the fold whose weights are read.

        Returns
        -------
        CropModel
            Its classes are named by their index. The position of a date is the number of days
            since the parcel's first valid date.

        Raises
        ------
        ModelFormatError
            The folder holds no such weights; the message says what is missing or does not fit.

        References
        ----------
        Garnot et al. 2020, arXiv:1911.07757; Garnot & Landrieu 2020, arXiv:2007.00586.
        """
        network = read_published(
            Path(folder),
            fold=fold,
            normalisation=normalisation,
            geometry_normalisation=geometry_normalisation,
        )
        names = [str(index) for index in range(network.config.n_classes)]
        return cls(
            network=network,
            nomenclature=Nomenclature.from_names(names),
            season_window=None,
            name=f"published weights, fold {fold}",
        )


@functools.cache
def _shipped(name: str) -> CropModel:
    """A model of the package, read once in a process."""
    return CropModel.load(shipped_folder(name))
