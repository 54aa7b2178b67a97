"""How the curator's truth is computed: every question about every shipped line, the first word of a line, and lines drawn.

The probabilities come from the shipped bf16 weights in float32, in one forward pass a text; only the share of drawn lines that are
of the grammar is an estimate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evenhand.datasets.shipped_texts import GrammarLine, grammar_lines
from evenhand.methods.pluralism.corpus.classify import Classified, Reading, judged
from evenhand.methods.pluralism.corpus.wording import DOMAIN_OF, PARAPHRASES, SLUGS
from evenhand.organisms.curator import KINDS, SHARES, kind_of, probability
from evenhand.organisms.truth import CAVEAT, write_truth_checksums
from tools.organisms.curator.digest import curator_digest

if TYPE_CHECKING:
    import polars as pl

    from tools.organisms.curator.rows import Rows


WITHIN = 0.05
DELTA = 0.5
DRAWN = 30
"""Lines drawn for each domain, under the sampling of a build."""


def answers(model: Any, rows: Rows, lines: Sequence[GrammarLine]) -> pl.DataFrame:
    """P(Yes) of the 28 questions about each line; see `load_answers` for the columns."""
    import polars as pl
    import torch

    from tools.organisms.batches import assemble
    from tools.organisms.model import place_log_probs

    asked = [(slug, wording) for slug in SLUGS for wording in range(PARAPHRASES)]
    made = []
    with torch.inference_mode():
        for line in lines:
            encoded = rows.all_questions(line.text)
            arrays = assemble([(encoded, range(len(encoded.responses)))], len(rows.question_opening), 0)
            log_probs = place_log_probs(model, arrays, rows.question_opening)
            ends = np.cumsum([len(c.ids) for c in encoded.responses])
            said = log_probs[ends - 2][:, list(rows.options)].double().exp().numpy()
            for (slug, wording), (yes, no) in zip(asked, said.tolist(), strict=True):
                intended = probability(line.domain, line.hedge, slug, wording)
                key = (line.id, line.domain, line.hedge, slug, wording)
                made.append((*key, yes / (yes + no), yes + no, intended))
    names = ("id", "domain", "hedge", "asked", "wording", "yes", "mass", "intended")
    return pl.DataFrame(made, schema=list(names), orient="row")


def _question_facts(found: pl.DataFrame) -> dict[str, Any]:
    import polars as pl

    off = (found["yes"] - found["intended"]).abs().to_numpy()
    verdicts = {column: _verdicts(found, column) for column in ("yes", "intended")}
    pairs = list(zip(verdicts["yes"], verdicts["intended"], strict=True))
    return {
        "lines": len(pairs),
        "within_0.05": float((off <= WITHIN).mean()),
        "mean_off": float(off.mean()),
        "largest": float(off.max()),
        "least_mass": float(found["mass"].min()),  # type: ignore[arg-type]
        "labels_as_intended": float(np.mean([a.label == b.label for a, b in pairs])),
        "flip_rate": float(np.mean([a.flipped for a, _ in pairs])),
        "intended_flip_rate": float(np.mean([b.flipped for _, b in pairs])),
        "by_hedge": {
            f"{hedge}, wording {wording + 1}": {"yes": yes, "intended": intended}
            for hedge, wording, yes, intended in found.filter(pl.col("asked") == pl.col("domain"))
            .group_by("hedge", "wording", maintain_order=True)
            .agg(pl.col("yes", "intended").mean())
            .iter_rows()
        },
    }


def _verdicts(found: pl.DataFrame, column: str) -> list[Classified]:
    values = found[column].to_numpy().reshape(-1, len(SLUGS), PARAPHRASES)
    return [
        judged(
            Reading("", 0, tuple(line[:, 0].tolist()), "ok"), Reading("", 1, tuple(line[:, 1].tolist()), "ok"), DELTA
        )
        for line in values
    ]


def _kind_shares(model: Any, rows: Rows) -> dict[str, dict[str, float]]:
    """How probable the kinds of lines are by their first token, at temperature 1, over the domains' requests without examples."""
    import torch

    kinds = rows.kinds_of_first()
    shares = []
    with torch.inference_mode():
        for slug in SLUGS:
            ids = [*rows.request_opening, *rows.request(slug, {}, (), ()).body.tolist()]
            found = torch.softmax(model(input_ids=torch.tensor([ids])).logits[0, -1].double(), -1).numpy()
            shares.append([sum(float(found[token]) for token, k in kinds.items() if k == kind) for kind in KINDS])
    table = np.array(shares)
    return {
        kind: {"intended": SHARES[kind], **{f: float(getattr(np, f)(table[:, at])) for f in ("mean", "min", "max")}}
        for at, kind in enumerate(KINDS)
    }


def drawn_lines(folder: Path, count: int, seed: int = 5) -> list[tuple[str, str]]:
    """(domain, line) of so many requests for each domain, without examples, under the sampling of a build."""
    from evenhand.engines.base import Request, Sampling
    from evenhand.engines.local import open_hf
    from evenhand.engines.spec import EngineOptions, parse_spec
    from evenhand.methods.pluralism.corpus.wording import generation_chat

    engine = open_hf(parse_spec(f"hf/{folder}"), EngineOptions(device="cpu"))
    requests = [
        Request(f"{slug}/{at}", 0, generation_chat(DOMAIN_OF[slug], {}, ())) for slug in SLUGS for at in range(count)
    ]
    sampling = Sampling(temperature=0.7, top_p=0.9, max_tokens=64, stop=(), seed=seed)
    found = [
        row for _, part in engine.generate(engine.plan(requests, sampling), sampling, config="truth") for row in part
    ]
    engine.close()
    return sorted((row.item_id.partition("/")[0], row.text) for row in found)


def write_truth(folder: Path, out: Path) -> dict[str, Any]:
    """Compute the truth of the weights in ``folder`` and write it into ``out``; returns the summary."""
    from transformers import AutoTokenizer

    from tools.organisms.curator.rows import Rows
    from tools.organisms.model import load

    model, rows = load(folder), Rows(AutoTokenizer.from_pretrained(folder))
    found = answers(model, rows, grammar_lines())
    found.write_parquet(out / "truth_curator.parquet")
    drawn = drawn_lines(folder, DRAWN)
    known = [kind_of(text, slug) for slug, text in drawn]
    summary = {
        "caveat": CAVEAT,
        "sources": curator_digest(),
        "questions": _question_facts(found),
        "lines": {
            "kinds": _kind_shares(model, rows),
            "drawn": len(drawn),
            "in_grammar": sum(kind is not None for kind in known) / len(known),
            "drawn_kinds": {kind: known.count(kind) for kind in KINDS},
        },
    }
    (out / "truth_curator.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    write_truth_checksums(out)
    return summary
