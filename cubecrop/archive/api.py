"""STAC APIs: the providers' own and any other."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pystac
import shapely

from cubecrop.archive.base import Extent, Interval, refuse_password
from cubecrop.archive.extent import collection_of, footprint_of, identity_of
from cubecrop.archive.providers import LOCAL, Provider
from cubecrop.circle import bbox_around, bbox_of, halves_of
from cubecrop.display import listed, plain
from cubecrop.errors import ArchiveError, UnsupportedItemError
from cubecrop.texts import one_line

if TYPE_CHECKING:
    import pystac_client

__all__ = ["MALFORMED", "StacApiArchive", "said"]

#: Exceptions that pystac raises for JSON that is not STAC.
MALFORMED: Final = (
    pystac.STACError, pystac.STACTypeError, ValueError, LookupError, TypeError, AttributeError,
)  # fmt: skip

#: Host names of this machine.
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
#: Seconds to wait for an answer.
_TIMEOUT: Final = 30
#: Seconds to wait for a connection and for an answer, if another archive can be asked instead.
_HASTY_TIMEOUT: Final = (3, 15)


@dataclass(frozen=True, slots=True)
class StacApiArchive:
    """A STAC API, searched with pystac-client.

    If it is ``hasty``, a request that fails is repeated once at most, and without long pauses.
    """

    name: str
    provider: Provider = LOCAL
    hasty: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        refuse_password(self.name)

    def __repr__(self) -> str:
        searched = [key for key, rule in self.provider.collections.items() if rule.searched]
        return (
            f"<StacApiArchive {plain(self.name)!r} of provider {self.provider.name!r}, searching "
            f"{listed(searched)}>"
        )

    def items(
        self, collections: Iterable[str], area: shapely.Geometry, interval: Interval | None
    ) -> Iterator[Mapping[str, Any]]:
        """Items of the collections that meet an area (degrees) and an interval.

        The search asks for one month at a time, since servers cut or refuse long answers.
        """
        client = self._client()
        wanted = list(collections)
        if self.name != self.provider.url:  # another API may lack some of the collections
            listed = self._ask(lambda: list(client.get_collections()))
            known = {collection.id for collection in listed}
            wanted = [collection for collection in wanted if collection in known]
        if not wanted:
            return
        shapely.prepare(area)
        yielded = set()
        for window in _months(interval):
            found = self._ask(partial(self._search, client, wanted, area, window))
            for item in found:
                # The content counts too: a served file may hold two items of one id.
                key = collection_of(item), str(item.get("id")), identity_of(item)
                if key in yielded:
                    continue
                yielded.add(key)
                if urlsplit(self.name).hostname not in _LOOPBACK:
                    _check_on_the_web(item)
                if footprint_of(item).intersects(area):
                    yield item

    @staticmethod
    def _search(
        client: pystac_client.Client,
        collections: list[str],
        area: shapely.Geometry,
        window: Interval | None,
    ) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        # An area across the 180th meridian takes two searches: servers differ in how they read
        # a bbox with west > east.
        for box in halves_of(bbox_of(area)):
            search = client.search(collections=collections, bbox=box, datetime=window, limit=250)
            items += search.items_as_dicts()
        return items

    def extent(self, collections: Iterable[str]) -> Extent | None:
        """The area and interval for which the collections declare items."""
        wanted = set(collections)
        client = self._client()
        boxes, spans = [], []
        for collection in self._ask(lambda: list(client.get_collections())):
            if collection.id in wanted:
                # A bbox has two dimensions or three.
                boxes += [
                    [*box[:2], *box[len(box) // 2 :][:2]]
                    for box in collection.extent.spatial.bboxes
                ]
                spans += collection.extent.temporal.intervals
        if not boxes:
            return None
        bbox = bbox_around(boxes)
        now = dt.datetime.now(dt.UTC)
        starts = [span[0] or dt.datetime(1970, 1, 1, tzinfo=dt.UTC) for span in spans]
        ends = [span[1] or now for span in spans]
        return Extent(
            bbox,
            min(map(_aware, starts)),
            max(map(_aware, ends)),
        )

    def _client(self) -> pystac_client.Client:
        import pystac_client
        from pystac_client.stac_api_io import StacApiIO
        from urllib3 import Retry

        # allowed_methods=None: searches are POSTs, which are not retried by default. A refused
        # connection is retried less often than a busy server.
        retry = Retry(
            total=1 if self.hasty else 5,
            connect=0 if self.hasty else 2,
            read=0 if self.hasty else None,
            backoff_factor=1,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            respect_retry_after_header=not self.hasty,
        )
        io = StacApiIO(max_retries=retry)
        # `open` resets the timeout, to none unless it is given here.
        timeout = _HASTY_TIMEOUT if self.hasty else _TIMEOUT
        client: pystac_client.Client = self._ask(
            lambda: pystac_client.Client.open(self.name, stac_io=io, timeout=timeout)
        )
        return client

    def _ask(self, call: Any) -> Any:  # noqa: ANN401
        import pystac_client.errors
        import pystac_client.exceptions
        import pystac_client.warnings
        import requests

        try:
            with warnings.catch_warnings():
                # An error says what of it matters.
                warnings.simplefilter("ignore", pystac_client.warnings.PystacClientWarning)
                return call()
        except pystac_client.warnings.DoesNotConformTo as error:
            raise ArchiveError(
                f"{self.name} is a static catalog, or an API without item search, expected a STAC "
                "API that can be searched. Download the catalog with its items, and give the path "
                "of its folder."
            ) from error
        except (
            pystac_client.exceptions.APIError,
            pystac_client.errors.ClientTypeError,
            requests.RequestException,
            OSError,
            *MALFORMED,
        ) as error:
            # The landing page of another address is valid JSON of another type.
            cure = (
                "Give the address of its landing page, without `/collections` or `/search`."
                if isinstance(error, pystac_client.errors.ClientTypeError)
                else "Check the address and the network, and try again."
            )
            raise ArchiveError(
                f"{self.name} did not answer as a STAC API: {said(error)}. {cure}"
            ) from error


def said(error: BaseException) -> str:
    """What an API answered with, or why it did not, in one line."""
    status = getattr(error, "status_code", None)  # of pystac-client's APIError
    text = one_line(error, length=300).rstrip(".")
    # The body may be a page for browsers, or say nothing.
    return f"{type(error).__name__}: {text}" if status is None else f"status {status}: {text}"


def _months(interval: Interval | None) -> Iterator[Interval | None]:
    """Cut an interval at the start of each month; both neighbours include that moment."""
    if interval is None:
        yield None
        return
    first, last = interval
    while True:
        year, month = divmod(first.year * 12 + first.month, 12)
        cut = dt.datetime(year, month + 1, 1, tzinfo=first.tzinfo)
        if cut >= last:
            break
        yield first, cut
        first = cut
    yield first, last


def _check_on_the_web(item: Mapping[str, Any]) -> None:
    """Raise if an item from another machine names a file of this machine."""
    assets = item.get("assets")
    for key, asset in assets.items() if isinstance(assets, Mapping) else ():
        href = str(asset.get("href", "")) if isinstance(asset, Mapping) else ""
        if href and not href.startswith(("http://", "https://", "s3://", "abfs://")):
            raise UnsupportedItemError(
                f"asset {key!r} of item {str(item.get('id'))!r} has href {href!r}, but an API of "
                "another machine must give an http, https, s3 or abfs address. Leave the item out, "
                "or serve its files over http."
            )


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
