"""Settings come from four places in a fixed order, and a mistake is one sentence that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.errors import SettingsError
from adapter.settings import Settings, known_keys, load, variable
from adapter.settings.groups import Group


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

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

    assert _problems() == (
        "The environment variable ECTICKET_SUBMIT__OPERTOR is no setting. Did you mean ECTICKET_SUBMIT__OPERATOR?",
    )


def test_misspelt_keys_name_the_nearest(tmp_path: Path) -> None:
    """In the file and on the command line as well; one sentence per mistake."""
    problems = _problems(_file(tmp_path, "submit: {operatr: a, defer_seconds: -1}\nkafak: {}\n"))

    assert "submit.operatr is no setting. Did you mean submit.operator?" in problems
    assert "kafak is no setting. Did you mean kafka?" in problems
    assert len(problems) == 3
    assert _problems(overrides={"submit.operatr": "a"}) == (
        "submit.operatr is no setting. Did you mean submit.operator?",
    )


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
    ("overrides", "sentence"),
    [
        ({"provider.environment": "custom"}, "`environment: custom` needs `provider.base_url`"),
        ({"provider.base_url": "http://127.0.0.1:1"}, "only goes with `environment: custom`"),
        ({"provider.family": "issuance"}, "needs `provider.payment_provider`"),
        ({"callbacks.public_url": "https://" + "a" * 200}, "longer than 200 characters"),
        ({"submit.trade_no_prefix": "toolong"}, "at most 4 characters"),
        ({"submit.defer_seconds": "nan"}, "finite number"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides: dict[str, str], sentence: str) -> None:
    """Each combination that cannot work is named at the start."""
    assert sentence in " ".join(_problems(overrides=overrides))


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
    """The names in the contract's section 10 exist."""
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
