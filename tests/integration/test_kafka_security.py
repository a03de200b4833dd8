"""SASL and TLS towards a real broker: every mechanism, and what is said where it refuses us."""

import base64
import datetime
import http.server
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr, ValidationError

from core import topics
from core.errors import LogUnavailableError
from core.log.config import LogConfig
from core.log.kafka.log import KafkaLog
from core.log.kafka_config import KafkaConfig, OauthConfig, SaslConfig, TlsConfig
from core.log.port import Record
from core.telemetry import Telemetry
from tests.broker.jars import BrokerMissingError, jars
from tests.broker.kafka import running_kafka
from tests.ports import free_port

pytestmark = [pytest.mark.needs_kafka, pytest.mark.integration]

PASSWORD = "right"
_PLAIN = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="{PASSWORD}" '
    'username="alice" password="right";'
)
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_OAUTH = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";'
)


class Secured(NamedTuple):
    """A broker that asks who we are, and the files of those whom it trusts."""

    sasl: str
    tls: str
    sasl_tls: str
    folder: Path


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, is_ca: bool = False
) -> str:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Run a broker of our own with one listener for each way to be secure."""
    try:
        jars()
    except BrokerMissingError as exc:
        pytest.skip(f"NO KAFKA OF OUR OWN: {exc}")
    folder = tmp_path_factory.mktemp("secured")
    ca, broker, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca_pem = _certificate("ca", ca, "ca", ca, is_ca=True)
    broker_pem, client_pem = _certificate("broker", broker, "ca", ca), _certificate("client", client, "ca", ca)
    (folder / "ca.pem").write_text(ca_pem)
    (folder / "client.pem").write_text(client_pem)
    (folder / "client.key").write_text(_pem(client))

    def one_line(pem: str) -> str:
        return pem.strip().replace("\n", "\\n")

    sasl, tls, both = (free_port("127.0.0.1") for _ in range(3))
    options = {
        "extra.listeners": (f"SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://127.0.0.1:{tls},SASL_SSL://127.0.0.1:{both}"),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.key": one_line(_pem(broker)),
        "ssl.keystore.certificate.chain": one_line(broker_pem),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": one_line(ca_pem),
        "listener.name.ssl.ssl.client.auth": "required",
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        options |= {
            f"listener.name.{listener}.plain.sasl.jaas.config": _PLAIN,
            f"listener.name.{listener}.scram-sha-256.sasl.jaas.config": _SCRAM,
            f"listener.name.{listener}.scram-sha-512.sasl.jaas.config": _SCRAM,
            f"listener.name.{listener}.oauthbearer.sasl.jaas.config": _OAUTH,
        }
    scram = (f"{mechanism}=[name=alice,password={PASSWORD}]" for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"))
    arguments = tuple(part for user in scram for part in ("--add-scram", user))
    with running_kafka(folder / "kafka", options=options, format_arguments=arguments):
        yield Secured(f"127.0.0.1:{sasl}", f"127.0.0.1:{tls}", f"127.0.0.1:{both}", folder)


async def write_one(config: KafkaConfig) -> None:
    """Make the topics and append a record. Raises LogUnavailableError."""
    config = config.model_copy(update={"topic_prefix": "secure."})
    log = KafkaLog(config=LogConfig(partitions=1, kafka=config), instance_id="", telemetry=Telemetry())
    try:
        await log.start()
        await log.append([Record(topic=topics.SPANS, partition=0, value=b"x")])
    finally:
        await log.stop()


def sasl(mechanism: str, password: str = PASSWORD) -> SaslConfig:
    return SaslConfig.model_validate({"mechanism": mechanism, "username": "alice", "password": password})


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_user_with_the_right_password_writes(secured: Secured, mechanism: str) -> None:
    await write_one(KafkaConfig(bootstrap_servers=secured.sasl, sasl=sasl(mechanism)))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_said_and_not_shown(secured: Secured, mechanism: str) -> None:
    config = KafkaConfig(bootstrap_servers=secured.sasl, sasl=sasl(mechanism, "hunter2-is-wrong"))
    with pytest.raises(LogUnavailableError, match=r"as alice by .*`log\.kafka\.sasl`") as raised:
        await write_one(config)
    assert "hunter2" not in f"{raised.value} {config}"


async def test_mutual_tls_writes_and_an_unknown_authority_is_refused(secured: Secured) -> None:
    folder = secured.folder
    tls = TlsConfig(
        enabled=True,
        ca_file=str(folder / "ca.pem"),
        cert_file=str(folder / "client.pem"),
        key_file=str(folder / "client.key"),
    )
    await write_one(KafkaConfig(bootstrap_servers=secured.tls, tls=tls))
    with pytest.raises(LogUnavailableError):
        await write_one(KafkaConfig(bootstrap_servers=secured.tls, tls=TlsConfig(enabled=True)))


async def test_sasl_over_tls_writes(secured: Secured) -> None:
    tls = TlsConfig(enabled=True, ca_file=str(secured.folder / "ca.pem"))
    await write_one(KafkaConfig(bootstrap_servers=secured.sasl_tls, tls=tls, sasl=sasl("SCRAM-SHA-512")))


class _Tokens(http.server.BaseHTTPRequestHandler):
    """A token endpoint (RFC 6749, section 4.4) that gives unsecured tokens, which the broker is set to take."""

    asked: list[tuple[str, str]]

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["content-length"])).decode()
        self.asked.append((self.headers["authorization"], form))
        if "secret" not in base64.b64decode(self.headers["authorization"].split()[1]).decode():
            self.send_error(401)
            return
        claims = {"sub": "alice", "iat": time.time(), "exp": time.time() + 300, "scope": "kafka"}
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "none"}, claims)
        ]
        body = json.dumps({"access_token": ".".join(parts) + ".", "expires_in": 300}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def token_url() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    asked: list[tuple[str, str]] = []
    handler = type("Tokens", (_Tokens,), {"asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}/token", asked
    server.shutdown()
    serving.join()
    server.server_close()


async def test_a_token_of_the_endpoint_writes(secured: Secured, token_url: tuple[str, list[tuple[str, str]]]) -> None:
    url, asked = token_url
    oauth = OauthConfig(token_url=url, client_id="clearwatch", client_secret=SecretStr("secret"), scope="kafka")
    await write_one(KafkaConfig(bootstrap_servers=secured.sasl, sasl=SaslConfig(mechanism="OAUTHBEARER", oauth=oauth)))
    assert all(form == "grant_type=client_credentials&scope=kafka" for _, form in asked)


async def test_an_endpoint_that_gives_no_token_is_named(
    secured: Secured, token_url: tuple[str, list[tuple[str, str]]]
) -> None:
    oauth = OauthConfig(token_url=token_url[0], client_id="clearwatch", client_secret=SecretStr("wrong"))
    with pytest.raises(LogUnavailableError, match="token"):
        await write_one(
            KafkaConfig(bootstrap_servers=secured.sasl, sasl=SaslConfig(mechanism="OAUTHBEARER", oauth=oauth))
        )


def test_half_a_configuration_is_refused() -> None:
    for wrong in (
        {"sasl": {"mechanism": "PLAIN"}},
        {"sasl": {"username": "alice"}},
        {"sasl": {"mechanism": "OAUTHBEARER"}},
        {"tls": {"enabled": True, "cert_file": "a.pem"}},
        {"tls": {"ca_file": "a.pem"}},
        {"bootstrap_servers": "nowhere"},
    ):
        with pytest.raises(ValidationError):
            KafkaConfig.model_validate(wrong)
