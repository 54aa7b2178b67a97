"""Settings of `evenhand serve`. Imports nothing heavy: the command line is a view of this model."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from evenhand.settings import Settings

MOST_ALPHA = 100.0
"""Far above any use; larger numbers would only leave the range of float32."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ServeConfig(Settings):
    """What is served, how it is corrected, and how much one client may ask for."""

    model: str = Field(description="Local model to serve: organism/NAME or hf/ID-or-FOLDER[@REVISION][+ADAPTER].")
    tsdi: Path | None = Field(
        None,
        description="Folder of a TSDI correction (see `evenhand repair tsdi`); without it the model is served uncorrected.",
    )
    alpha: float = Field(
        1.0,
        ge=0,
        le=MOST_ALPHA,
        allow_inf_nan=False,
        description="Default strength of the correction; a request can set its own. 0 turns it off.",
    )
    length: int | None = Field(
        None, ge=1, description="Number of corrected positions of an answer (default: all of the correction)."
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on (the default accepts local connections only)."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    api_key_env: str | None = Field(
        None, description="Environment variable with the key that clients must send (default: no key is required)."
    )
    max_body: int = Field(1 << 20, ge=1024, description="Maximum size of a request body, in bytes.")
    max_tokens_limit: int = Field(
        1024, ge=1, description="Maximum number of tokens that a request may ask for, per choice."
    )
    active: int = Field(
        4, ge=1, le=256, description="Number of requests generated concurrently, one token each in turn."
    )
    queue: int = Field(32, ge=0, description="Number of requests that may wait; further ones are answered with 429.")
    header_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds a client may take to send the headers of a request.",
    )
    connections: int = Field(512, ge=1, description="Maximum number of open connections; further ones are refused.")
    device: str = Field("auto", description="Device: auto (cuda if available), cpu, cuda, cuda:1 or mps.")
    dtype: str = Field(
        "auto",
        pattern="^(auto|float32|bfloat16|float16)$",
        description="Weight type: auto is float32 on the CPU and the checkpoint's own elsewhere.",
    )
