"""A token is a request that AWS can check: signed for the cluster's region with the credentials of the process."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from msk_iam import MskIam, Settings
from pydantic import ValidationError

from adapter.testing import ConformanceCheck

SECRET = "not-a-secret-of-anyone"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def _plugin() -> MskIam:
    plugin = MskIam()
    plugin.configure(Settings(region="ap-northeast-1"))
    return plugin


def _signed(token: str) -> tuple[str, Mapping[str, list[str]]]:
    """The host and the query of the request that is the token."""
    url = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    return url.netloc, parse_qs(url.query)


def test_a_token_is_signed_for_the_region_and_valid_for_minutes() -> None:
    """No network is called."""
    token = _plugin().kafka_token()

    host, query = _signed(token.value)
    assert host == "kafka.ap-northeast-1.amazonaws.com"
    assert query["Action"] == ["kafka-cluster:Connect"]
    assert query["X-Amz-Credential"][0].startswith("AKIAEXAMPLE/")
    assert query["X-Amz-Signature"]
    assert SECRET not in str(query)
    assert token.lifetime_seconds is not None
    assert 600 < token.lifetime_seconds <= 900


def test_the_region_is_required() -> None:
    """Without it, tokens would be for another cluster."""
    with pytest.raises(ValidationError):
        Settings()  # type: ignore[call-arg]


def test_it_keeps_the_rules_of_plugins(conforms: ConformanceCheck) -> None:
    """The conformance suite."""
    conforms(MskIam(), settings={"region": "ap-northeast-1"})
