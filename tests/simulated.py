"""Helpers that read what the simulator wrote."""

import hashlib
from pathlib import Path


def items_of(catalog, collection):
    return sorted(catalog.get_child(collection).get_items(), key=lambda item: item.datetime)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
