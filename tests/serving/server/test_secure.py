"""TLS by --ssl_config_file, as the real server has it: with and without certificates of the clients."""

from __future__ import annotations

import datetime
import ipaddress

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local_serving.errors import StartError
from tests.serving.server.wire import Wire, refused


@pytest.fixture(scope="module")
def pair():
    """(key, certificate) in PEM for 127.0.0.1, signed by itself, so that the certificate is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


@pytest.fixture
def config(pair, tmp_path):
    def write(*more):
        key, certificate = (one.decode().replace("\n", "\\n") for one in pair)
        file = tmp_path / "ssl.config"
        lines = [f'server_key: "{key}"', f'server_cert: "{certificate}"', *more]
        file.write_text("\n".join(lines))
        return f"--ssl_config_file={file}"

    return write


def secured(wire, **credentials):
    wire.channel.close()
    made = Wire(wire.port)
    made.channel.close()
    made.channel = grpc.secure_channel(f"127.0.0.1:{wire.port}", grpc.ssl_channel_credentials(**credentials))
    return made


def test_a_server_with_a_key_answers_over_tls_alone(base, serve, config, pair):
    wire = serve(base, config())
    assert refused(wire.status, "m")[0] == "UNAVAILABLE"
    safe = secured(wire, root_certificates=pair[1])
    assert safe.version("m") == 1
    safe.channel.close()


def test_client_verify_asks_for_a_certificate(base, serve, config, pair):
    key, certificate = pair
    text = certificate.decode().replace("\n", "\\n")
    wire = serve(base, config(f'custom_ca: "{text}"', "client_verify: true"))
    safe = secured(wire, root_certificates=certificate)
    assert refused(safe.status, "m")[0] == "UNAVAILABLE"
    known = secured(safe, root_certificates=certificate, private_key=key, certificate_chain=certificate)
    assert known.version("m") == 1
    known.channel.close()


def test_a_key_that_is_none_is_one_sentence(base, make_server, tmp_path):
    (tmp_path / "ssl.config").write_text('server_cert: "x"')
    with pytest.raises(StartError, match="has no server_key or no server_cert"):
        make_server(base, f"--ssl_config_file={tmp_path}/ssl.config").start()
