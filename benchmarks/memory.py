"""The most memory that a process held."""

from __future__ import annotations


def peak_mb() -> float:
    """Peak resident memory of this process, MB.

    From /proc where there is one: what ``getrusage`` tells of a process begins with the
    memory of the one that started it.
    """
    # Imports within: the source of this function is run alone in a fresh process too.
    import pathlib
    import resource
    import sys

    status = pathlib.Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
