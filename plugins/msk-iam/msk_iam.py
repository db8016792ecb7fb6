"""Logs in to Amazon MSK with IAM: signs tokens for SASL OAUTHBEARER with the credentials of the process.

AWS's own signer makes the tokens: presigned requests, valid for fifteen minutes, which no network call needs.
"""

from __future__ import annotations

import time
from typing import Annotated

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from pydantic import BaseModel, ConfigDict, Field

from adapter import KafkaToken, hookimpl


class Settings(BaseModel):
    """The section `plugins.settings.msk_iam`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: Annotated[str, Field(description="the cluster's AWS region", pattern=r"^[a-z0-9-]+$")]
    role_arn: Annotated[str | None, Field(description="a role to assume for the tokens")] = None
    session_name: Annotated[str, Field(description="name of that session in CloudTrail")] = "ecticket-adapter"


class MskIam:
    """The plugin."""

    settings_model = Settings

    @hookimpl
    def configure(self, settings: Settings) -> None:
        """Remember them."""
        self._settings = settings

    @hookimpl
    def kafka_token(self) -> KafkaToken:
        """Sign a token."""
        settings = self._settings
        if settings.role_arn is None:
            token, expires_ms = MSKAuthTokenProvider.generate_auth_token(settings.region)
        else:
            token, expires_ms = MSKAuthTokenProvider.generate_auth_token_from_role_arn(
                settings.region, settings.role_arn, settings.session_name
            )
        return KafkaToken(value=token, lifetime_seconds=expires_ms / 1000 - time.time())
