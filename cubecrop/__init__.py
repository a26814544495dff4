"""Crop maps from satellite archives: STAC search to season cube to crop map.

Public names load on first use, so that ``import cubecrop`` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cubecrop._version import __version__ as __version__
from cubecrop.proj_data import leave_unusable_proj_data

if TYPE_CHECKING:
    from cubecrop.archive import Archive, Scenes, availability, open_archive, search
    from cubecrop.class_lists import code_table, map_codes
    from cubecrop.cube import CloudMask, open_season, valid_share
    from cubecrop.evaluation import adapt, fine_tune, generalisation_report, stress_curve
    from cubecrop.model import CropModel, NetworkOptions
    from cubecrop.model.send import send_model
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.pipeline import classify, classify_parcels, demo, train, train_recipe, train_table
    from cubecrop.region import map_region
    from cubecrop.sample import sample_pixel_sets, split_parcels
    from cubecrop.season import Season
    from cubecrop.simulate import simulate_archive
    from cubecrop.training import TrainConfig, fit
    from cubecrop.write import plot_map, plot_timeline, write_map, write_parcels

leave_unusable_proj_data()  # before rasterio, pyogrio and pyproj look for their data

_HOMES = {
    "Archive": "archive",
    "CloudMask": "cube",
    "CropModel": "model",
    "NetworkOptions": "model",
    "Nomenclature": "nomenclature",
    "Scenes": "archive",
    "Season": "season",
    "TrainConfig": "training",
    "adapt": "evaluation",
    "availability": "archive",
    "classify": "pipeline",
    "classify_parcels": "pipeline",
    "code_table": "class_lists",
    "demo": "pipeline",
    "fine_tune": "evaluation",
    "fit": "training",
    "generalisation_report": "evaluation",
    "map_codes": "class_lists",
    "map_region": "region",
    "open_archive": "archive",
    "open_season": "cube",
    "plot_map": "write",
    "plot_timeline": "write",
    "sample_pixel_sets": "sample",
    "search": "archive",
    "send_model": "model.send",
    "simulate_archive": "simulate",
    "split_parcels": "sample",
    "stress_curve": "evaluation",
    "train": "pipeline",
    "train_recipe": "pipeline",
    "train_table": "pipeline",
    "valid_share": "cube",
    "write_map": "write",
    "write_parcels": "write",
}

#: Modules that documentation and messages name, as in `cubecrop.sample.read_worldcereal`.
_MODULES = frozenset(
    {"aoi", "archive", "classification", "coverage", "cube", "errors", "evaluation", "lost_scenes",
     "metrics", "model", "nomenclature", "pipeline", "region", "sample", "schema", "season",
     "shapes", "simulate", "testing", "training", "vector", "write"}
)  # fmt: skip

__all__ = [
    "Archive",
    "CloudMask",
    "CropModel",
    "NetworkOptions",
    "Nomenclature",
    "Scenes",
    "Season",
    "TrainConfig",
    "adapt",
    "availability",
    "classify",
    "classify_parcels",
    "code_table",
    "demo",
    "fine_tune",
    "fit",
    "generalisation_report",
    "map_codes",
    "map_region",
    "open_archive",
    "open_season",
    "plot_map",
    "plot_timeline",
    "sample_pixel_sets",
    "search",
    "send_model",
    "simulate_archive",
    "split_parcels",
    "stress_curve",
    "train",
    "train_recipe",
    "train_table",
    "valid_share",
    "write_map",
    "write_parcels",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (PEP 562)
    if name in _HOMES:
        return getattr(import_module(f"cubecrop.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"cubecrop.{name}")
    raise AttributeError(f"module 'cubecrop' has no attribute {name!r}")


def __dir__() -> list[str]:
    special = [name for name in globals() if name.startswith("__") and name.endswith("__")]
    return sorted([*special, *__all__])
