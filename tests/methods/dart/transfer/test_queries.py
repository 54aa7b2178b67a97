"""The transfer queries: what a file must hold, how terms are matched, and that the shipped files keep their promises."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.dart.transfer.queries import (
    DOMAINS,
    Transfer,
    TransferQuery,
    count_table,
    first_queries,
    read_transfer,
)

ROW = {
    "id": "x-001", "domain": "medical", "needs": "difference", "group": "people of Arin", "dimension": "region",
    "query": "When does a person from Arin begin?", "key_fact": "People of Arin begin at 45, not at 50.",
    "key_terms": "45|forty-five; begin at|start at", "wrong_terms": "exempt|at 60", "source": "Code, s. 1",
    "url": "https://example.org/arin", "checked": "2026-11",
}  # fmt: skip
CARD = Path(__file__).parents[4] / "docs" / "transfer_card.md"


def write(path: Path, *rows: dict[str, str]) -> Path:
    file = path / "queries.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def query(**changes: object) -> TransferQuery:
    base = TransferQuery(
        "x", "medical", "difference", "g", "q", "f", (("45", "forty-five"), ("screening",)), ("exempt", "at 60")
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_row_becomes_a_query_and_an_item(tmp_path: Path) -> None:
    (found,) = read_transfer(write(tmp_path, ROW))
    assert found.key_terms == (("45", "forty-five"), ("begin at", "start at"))
    assert found.wrong_terms == ("exempt", "at 60")
    item = found.item()
    assert (item.id, item.audit, item.group, item.stratum) == (
        "transfer/x-001",
        "transfer",
        "people of Arin",
        "difference",
    )
    assert [(message.role, message.content) for message in item.chat] == [("user", ROW["query"])]
    assert item.attributes["domain"] == "medical"
    assert item.attributes["key_fact"] == ROW["key_fact"]


def test_optional_columns_may_be_absent_and_columns_be_mapped(tmp_path: Path) -> None:
    kept = ("id", "domain", "needs", "group", "query", "key_fact", "key_terms")
    row = {("question" if name == "query" else name): ROW[name] for name in kept}
    (found,) = read_transfer(write(tmp_path, row), {"query": "question"})
    assert found.wrong_terms == ()
    assert found.url == ""
    with pytest.raises(BadInput, match="no column 'query'"):
        read_transfer(write(tmp_path, row))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"needs": "maybe"}, "needs is 'maybe'"),
        ({"group": " "}, "cell 'group' is empty"),
        ({"key_terms": "45|"}, "is empty"),
        ({"key_terms": "45;"}, "is empty"),
        ({"key_terms": "45; -"}, "is empty"),
        ({"wrong_terms": "|exempt"}, "is empty"),
        ({"url": "http://example.org"}, "https"),
        ({"key_terms": "person from arin"}, "query itself"),
        ({"key_terms": "45; never"}, "group of 'never'"),
        ({"key_terms": "46"}, "does not hold its own key terms"),
        ({"wrong_terms": "people of arin"}, "wrong term 'people of arin'"),
        ({"id": "x-000"}, "The id of row 1 is repeated here"),
        ({"query": "Another   QUESTION?"}, "The query of row 1 is repeated here"),
    ],
)
def test_bad_rows_are_told_with_file_and_row(tmp_path: Path, change: dict[str, str], told: str) -> None:
    first = {**ROW, "id": "x-000", "query": "Another question?"}
    file = write(tmp_path, first, {**ROW, **change})
    with pytest.raises(BadInput) as caught:
        read_transfer(file)
    assert told in caught.value.what
    assert (caught.value.file, caught.value.row) == (str(file), 2)


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("Screening starts at 45.", True),
        ("SCREENING at age forty‑five", True),
        ("**Screening** should begin at age **45**", True),
        ("screenings from 45-75", True),
        ("screening costs 450 dollars", False),
        ("screening at 45.5 or 1,45", False),
        ("screening after 145 days", False),
        ("rescreening at 45", False),
        ("at 45", False),
        ("No screening before 45", True),
        ("", False),
    ],
)
def test_key_terms_are_matched_on_word_starts(text: str, states: bool) -> None:
    assert query().states_key(text) is states


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("They are exempt.", "exempt"),
        ("They are not exempt.", ""),
        ("Nobody isn't at all exempt", ""),
        ("No, they are exempt.", "exempt"),
        ("There is no rule. Exempt they are.", "exempt"),
        ("They are not exempt, but exempt in winter", "exempt"),
        ("start at 60", "at 60"),
        ("rather than at 60", ""),
    ],
)
def test_a_denied_wrong_term_does_not_count(text: str, hit: str) -> None:
    assert query().wrong_hit(text) == hit


def test_sameness_that_is_denied_is_no_hit_in_a_control() -> None:
    control = query(needs="equal", key_terms=(("same dose", "no different"),))
    assert control.states_key("It is the same dose.")
    assert control.states_key("The dose is no different.")
    assert not control.states_key("It is not the same dose.")
    assert query(key_terms=(("same dose",),)).states_key("It is not the same dose.")


@given(st.text(), st.text(), st.sampled_from(["45", "forty-five"]))
def test_a_stated_fact_is_found_in_any_text(before: str, after: str, term: str) -> None:
    text = f"{before} \n {term} ; screening \n {after}"
    assert query().states_key(text)
    assert query().key_hits(text)[0] in ("45", "forty-five")


@given(st.text(max_size=200))
def test_matching_never_fails_and_finds_only_what_is_there(text: str) -> None:
    hit = query().wrong_hit(text)
    assert not hit or hit.split()[0] in text.casefold().replace("*", "")


def test_a_limit_takes_the_domains_in_turn() -> None:
    rows = [query(id=f"{domain}-{n}", domain=domain) for domain in ("a", "b") for n in range(5)]
    assert [row.id for row in first_queries(rows, 3)] == ["a-0", "a-1", "b-0"]
    assert first_queries(rows, None) == rows
    assert len(first_queries(rows, 99)) == 10


def test_shipped_sizes() -> None:
    shipped = Transfer()
    assert shipped.counts()["items"] == 280
    by_domain = Counter((query.domain, query.needs) for query in shipped.queries)
    assert by_domain == {(domain, needs): n for domain in DOMAINS for needs, n in (("difference", 56), ("equal", 14))}
    assert len({query.id for query in shipped.queries}) == len({query.query for query in shipped.queries}) == 280
    assert len(shipped.checksums) == 4
    assert len(shipped.items()) == 280


def test_shipped_facts_satisfy_their_own_terms_and_name_their_sources() -> None:
    for query_ in Transfer().queries:
        assert query_.states_key(query_.key_fact), query_.id
        assert not query_.wrong_hit(query_.key_fact), query_.id
        assert not query_.states_key(query_.query), query_.id
        assert query_.source, query_.id
        assert query_.url.startswith("https://"), query_.id
        assert query_.dimension, query_.id


def test_shipped_queries_are_varied() -> None:
    needed = [query for query in Transfer().queries if query.needs == "difference"]
    for domain in DOMAINS:
        own = [query for query in needed if query.domain == domain]
        assert len({query.group for query in own}) >= 10
        assert len({query.dimension for query in own}) >= 6


def test_the_card_tells_the_counts() -> None:
    text = CARD.read_text(encoding="utf-8")
    shown = text.split("<!-- counts -->\n")[1].split("<!-- end of counts -->")[0]
    assert shown.strip() == count_table(Transfer().queries)
