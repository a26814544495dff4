"""Evidence of a finished tile: what went in, what came out, and at what cost."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["files_in", "peak_memory", "sizes_in", "worker_name", "worker_of_task"]


def files_in(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder, by name."""
    digests = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def sizes_in(folder: Path) -> dict[str, int]:
    """Bytes of each file of a folder, by name; a later run tells a damaged file by them."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def worker_of_task() -> Any:  # noqa: ANN401
    """The Dask worker that runs this task; None outside of a cluster."""
    # Importing distributed takes a second; if it is not imported, there is no worker either.
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_worker()
    except ValueError:
        return None


def worker_name() -> str:
    """Name of the Dask worker that runs this task, or of this process."""
    worker = worker_of_task()
    return f"process {os.getpid()}" if worker is None else str(worker.name)


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
