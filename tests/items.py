"""Items of small test archives, as JSON."""

import json


def items_of(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*.json"))]


def absolute(folder):
    """Items with absolute asset hrefs, as an API hands them out."""
    items = items_of(folder)
    for item in items:
        home = folder / item["collection"] / item["id"]
        for asset in item["assets"].values():
            asset["href"] = str((home / asset["href"]).resolve())
        item["links"] = []
    return items


def write_items(path, items):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path
