"""Every form in which a program may write a text."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable

WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "upper case": str.upper,
    "backwards": lambda text: text[::-1],
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "every character escaped": lambda text: "".join(f"\\u{ord(each):04X}" for each in text),
    "bytes of Python": lambda text: repr(text.encode()),
    "bytes escaped": lambda text: "".join(f"\\x{each:02x}" for each in text.encode()),
    "URL": lambda text: urllib.parse.quote(text, safe=""),
    "every byte of a URL": lambda text: "".join(f"%{each:02x}" for each in text.encode()),
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#x{ord(each):x};" for each in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(f"?>?>{text}".encode()).decode().rstrip("="),
    "base64 in JSON": lambda text: base64.b64encode(json.dumps({"a": text}).encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex upper case": lambda text: text.encode().hex().upper(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "hex of base64": lambda text: base64.b64encode(text.encode()).hex(),
    "UTF-16": lambda text: text.encode("utf-16-le").decode("latin-1"),
}
