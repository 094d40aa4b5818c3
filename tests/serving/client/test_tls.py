"""TLS against a real server with certificates of an authority made here: who is let in, what others are told."""

from __future__ import annotations

import datetime
import ipaddress
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving_client import Tls, errors
from tests.serving.client.stub_server import MODEL, RANKING, StubServer

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority of its own."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self.name, self.key, NOW + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, names: list[str], until: datetime.datetime = NOW + DAY) -> tuple[bytes, bytes]:
        """Key and certificate for hosts and addresses, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        known = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        certificate = (
            self._builder(subject, key, until)
            .add_extension(x509.SubjectAlternativeName(known), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private, certificate.public_bytes(serialization.Encoding.PEM)

    def _builder(self, subject, key, until):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 2 * DAY)
            .not_valid_after(until)
        )


@pytest.fixture(scope="module")
def authority():
    return Authority("ours")


@pytest.fixture(scope="module")
def stranger():
    return Authority("another")


@pytest.fixture(scope="module")
def serving(authority):
    """Servers by kind, started on demand."""
    made = {}

    def serve(kind):
        if kind not in made:
            until = NOW - DAY if kind == "expired" else NOW + DAY
            names = ["recommender.internal"] if kind == "named" else ["localhost", "127.0.0.1"]
            key, certificate = authority.issue(names, until)
            credentials = grpc.ssl_server_credentials(
                [(key, certificate)], authority.pem if kind == "mutual" else None, kind == "mutual"
            )
            made[kind] = StubServer(credentials=None if kind == "plaintext" else credentials)
        return made[kind].target

    yield serve
    for server in made.values():
        server.stop()


def test_a_server_of_the_own_authority_answers(driver, serving, authority):
    with driver.client(serving("plain TLS"), model=MODEL, tls=Tls(root_ca=authority.pem)) as client:
        assert client.recommend(["a"]).items == RANKING[:6]


def test_mutual_tls_lets_in_who_shows_a_certificate(driver, serving, authority):
    key, certificate = authority.issue(["client"])
    with driver.client(serving("mutual"), model=MODEL, tls=Tls(authority.pem, key, certificate)) as client:
        assert client.recommend(["a"]).items == RANKING[:6]


def test_server_name_is_what_the_certificate_must_say(driver, serving, authority):
    tls = Tls(root_ca=authority.pem, server_name="recommender.internal")
    with driver.client(serving("named"), model=MODEL, tls=tls) as client:
        assert client.recommend(["a"]).items == RANKING[:6]


CASES = {
    "another authority": ("plain TLS", lambda ours, other: Tls(root_ca=other.pem)),
    "expired": ("expired", lambda ours, other: Tls(root_ca=ours.pem)),
    "another name": ("named", lambda ours, other: Tls(root_ca=ours.pem)),
    "plaintext to TLS": ("plain TLS", lambda ours, other: None),
    "TLS to plaintext": ("plaintext", lambda ours, other: Tls(root_ca=ours.pem)),
    "no client certificate": ("mutual", lambda ours, other: Tls(root_ca=ours.pem)),
    "client certificate of another": ("mutual", lambda ours, other: Tls(ours.pem, *other.issue(["client"]))),
}
HANDSHAKE = {"another authority", "expired", "another name", "TLS to plaintext"}
"""Here it is the client that ends the handshake, and knows why."""


@pytest.mark.parametrize("case", CASES)
def test_a_handshake_that_fails_is_unavailable_with_its_reason_within_the_deadline(
    case, driver, serving, authority, stranger
):
    kind, tls = CASES[case]
    with driver.client(serving(kind), model=MODEL, tls=tls(authority, stranger)) as client:
        started = time.monotonic()
        with pytest.raises(errors.Unavailable) as raised:
            client.recommend(["a"], timeout_s=2.0)
        assert time.monotonic() - started < 2.5
    said = str(raised.value)
    assert "TLS" in said
    if case in HANDSHAKE:
        assert any(word in said for word in ("CERTIFICATE", "certificate", "Verification", "SSL")), said


def test_key_and_certificate_go_together_and_are_pem_bytes(authority):
    key, certificate = authority.issue(["client"])
    with pytest.raises(ValueError, match="certificate is given without key"):
        Tls(certificate=certificate)
    with pytest.raises(ValueError, match="key is given without certificate"):
        Tls(key=key)
    with pytest.raises(TypeError, match="root_ca is str, not bytes"):
        Tls(root_ca="/etc/ca.pem")
    with pytest.raises(ValueError, match="root_ca is not PEM"):
        Tls(root_ca=b"/etc/ca.pem")


def test_repr_hides_what_is_secret(driver, authority):
    key, certificate = authority.issue(["client"])
    tls = Tls(authority.pem, key, certificate, server_name="recommender")
    assert repr(tls) == "Tls(root_ca=<hidden>, key=<hidden>, certificate=<hidden>, server_name='recommender')"
    assert "BEGIN" not in f"{driver.client('localhost:1', tls=tls)!r} {tls}"
