"""`evenhand audit` and `evenhand serve`: the commands that belong to no single method."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from evenhand.bridges.serve.wire import LOOPBACK, ServeConfig
from evenhand.config import AuditConfig, load_config
from evenhand.console.commands import Job, audit_job, run_command
from evenhand.console.options import with_model_options


@run_command(
    AuditConfig, "MODEL", argument="models", resume="the newest, or --out",
    estimate="Print calls, tokens, time and memory, and stop.",
)  # fmt: skip
def audit(
    settings: dict[str, Any],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; options given here come before it.")
    ] = None,
) -> Job:
    """Audit models, responses or labels, and write a report.

    With no MODELS the shipped organism is audited. With no --only every audit runs that the engine can serve.
    """
    return audit_job(load_config(config, settings))


@with_model_options(ServeConfig, argument="model")
def serve(settings: dict[str, Any]) -> None:
    """Serve a local model for trying, OpenAI-compatible, with a TSDI correction if given; needs evenhand[serve]."""
    from evenhand.config import checked
    from evenhand.console.screens import console
    from evenhand.errors import need
    from evenhand.safe_text import terminal_safe

    config = checked(ServeConfig, **settings)
    need("serve", "starlette", "uvicorn", "torch", "transformers", what="Serving")
    from evenhand.bridges.serve.app import create_app, listen, make_server
    from evenhand.bridges.serve.model import ServedModel

    key = _key(config)
    out = console()

    def say(text: str, style: str = "") -> None:
        out.print(Text(terminal_safe(text), style), soft_wrap=True)

    listener = listen(config)
    try:
        model = ServedModel(config)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        correction = f"TSDI {config.tsdi}, alpha {config.alpha:g}, {model.length} positions"
        say(f"{model.name}, {'uncorrected' if model.bias is None else correction}")
        for warning in model.warnings:
            say(f"warning: {warning}", "yellow")
        if config.host not in LOOPBACK and key is None:
            say(
                f"warning: anyone who can reach {config.host} may use this server; --api-key-env asks for a key.",
                "yellow",
            )
        say(f"base URL {address}/v1   (Ctrl-C ends)")
        make_server(create_app(model, key=key), config).run(sockets=[listener])
    finally:
        listener.close()


def _key(config: ServeConfig) -> str | None:
    from evenhand.errors import BadInput
    from evenhand.redact import hide

    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise BadInput(
            f"The environment variable {config.api_key_env} holds no key.",
            do=f"Set it, or leave --api-key-env out: {config.api_key_env}=... evenhand serve ...",
        )
    hide(key)
    return key
