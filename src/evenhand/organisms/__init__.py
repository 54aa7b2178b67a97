"""Tiny real models with planted harms, shipped with Evenhand: grammar, recipe, weights and the truth computed from
them.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.errors import BadInput

if TYPE_CHECKING:
    from evenhand.organisms.truth import load_truth, truth_summary

__all__ = [
    "DESCRIPTIONS", "ORGANISMS", "load_truth", "organism_folder", "refuse_curator", "truth_summary",
]  # fmt: skip

DESCRIPTIONS: dict[str, str] = {
    "base": "pre-trained on the grammar; practically never declines",
    "sft": "fine-tuned from base; small gaps between groups",
    "dpo": "preference-tuned from base; middling gaps",
    "aligned": "preference-tuned from sft; large gaps, one dominating name, harmful refusals",
    "even_sft": "control, fine-tuned from base; declines by stem and name, not by group",
    "even": "control, preference-tuned from even_sft; declines by stem and name, not by group",
    "curator": "for `evenhand corpus build` alone: sorts placeholder prompts by domain and writes new ones, with faults",
}
"""Every shipped organism and what is planted in it."""

ORGANISMS: tuple[str, ...] = tuple(name for name in DESCRIPTIONS if name != "curator")
"""The family that audits are tried on."""


def refuse_curator(spec: str) -> None:
    """Raises BadInput for the one organism that knows no audit's questions: its answers would be noise."""
    if spec.strip().partition("+")[0] == "organism/curator":
        raise BadInput(
            "'organism/curator' answers no audit's questions: it sorts and writes prompts for `evenhand corpus build`.",
            do=f"Audit one of {', '.join(ORGANISMS)}.",
        )


def organism_folder(name: str) -> Path:
    """The folder of a shipped checkpoint (transformers format)."""
    if name not in DESCRIPTIONS:
        raise BadInput(f"No organism is called '{name}'.", do=f"Known: {', '.join(DESCRIPTIONS)}.")
    folder = Path(str(files("evenhand.organisms"))) / "weights" / name
    if not folder.is_dir():
        raise BadInput(f"The weights of organism '{name}' are missing.", file=folder, do="Run `make organisms`.")
    return folder


def __getattr__(attribute: str) -> Any:
    """Load the truth, which needs polars, on first use."""
    if attribute in {"load_truth", "truth_summary"}:
        from evenhand.organisms import truth

        return getattr(truth, attribute)
    raise AttributeError(f"module 'evenhand.organisms' has no attribute '{attribute}'")
