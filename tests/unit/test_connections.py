"""Where a Kafka cluster is and how one logs in: what both clients are told, and what is refused."""

import pytest

from warehouse.connections import broker
from warehouse.errors import PlatformError


@pytest.fixture
def kafka(monkeypatch):
    """Sets MDP_KAFKA_… variables."""

    def declare(**values: str):
        for name, value in {"SERVERS": "b1:9092,b2:9092", **values}.items():
            monkeypatch.setenv(f"MDP_KAFKA_{name}", value)
        return broker("kafka")

    return declare


def test_without_a_login_the_address_is_enough(kafka):
    found = kafka()
    assert (found.servers, found.protocol) == ("b1:9092,b2:9092", "PLAINTEXT")
    assert found.java_settings() == found.client_settings() == {"security.protocol": "PLAINTEXT"}


def test_a_login_goes_over_tls_unless_told_otherwise(kafka):
    password = 'a"b\\c;d'
    found = kafka(USER="me", PASSWORD=password, MECHANISM="SCRAM-SHA-256")
    assert found.client_settings() == {
        "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "me", "sasl.password": password,
    }  # fmt: skip
    login = found.java_settings()["sasl.jaas.config"]
    assert login.endswith(r'ScramLoginModule required username="me" password="a\"b\\c;d";')
    assert password not in repr(found)


def test_certificates_are_handed_on_as_text(kafka, tmp_path):
    (tmp_path / "ca.pem").write_text("-- a certificate --")
    found = kafka(PROTOCOL="SSL", CA_FILE=str(tmp_path / "ca.pem"))
    assert found.client_settings()["ssl.ca.pem"] == found.java_settings()["ssl.truststore.certificates"]
    with pytest.raises(PlatformError, match="cannot be read from /nowhere.pem: No such file.*MDP_KAFKA_CA_FILE"):
        kafka(PROTOCOL="SSL", CA_FILE="/nowhere.pem").java_settings()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"SERVERS": ""}, "has no address: set MDP_KAFKA_SERVERS"),
        ({"PROTOCOL": "TLS"}, "MDP_KAFKA_PROTOCOL must be one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL, not 'TLS'"),
        ({"MECHANISM": "GSSAPI"}, "MDP_KAFKA_MECHANISM must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        ({"PROTOCOL": "SASL_SSL"}, "a login goes with SASL_PLAINTEXT, SASL_SSL and no other: set MDP_KAFKA_USER"),
        ({"USER": "me", "PROTOCOL": "SSL"}, "and no other: set MDP_KAFKA_PROTOCOL to SASL_SSL"),
    ],
)
def test_what_no_broker_understands_is_refused(kafka, values, said):
    with pytest.raises(PlatformError, match=said):
        kafka(**values)


def test_a_user_without_a_password_is_said(kafka):
    with pytest.raises(PlatformError, match="has a user and no password: set MDP_KAFKA_PASSWORD_FILE"):
        kafka(USER="me").client_settings()
