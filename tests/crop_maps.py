"""Crop maps as `cubecrop.classify` returns them, made for tests."""

import json
import threading
import time

import dask.array as da
import numpy as np
import pystac
import rioxarray  # noqa: F401
import xarray as xr

from cubecrop.nomenclature import NODATA, Nomenclature

CROPS = ["Grassland", "Maize (grain)", "Potatoes", "Winter wheat"]
NOMENCLATURE = Nomenclature.from_labels(CROPS, name="demo")
ITEMS = {
    "S2A_1": "https://example.org/items/S2A_1.json",
    "S1A_2": "",
    "DEM": "file:///archives/dem/DEM.json",
}


def fake_map(crop_type, confidence=None, *, x=500_000.0, y=5_650_000.0, crs="EPSG:32631"):
    """A crop map as `cubecrop.classify` returns it, of arrays that may be lazy."""
    if confidence is None:
        confidence = np.where(np.asarray(crop_type) == NODATA, np.nan, 0.75).astype("float32")
    rows, columns = crop_type.shape
    dataset = xr.Dataset(
        {"crop_type": (("y", "x"), crop_type), "confidence": (("y", "x"), confidence)},
        coords={"y": y - 5 - 10 * np.arange(rows), "x": x + 5 + 10 * np.arange(columns)},
        attrs={
            "season_year": 2018,
            "season_start": "2017-09-01",
            "season_end": "2018-10-31",
            "archive": "simulated",
            "items": list(ITEMS),
            "item_hrefs": list(ITEMS.values()),
            "model_digest": "ab" * 32,
            "model_name": "test",
            "nomenclature": NOMENCLATURE.to_json(),
        },
    )
    return dataset.rio.write_crs(crs)


def random_classes(rows, columns, seed=0):
    values = np.random.default_rng(seed).integers(0, 4, (rows, columns)).astype("uint8")
    values[: rows // 4, : columns // 4] = NODATA
    return values


def map_with_a_mark(values, *, code=253, named=None):
    """A map of which three pixels have a code that its flags name, or name another."""
    values = values.copy()
    values[7, :3] = code
    confidence = np.where((values == NODATA) | (values == code), np.nan, 0.5).astype("float32")
    dataset = fake_map(values, confidence)
    flags = [*range(len(CROPS)), code if named is None else named]
    dataset["crop_type"].attrs.update(
        flag_values=np.array(flags, "uint8"), flag_meanings="a b c d not_cropland"
    )
    return dataset


def lazy(values, *, chunk=32, fail=None, seen=None, sleep=0.0):
    """The arrays of a map whose blocks count themselves, wait or fail."""
    lock = threading.Lock()

    def block(part, block_info=None):
        with lock:
            if seen is not None:
                seen[tuple(block_info[0]["chunk-location"])] += 1
        time.sleep(sleep)
        if fail is not None:
            raise fail
        return part

    source = da.from_array(values, chunks=chunk)
    crop_type = source.map_blocks(block, dtype="uint8", meta=np.empty((0, 0), "uint8"))
    confidence = da.where(crop_type == NODATA, np.float32(np.nan), np.float32(0.5))
    return crop_type, confidence


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read_item(out):
    """The item, valid against the core schema; those of extensions need the network."""
    content = json.loads((out / "item.json").read_text(encoding="utf-8"))
    core = pystac.Item.from_dict({**content, "stac_extensions": []})
    assert core.validate()
    return content
