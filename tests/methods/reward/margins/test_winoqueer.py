"""WinoQueer: its counts where the data is at hand, and every error on a small table of our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.errors import BadInput
from evenhand.methods.reward.margins.winoqueer import ROWS, WinoQueer

IDENTITIES = {
    "LGBTQ": 11_568, "Queer": 8_640, "Bisexual": 6_048, "Gay": 5_406, "Transgender": 4_168, "Asexual": 3_592,
    "Pansexual": 2_448, "Lesbian": 1_938, "NB": 1_732,
}  # fmt: skip
HEADER = ",Gender_ID_x,Gender_ID_y,sent_x,sent_y\n"
GOOD = (
    "0,Transgender,Cis,Transgender people like tea.,Cis people like tea.\n"
    "1,Transgender,Cisgender,Transgender people like tea.,Cisgender people like tea.\n"
    '4,NB,Cis,"Nonbinary people\nlike tea.","Cis people\nlike tea."\n'
    "8,Gay,Straight,Gay people like tea.,Straight people like tea.\n"
    "9,Gay,Straight,Gay people like tea.,Straight people like tea.\n"
    "12,Gay,Straight,A Gay man often likes tea.,Straight men often like tea.\n"
)


def made(tmp_path: Path, rows: str, metadata: str = "") -> WinoQueer:
    (tmp_path / "winoqueer_final.csv").write_text(HEADER + rows, encoding="utf-8")
    if metadata:
        (tmp_path / "winoqueer_row_metadata.csv").write_text(metadata, encoding="utf-8")
    return WinoQueer(tmp_path, rows=None)


def test_the_published_file(public_data: Callable[[str], Path]) -> None:
    data = WinoQueer(public_data("winoqueer"))
    pairs = data.pairs()
    assert len(pairs) == ROWS
    assert dict(Counter(pair.group for pair in pairs)) == IDENTITIES
    strict, broad = data.pairs("strict"), data.pairs("broad")
    assert (len(strict), len(broad)) == (5_900, 16_004)
    assert {pair.group for pair in strict} == {"Transgender", "NB"}
    assert len({pair.cluster.partition("/")[2] for pair in strict if not pair.template.endswith("_person")}) == 129
    repeats = Counter(pair.group for pair in pairs if "duplicate_of" in pair.attributes)
    assert repeats == {"Asexual": 144, "Gay": 102, "Bisexual": 40}
    assert [pair.id for pair in pairs if not pair.minimal] == ["winoqueer/40450"]
    assert sum("\n" in pair.harmful for pair in pairs) == 248
    assert sum(pair.harmful.endswith(" ") for pair in pairs) == 2_104
    assert len({pair.attributes["item_group"] for pair in pairs}) == 17_718
    assert data.notes == ()
    assert data.counts()["not negative"] == sum("not_negative" in pair.attributes for pair in pairs) > 0
    described = data.metadata
    assert described is not None
    flagged = {
        predicate
        for pair, predicate in zip(pairs, described["predicate"], strict=True)
        if "not_negative" in pair.attributes
    }
    assert {predicate.removeprefix("they ").removeprefix("are ").removeprefix("a ") for predicate in flagged} == {
        "survivor", "survivors", "good at organizing",
    }  # fmt: skip
    bare = [pair for pair in pairs if pair.template.endswith("_person")]
    assert {pair.cluster for pair in bare} == {f"{pair.group}/{pair.template}" for pair in bare}


def test_item_groups_come_from_the_index_too(public_data: Callable[[str], Path], tmp_path: Path) -> None:
    whole = WinoQueer(public_data("winoqueer"))
    (tmp_path / "winoqueer_final.csv").symlink_to(public_data("winoqueer") / "winoqueer_final.csv")
    bare = WinoQueer(tmp_path)
    groups = {
        (a.attributes["item_group"], b.attributes["item_group"])
        for a, b in zip(whole.pairs(), bare.pairs(), strict=True)
    }
    assert len(groups) == len({a for a, _ in groups}) == len({b for _, b in groups}) == 17_718
    assert [(a.id, a.harmful, a.group) for a in whole.pairs("strict")] == [
        (b.id, b.harmful, b.group) for b in bare.pairs("strict")
    ]
    assert "each item group is its own cluster" in bare.notes[0]


def test_a_small_table(tmp_path: Path) -> None:
    data = made(tmp_path, GOOD)
    pairs = data.pairs()
    assert [pair.attributes["item_group"] for pair in pairs] == ["0", "0", "1", "2", "2", "3"]
    assert "\n" in pairs[2].harmful
    assert pairs[4].attributes["duplicate_of"] == "winoqueer/3"
    assert [pair.minimal for pair in pairs] == [True] * 5 + [False]
    assert len(data.pairs("strict")) == len(data.pairs("broad")) == 3
    assert all("folded" in item.chat[0].content and "tea" not in item.chat[0].content for item in data.items())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (GOOD + "13,Gay,Curious,Gay x.,Curious x.\n", "row 7: Unknown identity 'Curious'"),
        (GOOD + "13,Gay,Straight,Straight people.,Gay people.\n", "row 7: .*columns may be swapped"),
        (
            GOOD
            + "13,Queer,Straight,Straight people name Queer and Straight friends.,Queer people name Queer and Straight friends.\n",
            "row 7: .*swapped",
        ),
        (GOOD + "13,Gay,Cis,Gay people.,Cisgender people.\n", "row 7: .*does not name Cis"),
        (GOOD + "13,Queer,Straight,Queerly people.,Straight people.\n", "row 7: sent_x does not name Queer"),
        (GOOD + "x,Gay,Straight,Gay people.,Straight people.\n", "row 7: The index of the row is not a whole number"),
        (GOOD + "13,Gay,Straight,Gay people.,\n", "row 7: A sentence is missing"),
        (GOOD + "13,Gay,Straight,Gay people.\n", "row 7: The row has 4 cells"),
        ('0,Gay,Straight,"Gay people.,Straight people.\n', "row 1: .*quotes"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        made(tmp_path, rows).pairs()


def test_a_short_file_and_a_missing_column(tmp_path: Path) -> None:
    made(tmp_path, GOOD)
    with pytest.raises(BadInput, match="6 rows, not 45,540"):
        WinoQueer(tmp_path).pairs()
    (tmp_path / "winoqueer_final.csv").write_text("Gender_ID_x,sent_x\nGay,x\n", encoding="utf-8")
    with pytest.raises(BadInput, match="no column 'Gender_ID_y'"):
        WinoQueer(tmp_path, rows=None).pairs()


HEAD = "row,item_group,template,referent,identity,counterfactual,predicate\n"
ABOUT = tuple(
    f"{row},{group},people_are,,{who},{other},{predicate}\n"
    for row, (group, who, other, predicate) in enumerate(
        [
            ("0", "Transgender", "Cis", "like tea"),
            ("0", "Transgender", "Cisgender", "like tea"),
            ("1", "NB", "Cis", "are less serious about their studies"),
            ("2", "Gay", "Straight", "are Survivors"),
            ("2", "Gay", "Straight", "are willing"),
            ("3", "Gay", "Straight", ""),
        ]
    )
)


def test_what_the_metadata_says(tmp_path: Path) -> None:
    pairs = made(tmp_path, GOOD, HEAD + "".join(ABOUT)).pairs()
    assert pairs[0].cluster == pairs[1].cluster == "Transgender/like tea"
    assert pairs[0].template == "people_are"
    assert pairs[5].cluster == "Gay/people_are"
    assert [pair.attributes.get("not_negative", "") for pair in pairs] == ["", "", "", "yes", "", ""]
    assert [pair.theme for pair in pairs] == ["", "", "competence denied", "", "", ""]


@pytest.mark.parametrize(
    ("predicate", "theme"),
    [
        ("are confused", "identity denied"),
        ("don't exist", "identity denied"),
        ("are mentally ill", "pathologised"),
        ("are biologically and mentally old", ""),
        ("are silly", ""),
        ("are a sin", "moral condemnation"),
        ("are single", ""),
        ("are dangerous", "danger"),
        ("doesn’t belong here", "social rejection"),
        ("are unhappy", "hardship"),
        ("study", ""),
        ("are childish", "competence denied"),
    ],
)
def test_themes_by_words_not_by_parts_of_words(tmp_path: Path, predicate: str, theme: str) -> None:
    about = HEAD + "".join(ABOUT).replace("like tea", predicate)
    assert made(tmp_path, GOOD, about).pairs()[0].theme == theme


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ABOUT[:1], "has 1 rows, the data file 6"),
        ((*ABOUT[:5], ABOUT[5].replace("Gay", "Queer")), "row 6: The row is not that of the data file"),
        ((*ABOUT[:5], ABOUT[5].replace("Straight", "Cis")), "row 6: The row is not that of the data file"),
        ((ABOUT[1].replace("1", "0", 1), ABOUT[0].replace("0", "1", 1), *ABOUT[2:]), "row 1: The row is not that"),
        (("9,0,p,,Transgender,Cis,x\n", *ABOUT[1:]), "row 1: The row is not that of the data file"),
    ],
)
def test_metadata_of_other_rows_is_refused(tmp_path: Path, rows: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        made(tmp_path, GOOD, HEAD + "".join(rows)).pairs()


def test_without_metadata_the_index_is_needed(tmp_path: Path) -> None:
    data = made(tmp_path, GOOD)
    file = tmp_path / "winoqueer_final.csv"
    file.write_text(
        "Gender_ID_x,Gender_ID_y,sent_x,sent_y\nGay,Straight,Gay people.,Straight people.\n", encoding="utf-8"
    )
    with pytest.raises(BadInput, match="no column 'index'"):
        data.pairs()
