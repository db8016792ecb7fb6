"""Settings come from four places in a fixed order, and a mistake is one sentence that helps."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from key_words import mentions
from pydantic import SecretStr

from adapter.errors import SettingsError
from adapter.settings import Settings, known_keys, load, variable
from adapter.settings.groups import Group, TopicSettings
from adapter.settings.texts import UnreadableText, read_yaml

text_of_anything = st.text(min_size=1).filter(lambda text: text.strip())


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _problems(config: Path | None = None, overrides: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(config, overrides)
    return caught.value.problems


def test_defaults_need_nothing() -> None:
    """Without any source the documented defaults hold."""
    settings = load()

    assert settings.submit.concurrency == 256
    assert settings.kafka.group_prefix == "ecticket-adapter"
    assert settings.submit.operator is None


def test_command_line_beats_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Precedence is settled setting by setting, not group by group."""
    config = _file(tmp_path, "submit: {operator: file, defer_seconds: 1, concurrency: 1}\n")
    monkeypatch.setenv("ECTICKET_SUBMIT__DEFER_SECONDS", "2")
    monkeypatch.setenv("ECTICKET_SUBMIT__CONCURRENCY", "2")

    submit = load(config, {"submit.concurrency": "3"}).submit

    assert (submit.operator, submit.defer_seconds, submit.concurrency) == ("file", 2.0, 3)


def test_the_config_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECTICKET_CONFIG is the same as --config."""
    monkeypatch.setenv("ECTICKET_CONFIG", str(_file(tmp_path, "log: {format: console}\n")))

    assert load().log.format == "console"


def test_merchants_come_as_json_or_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both spellings of the environment work, and no key shows."""
    monkeypatch.setenv("ECTICKET_MERCHANTS", '{"1": {"hash_key": "kkkk", "hash_iv": "iiii", "platform_id": null}}')
    monkeypatch.setenv("ECTICKET_MERCHANTS__2__HASH_KEY", "kkkk")
    monkeypatch.setenv("ECTICKET_MERCHANTS__2__HASH_IV", "iiii")

    settings = load()

    assert set(settings.merchants) == {"1", "2"}
    assert "kkkk" not in repr(settings)


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list needs no JSON in an environment variable, and may be JSON."""
    monkeypatch.setenv("ECTICKET_SUBMIT__RETRY_RTN_CODES", "10,20")
    monkeypatch.setenv("ECTICKET_PLUGINS__MODULES", '["a.b"]')

    settings = load()

    assert settings.submit.retry_rtn_codes == (10, 20)
    assert settings.plugins.modules == ("a.b",)


def test_a_misspelt_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo stops the start and says what was probably meant."""
    monkeypatch.setenv("ECTICKET_SUBMIT__OPERTOR", "web")

    (problem,) = _problems()
    assert mentions(problem, "ECTICKET_SUBMIT__OPERTOR ECTICKET_SUBMIT__OPERATOR")


def test_misspelt_keys_name_the_nearest(tmp_path: Path) -> None:
    """In the file and on the command line as well; one sentence per mistake."""
    problems = _problems(_file(tmp_path, "submit: {operatr: a, defer_seconds: -1}\nkafak: {}\n"))

    (overridden,) = _problems(overrides={"submit.operatr": "a"})
    assert any(mentions(each, "submit.operatr submit.operator") for each in problems)
    assert any(mentions(each, "kafak kafka") for each in problems)
    assert any(mentions(each, "submit.defer_seconds") for each in problems)
    assert len(problems) == 3
    assert mentions(overridden, "submit.operatr submit.operator")


@pytest.mark.parametrize(
    "name",
    ["ECTICKET_ADAPTER_PORT", "ECTICKET_ADAPTER_PORT_8600_TCP_ADDR", "ECTICKET_ADAPTER_SERVICE_PORT_ADMIN"],
)
def test_what_kubernetes_injects_is_no_mistake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service called ecticket-adapter puts variables into every pod of its namespace."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:8600")

    load()


def test_a_forgotten_underscore_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """ECTICKET_ADMIN_PORT looks like a service variable but no such service is there."""
    monkeypatch.setenv("ECTICKET_ADMIN_PORT", "1")

    assert "ECTICKET_ADMIN__PORT" in _problems()[0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"provider.environment": "custom"}, "custom needs provider.base_url"),
        ({"provider.base_url": "http://127.0.0.1:1"}, "base_url only custom"),
        ({"provider.family": "issuance"}, "needs provider.payment_provider"),
        ({"callbacks.public_url": "https://" + "a" * 200}, "public_url 200"),
        ({"submit.trade_no_prefix": "toolong"}, "trade_no_prefix 4"),
        ({"submit.defer_seconds": "nan"}, "defer_seconds finite"),
        ({"topics.orders_paid": "."}, "topics.orders_paid"),
        ({"topics.tickets": ".."}, "topics.tickets"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides: dict[str, str], words: str) -> None:
    """Each combination that cannot work is named at the start."""
    assert mentions(" ".join(_problems(overrides=overrides)), words)


@pytest.mark.parametrize(
    "address",
    [
        "http://u:hush@h/x",
        "http://hush@h",
        "http://h/x?hush=1",
        "http://h?hush",
        "http://h/x#hush",
        "http://h/x?",
        "https://h#",
    ],
)
def test_an_address_of_ecticket_has_no_login_query_or_fragment(address: str) -> None:
    """They would not be sent, and may be secret: the setting is named and its value is not."""
    (problem,) = _problems(overrides={"provider.environment": "custom", "provider.base_url": address})

    assert "provider.base_url" in problem
    assert "hush" not in problem


@pytest.mark.parametrize(
    "address",
    [
        "https://u:hush@h/x",
        "https://hush@h",
        "https://h/x?secret=hush",
        "https://h/x#hush",
        "HTTPS://hush@h/x",
        "http://h/hush",
        "http://192.0.2.1/hush",
        "http://localhost.hush/x",
        "http://127.0.0.1.hush/x",
        "ftp://h/hush",
        "h/hush",
    ],
)
def test_a_client_secret_goes_only_to_an_https_address_that_is_no_secret(address: str) -> None:
    """It would be sent in clear, or `settings show` would show a secret: the setting is named and its value is not."""
    (problem,) = _problems(overrides={"kafka.oauth_token_url": address})

    assert "kafka.oauth_token_url" in problem
    assert "hush" not in problem


@pytest.mark.parametrize(
    "address", ["https://h:8443/x", "http://localhost:8080/x", "http://127.0.0.1/x", "http://[::1]/"]
)
def test_a_token_endpoint_may_be_https_or_on_this_machine(address: str) -> None:
    """A proxy in the pod may add TLS."""
    assert load(overrides={"kafka.oauth_token_url": address}).kafka.oauth_token_url == address


def test_an_address_of_ecticket_may_have_a_port_and_a_path() -> None:
    """As a proxy in front of it has."""
    load(overrides={"provider.environment": "custom", "provider.base_url": "http://127.0.0.1:8700/proxy/"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n---\nhush: 2\n", "second line 2"),
        ("a: 1\n...\nhush: 2\n", "line 3"),
        ("a: {x: 1,\n y: 2 hush\n", "opens line 1"),
        ("a: 1\nb: [1, hush\n", "opens line 2"),
        ("a: 1\nb: {\n", "line 3"),
        ("a: !!python/object:hush x\n", "tag ! line 1"),
        ("a: 1\nb: !hush x\n", "tag ! line 2"),
        ("a: *hush\n", "alias * line 1"),
        ("a: b: hush\n", "colon line 1"),
        ("a: 1\nb: 'hush\n", "quote opens line 2"),
        ("a: \t b\n\thush: 1", "tab"),
        ("a: @hush", "word line 1"),
        ('a: "\\q hush"', "escape \\ line 1"),
        ("a:\n  b: 1\n hush: 2", "line 3 indented"),
        ("? [hush]\n: 1", "key line 1"),
        ("%YAML 9.9\n---\nhush: 1", "line 1 rule"),
        ("a: !!timestamp hush", "impossible"),
        ("a: !!int\n", "impossible"),
    ],
)
def test_invalid_yaml_is_reported_in_our_own_words(text: str, words: str) -> None:
    """One clear sentence with the line: YAML's own words are about tokens and quote what may be a key."""
    with pytest.raises(UnreadableText) as refused:
        read_yaml(text, Settings)

    message = str(refused.value)
    assert mentions(message, words)
    assert not any(word in message for word in ("hush", "a word}", "a word]", "<", "expected", "constructor"))


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "\x00"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    """The sentence names the file and never quotes it."""
    (problem,) = _problems(_file(tmp_path, text))

    assert "settings.yaml" in problem


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    assert "cannot be read" in _problems(tmp_path / "nowhere.yaml")[0]


def test_no_mistake_ever_quotes_a_value(tmp_path: Path) -> None:
    """The value may be a key."""
    problems = _problems(_file(tmp_path, "merchants: {'1': {hash_key: [secret], hash_ivv: secret}}\n"))

    assert "secret" not in " ".join(problems)


def test_every_setting_is_described_and_has_its_unit() -> None:
    """The reference is complete: a description for each, a unit where one is needed."""
    for key, field, _ in known_keys():
        assert field.description, key
        if field.annotation is float and "per_second" not in key:
            assert key.endswith(("_seconds", "_hours")), key


def test_variables_are_the_contracts() -> None:
    """The names that may not change exist."""
    names = {variable(key) for key, _, _ in known_keys()}

    assert {
        "ECTICKET_KAFKA__BOOTSTRAP_SERVERS",
        "ECTICKET_KAFKA__TRANSACTION_TIMEOUT_SECONDS",
        "ECTICKET_TOPICS__RECONCILIATIONS",
        "ECTICKET_PROVIDER__MAX_CALLS_PER_SECOND",
        "ECTICKET_MERCHANTS",
        "ECTICKET_PLATFORMS",
        "ECTICKET_SECRETS_DIR",
        "ECTICKET_SUBMIT__QUERY_FIRST",
        "ECTICKET_CONFIRM__GIVE_UP_AFTER_HOURS",
        "ECTICKET_CALLBACKS__PUBLIC_URL",
        "ECTICKET_ADMIN__PORT",
        "ECTICKET_PLUGINS__BUDGET_MS",
        "ECTICKET_SHUTDOWN__GRACE_SECONDS",
        "ECTICKET_LOG__LEVEL",
    } <= names


def test_groups_are_closed() -> None:
    """No group takes a key it does not know."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            assert field.annotation.model_config["extra"] == "forbid", name


TOPIC_PAIRS = [pair for pair in combinations(TopicSettings.model_fields, 2) if pair != ("tickets", "collected")]


@pytest.mark.parametrize(("first", "second"), TOPIC_PAIRS)
@pytest.mark.parametrize("how", ["file", "variable", "command line"])
def test_two_roles_never_share_a_topic(
    first: str, second: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One topic in two roles would make the adapter answer its own records; both settings are named."""
    config, overrides = None, {}
    if how == "file":
        config = _file(tmp_path, f"topics: {{{first}: same, {second}: same}}\n")
    elif how == "variable":
        monkeypatch.setenv(variable(f"topics.{second}"), "same")
        monkeypatch.setenv(variable(f"topics.{first}"), "same")
    else:
        overrides = {f"topics.{first}": "same", f"topics.{second}": "same"}

    (problem,) = _problems(config, overrides)

    assert f"`topics.{first}`" in problem
    assert f"`topics.{second}`" in problem


def test_collected_tickets_may_share_the_topic_of_tickets(tmp_path: Path) -> None:
    """They are there by default; naming it changes nothing."""
    assert TopicSettings().names()["collected"] == TopicSettings().tickets
    assert TopicSettings(collected="ecticket.tickets").names() == TopicSettings().names()
    assert TopicSettings(collected="secret").names()["collected"] == "secret"


@pytest.mark.parametrize("name", ["", "orders paid", "orders/paid", "a" * 250])
def test_a_topic_has_a_name_that_kafka_takes(name: str, tmp_path: Path) -> None:
    """Another name would only fail later, as a topic that cannot be made."""
    assert "topics.orders_paid" in _problems(_file(tmp_path, f"topics: {{orders_paid: '{name}'}}\n"))[0]


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("submit: {operator: a}\nkafka: {}\nsubmit: {operator: b}\n", "submit", (1, 3)),
        ("submit:\n  operator: a\n  store_id: TPE01\n  operator: b\n", "operator", (2, 4)),
        ("merchants:\n  '1': {hash_key: k, hash_iv: i}\n  \"1\": {hash_key: k, hash_iv: i}\n", "1", (2, 3)),
        ("plugins:\n  settings:\n    shop:\n      rates:\n      - a: 1\n        a: 2\n", "a", (5, 6)),
        ("plugins: {settings: {shop: {rates: {1: a, 01: b}}}}\n", "01", (1, 1)),
    ],
)
def test_a_key_that_is_set_twice_names_both_lines(text: str, key: str, lines: tuple[int, int], tmp_path: Path) -> None:
    """YAML lets the last one win in silence; at every level that is refused."""
    (problem,) = _problems(_file(tmp_path, text))

    assert mentions(problem, f"lines {lines[0]} {lines[1]}: key {key}")


def test_a_key_of_a_merged_mapping_may_be_replaced(tmp_path: Path) -> None:
    """`<<` is YAML's own way to say a thing twice."""
    shared = "plugins: {settings: {x: &keys {hash_key: k, hash_iv: i}}}\n"
    settings = load(_file(tmp_path, shared + "merchants: {'1': {<<: *keys, hash_iv: j}}\n"))

    assert settings.merchants["1"].hash_iv == SecretStr("j")
    assert settings.merchants["1"].hash_key == SecretStr("k")


def test_twice_in_json_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's JSON and a value of `--set` are held to the same rule."""
    twice = '{"1": {"hash_key": "secret", "hash_iv": "i", "hash_key": "secret"}}'
    (on_the_line,) = _problems(overrides={"merchants": twice})
    monkeypatch.setenv("ECTICKET_MERCHANTS", twice)
    (in_a_variable,) = _problems()

    assert "ECTICKET_MERCHANTS" in in_a_variable
    for problem in (on_the_line, in_a_variable):
        assert "hash_key is set twice" in problem
        assert "secret" not in problem


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("merchants:\n  3085676: {hash_key: k, hash_iv: i}\n", "3085676"),
        ("merchants:\n  0012345: {hash_key: k, hash_iv: i}\n", "0012345"),
        ("platforms:\n  0x10: {hash_key: k, hash_iv: i}\n", "0x10"),
        ("plugins:\n  settings: {on: {}}\n", "on"),
        ("topics: {}\n2026-01-01: {}\n", "2026-01-01"),
    ],
)
def test_a_key_without_quotes_is_to_be_quoted(text: str, key: str, tmp_path: Path) -> None:
    """YAML would read another number; the hint shows the key as it is written."""
    (problem,) = _problems(_file(tmp_path, text))

    assert "line 2" in problem
    assert f'"{key}":' in problem


@pytest.mark.parametrize(
    "text",
    [
        "submit: {operator: 0123}",
        "submit: {operator: yes}",
        "submit: {store_id: 1.50}",
        "merchants: {'1': {hash_key: 1234567890123456, hash_iv: i}}",
        "merchants: {'1': {hash_key: k, hash_iv: i, platform_id: 3085676}}",
        "kafka: {sasl_username: 2026-01-01}",
        "plugins: {modules: [1]}",
        "plugins: {paths: 12}",
    ],
)
def test_a_text_without_quotes_that_is_none_is_to_be_quoted(text: str, tmp_path: Path) -> None:
    """0123 is 83 in YAML, `yes` is true: neither is what was meant, and the value is never repeated."""
    (problem,) = _problems(_file(tmp_path, text))

    assert "line 1" in problem
    assert "quotes" in problem
    assert "1234567890123456" not in problem


@pytest.mark.parametrize("number", ["010", "0x10", "1:30", "1_000"])
def test_a_number_that_yaml_reads_otherwise_is_refused(number: str, tmp_path: Path) -> None:
    """`1:30` is 90 and 010 is 8: a setting about money is not guessed."""
    assert "plain decimal" in _problems(_file(tmp_path, f"submit: {{attempts: {number}}}\n"))[0]


def test_a_choice_needs_no_quotes(tmp_path: Path) -> None:
    """Where only few words are allowed, nothing else can be meant by one of them."""
    provider = load(_file(tmp_path, "provider: {family: issuance, payment_provider: 1}\n")).provider

    assert provider.payment_provider == "1"


@pytest.mark.parametrize(
    "key", ["topics", "kafka", "merchants", "plugins", "plugins.settings", "plugins.settings.shop"]
)
def test_a_group_with_everything_commented_out_is_an_empty_one(key: str, tmp_path: Path) -> None:
    """`kafka:` and only comments below it is what is left when one tries out the defaults."""
    *above, name = key.split(".")
    text = "".join(f"{' ' * depth}{group}:\n" for depth, group in enumerate([*above, name])) + "   # nothing\n"

    settings = load(_file(tmp_path, text))

    assert settings.kafka == Settings().kafka
    assert settings.plugins.settings == ({"shop": {}} if key.endswith("shop") else {})


@pytest.mark.parametrize("text", ["plugins: {paths: }", "submit: {retry_rtn_codes: }", "submit: {operator: }"])
def test_a_list_or_an_optional_text_may_be_commented_out(text: str, tmp_path: Path) -> None:
    """They are then as if they were not there."""
    assert load(_file(tmp_path, text)).model_dump() == Settings().model_dump()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("submit: {concurrency: }", "submit.concurrency no value"),
        ("topics: {tickets: }", "topics.tickets no value"),
        ("merchants: {'1': {hash_key: k}}", "hash_key set hash_iv missing"),
        ("kafka: localhost:9092", "kafka group"),
        ("merchants: [a]", "merchants group"),
    ],
)
def test_a_setting_without_a_value_is_named(text: str, words: str, tmp_path: Path) -> None:
    """Nothing where a value must be is said to be nothing."""
    assert mentions(" ".join(_problems(_file(tmp_path, text))), words)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ECTICKET_SUBMIT__CONCURRENCY", ""),
        ("ECTICKET_SUBMIT__STORE_ID", ""),
        ("ECTICKET_KAFKA__SSL_CA_FILE", " "),
        ("ECTICKET_CALLBACKS__ENABLED", ""),
        ("ECTICKET_MERCHANTS", ""),
        ("ECTICKET_MERCHANTS__1__HASH_KEY", ""),
        ("ECTICKET_SECRETS_DIR", ""),
        ("ECTICKET_KAFKA", ""),
        ("ECTICKET_CONFIG", ""),
    ],
)
def test_an_empty_variable_is_named_as_empty(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that was to come from somewhere and did not is no setting of nothing."""
    monkeypatch.setenv(name, value)
    (problem,) = _problems()

    assert name in problem
    assert "is empty" in problem


def test_what_is_empty_by_default_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty prefix, and an empty list, are values."""
    monkeypatch.setenv("ECTICKET_SUBMIT__TRADE_NO_PREFIX", "")
    monkeypatch.setenv("ECTICKET_PLUGINS__MODULES", "")
    monkeypatch.setenv("ECTICKET_PLUGINS__SETTINGS__SHOP__TOKEN", "")

    assert load().submit == Settings().submit
    assert load().plugins.modules == ()
    assert load().plugins.settings == {"shop": {"token": ""}}


TEXT_KEYS = ("kafka.sasl_password", "kafka.sasl_username", "submit.operator", "merchants.1.platform_id")


@hypothesis_settings(deadline=None)
@given(text=text_of_anything, key=st.sampled_from(TEXT_KEYS))
@example(text="[::1]:9092", key="kafka.sasl_username")
@example(text="{not: yaml", key="kafka.sasl_password")
@example(text="null", key="submit.operator")
@example(text="0123", key="merchants.1.platform_id")
@example(text="true", key="submit.operator")
@example(text="[1, 2]", key="submit.operator")
@example(text="a=b=c", key="kafka.sasl_password")
def test_a_text_on_the_command_line_stays_what_it_is(text: str, key: str) -> None:
    """`--set` takes any text for a text, whatever it looks like."""
    keys = {"merchants.1.hash_key": text, "merchants.1.hash_iv": text}
    settings = load(overrides={**keys, key: text})

    found: object = settings
    for name in key.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == text
    assert settings.merchants["1"].hash_key == SecretStr(text)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("merchants", '{"1": {"hash_key": "k", "hash_iv": "i"}}'),
        ("merchants", "{'1': {hash_key: k, hash_iv: i}}"),
        ("merchants.1", "{hash_key: k, hash_iv: i}"),
    ],
)
def test_a_group_on_the_command_line_is_json_or_yaml(key: str, text: str) -> None:
    """Where a group belongs, the text is read."""
    assert load(overrides={key: text}).merchants["1"].hash_iv == SecretStr("i")


def test_lists_on_the_command_line_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas or in brackets."""
    assert load(overrides={"plugins.paths": "[a.py, b.py]"}).plugins.paths == ("a.py", "b.py")
    assert load(overrides={"submit.retry_rtn_codes": "1,2"}).submit.retry_rtn_codes == (1, 2)
    assert "submit.retry_rtn_codes" in _problems(overrides={"submit.retry_rtn_codes": "[1"})[0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"kafka": "secret"}, "kafka=... neither mapping"),
        ({"kafka": "{a: [secret"}, "--set kafka=..."),
        ({"merchants": "{3085676: {}}"}, 'merchants "3085676":'),
        ({"submit.operator": ""}, "submit.operator empty"),
        ({"plugins.settings.a.b": "x", "plugins.settings.a.b.c": "y"}, "plugins.settings.a.b already"),
    ],
)
def test_a_value_that_cannot_be_read_is_one_sentence(overrides: dict[str, str], words: str) -> None:
    """It names the setting and never its value."""
    (message,) = _problems(overrides=overrides)

    assert mentions(message, words)
    assert "secret" not in message


@pytest.mark.parametrize("text", ["*hunter2", "!hunter2 ", "@hunter2", "%hunter2", "a: hunter2", "{hunter2"])
def test_a_password_that_is_no_yaml_is_not_shown(text: str, tmp_path: Path) -> None:
    """YAML's own complaints quote aliases and tags; the line and the cure are enough."""
    problems = _problems(_file(tmp_path, f"kafka:\n  sasl_password: {text}\n"))

    assert "hunter2" not in str(problems)
    assert "quotes" in str(problems)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "plugins: &a {settings: *a}",
        "a: 2026-02-30",
        "a: !!int x",
        "a: !!python/object:os.system {}",
        "? [a]\n: b",
        "a: \udc80",
        "--- 1\n--- 2\n",
        "%YAML 9.9",
    ],
)
def test_no_file_breaks_the_reader(text: str, tmp_path: Path) -> None:
    """Whatever a file holds, what is wrong with it is one sentence with its name."""
    path = tmp_path / "settings.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    for problem in _problems(path):
        assert str(path) in problem or mentions(problem, "a not setting")


@given(st.text(alphabet="ab01:{}[]&*<>?!|-,'\"#%\n \t~", max_size=40))
def test_any_text_is_settings_or_sentences(text: str) -> None:
    """Nothing but SettingsError comes of a file, a variable's or a command line's value."""
    for overrides in ({"kafka": text}, {"plugins.settings": text}, {"submit.retry_rtn_codes": text}):
        with suppress(SettingsError):
            load(overrides=overrides)
    with suppress(UnreadableText):
        read_yaml(text, Settings)
