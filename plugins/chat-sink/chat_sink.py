"""Sends events to a chat, through an incoming webhook as Slack has them, and Discord at `…/slack`.

The message is JSON, `{"text": ...}`, and holds only data of the event, which has no customer data. A chat that asks for
a pause (HTTP 429 with Retry-After) gets it. The adapter retries failed messages; no order waits for the chat. An event
can come twice; its id is at the end of the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Final

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from adapter import Event, NotDelivered, RetryAfter, Sink, hookimpl

FAILED = "ecticket.issuance.failed.v1"
PARKED = "ecticket.order.parked.v1"
TOO_MANY_REQUESTS: Final = 429
PAUSE_SECONDS: Final = 30.0
PAUSE_MAX_SECONDS: Final = 3600.0
"""The pause if the chat asks for one without a length, and the longest that is accepted."""


class Settings(BaseModel):
    """The section `plugins.settings.chat_sink`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    webhook_url: Annotated[SecretStr, Field(description="the incoming webhook's address, a secret")]
    webhook_url_file: Annotated[Path | None, Field(description="a file with that address, instead of it")] = None
    events: Annotated[tuple[str, ...], Field(description="types of the events that are sent")] = (FAILED, PARKED)
    name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$", description="the sink's name, part of its group's")
    ] = "chat"
    timeout_seconds: Annotated[float, Field(gt=0, description="time-out for the chat's answer")] = 10.0

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, given: object) -> object:
        """Take the address from its file, which is read once."""
        if not isinstance(given, Mapping) or given.get("webhook_url_file") is None:
            return given
        if given.get("webhook_url") is not None:
            raise ValueError("webhook_url and webhook_url_file are both set; leave one out")
        path = Path(str(given["webhook_url_file"]))
        try:
            return {**given, "webhook_url": path.read_text(encoding="utf-8").strip()}
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"webhook_url_file {path} cannot be read") from None

    @field_validator("webhook_url")
    @classmethod
    def _is_http(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("it must begin with https://")
        return url


class ChatSink:
    """The plugin: one sink, once it has its settings."""

    settings_model = Settings

    def __init__(self) -> None:
        self._settings: Settings | None = None

    @hookimpl
    def configure(self, settings: Settings) -> None:
        """Remember them."""
        self._settings = settings

    @hookimpl
    def notification_sinks(self) -> Sequence[Sink]:
        """The chat."""
        return [] if self._settings is None else [Chat(self._settings)]


class Chat:
    """The sink. Its client belongs to the loop on which it first delivers."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._settings = settings
        self._client: httpx.AsyncClient | None = None

    def wants(self, event: Event) -> bool:
        """Whether events of this type are sent."""
        return event.type in self._settings.events

    async def deliver(self, event: Event) -> None:
        """Send the event's text.

        Raises RetryAfter if the chat asks for a pause, NotDelivered if it does not accept the message.
        """
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                answer = await self._post({"text": text_of(event)})
        except TimeoutError:
            raise NotDelivered(f"the chat did not answer within {self._settings.timeout_seconds:g} s") from None
        except httpx.HTTPError as error:
            # Its text may hold the address, which is a secret.
            raise NotDelivered(f"the chat was not reached ({type(error).__name__})") from None
        if answer.status_code == TOO_MANY_REQUESTS:
            raise RetryAfter(_pause(answer.headers.get("retry-after")), "the chat asks for a pause")
        if not answer.is_success:
            raise NotDelivered(f"the chat answered HTTP {answer.status_code}")

    async def _post(self, message: Mapping[str, str]) -> httpx.Response:
        """Return the head of the answer. Its body is not read: it may be endless, or inflate to any size."""
        client = self._client = self._client or httpx.AsyncClient(timeout=self._settings.timeout_seconds)
        async with client.stream("POST", self._settings.webhook_url.get_secret_value(), json=message) as answer:
            return answer

    async def aclose(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()


def text_of(event: Event) -> str:
    """The event in a line, and its id."""
    sentence = _SENTENCES.get(event.type)
    text = sentence(event.data) if sentence else f"{event.type}: {event.subject}"
    return f"{_escaped(text)} ({event.id})"


def _escaped(text: str) -> str:
    """Escaped as Slack requires: no text becomes a link or notifies a person."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _failed(data: Mapping[str, object]) -> str:
    reason = data["remark"] or f"{data['rtn_msg']} ({data['rtn_code']})"
    return f"No tickets for order {data['order_id']}, part {data['part']} of {data['parts']}: {reason}"


def _stopped(what: str) -> Callable[[Mapping[str, object]], str]:
    def sentence(data: Mapping[str, object]) -> str:
        return f"Order {data['order_id'] or '(unreadable)'} was {what}, {data['reason']}: {data['message']}"

    return sentence


def _about(what: str) -> Callable[[Mapping[str, object]], str]:
    def sentence(data: Mapping[str, object]) -> str:
        return f"{data['ticket_count']} tickets of order {data['order_id']} {what} ({data['trade_no']})"

    return sentence


_SENTENCES: Final[Mapping[str, Callable[[Mapping[str, object]], str]]] = {
    "ecticket.issuance.submitted.v1": _about("are on their way"),
    "ecticket.issuance.issued.v1": _about("are issued"),
    "ecticket.issuance.delayed.v1": _about("take longer than expected"),
    FAILED: _failed,
    "ecticket.order.skipped.v1": _stopped("skipped"),
    PARKED: _stopped("parked"),
}


def _pause(retry_after: str | None) -> float:
    """Seconds from a Retry-After, which is a number or a date."""
    try:
        seconds = float(retry_after or PAUSE_SECONDS)
    except ValueError:
        seconds = _until(retry_after or "")
    return min(max(seconds, 0.0), PAUSE_MAX_SECONDS) if seconds == seconds else PAUSE_SECONDS


def _until(date: str) -> float:
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return PAUSE_SECONDS
