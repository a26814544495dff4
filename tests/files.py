"""Rewrite files of a test archive while their items stay the same."""

import json

import numpy as np
import rasterio


def rewrite(folder, pattern, values=None, *, mask=None, tags=None, **profile):
    """Write the files of a pattern again, with other values or another header."""
    paths = sorted(folder.glob(pattern))
    assert paths
    for path in paths:
        with rasterio.open(path) as file:
            found, old = file.profile, file.read(1)
        new = old if values is None else values(old)
        found.update(height=new.shape[0], width=new.shape[1], **profile)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", **found) as file,
        ):
            file.write(new.astype(found["dtype"]), 1)
            if mask is not None:
                file.write_mask(mask(old))
            if tags is not None:
                file.scales, file.offsets = (tags[0],), (tags[1],)


def edit(folder, pattern, change):
    """Change the items of a pattern."""
    paths = sorted(folder.glob(pattern))
    assert paths
    for path in paths:
        item = json.loads(path.read_text())
        change(item)
        path.write_text(json.dumps(item))


def eastern_half(value):
    """Values of which the eastern half is a number."""

    def put(old):
        out = old.astype(np.float64)
        out[:, old.shape[1] // 2 :] = value
        return out

    return put
