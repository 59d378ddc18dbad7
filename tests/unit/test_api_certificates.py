"""Agent and operator trust the authorities that kubectl trusts, whatever Python thinks of them."""

import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from oomsayer.agent.apiserver import ApiServer
from oomsayer.controller.apiserver import service_account

AUTHORITY = """\
[req]
distinguished_name = name
x509_extensions = minimal
prompt = no
[name]
CN = kubernetes
[minimal]
basicConstraints = critical, CA:TRUE
[served]
subjectAltName = IP:127.0.0.1
subjectKeyIdentifier = none
authorityKeyIdentifier = none
"""
"""What EKS makes: the authority says no more of itself than that it is one."""


def openssl(directory: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """A service account's directory, with a certificate for 127.0.0.1 that its authority signed."""
    (tmp_path / "config").write_text(AUTHORITY)
    (tmp_path / "token").write_text("t")
    new = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -config config"
    openssl(tmp_path, f"req -x509 -days 2 {new} -keyout ca.key -out ca.crt")
    openssl(tmp_path, f"req {new} -subj /CN=kube-apiserver -keyout key -out request")
    signed = "-CA ca.crt -CAkey ca.key -CAcreateserial -extfile config -extensions served"
    openssl(tmp_path, f"x509 -req -days 2 -in request {signed} -out crt")
    return tmp_path


def shake_hands(trusting: ssl.SSLContext, account: Path, name: str) -> None:
    """Until the client believes that the server is of that name."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(account / "crt", account / "key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there, server_hostname=name)
    server = serving.wrap_bio(there, back, server_side=True)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    with suppress(ssl.SSLWantReadError):
        server.do_handshake()
    client.do_handshake()


def contexts(account: Path) -> dict[str, ssl.SSLContext]:
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}
    return {
        "agent": ApiServer("127.0.0.1", 1, account).tls(),
        "operator": service_account(account, environment).as_ssl_context(),
    }


@pytest.mark.parametrize("who", ["agent", "operator"])
def test_an_authority_without_key_identifiers_is_trusted(
    account: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    default = ssl.create_default_context

    def strict(**arguments: str | None) -> ssl.SSLContext:
        context = default(**arguments)  # type: ignore[arg-type] # as they come
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python does from 3.13 on
        return context

    monkeypatch.setattr("ssl.create_default_context", strict)
    with pytest.raises(ssl.SSLCertVerificationError, match="Missing Authority Key Identifier"):
        shake_hands(strict(cafile=str(account / "ca.crt")), account, "127.0.0.1")
    trusting = contexts(account)[who]
    shake_hands(trusting, account, "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shake_hands(trusting, account, "127.0.0.2")
