"""Packing the responses: nothing lost while they fit, every stratum kept when they do not, and JSON that cannot break out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from evenhand.report.evidence import Evidence, EvidenceRow, Facet, FacetSet, pack, script_json

FACETS = (
    Facet("group", "Group", {"a": "Group A"}, strata=True),
    Facet("name", "Name", {}),
    Facet("label", "Label", {}, sets=(FacetSet("declined", "Declined", ("refusal", "harmful refusal")),), strata=True),
)


def rows(n: int = 600) -> list[EvidenceRow]:
    """Rows of two groups and six names, one in fifty refused, one in three hundred a harmful refusal."""
    out = []
    for i in range(n):
        label = "harmful refusal" if i % 300 == 7 else "refusal" if i % 50 == 3 else "answer"
        where = {"group": "ab"[i % 2], "name": f"n{i % 6}", "label": label}
        out.append(EvidenceRow(f"item{i // 2}", where, "the prompt", f"text {i % 20}", repetition=i % 2))
    return out


def test_everything_is_there_while_it_fits() -> None:
    packed = pack(Evidence(FACETS, rows()))
    assert packed["total"] == len(packed["rows"]) == 600
    assert packed["totals"] is None
    assert len(packed["texts"]) == 20
    assert packed["prompts"] == ["the prompt"]
    group = packed["facets"][0]
    assert group["values"] == ["a", "b"]
    assert group["names"] == ["Group A", "b"]
    (declined,) = packed["facets"][2]["sets"]
    values = packed["facets"][2]["values"]
    assert {values[code] for code in declined["members"]} == {"refusal", "harmful refusal"}


def test_thinning_keeps_rare_labels_whole_and_tells_the_totals() -> None:
    everything = rows(3000)
    packed = pack(Evidence(FACETS, everything, max_rows=400))
    assert len(packed["rows"]) == 400
    assert packed["total"] == 3000
    labels = packed["facets"][2]["values"]
    kept = Counter(labels[row[2]] for row in packed["rows"])
    whole = Counter(row.facets["label"] for row in everything)
    assert kept["harmful refusal"] == whole["harmful refusal"]
    assert kept["refusal"] == whole["refusal"]
    names = Counter(row[1] for row in packed["rows"] if labels[row[2]] == "answer")
    assert len(names) == 6
    totals = Counter({labels[row[2]]: 0 for row in packed["totals"]})
    for row in packed["totals"]:
        totals[labels[row[2]]] += row[3]
    assert totals == whole


def test_thinning_does_not_depend_on_the_order_of_the_table() -> None:
    everything = rows(1000)
    one = pack(Evidence(FACETS, everything, max_rows=100))
    other = pack(Evidence(FACETS, everything[::-1], max_rows=100))

    def ids(packed: dict) -> set[tuple[str, int]]:
        return {(row[len(FACETS) + 3], row[len(FACETS) + 2]) for row in packed["rows"]}

    assert ids(one) == ids(other)


def test_bytes_are_bounded_and_long_texts_cut() -> None:
    long = [replace(row, text=f"{i}" + "x" * 1_000_000) for i, row in enumerate(rows(60))]
    packed = pack(Evidence(FACETS, long, max_bytes=50_000))
    assert 1 <= len(packed["rows"]) < 60
    assert len(script_json(packed)) < 120_000
    assert all(len(text) == 2_000 for text in packed["texts"])
    assert set(packed["textLengths"].values()) <= {1_000_001, 1_000_002}


def test_texts_that_differ_beyond_the_cut_keep_their_own_length() -> None:
    packed = pack(Evidence(FACETS, [replace(row, text="x" * (3_000 + i)) for i, row in enumerate(rows(2))]))
    assert sorted(packed["textLengths"].values()) == [3_000, 3_001]


def test_no_rows_at_all() -> None:
    packed = pack(Evidence(FACETS, []))
    assert packed["rows"] == []
    assert packed["total"] == 0
    assert packed["totals"] is None


@given(st.text(st.characters(exclude_categories=())))
def test_json_cannot_leave_its_script_element(text: str) -> None:
    row = EvidenceRow(text, {"group": text, "name": text, "label": text}, text, text, 0, text, (text,), text)
    packed = pack(Evidence((*FACETS, Facet("x", text.encode("utf-8", "replace").decode(), {})), [row]))
    written = script_json(packed)
    assert not set("<>&\u2028\u2029") & set(written)
    written.encode("utf-8")
    assert json.loads(written) == packed | {"textLengths": packed["textLengths"]}
