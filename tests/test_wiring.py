"""Settings become parts in one place, and each setting arrives where it is meant to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapter import wiring
from adapter.errors import PluginRejected, SettingsError
from adapter.extensions.values import OrderRecord
from adapter.issuance.order import Order
from adapter.issuance.plan import DeriveTradeNo
from adapter.protocol.endpoints import PRODUCTION_URL, STAGE_URL, Family
from adapter.provider.proxy import LOGIN_SETTINGS
from adapter.secret import Secret
from adapter.settings import Settings, load

DAY_MS = 24 * 3600 * 1000


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


def _settings(**changes: str) -> Settings:
    return load(None, {key.replace("__", "."): value for key, value in changes.items()})


def test_the_broker_is_reached_as_set() -> None:
    """Every Kafka setting arrives, the password too."""
    connection = wiring.kafka_connection(
        _settings(
            kafka__bootstrap_servers="a:1,b:2",
            kafka__security_protocol="SASL_SSL",
            kafka__sasl_mechanism="PLAIN",
            kafka__sasl_username="adapter",
            kafka__sasl_password="hush",
            kafka__session_timeout_seconds="20",
            kafka__transaction_timeout_seconds="30",
        )
    )

    assert (connection.bootstrap_servers, connection.security_protocol) == ("a:1,b:2", "SASL_SSL")
    assert (connection.sasl_mechanism, connection.sasl_username, connection.sasl_password) == (
        "PLAIN",
        "adapter",
        Secret("hush"),
    )
    assert (connection.session_timeout_seconds, connection.transaction_timeout_seconds) == (20, 30)


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, STAGE_URL),
        ({"provider__environment": "production"}, PRODUCTION_URL),
        ({"provider__environment": "custom", "provider__base_url": "http://127.0.0.1:8700/"}, "http://127.0.0.1:8700"),
    ],
)
def test_the_environment_says_which_ecticket(changes: dict[str, str], url: str) -> None:
    """Stage is the default."""
    assert wiring.base_url(_settings(**changes)) == url


def test_certificates_that_are_none_are_a_settings_error(tmp_path: Path) -> None:
    """The sentence names the setting."""
    (tmp_path / "ca.pem").write_text("no certificate")

    for path in (tmp_path / "ca.pem", tmp_path / "nowhere.pem"):
        with pytest.raises(SettingsError, match=r"provider\.ssl_ca_file"):
            wiring.make_provider(_settings(provider__ssl_ca_file=str(path)))


def test_planning_follows_the_settings() -> None:
    """What orders leave out comes from the settings."""
    policy = wiring.plan_policy(
        _settings(
            submit__operator="web",
            submit__store_id="TPE01",
            submit__trade_no_prefix="AB",
            callbacks__public_url="https://shop.example/",
        )
    )

    assert (policy.operator, policy.store_id, policy.prefix) == ("web", "TPE01", "AB")
    assert policy.refund_notify_url == "https://shop.example/callbacks/ecticket/refund"
    assert policy.use_status_notify_url == "https://shop.example/callbacks/ecticket/use-status"
    assert (policy.family, policy.derive) == (Family.TICKET, DeriveTradeNo.SERIAL_AND_GIFT)


def test_the_family_decides_when_numbers_are_derived() -> None:
    """docs/orders.md, "Calls and numbers": `always` in family issuance, unless the setting says otherwise."""
    issuance = {"provider__family": "issuance", "provider__payment_provider": "2"}

    assert wiring.plan_policy(_settings(**issuance)).derive is DeriveTradeNo.ALWAYS
    assert wiring.plan_policy(_settings(**issuance)).payment_provider == "2"
    assert wiring.plan_policy(_settings(**issuance, submit__derive_trade_no="never")).derive is DeriveTradeNo.NEVER


def _record(value: bytes) -> OrderRecord:
    return OrderRecord(topic="orders.paid", key=None, value=value, timestamp=datetime.now(UTC))


@pytest.mark.parametrize(("merchants", "found"), [(("1",), "1"), (("1", "2"), "")])
async def test_an_order_without_merchant_is_the_only_ones(merchants: tuple[str, ...], found: str) -> None:
    """With several merchants it has no merchant, and the flow parks it."""
    keys = {f"merchants__{one}__{name}": "k" * 16 for one in merchants for name in ("hash_key", "hash_iv")}
    settings = _settings(**keys)
    hook_runner = wiring.make_hook_runner(settings, wiring.merchant_book(settings))

    order = await hook_runner.parse(_record(b'{"order_id": "A", "lines": [{"sku": "x", "quantity": 1}]}'))
    await hook_runner.aclose()

    assert isinstance(order, Order)
    assert order.merchant_id == found


def test_a_plugin_that_cannot_be_used_stops_the_start() -> None:
    """Unless plugins are switched off."""
    settings = _settings(plugins__modules="no_such_plugin")
    book = wiring.merchant_book(settings)

    with pytest.raises(PluginRejected, match="no_such_plugin"):
        wiring.make_hook_runner(settings, book)
    wiring.make_hook_runner(_settings(plugins__modules="no_such_plugin", plugins__load="none"), book)


def test_every_topic_is_specified() -> None:
    """All topics of the settings, each once, with nothing left to the broker's idea of retention."""
    settings = _settings(topics__orders_paid="shop.orders")
    specs = wiring.topic_specs(settings, partitions=3, replication=2)

    assert [spec.name for spec in specs] == list(dict.fromkeys(settings.topics.names().values()))
    *required, control = specs
    assert all((spec.partitions, spec.replication, spec.optional) == (3, 2, False) for spec in required)
    assert all(spec.config["cleanup.policy"] == "delete" for spec in required)
    assert all(int(spec.config["retention.ms"]) >= 7 * DAY_MS for spec in required)
    assert (control.name, control.partitions, control.replication, control.optional) == ("ecticket.control", 1, 2, True)
    assert control.config == {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}


def test_collected_tickets_can_have_a_topic_of_their_own() -> None:
    """It is created like the others, and read only by sinks that ask for what is on it."""
    settings = _settings(topics__collected="secret.tickets")
    asks = frozenset({"ecticket.ticket.collected.v1"})

    assert [spec.name for spec in wiring.topic_specs(settings)].count("secret.tickets") == 1
    assert wiring.flow_topics(settings).collected == "secret.tickets"
    assert "secret.tickets" in wiring.sink_topics(settings, asks)
    for types in (None, frozenset({"ecticket.issuance.issued.v1"})):
        assert wiring.sink_topics(settings, types) == ("ecticket.issuances", "ecticket.tickets")


def test_large_records_fit_where_they_go() -> None:
    """Deferred orders and dead letters carry an order and more (docs/events.md, "Topics")."""
    settings = Settings()
    large = {spec.name for spec in wiring.topic_specs(settings) if spec.config.get("max.message.bytes") == "2097152"}

    assert large == {settings.topics.orders_deferred, settings.topics.dead_letters}


def test_nothing_vanishes_before_it_is_given_up() -> None:
    """Longer waiting times keep records longer."""
    settings = _settings(submit__give_up_after_hours="240")
    kept = {spec.name: int(spec.config["retention.ms"]) for spec in wiring.topic_specs(settings) if not spec.optional}

    assert kept[settings.topics.orders_deferred] == 20 * DAY_MS


def test_client_credentials_from_secret_files_are_read_for_each_token(tmp_path: Path) -> None:
    """A changed file is used at once; a value from the environment outranks it."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    (folder / "oauth_client_id").write_text("adapter")
    (folder / "oauth_client_secret").write_text("first")
    by_token = {
        "secrets_dir": str(tmp_path),
        "kafka.security_protocol": "SASL_SSL",
        "kafka.sasl_mechanism": "OAUTHBEARER",
        "kafka.oauth_token_url": "https://login.example/token",
    }
    from_files = wiring._client_credentials(load(None, by_token))
    from_settings = wiring._client_credentials(load(None, by_token | {"kafka.oauth_client_secret": "given"}))

    (folder / "oauth_client_secret").write_text("second")

    assert (from_files().client_id, from_files().client_secret) == ("adapter", Secret("second"))
    assert from_settings().client_secret == Secret("given")


def test_a_token_endpoint_without_credentials_stops_the_start() -> None:
    """Both settings are named."""
    settings = load(
        None,
        {
            "kafka.security_protocol": "SASL_SSL",
            "kafka.sasl_mechanism": "OAUTHBEARER",
            "kafka.oauth_token_url": "https://login.example/token",
        },
    )

    with pytest.raises(SettingsError, match=r"kafka\.oauth_client_id.*kafka\.oauth_client_secret"):
        wiring.kafka_connection(settings)


def test_the_proxys_credentials_are_read_for_each_tunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From secret files; those in a variable of the environment come first, because they belong to its proxy."""
    folder = tmp_path / "provider"
    folder.mkdir()
    (folder / "proxy_username").write_text("shop")
    (folder / "proxy_password").write_text("first")
    secrets = {"secrets_dir": str(tmp_path)}
    proxy = wiring.ecticket_proxy(load(None, {**secrets, "provider.proxy": "http://proxy.test:3128"}))
    monkeypatch.setenv("HTTPS_PROXY", "http://other:from-variable@proxy.test")
    of_environment = wiring.ecticket_proxy(load(None, {**secrets, "provider.trust_env": "true"}))

    assert proxy is not None
    assert of_environment is not None
    passwords = [proxy.credentials()]
    (folder / "proxy_password").write_text("second")
    passwords += [proxy.credentials(), of_environment.credentials()]

    assert [each and each.password.reveal() for each in passwords] == ["first", "second", "from-variable"]
    assert (proxy.source, proxy.credentials_source) == ("provider.proxy", LOGIN_SETTINGS)
    assert (of_environment.source, of_environment.credentials_source) == ("HTTPS_PROXY", "HTTPS_PROXY")
    assert wiring.ecticket_proxy(load(None, secrets)) is None


def test_a_proxy_that_cannot_be_used_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its certificates, or the variable that names it."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.test")
    cases = {
        "provider.proxy_ca_file": {"provider.proxy": "https://p.test", "provider.proxy_ca_file": str(tmp_path)},
        "HTTPS_PROXY": {"provider.trust_env": "true"},
    }
    for named, overrides in cases.items():
        settings = load(None, {**overrides, "submit.operator": "web"})

        assert [each for each in wiring.start_problems(settings, wiring.merchant_book(settings)) if named in each]
