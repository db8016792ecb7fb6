"""Which proxy calls to ECTicket go through: the setting's, the environment's only on request, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.errors import SettingsError
from adapter.secret import Secret
from adapter.settings import load
from adapter.settings.proxies import ProxyAddress, proxy_address
from adapter.settings.reloaded_secrets import ReloadedSecrets

ECPAY = "https://ecticket.ecpay.com.tw"
MARK = "MARKED-PASSWORD"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _found(url: str = ECPAY, **settings: str) -> ProxyAddress | None:
    return proxy_address(load(overrides={f"provider.{key}": value for key, value in settings.items()}).provider, url)


def _where(url: str = ECPAY, **settings: str) -> str | None:
    found = _found(url, **settings)
    return None if found is None else f"{'https' if found.tls else 'http'}://{found.host}:{found.port}"


@pytest.mark.parametrize(
    ("proxy", "found"),
    [
        ("http://proxy.test:3128", "http://proxy.test:3128"),
        ("http://proxy.test:3128/", "http://proxy.test:3128"),
        ("https://proxy.test", "https://proxy.test:443"),
        ("http://[fd00::1]:8080", "http://fd00::1:8080"),
    ],
)
def test_the_setting_names_the_proxy(proxy: str, found: str) -> None:
    """For every address, whatever NO_PROXY has."""
    assert _where(proxy=proxy) == found


@pytest.mark.parametrize(
    "proxy",
    ["proxy.test:3128", "socks5://proxy.test:1080", "http://", "http://proxy.test/x", "http://proxy.test:3128?x=y"],
)
def test_what_is_no_address_of_an_http_proxy_is_refused(proxy: str) -> None:
    """Before anything is called."""
    with pytest.raises(SettingsError, match=r"provider\.proxy"):
        load(overrides={"provider.proxy": proxy})


def test_credentials_in_the_address_are_refused_and_not_shown() -> None:
    """Settings show the address; a password has its own setting and its own file."""
    with pytest.raises(SettingsError, match=r"provider\.proxy_password") as caught:
        load(overrides={"provider.proxy": f"http://shop:{MARK}@proxy.test:3128"})

    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"proxy": "http://proxy.test", "trust_env": "true"}, "provider.trust_env"),
        ({"proxy": "http://proxy.test", "transport": "httpx"}, "provider.transport"),
        ({"trust_env": "true", "transport": "httpx"}, "provider.transport"),
        ({"proxy_username": "shop"}, "provider.proxy_password"),
        ({"proxy_password": MARK}, "provider.proxy_username"),
        ({"proxy_username": "a:b", "proxy_password": MARK}, "provider.proxy_username"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, str], named: str) -> None:
    """Each sentence names the setting to change, and no secret."""
    with pytest.raises(SettingsError) as caught:
        load(overrides={f"provider.{key}": value for key, value in settings.items()})

    assert named in str(caught.value)
    assert MARK not in str(caught.value)


def test_the_environment_counts_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not decide by itself where orders are sent."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")

    assert _where() is None
    assert _where(trust_env="true") == "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("variables", "url", "found"),
    [
        ({}, ECPAY, None),
        ({"https_proxy": "http://lower:1"}, ECPAY, "http://lower:1"),
        ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, ECPAY, "http://lower:1"),
        ({"HTTPS_PROXY": "proxy.test:3128"}, ECPAY, "http://proxy.test:3128"),
        ({"ALL_PROXY": "http://all:1"}, ECPAY, "http://all:1"),
        ({"HTTP_PROXY": "http://plain:1"}, ECPAY, None),
        ({"HTTP_PROXY": "http://plain:1"}, "http://sandbox.test:8700", "http://plain:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "ecpay.com.tw"}, ECPAY, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": ".ecpay.com.tw, other"}, ECPAY, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, ECPAY, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "pay.com.tw,10.0.0.0/8"}, ECPAY, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3:8443", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, "https://[fd00::7]", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://11.1.2.3", "http://p:1"),
    ],
)
def test_the_environments_variables_mean_what_they_mean_elsewhere(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, found: str | None
) -> None:
    """Lower case comes first; NO_PROXY has names, domains and networks."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert _where(url, trust_env="true") == found


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_variable_is_named_as_it_is_written(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """So that the operator finds what to correct."""
    monkeypatch.setenv(variable, "http://proxy.test:3128")

    found = _found(trust_env="true")

    assert found is not None
    assert found.source == variable


def test_credentials_of_the_environment_are_used_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are percent-encoded there."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://sh%40p:{MARK}%3A@proxy.test:3128")

    found = _found(trust_env="true")

    assert found is not None
    assert (found.username, found.password) == ("sh@p", Secret(f"{MARK}:"))
    assert MARK not in repr(found)


@pytest.mark.parametrize("value", [f"socks5://shop:{MARK}@proxy.test", "http://proxy.test:x", "http://a b"])
def test_a_variable_that_names_no_http_proxy_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The sentence names the variable."""
    monkeypatch.setenv("HTTPS_PROXY", value)

    with pytest.raises(SettingsError, match="HTTPS_PROXY") as caught:
        _found(trust_env="true")

    assert MARK not in str(caught.value)


def test_credentials_may_be_secret_files(tmp_path: Path) -> None:
    """As other secrets."""
    (tmp_path / "provider").mkdir()
    (tmp_path / "provider" / "proxy_username").write_text("shop\n")
    (tmp_path / "provider" / "proxy_password").write_text(f"{MARK}\n")

    provider = load(overrides={"secrets_dir": str(tmp_path), "provider.proxy": "http://proxy.test:3128"}).provider

    assert provider.proxy_password is not None
    assert (provider.proxy_username, provider.proxy_password.get_secret_value()) == ("shop", MARK)
    assert MARK not in repr(provider)


@pytest.mark.parametrize("broken", [b"", b"\xff", None], ids=["empty", "no-text", "absent"])
def test_a_reloaded_secret_follows_its_file_and_survives_a_broken_one(tmp_path: Path, broken: bytes | None) -> None:
    """A file that cannot be read now leaves the last value; a value of another source never follows a file."""
    path = tmp_path / "password"
    path.write_text("first\n")
    follows, stays = ReloadedSecrets({"password": "first"}, tmp_path), ReloadedSecrets({"password": "x"}, tmp_path)

    path.write_text("second\n")
    assert (follows()["password"], stays()["password"]) == ("second", "x")
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken)

    assert follows()["password"] == "second"
    assert "second" not in repr(follows)
