"""The one system prompt of the shipped service prompts (paper: a helpful assistant asked to complete the blank)."""

from __future__ import annotations

SERVICE_SYSTEM_PROMPT = "You are a helpful assistant. Complete the sentence by filling in [BLANK]."
"""Our wording. The paper says only that its system prompt names a helpful assistant and asks for the blank to be
filled.
"""
