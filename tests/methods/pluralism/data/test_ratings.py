"""Ratings by people: long files, matrices, what is kept aside, ids that stay whole, and matrices of a view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import BadInput
from evenhand.methods.pluralism.data.rating_table import MOST_CELLS, VIEWS, RatingTable, label_of, plain_ids
from evenhand.methods.pluralism.data.ratings import polarity_of, read_ratings
from evenhand.methods.pluralism.rating.statistics.raters import rater_groups
from evenhand.records import Rating

HEAD = "item,rater,rating,gender,race,text,reply,domain,gold"


def write(folder: Path, *lines: str, name: str = "ratings.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def reasons(table: RatingTable) -> dict[int, str]:
    return dict(table.rejected)


def test_a_rating_is_frozen_and_has_no_value_unless_it_is_ok() -> None:
    one = Rating("human", "i1", "296708581782793", 0.5, "unsure")
    assert (one.status, one.profile, one.paraphrase, one.mass) == ("ok", {}, None, None)
    with pytest.raises(AttributeError):
        one.value = 1.0  # type: ignore[misc]
    assert Rating("m", "i1", "Man", None, "", "refused", {"gender": "Man"}, 2, "down", 0.4).value is None


def test_a_long_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        HEAD,
        "i1,r1,safe,Woman,White,[TEXT 1],[REPLY 1],Self-Harm,unsafe",
        "i1,r2, UNSAFE ,Man,Other,[TEXT 1],[REPLY 1],self_harm,unsafe",
        "i2,r1,unsure,Woman,White,[TEXT 2],,my own domain,safe",
        "i2,r3,0.25,,,,,,",
    )
    table = read_ratings(path)
    assert table.axes == ("gender", "race")
    assert table.frame.columns == ["item_id", "rater_id", "value", "label", "gender", "race"]
    assert table.frame["value"].to_list() == [0.0, 1.0, 0.5, 0.25]
    assert table.frame["label"].to_list() == ["safe", "unsafe", "unsure", "safe"]
    assert table.items.to_dicts() == [
        {"item_id": "i1", "text": "[TEXT 1]", "reply": "[REPLY 1]", "domain": "self_harm", "gold": 1.0},
        {"item_id": "i2", "text": "[TEXT 2]", "reply": "", "domain": "my own domain", "gold": 0.0},
    ]
    assert table.checksums["ratings.csv"].startswith("xxh128:")
    assert table.rejected == ()
    values, items, raters = table.matrix()
    assert (items, raters) == (("i1", "i2"), ("r1", "r2", "r3"))
    np.testing.assert_array_equal(values, [[0, 1, np.nan], [0.5, np.nan, 0.25]])
    np.testing.assert_array_equal(table.codes()[0], [[0, 2, -1], [1, -1, 0]])
    np.testing.assert_array_equal(table.gold(("i2", "i1")), [0, 1])
    assert table.counts() == {"ratings": 4, "items": 2, "raters": 3, "rejected": 0}


def test_missing_and_other_are_levels_of_their_own_and_stay_out_of_contrasts(tmp_path: Path) -> None:
    rows = [f"i{i},r{r},safe,{g}" for i in range(2) for r, g in enumerate(["Man"] * 5 + ["Other"] * 2 + [""] * 3)]
    table = read_ratings(write(tmp_path, "item,rater,rating,rater_gender", *rows))
    assert table.axes == ("gender",)
    assert set(table.frame["gender"].to_list()) == {"Man", "Other", ""}
    assert table.frame.height == 20
    groups = rater_groups(table.demographics()["gender"])
    assert groups.names == ("Man",)
    assert groups.left_out == {"Other": 2, "missing": 3}
    assert table.demographics(("r9", "r0")) == {"gender": ("", "Man")}
    with pytest.raises(BadInput, match="Unknown rater 'nobody'"):
        table.demographics(("nobody",))


def test_rows_that_cannot_be_used_are_named_by_file_and_row(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        HEAD,
        "i1,r1,safe,,,[TEXT 1],,,",
        "i1,r2,,,,,,,",
        "i1,r3,Yes,,,,,,",
        "i1,r4,1.5,,,,,,",
        "i1,r1,unsafe,,,,,,",
        ",r5,safe,,,,,,",
        "i1,,safe,,,,,,",
        "i1,r6,safe,,,[ANOTHER TEXT],,,",
        "i1,r7,safe,,,,,,perhaps",
        "i1,r8,safe,,,,,,0.5",
        "i1,r9,nan,,,,,,",
        "i1,r10,0.5,,,,,,",
    )
    table = read_ratings(path)
    assert table.frame["rater_id"].to_list() == ["r1", "r10"]
    found = reasons(table)
    assert list(found) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert all(text.startswith(f"{path}, row {row}: ") for row, text in found.items())
    for row, words in {
        2: "is empty",
        3: "'Yes' is neither a known word",
        4: "1.5 is not within 0 and 1",
        5: "has rated the item 'i1' in row 1",
        6: "'item' is empty",
        7: "'rater' is empty",
        8: "text of the item 'i1' is not that of row 1",
        9: "expert label 'perhaps'",
        10: "expert label '0.5'",
        11: "'nan' is neither",
    }.items():
        assert words in found[row]


def test_words_and_scales_of_your_own(tmp_path: Path) -> None:
    path = write(tmp_path, "who,what,score,truth", "r1,i1,Yes,1", "r2,i1,5,1", "r3,i1,1,1", "r4,i1,2,1", "r5,i1,6,1")
    columns = {"item": "what", "rater": "who", "rating": "score", "gold": "truth"}
    table = read_ratings(path, columns, words={"yes": "unsafe"}, scale=(5, 1))
    assert table.frame["value"].to_list() == [1.0, 0.0, 1.0, 0.75]
    assert "not within 5 and 1" in reasons(table)[5]
    assert table.items["gold"].to_list() == [1.0]  # 1 is unsafe here whatever the scale of the ratings
    coded = read_ratings(path, columns, words={"yes": 0.5, "1": "safe", "2": "unsure", "5": "0.9", "6": 1})
    assert coded.frame["value"].to_list() == [0.5, 0.9, 0.0, 0.5, 1.0]
    assert coded.items["gold"].to_list() == [1.0]
    with pytest.raises(BadInput, match="cannot mean 'fine'"):
        read_ratings(path, columns, words={"yes": "fine"})
    with pytest.raises(BadInput, match="cannot mean '2'"):
        read_ratings(path, columns, words={"yes": 2})
    for scale in ((1, 1), (0, float("inf"))):
        with pytest.raises(BadInput, match="two different finite ends"):
            read_ratings(path, columns, scale=scale)


def test_a_scale_that_was_not_told_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "item,rater,rating", *(f"i{i},r,{i}" for i in range(1, 6)))
    with pytest.raises(BadInput, match=r"4 of 5 numbers are out of range.*ends of the scale"):
        read_ratings(path)
    assert read_ratings(path, scale=(1, 5)).frame["value"].to_list() == [0, 0.25, 0.5, 0.75, 1]


def test_rater_ids_of_15_digits_survive(tmp_path: Path) -> None:
    ids = [296708581782793, 296708581782794, 296709543131761]
    text = [str(i) for i in ids]
    path = write(tmp_path, "item,rater,rating", *(f"i1,{i},safe" for i in ids))
    assert read_ratings(path).frame["rater_id"].to_list() == text
    whole = pl.DataFrame({"item": ["007"] * 3, "rater": ids, "rating": [0.0, 0.5, 1.0]})
    assert read_ratings(whole).frame["rater_id"].to_list() == text
    assert read_ratings(whole).items["item_id"].to_list() == ["007"]
    double = whole.with_columns(pl.col("rater").cast(pl.Float64))
    assert read_ratings(double).frame["rater_id"].to_list() == text
    single = whole.with_columns(pl.col("rater").cast(pl.Float32))
    with pytest.raises(BadInput, match="is a rounded number"):
        read_ratings(single)
    with pytest.raises(BadInput, match=r"row 2: The id '2.96709E\+14' in column 'rater' is a rounded number") as error:
        read_ratings(write(tmp_path, "item,rater,rating", "i1,296708581782793,safe", "i1,2.96709E+14,safe"))
    assert error.value.row == 2


@given(st.lists(st.integers(10, 2**53), min_size=1, max_size=5, unique=True))
def test_number_columns_never_change_an_id(ids: list[int]) -> None:
    cells = pl.Series(ids, dtype=pl.Float64).cast(pl.String).to_list()
    assert plain_ids(cells, "the frame", "rater") == [str(i) for i in ids]


def test_ids_that_merely_look_like_numbers_stay(tmp_path: Path) -> None:
    assert plain_ids(["1.0", "1", "7e10", "007", None], "f", "c") == ["1.0", "1", "7e10", "007", ""]


def test_a_rater_with_two_values_has_none(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "item,rater,rating,gender,age",
        "i1,r1,safe,Man,gen z",
        "i2,r1,safe,Woman,",
        "i3,r1,safe,Man,gen z",
        "i1,r2,safe,,gen z",
        "i2,r2,safe,Man,gen z",
    )
    table = read_ratings(path)
    assert table.frame["gender"].to_list() == ["", "", "", "Man", "Man"]
    assert table.frame["age"].to_list() == ["gen z"] * 5
    assert len(table.notes) == 1
    assert "1 raters have more than one gender" in table.notes[0]
    assert "'Man' in row 1 and 'Woman' in row 2" in table.notes[0]


def test_axes_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "item,rater,rating,sex,faith", "i1,r1,safe,Man,none")
    table = read_ratings(path, {"gender": "sex", "axis.religion": "faith"})
    assert table.axes == ("gender", "religion")
    assert table.frame.row(0) == ("i1", "r1", 0.0, "safe", "Man", "none")
    assert read_ratings(path).axes == ()
    for name in ("value", "", "gender"):
        with pytest.raises(BadInput, match="cannot be called"):
            read_ratings(path, {f"axis.{name}": "faith"})
    with pytest.raises(BadInput, match="no role 'relgion'"):
        read_ratings(path, {"relgion": "faith"})
    with pytest.raises(BadInput, match="'sex' has two roles"):
        read_ratings(path, {"gender": "sex", "race": "sex"})


def test_a_matrix(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "item_id,p000,p001,p002,text",
        "1,safe,unsafe,,[TEXT 1]",
        "2,unsure,what,safe,[TEXT 2]",
        "1,safe,safe,safe,[TEXT 1]",
    )
    table = read_ratings(path)
    assert table.axes == ()
    assert table.demographics() == {}
    values, items, raters = table.matrix()
    assert (items, raters) == (("1", "2"), ("p000", "p001", "p002"))
    np.testing.assert_array_equal(values, [[0, 1, np.nan], [0.5, np.nan, 0]])
    assert "(column 'p001')" in reasons(table)[2]
    assert "item '1' of row 1 is repeated here" in reasons(table)[3]
    named = write(tmp_path, "item_id,ann,bob,text", "1,0,1,[TEXT]", name="named.csv")
    with pytest.raises(BadInput, match="no column 'rater'"):
        read_ratings(named)
    assert read_ratings(named, {"raters": "[ab]*"}).matrix()[2] == ("ann", "bob")
    with pytest.raises(BadInput, match="Fewer than two columns match 'x"):
        read_ratings(named, {"raters": "x*"})


def test_views_and_their_matrices(tmp_path: Path) -> None:
    rows = [f"i{i},r{r},{'safe' if r == 0 or (i + r) % 2 else 'unsafe'}" for i in range(4) for r in range(3)]
    table = read_ratings(write(tmp_path, "item,rater,rating", *rows))
    views = table.views()
    assert list(views) == [VIEWS[0], VIEWS[2]]
    values, items, raters = table.matrix(views[VIEWS[2]])
    assert (values.shape, raters) == ((4, 2), ("r1", "r2"))
    part = table.matrix(table.frame.filter(pl.col("item_id") == "i2"))
    assert (part[0].shape, part[1]) == ((1, 3), ("i2",))
    assert table.without_raters(["r1", "r2"]).counts()["raters"] == 1
    with pytest.raises(BadInput, match="No rater is left"):
        table.without_raters((*raters, "r0"))
    assert items == ("i0", "i1", "i2", "i3")


def test_a_matrix_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert MOST_CELLS >= 990 * 72_103
    monkeypatch.setattr("evenhand.methods.pluralism.data.rating_table.MOST_CELLS", 3)
    table = read_ratings(write(tmp_path, "item,rater,rating", "i1,r1,safe", "i2,r2,safe"))
    with pytest.raises(BadInput, match="too many for one matrix"):
        table.matrix()


def test_labels_that_point_the_other_way_are_told(tmp_path: Path) -> None:
    rows = [
        f"i{i},r{r},{'safe' if i % 2 else 'unsafe'},{'unsafe' if i % 2 else 'safe'}" for i in range(6) for r in "ab"
    ]
    table = read_ratings(write(tmp_path, "item,rater,rating,gold", *rows))
    checked = polarity_of(table)
    assert checked is not None
    assert checked.auc == 0
    assert any("opposite of what is assumed" in note for note in table.notes)
    assert polarity_of(read_ratings(write(tmp_path, "item,rater,rating", "i1,r1,safe"))) is None


def test_nothing_to_use_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"No row can be used; the first: .*row 1: .*'fine'"):
        read_ratings(write(tmp_path, "item,rater,rating", "i1,r1,fine"))
    with pytest.raises(BadInput, match="no column 'rater'"):
        read_ratings(write(tmp_path, "item,rating", "i1,safe"))


def test_hostile_cells_stay_cells(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "item,rater,rating,gender,text",
        'i1,"=cmd()",safe,"<script>","line 1\nline ""2"""',
        f"i1,r2,{'x' * 5000},,",
    )
    table = read_ratings(path)
    assert table.frame.row(0) == ("i1", "=cmd()", 0.0, "safe", "<script>")
    assert table.items["text"].to_list() == ['line 1\nline "2"']
    assert len(reasons(table)[2]) < 200 + len(str(path))


@given(st.floats(0, 1))
def test_every_value_has_a_label(value: float) -> None:
    assert label_of(value) == ("safe" if value < 0.5 else "unsure" if value == 0.5 else "unsafe")
