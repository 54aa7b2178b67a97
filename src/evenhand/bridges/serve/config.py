"""Settings of `evenhand serve`. Imports nothing heavy: the command line is a view of this model."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MOST_ALPHA = 100.0
"""Far above any use; larger numbers would only leave the range of float32."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ServeConfig(BaseModel):
    """What is served, how it is corrected, and how much one client may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(description="Local model to serve: organism/NAME or hf/ID-or-FOLDER[@REVISION][+ADAPTER].")
    tsdi: Path | None = Field(
        None, description="Folder of a TSDI correction (evenhand repair tsdi); served uncorrected where none is given."
    )
    alpha: float = Field(
        1.0,
        ge=0,
        le=MOST_ALPHA,
        allow_inf_nan=False,
        description="Strength of the correction where a request names none; 0 is off.",
    )
    length: int | None = Field(
        None, ge=1, description="Corrected positions of an answer; all that the correction holds if not given."
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; by default this machine alone.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_key_env: str | None = Field(
        None, description="Environment variable that holds the key which clients must send; without it none is asked."
    )
    max_body: int = Field(1 << 20, ge=1024, description="Most bytes that the body of a request may have.")
    max_tokens_limit: int = Field(1024, ge=1, description="Most tokens that a request may ask for, each choice.")
    active: int = Field(4, ge=1, le=256, description="Requests that are generated at a time, a token each in turn.")
    queue: int = Field(32, ge=0, description="Requests that may wait; further ones are answered with 429.")
    header_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds that a client may take to send the headers of a request.",
    )
    connections: int = Field(512, ge=1, description="Maximum number of open connections; further ones are refused.")
    device: str = Field(
        "auto", description="Where the model runs: auto (cuda if there is one), cpu, cuda, cuda:1, mps."
    )
    dtype: str = Field(
        "auto",
        pattern="^(auto|float32|bfloat16|float16)$",
        description="Numbers of the model: auto is float32 on the CPU and the checkpoint's own elsewhere.",
    )
