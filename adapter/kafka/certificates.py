"""The TLS contexts of the connections to the brokers and to the token endpoint, whose files may change at any time.

A process has one context for the same files, so that every client of it keeps what was loaded last: Kubernetes and
cert-manager replace the files of a Secret while the process runs, and for a moment only some of them are new. A
connection keeps the certificate with which it was made. Servers check it only then.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from adapter.errors import SettingsError

Fingerprint = tuple[tuple[int, int, int], ...]
"""Inode, time of modification and size of each file."""

_NO_PASSWORD: Final = ""
"""A key with a passphrase is refused; without this, OpenSSL would ask for it at the terminal."""


class ReloadingContext(ssl.SSLContext):
    """A client context whose files are read again before the next connection when they have changed.

    Files that cannot be used, also those of a pair of which only one is new, leave what was loaded last in use. They
    are tried again at the next connection. Each loading makes a new context: OpenSSL forgets no trusted certificate.
    """

    _files: _Files
    _lock: threading.Lock
    _loaded: tuple[Fingerprint, ssl.SSLContext]
    _problem: str | None

    @classmethod
    def of(cls, files: _Files) -> ReloadingContext:
        """Load the files. Raises SettingsError, which names the setting of the file that cannot be used."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._files, context._lock, context._problem = files, threading.Lock(), None
        context._loaded = files.load()
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection; asyncio calls this for each one."""
        self.problem()
        return self._loaded[1].wrap_bio(*arguments, **options)

    def problem(self) -> str | None:
        """Read the files again if they have changed; return why they cannot be used now, in a sentence, or None."""
        with self._lock:
            fingerprint, _ = self._loaded
            try:
                if self._files.fingerprint() != fingerprint:
                    self._loaded = self._files.load()
            except SettingsError as error:
                self._problem = str(error)
            else:
                self._problem = None
            return self._problem


class _Files:
    """The files of one context, and the settings that name them."""

    def __init__(self, ca_file: Path | None, cert_file: Path | None, key_file: Path | None, prefix: str) -> None:
        self._ca_file, self._cert_file, self._key_file, self._prefix = ca_file, cert_file, key_file, prefix

    def fingerprint(self) -> Fingerprint:
        """Raises SettingsError for a file that is missing."""
        return tuple(self._marks())

    def load(self) -> tuple[Fingerprint, ssl.SSLContext]:
        """Return a context that verifies servers and their names, with TLS 1.2 or later, and what it was made of.

        Raises SettingsError, which names the setting of the file that cannot be used.
        """
        fingerprint = self.fingerprint()  # before the files are read: what changes meanwhile is read again
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            if self._ca_file is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self._ca_file)
        except OSError as error:  # SSLError is one
            raise self._unusable_ca(error) from error
        if self._cert_file is not None:
            try:
                context.load_cert_chain(self._cert_file, self._key_file, password=_NO_PASSWORD)
            except OSError as error:
                raise self._unusable_certificate(error) from error
        return fingerprint, context

    def _marks(self) -> Iterator[tuple[int, int, int]]:
        for file, unusable in (
            (self._ca_file, self._unusable_ca),
            (self._cert_file, self._unusable_certificate),
            (self._key_file, self._unusable_certificate),
        ):
            if file is not None:
                try:
                    found = file.stat()
                except OSError as error:
                    raise unusable(error) from error
                yield found.st_ino, found.st_mtime_ns, found.st_size

    def _unusable_ca(self, error: OSError) -> SettingsError:
        return SettingsError(
            f"{self._prefix}_ca_file {self._ca_file} cannot be used: {error}. Give a file of certificates in PEM."
        )

    def _unusable_certificate(self, error: OSError) -> SettingsError:
        return SettingsError(
            f"{self._prefix}_cert_file {self._cert_file} with {self._prefix}_key_file "
            f"{self._key_file or self._cert_file} cannot be used: {error}. Give the client's certificate and its "
            "private key without a passphrase, in PEM."
        )


@cache
def client_context(
    ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None, *, prefix: str = "kafka.ssl"
) -> ReloadingContext:
    """Return this process's context for these files; without a CA file, the system's certificates are trusted.

    `prefix` begins the names of the settings, which end with `_ca_file`, `_cert_file` and `_key_file`. Raises
    SettingsError, which names the setting of the file that cannot be used, until the files could be used once.
    """
    return ReloadingContext.of(_Files(ca_file, cert_file, key_file, prefix))
