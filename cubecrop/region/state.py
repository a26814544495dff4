"""The state of a running driver, in a file that other processes read."""

from __future__ import annotations

import datetime as dt
import os
import platform
from typing import TYPE_CHECKING, Any, Final

from cubecrop.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.region.output import Output

__all__ = ["STATE", "check_alone", "driver_name", "is_alive", "read_state", "time_text"]

#: File that a running driver rewrites every few seconds.
STATE: Final = "state.json"
#: A driver that did not write for so many seconds is taken to be gone.
_SILENCE: Final = 60.0


def check_alone(output: Output) -> None:
    """Raise `OutputError` if another process runs here: both would make the same tiles."""
    state = read_state(output)
    driver = str(state.get("driver", ""))
    if is_alive(state) and driver != driver_name() and not _is_dead(driver):
        raise OutputError(
            f"{output.url} is being written by {driver}, which wrote its state at "
            f"{state['updated']}. Wait until it has ended, or stop it and wait a minute."
        )


def read_state(output: Output) -> dict[str, Any]:
    """What a driver wrote last; empty if none did."""
    state = output.read_json(STATE)
    return state if isinstance(state, dict) else {}


def is_alive(state: Mapping[str, Any]) -> bool:
    """Whether the driver that wrote a state still runs, as far as its last sign shows."""
    return not state.get("ended") and _age(state) < _SILENCE


def driver_name() -> str:
    """Machine and number of this process."""
    return f"{platform.node()}:{os.getpid()}"


def time_text() -> str:
    """Return this moment, ISO in UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _age(state: Mapping[str, Any]) -> float:
    """Seconds since a driver wrote its state; infinite if it does not say."""
    try:
        written = dt.datetime.fromisoformat(str(state["updated"]))
        return (dt.datetime.now(dt.UTC) - written).total_seconds()
    except (KeyError, TypeError, ValueError):
        return float("inf")


def _is_dead(driver: str) -> bool:
    """Whether a driver of this machine is no longer a process; unknown for another machine."""
    machine, _, pid = driver.rpartition(":")
    if machine != platform.node() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
