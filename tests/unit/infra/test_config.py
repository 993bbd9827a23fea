from __future__ import annotations

import pytest

from infra.config import load_settings
from infra.errors import SettingsError, StreamhouseError


def test_defaults_listen_on_loopback() -> None:
    settings = load_settings({})
    assert {settings.kafka.host, settings.flink.host, settings.redis.host, settings.registry.host} == {"127.0.0.1"}


def test_a_variable_overrides_its_setting() -> None:
    assert load_settings({"STREAMHOUSE_KAFKA_PORT": "1234"}).kafka.servers == "127.0.0.1:1234"


def test_a_number_must_be_a_number() -> None:
    with pytest.raises(SettingsError, match=r"setting `kafka.port`: expected a whole number, got 'abc'; set STREAMHOUSE_KAFKA_PORT"):
        load_settings({"STREAMHOUSE_KAFKA_PORT": "abc"})


def test_a_misspelt_variable_is_named() -> None:
    with pytest.raises(StreamhouseError, match=r"variable STREAMHOUSE_KAFKA_PROT: .* no such setting; .* `unset STREAMHOUSE_KAFKA_PROT`"):
        load_settings({"STREAMHOUSE_KAFKA_PROT": "1"})


def test_a_secret_never_prints() -> None:
    settings = load_settings({"STREAMHOUSE_KAFKA_PASSWORD": "canary", "STREAMHOUSE_KAFKA_SASL_MECHANISM": "PLAIN"})
    assert "canary" not in f"{settings!r} {settings.kafka.password} {settings.kafka.password!r} {settings.kafka.password:>9}"
    assert settings.kafka.client()["sasl.password"] == "canary"
    assert "canary" in settings.kafka.java_client()["sasl.jaas.config"]


def test_where_read_models_lie_never_prints() -> None:
    settings = load_settings({"STREAMHOUSE_READ_MODELS_URL": "postgresql://shop:canary@db/shop"})
    assert "canary" not in f"{settings!r} {settings.read_models.url}"
    assert settings.read_models.url.reveal() == "postgresql://shop:canary@db/shop"
    with pytest.raises(SettingsError, match=r"`read_models.url`: expected postgresql://.*; set STREAMHOUSE_READ_MODELS_URL") as refused:
        load_settings({"STREAMHOUSE_READ_MODELS_URL": "mysql://shop:canary@db/shop"})
    assert "canary" not in str(refused.value)


def test_a_quote_in_a_password_cannot_leave_its_string() -> None:
    settings = load_settings({"STREAMHOUSE_KAFKA_PASSWORD": 'a"; b', "STREAMHOUSE_KAFKA_SASL_MECHANISM": "PLAIN"})
    assert settings.kafka.java_client()["sasl.jaas.config"].endswith('password="a\\"; b";')


def test_who_starts_the_services_is_one_of_two_words() -> None:
    assert not load_settings({}).stack.runs_elsewhere
    assert load_settings({"STREAMHOUSE_STACK_START": "nothing"}).stack.runs_elsewhere
    with pytest.raises(SettingsError, match=r"setting `stack.start`: expected all or nothing, got 'some'; set STREAMHOUSE_STACK_START"):
        load_settings({"STREAMHOUSE_STACK_START": "some"})


def test_a_delivery_is_one_of_two_and_exactly_once_unless_told() -> None:
    assert load_settings({}).score_events.delivery == "exactly-once"
    assert load_settings({"STREAMHOUSE_SCORE_EVENTS_DELIVERY": "at-least-once"}).score_events.delivery == "at-least-once"
    said = r"setting `score_events.delivery`: expected exactly-once or at-least-once, got 'once'; set STREAMHOUSE_SCORE_EVENTS_DELIVERY"
    with pytest.raises(SettingsError, match=said):
        load_settings({"STREAMHOUSE_SCORE_EVENTS_DELIVERY": "once"})
