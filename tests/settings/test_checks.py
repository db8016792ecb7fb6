"""Advice names what a start still needs and what is unwise, and is silent about settings that are good."""

from __future__ import annotations

import pytest

from adapter.settings import Settings, known_keys, load
from adapter.settings.checks import SettingsIssue, check_settings

GOOD = {
    "submit.operator": "web",
    "merchants.3085676.hash_key": "k" * 16,
    "merchants.3085676.hash_iv": "v" * 16,
}

LOGIN = {"kafka__security_protocol": "SASL_PLAINTEXT"}
REMOTE = ("broker:9092", "localhost:9092, broker:9093", "[fd00::1]:9092", "192.0.2.1:9092")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


def _issues(**changes: str) -> tuple[SettingsIssue, ...]:
    return check_settings(load(None, {**GOOD, **{key.replace("__", "."): value for key, value in changes.items()}}))


def test_good_settings_need_no_advice() -> None:
    """Defaults, an operator and a merchant are all a start needs."""
    assert _issues() == ()


def test_nothing_set_names_what_a_start_needs() -> None:
    """Operator and merchants have no defaults; the cure names the variables."""
    found = check_settings(Settings())

    assert [(issues.level, issues.key) for issues in found] == [
        ("problem", "submit.operator"),
        ("problem", "merchants"),
    ]
    assert "ECTICKET_SUBMIT__OPERATOR" in str(found[0])
    assert "ECTICKET_MERCHANTS" in str(found[1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("submit.operator", "web-shop"),
        ("submit.operator", "elevenchars"),
        ("submit.operator", "操作"),
        ("submit.store_id", "1"),
        ("submit.retry_rtn_codes", "5,1"),
        ("callbacks.port", "8601"),
        ("callbacks.public_url", "shop.example"),
        ("callbacks.public_url", "https://票.example"),
        ("callbacks.public_url", "https://shop.example:port"),
        ("callbacks.public_url", "https://[::1"),
        ("callbacks.public_url", "https://shop.example/?token=1"),
        ("callbacks.public_url", "https://shop.example/#"),
        ("callbacks.public_url", "https://user:hush@shop.example"),
    ],
)
def test_what_cannot_work_is_a_problem(key: str, value: str) -> None:
    """Each of these would make ECTicket refuse every order, issue one twice, or lose notifications of refunds."""
    (issues,) = _issues(**{key.replace(".", "__"): value})

    assert (issues.level, issues.key) == ("problem", key)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"submit__reissue_after_seconds": "599"}, "submit.reissue_after_seconds"),
        ({"submit__refusal_final_after_seconds": "0"}, "submit.refusal_final_after_seconds"),
        ({"provider__timeout_seconds": "600", "shutdown__grace_seconds": "601"}, "submit.reissue_after_seconds"),
        ({"submit__give_up_after_hours": "0.1"}, "submit.reissue_after_seconds"),
        ({"submit__give_up_after_hours": "0.1"}, "submit.refusal_final_after_seconds"),
        ({"submit__defer_seconds": "86400"}, "submit.defer_seconds"),
        ({"confirm__first_query_seconds": "600"}, "confirm.first_query_seconds"),
        ({"confirm__give_up_after_hours": "0.1"}, "confirm.delayed_after_seconds"),
        ({"confirm__delayed_interval_seconds": "86400"}, "confirm.delayed_interval_seconds"),
        ({"confirm__query_interval_seconds": "86400"}, "confirm.query_interval_seconds"),
        ({"collect__interval_seconds": "172800"}, "collect.interval_seconds"),
        ({"deliver__first_retry_seconds": "301"}, "deliver.first_retry_seconds"),
        ({"provider__max_calls_per_second": "0.5"}, "provider.max_calls_per_second"),
        ({"provider__lock_out_seconds": "1799"}, "provider.lock_out_seconds"),
        ({"reports__interval_seconds": "0"}, "reports.interval_seconds"),
        ({"shutdown__grace_seconds": "5"}, "shutdown.grace_seconds"),
        (
            {"provider__environment": "custom", "provider__base_url": "http://ecticket.example"},
            "provider.base_url",
        ),
        ({"kafka__session_timeout_seconds": "5"}, "kafka.session_timeout_seconds"),
        ({"kafka__transaction_timeout_seconds": "901"}, "kafka.transaction_timeout_seconds"),
        ({"kafka__transaction_timeout_seconds": "9"}, "kafka.transaction_timeout_seconds"),
        ({"callbacks__public_url": "https://shop.example", "callbacks__enabled": "false"}, "callbacks.enabled"),
        ({"callbacks__public_url": "https://shop.example:8443"}, "callbacks.public_url"),
        ({"callbacks__public_url": "http://shop.example"}, "callbacks.public_url"),
        *(({**LOGIN, "kafka__bootstrap_servers": each}, "kafka.security_protocol") for each in REMOTE),
        (
            {
                "provider__proxy": "http://proxy.example:3128",
                "provider__proxy_username": "shop",
                "provider__proxy_password": "secret",
            },
            "provider.proxy",
        ),
    ],
)
def test_what_is_unwise_is_a_warning(changes: dict[str, str], key: str) -> None:
    """The adapter still starts; the warning explains the risk."""
    found = _issues(**changes)

    assert key in [issues.key for issues in found]
    assert {issues.level for issues in found} == {"warning"}


@pytest.mark.parametrize(
    "changes",
    [
        {"provider__environment": "custom", "provider__base_url": "http://127.0.0.1:8700"},
        {"provider__environment": "custom", "provider__base_url": "https://proxy.example"},
        {"callbacks__public_url": "https://shop.example/hooks/"},
        {"callbacks__public_url": "https://shop.example:443"},
        {"submit__store_id": "TPE01"},
        {"callbacks__port": "0", "admin__port": "0"},
        {"callbacks__port": "8601", "callbacks__enabled": "false"},
        {"callbacks__port": "8601", "callbacks__host": "192.0.2.1", "admin__host": "127.0.0.1"},
        {
            "provider__environment": "custom",
            "provider__base_url": "http://127.0.0.1:8700",
            "provider__lock_out_seconds": "1",
            "reports__interval_seconds": "0",
        },
        {"submit__reissue_after_seconds": "3600"},
        *({**LOGIN, "kafka__bootstrap_servers": each} for each in ("localhost:9092", "127.0.0.2:9092,[::1]:9092")),
        {**LOGIN, "kafka__security_protocol": "SASL_SSL", "kafka__bootstrap_servers": "broker:9092"},
        *(
            {"provider__proxy": each, "provider__proxy_username": "shop", "provider__proxy_password": "secret"}
            for each in ("https://proxy.example:3128", "http://127.0.0.1:3128")
        ),
        {"provider__proxy": "http://proxy.example:3128"},
    ],
)
def test_what_is_fine_is_left_alone(changes: dict[str, str]) -> None:
    """No warning that people learn to overlook."""
    assert _issues(**changes) == ()


def test_settings_that_trade_safety_for_speed_are_warned_about() -> None:
    """docs/delivery.md, "Waiting times": lower waiting times lean on ECPay's uniqueness rule, and `check` says so."""
    (issues,) = _issues(submit__reissue_after_seconds="300")

    assert issues.key == "submit.reissue_after_seconds"
    assert "600" in str(issues)


def test_advice_is_about_settings_that_exist() -> None:
    """Keys in advice are keys of the reference."""
    known = {key for key, _, _ in known_keys()}
    found = [*check_settings(Settings()), *_issues(submit__reissue_after_seconds="1", shutdown__grace_seconds="1")]

    assert {issues.key for issues in found} <= known
    assert all(str(issues).endswith(".") for issues in found)
