"""Keys, certificates and kubeconfigs, made with openssl; they are good for the life of one cluster."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CLIENT: Final = "extendedKeyUsage=clientAuth"
SERVER: Final = "extendedKeyUsage=serverAuth"
_CURVE: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_CONFIG: Final = "[req]\ndistinguished_name = dn\n[dn]\n"
"""Without the system's defaults, which make every certificate an authority."""


@dataclass(frozen=True)
class Pki:
    """A folder with a certificate authority and what it has signed."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.certificate("ca")

    def certificate(self, name: str) -> Path:
        """The certificate of that name."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The private key of that name."""
        return self.folder / f"{name}.key"

    def create(self) -> None:
        """Make the authority, and the key that signs service account tokens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(_CONFIG, encoding="utf-8")
        self._request("ca", "/CN=poise-test-ca", "basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign")
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(self.key("sa")))

    def issue(self, name: str, subject: str, *extensions: str) -> None:
        """A key and a certificate; by default one that a client shows."""
        signer = ("-CA", str(self.ca), "-CAkey", str(self.key("ca")))
        self._request(name, subject, *(extensions or (CLIENT,)), signer=signer)

    def kubeconfig(self, file: Path, server: str, user: dict[str, Any], *, namespace: str = "default") -> Path:
        """Write a kubeconfig; ``user`` is what stands under ``users[].user``."""
        authority = base64.b64encode(self.ca.read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "poise", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "poise", "context": {"cluster": "poise", "user": "user", "namespace": namespace}}],
            "current-context": "poise",
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(document, indent=1), encoding="utf-8")
        return file

    def user(self, name: str) -> dict[str, Any]:
        """The ``user`` of a kubeconfig that shows a certificate."""
        return {
            "client-certificate-data": base64.b64encode(self.certificate(name).read_bytes()).decode(),
            "client-key-data": base64.b64encode(self.key(name).read_bytes()).decode(),
        }

    @property
    def _config(self) -> Path:
        return self.folder / "openssl.cnf"

    def _request(self, name: str, subject: str, *extensions: str, signer: tuple[str, ...] = ()) -> None:
        extra = [part for extension in extensions for part in ("-addext", extension)]
        _openssl("req", "-x509", "-config", str(self._config), *_CURVE, *signer, "-subj", subject, "-days", "30",
                 "-keyout", str(self.key(name)), "-out", str(self.certificate(name)), *extra)  # fmt: skip


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")
