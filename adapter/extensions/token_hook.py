"""Gets a token for SASL OAUTHBEARER from the hook `kafka_token` of the plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from adapter.errors import AdapterError, TokenUnavailable
from adapter.extensions.bounded_threads import StillRunning, run_with_timeout
from adapter.extensions.invocation import try_call
from adapter.extensions.manager import PluginManager
from adapter.extensions.values import KafkaToken

HOOK: Final = "kafka_token"
SECONDS: Final = 10.0
"""How long one plugin may take."""


class PluginTokens:
    """Calls the hook, in a thread; the first token counts."""

    def __init__(self, plugins: Callable[[], PluginManager]) -> None:
        """`plugins` is called for the first token only; it may raise any AdapterError."""
        self._load = plugins
        self._plugins: PluginManager | None = None

    async def fetch(self) -> KafkaToken:
        """Return a new token. Raises TokenUnavailable, which names the plugin."""
        return await asyncio.to_thread(self._call)

    def _call(self) -> KafkaToken:
        for implementation in self._loaded().implementations[HOOK]:
            try:
                answer, problem = run_with_timeout(SECONDS, partial(try_call, implementation, {}))
            except StillRunning:
                answer, problem = None, f"did not return within {SECONDS:g} s"
            if problem is not None:
                raise TokenUnavailable(f"{implementation.describe(problem)}. The brokers cannot be reached without it.")
            if answer is not None:
                return cast(KafkaToken, answer)
        raise TokenUnavailable(
            "No plugin gives a token for the brokers. Set kafka.oauth_token_url, or load a plugin with the hook "
            f"{HOOK}."
        )

    def _loaded(self) -> PluginManager:
        if self._plugins is None:
            try:
                plugins = self._load()
                plugins.raise_if_rejected()
            except AdapterError as error:
                raise TokenUnavailable(f"The plugins that could give a token cannot be loaded: {error}") from error
            self._plugins = plugins
        return self._plugins
