"""The keys and certificates of a lab cluster: one authority of its own, made anew for each cluster."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.process import capture

_DAYS = "365"
_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose files, and those it issues, live in one directory."""

    directory: Path

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.directory / "ca.crt"

    def create(self) -> None:
        """Make the directory, the authority's key and its certificate."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        capture(
            ["openssl", "req", "-x509", *_NEW_KEY, "-days", _DAYS, "-subj", "/CN=oomsayer-lab",
             "-addext", "keyUsage=critical,keyCertSign,digitalSignature",
             "-keyout", self.directory / "ca.key", "-out", self.certificate]
        )  # fmt: skip

    def issue(self, name: str, *, user: str, group: str = "", addresses: Sequence[str] = ()) -> KeyPair:
        """Make a key pair for a Kubernetes user and, with addresses ("IP:..." or "DNS:..."), for a server."""
        pair = KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        request, extensions = self.directory / f"{name}.csr", self.directory / f"{name}.ext"
        subject = f"/O={group}/CN={user}" if group else f"/CN={user}"
        lines = ["extendedKeyUsage=clientAuth,serverAuth"]
        if addresses:
            lines.append(f"subjectAltName={','.join(addresses)}")
        extensions.write_text("\n".join(lines))
        capture(["openssl", "req", *_NEW_KEY, "-subj", subject, "-keyout", pair.key, "-out", request])
        capture(
            ["openssl", "x509", "-req", "-in", request, "-days", _DAYS, "-extfile", extensions,
             "-CA", self.certificate, "-CAkey", self.directory / "ca.key", "-CAcreateserial",
             "-out", pair.certificate]
        )  # fmt: skip
        return pair

    def token_keys(self) -> KeyPair:
        """Make the key that signs service account tokens; `certificate` is its public half."""
        pair = KeyPair(self.directory / "tokens.pub", self.directory / "tokens.key")
        capture(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pair.key])
        capture(["openssl", "ec", "-in", pair.key, "-pubout", "-out", pair.certificate])
        return pair

    def kubeconfig(self, name: str, server: str, user: KeyPair) -> Path:
        """Write NAME.kubeconfig, with the certificates inside, for a server's URL."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "oomsayer-lab",
                    "cluster": {"server": server, "certificate-authority-data": _base64(self.certificate)},
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": _base64(user.certificate),
                        "client-key-data": _base64(user.key),
                    },
                }
            ],
            "contexts": [{"name": "oomsayer-lab", "context": {"cluster": "oomsayer-lab", "user": name}}],
            "current-context": "oomsayer-lab",
        }
        path = self.directory / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config, indent=1))
        return path


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
