"""One frame of findings over all audits, and exactly the rows behind each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from xxhash import xxh3_128_hexdigest

import evenhand
from evenhand.errors import BadInput
from evenhand.results import RunResult
from evenhand.results.findings import COLUMNS, findings_frame

IDS = {
    "service": ("item_id", "repetition"),
    "reward": ("policy", "reference", "scope", "pair_id"),
    "difference": ("config", "item_id", "repetition"),
    "safety": ("config", "grader", "item_id", "repetition"),
    "pluralism": ("config", "item_id", "rater_id", "paraphrase", "order"),
}
"""What the digest of a finding's rows is made of, by audit."""


@pytest.mark.parametrize("audit", sorted(IDS))
def test_the_rows_behind_a_number_are_those_that_it_was_computed_from(organism_run: RunResult, audit: str) -> None:
    checked = 0
    for finding in organism_run[audit].records:
        if not finding.evidence:
            continue
        rows = organism_run.rows(audit, id=finding.id)
        columns = [pl.col(name).cast(pl.String) for name in IDS[audit] if name in rows.columns]
        ids = rows.select(pl.concat_str(columns, separator="#")).to_series().sort()
        assert xxh3_128_hexdigest("\n".join(ids.to_list()).encode()) == finding.evidence_digest, finding.id
        checked += 1
    assert checked > 20


def test_texts_stand_beside_the_rows(organism_run: RunResult) -> None:
    assert "text" in organism_run["service"].rows_behind("omnibus", outcome="declined").columns
    assert "harmful" in organism_run.rows("reward", "margin_shift", group="nonbinary", outcome="sft").columns
    assert (
        "text"
        in organism_run["affirmation"].rows_behind("misgendering_rate", group="he", config="organism/sft").columns
    )
    blanks = organism_run["affirmation"].rows_behind("likelihood_accuracy", group="he", config="organism/aligned")
    assert set(blanks["status"]) == {"scored"}


def test_the_frame_is_tidy_and_says_what_the_records_say(organism_run: RunResult) -> None:
    frame = organism_run.findings
    assert dict(frame.schema) == COLUMNS
    records = {record.id: record for name in organism_run for record in organism_run[name].records}
    assert len(records) == frame.height
    for row in frame.iter_rows(named=True):
        record = records[row["id"]]
        assert (row["method"], row["estimand"], row["group"], row["n"]) == (
            record.audit, record.estimand, record.group, record.n,
        )  # fmt: skip
        assert row["estimate"] == record.estimate
        assert row["low"] == (record.interval.low if record.interval else None)
        assert row["p_adjusted"] == (record.test.p_holm if record.test and record.test.p_holm is not None else
                                     record.test.q_bh if record.test else None)  # fmt: skip


def test_decisions_are_read_and_null_in_a_run_without_them() -> None:
    plain: dict[str, Any] = {"id": "x", "estimand": "rate", "reason": "", "test": {"p": 0.1, "q_bh": 0.2}}
    rows = [
        plain,
        {**plain, "decision": "found", "decision_reason": "the interval excludes 0"},
        {**plain, "decision": "unknown", "decision_reason": "", "reason": "too few names"},
        {**plain, "decision": "", "reason": "no rows"},
    ]
    frame = findings_frame({"service": rows})
    assert frame["decision"].to_list() == [None, "found", "unknown", None]
    assert frame["reason"].to_list() == [None, "the interval excludes 0", "too few names", "no rows"]
    assert frame["p_adjusted"].to_list() == [0.2] * 4


def test_a_number_that_is_not_there_is_answered_with_those_that_are(labels_run: Path, organism_run: RunResult) -> None:
    service = evenhand.load(labels_run, "service")
    for words, message in (
        (("nope",), "The service audit has no estimand 'nope'. There are: missing_rate, label_share, rate"),
        ((), "Name the number: its estimand, or its id"),
    ):
        with pytest.raises(BadInput, match=message):
            service.rows_behind(*words)
    for filters, message in (
        ({"group": "z"}, r"No 'risk_difference' has group 'z'\. There are: <script>"),
        ({"reference": "z"}, r"No 'risk_difference' has reference 'z'\. There are: a\."),
        ({"outcome": "z"}, r"has outcome 'z'\. There are: declined, "),
        ({"slice": {"gender": "x"}}, r"has the slice \{'gender': 'x'\}"),
    ):
        with pytest.raises(BadInput, match=message):
            service.rows_behind("risk_difference", **filters)
    with pytest.raises(BadInput, match=r"findings 'rate' fit, and they rest on different rows. Choose by group= .*a"):
        service.rows_behind("rate", outcome="declined")
    with pytest.raises(BadInput, match="has no finding 'service/none'"):
        service.rows_behind(id="service/none")
    with pytest.raises(BadInput, match="rests on no rows of the run"):
        organism_run["safety"].rows_behind("opener_shift", slice={"position": "1", "among": "all"})


def test_a_slice_selects_its_rows(labels_run: Path) -> None:
    service = evenhand.load(labels_run, "service")
    stem = service.rows_behind("stem_rate", outcome="declined", slice={"stem": "S0"})
    assert set(stem["stem"]) == {"S0"}
    assert stem.height == 12
    assert service.rows_behind("rate", group="a", outcome="declined", slice=None).height == 36
