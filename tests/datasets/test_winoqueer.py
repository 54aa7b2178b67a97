"""WinoQueer: its counts where the data is at hand, and every error on a small table of our own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evenhand.datasets.winoqueer import ROWS, WinoQueer
from evenhand.errors import BadInput

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
        (GOOD + "13,Gay,Curious,Gay x.,Curious x.\n", "row 7: 'Curious' is no identity"),
        (GOOD + "13,Gay,Straight,Straight people.,Gay people.\n", "row 7: .*columns may be swapped"),
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


def test_metadata_of_other_rows_is_refused(tmp_path: Path) -> None:
    head = "row,item_group,template,referent,identity,counterfactual,predicate\n"
    with pytest.raises(BadInput, match="not those of the data file"):
        made(tmp_path, GOOD, head + "0,0,people_are,,Gay,Straight,like tea\n").pairs()
    rows = "".join(
        f"{i},{i},people_are,,{who},Cis,like tea\n"
        for i, who in enumerate(["Transgender", "Transgender", "NB", "Gay", "Gay", "Gay"])
    )
    pairs = made(tmp_path, GOOD, head + rows).pairs()
    assert pairs[0].cluster == "Transgender/like tea"
    assert pairs[0].template == "people_are"
