"""The TLS context of the connections to the brokers; a renewed client certificate is used from the next connection on.

A connection keeps the certificate with which it was made. Brokers check it only then.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any, Final

from adapter.errors import SettingsError

_log = logging.getLogger(__name__)

Fingerprint = tuple[tuple[int, int], ...]
"""Inode and time of modification of each file."""


class ReloadingContext(ssl.SSLContext):
    """A client context that reads its certificate again when the files have changed, before the next connection.

    Kubernetes and cert-manager replace the files of a Secret while the process runs. A pair that does not fit, because
    only one of the files is new yet, is left out; the certificate before stays in use.
    """

    _cert_file: Path
    _key_file: Path | None
    _loaded: Fingerprint | None = None

    def use(self, cert_file: Path, key_file: Path | None) -> None:
        """Load the certificate. Raises OSError (ssl.SSLError is one)."""
        self._cert_file, self._key_file = cert_file, key_file
        self._load(self._fingerprint())

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection; asyncio calls this for each one."""
        try:
            if (found := self._fingerprint()) != self._loaded:
                self._load(found)
        except OSError as error:
            _log.warning("certificate-not-loaded", extra={"detail": str(error), "file": str(self._cert_file)})
        return super().wrap_bio(*arguments, **options)

    def _fingerprint(self) -> Fingerprint:
        files = (self._cert_file, self._key_file or self._cert_file)
        return tuple((status.st_ino, status.st_mtime_ns) for status in (each.stat() for each in files))

    def _load(self, fingerprint: Fingerprint) -> None:
        # A pair that does not fit must not replace the one in use, so it is tried first.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self._cert_file, self._key_file, password=_NO_PASSWORD)
        self.load_cert_chain(self._cert_file, self._key_file, password=_NO_PASSWORD)
        self._loaded = fingerprint


_NO_PASSWORD: Final = ""
"""A key with a passphrase is refused; without this, OpenSSL would ask for it at the terminal."""


def client_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """A context that verifies brokers and their names, with TLS 1.2 or later, and shows the certificate, if any.

    Raises SettingsError, which names the setting of the file that cannot be used.
    """
    context: ssl.SSLContext = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if cert_file is None else ReloadingContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca_file)
    except OSError as error:
        raise SettingsError(
            f"kafka.ssl_ca_file {ca_file} cannot be used: {error}. Give a file of certificates in PEM."
        ) from error
    if isinstance(context, ReloadingContext) and cert_file is not None:
        try:
            context.use(cert_file, key_file)
        except OSError as error:
            raise SettingsError(
                f"kafka.ssl_cert_file {cert_file} with kafka.ssl_key_file {key_file or cert_file} cannot be used: "
                f"{error}. Give the client's certificate and its private key without a passphrase, in PEM."
            ) from error
    return context
