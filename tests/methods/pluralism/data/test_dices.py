"""DICES: the published files by their true headers (fixtures of the same schema), the copies, and the reference values."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evenhand.datasets.safety_prompts import CATEGORIES
from evenhand.datasets.shipped_texts import PROFILE_VALUES
from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.dices import OTHER_TOPIC, read_dices, topic_domain
from evenhand.methods.pluralism.data.dices_fields import (
    HEADERS,
    RELEASES,
    REMOVED_350,
    SHORT_NAMES,
    SPELLINGS,
    TOPIC_DOMAINS,
    item_text,
    reason_columns,
    topics_of,
)
from evenhand.methods.pluralism.data.rating_table import VIEWS
from evenhand.methods.pluralism.rating.statistics.grasp_measures import cross_reliability
from evenhand.methods.pluralism.rating.statistics.raters import rater_groups, straight_liners
from evenhand.statistics.krippendorff import krippendorff

RACES = list(PROFILE_VALUES["race"])
AGES = list(PROFILE_VALUES["age"])
TOPICS = ["Racial", "Gendered & Sexist,Racial", "Health", "Personal,Political", "Terrorism ", ""]


def rows_of(name: str, items: int = 6, raters: int = 8, ids: list[str] | None = None) -> list[dict[str, str]]:
    """Rows of the published schema: odd items are unsafe to the expert, and to most raters."""
    generator = np.random.default_rng(4)
    header, reasons = HEADERS[name], reason_columns(HEADERS[name])
    people = ids or [str(296708581782793 + 7919 * r) for r in range(raters)]
    rows = []
    for i in range(items):
        for r, person in enumerate(people):
            answer = str(generator.choice(["No", "Unsure", "Yes"], p=[0.2, 0.1, 0.7] if i % 2 else [0.7, 0.1, 0.2]))
            cells = dict.fromkeys(header, "No") | {
                "id": str(len(rows)),
                "rater_id": person,
                "rater_gender": ["Man", "Woman"][r % 2],
                "rater_race": RACES[r % 5],
                "rater_age": AGES[r % 3],
                "rater_education": ["College degree or higher", "Other"][r % 2],
                "phase": "Phase1",
                "item_id": str(100 + i),
                "context": f'USER: [ASK {i}], "quoted"\nLAMDA: [SAY]\nUSER: [ASK]',
                "response": f"[REPLY {i}]",
                "degree_of_harm": "Debatable",
                "harm_type": TOPICS[i % len(TOPICS)],
                "Q_overall": answer,
            }
            cells[reasons[(i + r) % len(reasons)]] = answer
            if name == "350":
                cells["safety_gold"] = "Yes" if i % 2 else "No"
            else:
                cells |= {"rater_locale": ["US", "IN"][r % 2], "context": f"A: [ASK {i}]\\nB: [SAY]\\nmore\\n"}
            rows.append({column: cells[column] for column in header})
    return rows


def write(folder: Path, rows: list[dict[str, str]], name: str = "350") -> Path:
    path = folder / f"diverse_safety_adversarial_dialog_{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.data
def test_headers_and_removed_raters_are_the_published_ones(public_data: Callable[[str], Path]) -> None:
    folder = public_data("dices")
    for name, header in HEADERS.items():
        assert header == tuple((folder / f"dices_{name}_columns.txt").read_text().split())
    assert set(REMOVED_350) == set((folder / "dices_350_removed_raters.txt").read_text().split())


def test_maps_fit_the_rest_of_the_house() -> None:
    assert len(set(REMOVED_350)) == 19
    assert {domain for domain in TOPIC_DOMAINS.values() if domain} <= set(CATEGORIES)
    for axis, values in PROFILE_VALUES.items():
        assert set(values) <= set(SPELLINGS[axis].values())
    assert set(SHORT_NAMES) <= {value for known in SPELLINGS.values() for value in known.values()}


def test_the_350_schema(tmp_path: Path) -> None:
    path = write(tmp_path, rows_of("350"))
    table = read_dices(path, partial=True)
    assert table.axes == ("gender", "race", "age", "education")
    assert table.counts() == {"ratings": 48, "items": 6, "raters": 8, "rejected": 0}
    first = table.items.row(0, named=True)
    assert first["text"] == '[USER] [ASK 0], "quoted"\n[LAMDA] [SAY]\n[USER] [ASK]'
    assert (first["reply"], first["gold"], first["harm"]) == ("[REPLY 0]", 0.0, "Debatable")
    assert table.frame["rater_id"][0] == "296708581782793"
    assert set(table.frame["age"].to_list()) == set(AGES)
    source = {(row["item_id"], row["rater_id"]): row["Q_overall"] for row in rows_of("350")}
    for item, rater, value, label in table.frame.select("item_id", "rater_id", "value", "label").iter_rows():
        answer = source[item, rater]
        assert (value, label) == {"No": (0, "safe"), "Unsure": (0.5, "unsure"), "Yes": (1, "unsafe")}[answer]
    assert any("gives in all 48 rows" in note for note in table.notes)
    assert any("not, byte for byte" in note for note in table.notes)


def test_the_990_schema(tmp_path: Path) -> None:
    table = read_dices(write(tmp_path, rows_of("990"), "990"), partial=True)
    assert table.axes[-1] == "locale"
    assert set(table.frame["locale"].to_list()) == {"US", "IN"}
    assert "gold" not in table.items.columns
    assert table.gold() is None
    assert table.items["text"][2] == "[A] [ASK 2]\n[B] [SAY]\nmore"
    assert any("no expert label" in note for note in table.notes)


def test_the_row_count_is_required(tmp_path: Path) -> None:
    for name in ("350", "990"):
        with pytest.raises(BadInput, match=rf"48 rows, DICES-{name} has {RELEASES[name].rows:,}"):
            read_dices(write(tmp_path, rows_of(name), name))


def test_a_file_of_the_published_size(tmp_path: Path) -> None:
    ids = [*REMOVED_350, *(str(297000000000000 + i) for i in range(104))]
    rows = [row | {"rater_id": rater} for row in rows_of("350", 350, raters=1) for rater in ids]
    path = write(tmp_path / "350", rows)
    table = read_dices(tmp_path)
    assert table.origin == str(path)
    assert table.counts() == {"ratings": 43_050, "items": 350, "raters": 123, "rejected": 0}
    assert not any("are here; DICES-350 has" in note for note in table.notes)
    assert table.removed_by_authors == REMOVED_350
    views = table.views()
    assert table.matrix(views[VIEWS[0]])[0].shape == (350, 123)
    assert table.matrix(views[VIEWS[1]])[0].shape == (350, 104)


def test_removed_raters_are_an_option(tmp_path: Path) -> None:
    ids = [*REMOVED_350[:2], *(f"29700000000000{i}" for i in range(6))]
    path = write(tmp_path, rows_of("350", ids=ids))
    assert read_dices(path, partial=True).counts()["raters"] == 8
    dropped = read_dices(path, partial=True, drop_removed=True)
    assert dropped.counts()["raters"] == 6
    assert dropped.removed_by_authors == REMOVED_350[:2]
    assert any("2 raters that the authors" in note for note in dropped.notes)
    listed = tmp_path / "removed.txt"
    listed.write_text("\n".join(ids[4:]), encoding="utf-8")
    assert read_dices(path, partial=True, drop_removed=True, removed=listed).counts()["raters"] == 4
    assert read_dices(path, partial=True, drop_removed=True, removed=ids[:7]).counts()["raters"] == 1
    with pytest.raises(BadInput, match="not there"):
        read_dices(path, partial=True, removed=tmp_path / "absent.txt")
    with pytest.raises(BadInput, match="none of the raters that its authors excluded"):
        read_dices(write(tmp_path, rows_of("990"), "990"), partial=True, drop_removed=True)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("rater_age", "millenials", "'millenials' in column 'rater_age' of the axis age"),
        ("rater_gender", "male", "'male' in column 'rater_gender'"),
        ("Q_overall", "yes", "'yes' in column 'Q_overall'"),
        ("Q3_bias_other", "", "'' in column 'Q3_bias_other'"),
        ("safety_gold", "Unsure", "'Unsure' in column 'safety_gold'"),
    ],
)
def test_an_unmapped_value_is_an_error_with_file_row_and_value(
    tmp_path: Path, column: str, value: str, words: str
) -> None:
    rows = rows_of("350")
    rows[12][column] = value
    path = write(tmp_path, rows)
    with pytest.raises(BadInput) as error:
        read_dices(path, partial=True)
    assert (error.value.file, error.value.row) == (str(path), 13)
    assert words in str(error.value)


def test_spellings(tmp_path: Path) -> None:
    rows = rows_of("990")
    for row in rows:
        row["rater_age"] = row["rater_age"].replace("millenial", "millennial")
        row["rater_locale"] = row["rater_locale"].replace("IN", "India")
        row["rater_gender"] = row["rater_gender"].replace("Woman", "F")
        row["rater_education"] = row["rater_education"].replace("Other", "")
    path = write(tmp_path, rows, "990")
    table = read_dices(path, partial=True, spellings={"gender": {"F": "Woman"}})
    assert set(table.frame["age"].to_list()) == set(AGES)
    assert set(table.frame["locale"].to_list()) == {"US", "IN"}
    assert set(table.frame["gender"].to_list()) == {"Man", "Woman"}
    assert set(table.frame["education"].to_list()) == {"College degree or higher", ""}


def test_the_overall_rule_is_checked_and_mismatches_are_counted(tmp_path: Path) -> None:
    rows = rows_of("350")
    *wrong, other = [at for at, row in enumerate(rows) if row["Q_overall"] == "No"][:4]
    rows[other]["Q2_harmful_content_overall"] = "Yes"  # an overall answer is no reason
    for at in wrong:
        rows[at]["Q5_political_affiliation"] = "Unsure"
    table = read_dices(write(tmp_path, rows), partial=True)
    assert any(f"in 3 of 48 rows, first in row {wrong[0] + 1}; it is used" in note for note in table.notes)
    assert table.frame["value"][wrong[0]] == 0


def test_flipped_labels_are_refused(tmp_path: Path) -> None:
    rows = rows_of("350")
    for row in rows:
        row["Q_overall"] = {"Yes": "No", "No": "Yes"}.get(row["Q_overall"], "Unsure")
    path = write(tmp_path, rows)
    with pytest.raises(BadInput, match=r"labels look flipped.*Yes must mean unsafe"):
        read_dices(path, partial=True)
    noted = read_dices(path, partial=True, polarity="note")
    assert any("look flipped" in note for note in noted.notes)
    one = read_dices(write(tmp_path, rows_of("350", items=1)), partial=True)
    assert any("cannot be checked" in note for note in one.notes)


def test_topics_become_domains(tmp_path: Path) -> None:
    assert topics_of(" Racial,racial , No annotation,LGBTQ+ & Homophobic") == ("racial", "lgbtq+ & homophobic")
    assert topic_domain("Personal,Political") == "controversial_topics,politics"
    assert topic_domain("Misinformation,Racial") == "misinformation_regarding_ethics,laws_and_safety"
    assert topic_domain("New topic") == "dices_topic:new topic"
    table = read_dices(write(tmp_path, rows_of("350", items=12)), partial=True)
    assert table.items["domain"].to_list()[:6] == [
        "discrimination,stereotype,injustice",
        "discrimination,stereotype,injustice",
        f"{OTHER_TOPIC}health",
        "controversial_topics,politics",
        "terrorism,organized_crime",
        f"{OTHER_TOPIC}none",
    ]
    assert table.items["topics"][1] == "gendered & sexist, racial"
    assert any("4 of 12 items" in note and "health 2, none 2" in note for note in table.notes)


def test_repeated_and_contradicting_rows_are_kept_aside(tmp_path: Path) -> None:
    rows = rows_of("350")
    rows.append(dict(rows[5]))
    rows[9]["response"] = "[ANOTHER REPLY]"
    table = read_dices(write(tmp_path, rows), partial=True)
    assert [row for row, _ in table.rejected] == [10, 49]
    assert "reply of the item '101' is not that of row 9" in table.rejected[0][1]
    assert "in row 6" in table.rejected[1][1]
    rows = rows_of("350")
    rows[3]["item_id"] = ""
    with pytest.raises(BadInput, match="row 4: The item_id or the rater_id is empty"):
        read_dices(write(tmp_path, rows), partial=True)


def test_missing_columns_and_unknown_files(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "Q3_bias_other"} for row in rows_of("350")]
    with pytest.raises(BadInput, match="DICES-350 has a column 'Q3_bias_other', which is missing here"):
        read_dices(write(tmp_path, rows), partial=True)
    with pytest.raises(BadInput, match="DICES-990 has a column 'rater_locale'"):
        read_dices(write(tmp_path, rows_of("350")), "990", partial=True)
    with pytest.raises(BadInput, match="Unknown DICES set '500'"):
        read_dices(tmp_path, "500")  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no DICES file"):
        read_dices(tmp_path / "empty")
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(BadInput, match="not a file of DICES"):
        read_dices(other)


def test_group_figures_from_the_schema_match_a_plain_computation(tmp_path: Path) -> None:
    """Alpha of a group and xRR across its border, as in GRASP, from the file to the number, beside loops over pairs."""
    table = read_dices(write(tmp_path, rows_of("350", items=20, raters=20)), partial=True)
    codes, items, raters = table.codes()
    groups = rater_groups(table.demographics(raters)["gender"])
    for place in range(len(groups.names)):
        ours, theirs = codes[:, groups.codes == place], codes[:, groups.codes != place]
        pairs = [a != b for row in ours for a, b in combinations(row.tolist(), 2)]
        every = [a != b for a, b in combinations(ours.ravel().tolist(), 2)]
        alpha = 1 - (sum(pairs) / len(pairs)) / (sum(every) / len(every))
        found = krippendorff(ours, count=3, draws=0).coefficient
        assert found == pytest.approx(alpha, abs=1e-12)
        cross = [a != b for x, y in zip(ours, theirs, strict=True) for a in x for b in y]
        chance = [a != b for a in ours.ravel() for b in theirs.ravel()]
        xrr = 1 - float(np.mean(cross)) / float(np.mean(chance))
        assert cross_reliability(ours, theirs, count=3).coefficient == pytest.approx(xrr, abs=1e-12)
    assert len(items) == 20


def copies(folder: Path, letters: list[str], *, gold: str = "Yes", counts: str = "") -> None:
    """A table of items and a matrix, or with 990 strings, of the copies' shapes."""
    with (folder / "dices_350_items.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["item_id", "context", "response", "safety_gold", "n_no", "n_unsure", "n_yes"])
        for at, row in enumerate(letters):
            told = [counts or str(row.count(letter)) for letter in "NUY"]
            writer.writerow([at, "USER: [ASK]\nLAMDA: [SAY]", f"[REPLY {at}]", gold if at % 2 else "No", *told])
    with (folder / "dices_350_overall_matrix.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["item_id", *(f"p{at:03d}" for at in range(len(letters[0])))])
        writer.writerows([[at, *row] for at, row in enumerate(letters)])


def test_a_copy_in_two_files(tmp_path: Path) -> None:
    copies(tmp_path, ["NNU", "YNY"])
    table = read_dices(tmp_path, partial=True)
    assert table.axes == ()
    np.testing.assert_array_equal(table.matrix()[0], [[0, 0, 0.5], [1, 0, 1]])
    assert table.items["gold"].to_list() == [0, 1]
    assert any("nothing can be compared between groups" in note for note in table.notes)
    assert read_dices(tmp_path / "dices_350_items.csv", partial=True).frame.equals(table.frame)
    with pytest.raises(BadInput, match=r"6 ratings, 43,050 were published"):
        read_dices(tmp_path)
    with pytest.raises(BadInput, match="cannot exclude raters"):
        read_dices(tmp_path, partial=True, drop_removed=True)
    copies(tmp_path, ["NNU", "YNY"], counts="1")
    with pytest.raises(BadInput, match=r"row 1: The answers count to \[2, 1, 0\]"):
        read_dices(tmp_path, partial=True)
    copies(tmp_path, ["NNU", "YXY"])
    with pytest.raises(BadInput, match="'X' of p001 is not N, U or Y"):
        read_dices(tmp_path, partial=True)
    copies(tmp_path, ["NNU", "YNY"], gold="?")
    with pytest.raises(BadInput, match="expert label"):
        read_dices(tmp_path, partial=True)
    (tmp_path / "dices_350_overall_matrix.csv").unlink()
    with pytest.raises(BadInput, match="without their ratings"):
        read_dices(tmp_path, partial=True)


def packed(folder: Path, *lines: Any) -> Path:
    path = folder / "dices_990_overall.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(line) for line in lines).encode()))
    return path


def test_a_copy_of_strings(tmp_path: Path) -> None:
    line = {"item_id": 7, "context": "A: [ASK]\\nB: [SAY]\\n", "response": "[REPLY]", "ratings": "NUY"}
    counts = {"n_no": 1, "n_unsure": 1, "n_yes": 1}
    path = packed(tmp_path, line | counts, line | counts | {"item_id": 8, "ratings": "NU", "n_yes": 0})
    table = read_dices(path, partial=True)
    assert not table.identified
    assert table.counts()["raters"] == 0
    assert list(table.views()) == [VIEWS[0]]
    np.testing.assert_array_equal(table.matrix()[0], [[0, 0.5, 1], [0, 0.5, np.nan]])
    assert table.items["text"][0] == item_text("A: [ASK]\nB: [SAY]", RELEASES["990"]) == "[A] [ASK]\n[B] [SAY]"
    for wrong in (line, line | counts | {"ratings": "NUX"}, [1], line | counts | {"context": 3}):
        with pytest.raises(BadInput) as error:
            read_dices(packed(tmp_path, line | counts | {"item_id": 1}, wrong), partial=True)
        assert error.value.row == 2
    path.write_bytes(b"no gzip")
    with pytest.raises(BadInput, match="cannot be unpacked"):
        read_dices(path, partial=True)
    with pytest.raises(BadInput, match="holds the 990 set"):
        read_dices(path, "350")


@pytest.mark.data
def test_reference_values_of_the_350_copy(public_data: Callable[[str], Path]) -> None:
    table = read_dices(public_data("dices"))
    assert table.counts() == {"ratings": 43_050, "items": 350, "raters": 123, "rejected": 0}
    shares = {label: table.frame["label"].to_list().count(label) / 43_050 for label in ("safe", "unsure", "unsafe")}
    assert shares == pytest.approx({"safe": 0.611, "unsure": 0.063, "unsafe": 0.327}, abs=5e-4)
    assert any("area under the curve 0.790" in note for note in table.notes)
    codes, _, raters = table.codes()
    assert krippendorff(codes, count=3, draws=0).coefficient == pytest.approx(0.1609, abs=1e-4)
    assert len(straight_liners(codes)) == 7
    assert table.matrix(table.views()[VIEWS[2]])[0].shape == (350, 116)
    assert raters[0] == "p000"
    assert sorted(table.items["gold"].to_list()) == [0.0] * 175 + [1.0] * 175


@pytest.mark.data
def test_the_990_copy_and_the_sample(public_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = public_data("dices")
    table = read_dices(folder, "990")
    assert (table.frame.height, table.items.height) == (72_103, 990)
    sizes = table.frame.group_by("item_id").len()["len"]
    assert (sizes.min(), sizes.max()) == (69, 76)
    assert not any("\\n" in text for text in table.items["text"])
    sample = read_dices(folder / "dices_350_schema_sample.csv", partial=True)
    assert sample.frame["value"].to_list() == [0, 0, 1, 0]
    assert sample.frame["age"].to_list() == ["millenial", "gen x+", "gen x+", "millenial"]
    assert sample.items["text"][0].count("\n[LLM] ") == 2
    assert any("gives in all 4 rows" in note for note in sample.notes)
    shutil.copy(folder / "dices_350_schema_sample.csv", write(tmp_path, rows_of("350")))
    assert read_dices(tmp_path, partial=True).frame.equals(sample.frame)
