"""Peak memory of a process."""

from __future__ import annotations


def peak_mb() -> float:
    """Peak resident memory of this process, MB.

    The value comes from /proc where that exists, because the one of ``getrusage`` includes the
    memory of the process that started this one.
    """
    # The imports are inside because other benchmarks run this function's source in a new process.
    import pathlib
    import resource
    import sys

    status = pathlib.Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
