"""Tokens of the Planetary Computer: requested when a file is opened, kept, and renewed."""

import pickle
import sys

import pytest
from servers import giving_tokens

from cubecrop.archive import PROVIDERS
from cubecrop.archive.signing import sign_planetary_computer
from cubecrop.errors import MissingExtraError

HREF = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/31/U/ES/B02.tif"


@pytest.fixture
def tokens(tmp_path, monkeypatch):
    """The service that gives tokens, on loopback."""
    with giving_tokens(tmp_path, monkeypatch) as server:
        yield server


def test_a_token_is_kept_until_it_is_refused(tokens):
    assert sign_planetary_computer(HREF) == f"{HREF}?sig=1"
    assert sign_planetary_computer(HREF) == f"{HREF}?sig=1"
    assert sign_planetary_computer(HREF, renew=True) == f"{HREF}?sig=2"
    assert [path for _, path, _ in tokens.asked] == ["/sas/token/sentinel2l2a01/sentinel2-l2"] * 2


def test_a_signature_that_items_were_saved_with_is_replaced_when_it_is_over(tokens):
    past, future = (f"{HREF}?st=2020-01-01&se={year}-01-02T03%3A04%3A05Z&sp=rl&sig=abc"
                    for year in (2020, 2999))  # fmt: skip
    assert sign_planetary_computer(past) == f"{HREF}?sig=1"
    assert sign_planetary_computer(future) == future
    assert len(tokens.asked) == 1


def test_other_addresses_are_not_signed(tokens):
    for href in ("https://example.org/B02.tif", "/here/B02.tif"):
        assert sign_planetary_computer(href) == href
    assert not tokens.asked


def test_graphs_hold_no_token(tokens):
    access = PROVIDERS["planetary-computer"].access
    access.signer(HREF, renew=False)
    assert b"sig=" not in pickle.dumps(access)
    assert pickle.loads(pickle.dumps(access)).signer is sign_planetary_computer


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "planetary_computer", None)
    with pytest.raises(MissingExtraError, match="pip install planetary-computer"):
        sign_planetary_computer(HREF)
