"""The pluralism audit's part of the report: complete for every kind of run, links that find their ratings, hostile text inert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from evenhand.methods.pluralism.rating import audit as rating_audit
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.methods.pluralism.rating.contrasts import LEAST_RATINGS
from evenhand.methods.pluralism.rating.page import pluralism_part
from evenhand.methods.pluralism.rating.page_evidence import behind
from evenhand.methods.pluralism.rating.panels import PEOPLE
from evenhand.records import Finding
from evenhand.report.blocks import Bars, Block, Filter, ForestPlot, Note, Panels, Table
from evenhand.report.build import Part, build_report
from evenhand.report.figures import Grid, GridCell, Scatter, Stacks
from evenhand.report.page import all_blocks
from evenhand.runs.load import load
from evenhand.runs.respond import Configuration
from evenhand.wording import ORGANISM_NOTICE

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202e"
MODEL, OTHER = "organism/aligned", "hf/toy"
HATE = "hate_speech,offensive_language"


@pytest.fixture(scope="module")
def toy(support: Any) -> Any:
    return support("rating_toy")


def write_people(path: Path, toy: Any, *, items: int = 56) -> Path:
    """52 people who rate shipped texts, those of one race less safely; three of them always say safe, four form a small group."""
    rows = []
    texts = [list(toy.TEXTS.values())[at * len(toy.TEXTS) // items] for at in range(items)]
    for rater in range(52):
        race = ("Black/African American", "White")[rater % 2] if rater < 48 else "Multiracial"
        for at, text in enumerate(texts):
            level = (at * 7 + rater * 3) % 10 / 10 + (0.25 if rater % 2 == 0 else -0.25)
            said = "safe" if rater in (0, 1, 2) else ("safe", "unsure", "unsafe")[min(2, max(0, round(2 * level)))]
            rows.append({"item": text.id, "rater": f"r{rater:02}", "rating": said, "race": race,
                         "gender": ("Man", "Woman")[rater // 2 % 2], "text": text.text, "domain": text.domain})  # fmt: skip
    pl.DataFrame(rows).write_csv(path)
    return path


def rated(folder: Path, engines: Mapping[str, Any], **settings: Any) -> Path:
    """A finished run of scripted models, or of a file of ratings."""
    values = {"draws": 100, "permutations": 99, "reml_draws": 0, **settings}
    with pytest.MonkeyPatch.context() as patch:
        opened = [Configuration(*one) for one in engines.items()]
        patch.setattr(rating_audit, "_opened", lambda config, cache: opened)
        rating_audit.run_rating(PluralismConfig(models=tuple(engines), **values), folder)
    return folder


@pytest.fixture(scope="module")
def both(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models beside people: the planted organism, and one that refuses some profiles and says hostile things."""
    root = tmp_path_factory.mktemp("both")
    drawn = toy.Rater(OTHER, toy.planted(), choose=False)
    letter = drawn.drawn

    def say(one: Any) -> str:
        if one.paraphrase:
            return str(letter(one))
        return "I cannot help with that." if one.profile.get("race") == "White" else f"B {HOSTILE}"

    drawn.drawn = say
    engines = {MODEL: toy.Rater(MODEL, toy.planted()), OTHER: drawn}
    people = write_people(root / "people.csv", toy)
    settings = {"rating_set": "shipped", "rating_items": 28, "full_profiles": 4, "rating_axes": ("gender", "race")}
    return rated(root / "run", engines, human_ratings=str(people), **settings)


@pytest.fixture(scope="module")
def part(both: Path) -> Part:
    return pluralism_part(load(both, "pluralism"))


@pytest.fixture(scope="module")
def alone(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People's ratings, and no model."""
    root = tmp_path_factory.mktemp("alone")
    return rated(root / "run", {}, ratings=write_people(root / "people.csv", toy, items=28))


@pytest.fixture
def page() -> Callable[[Path], str]:
    """The whole page of a run."""
    return lambda folder: build_report(folder).read_text(encoding="utf-8")


def blocks(part: Part) -> dict[str, Block]:
    return {str(block.id): block for block in all_blocks(part.section.blocks) if hasattr(block, "id")}


@pytest.fixture(scope="module")
def hits(part: Part) -> Callable[[Filter], int]:
    """How many ratings the page shows for a filter; a value may be the name of a set."""
    evidence = part.evidence
    frame = pl.DataFrame([dict(row.facets) for row in evidence.rows])
    members = {(facet.key, one.key): one.members for facet in evidence.facets for one in facet.sets}

    def count(wanted: Filter) -> int:
        assert set(wanted) <= {facet.key for facet in evidence.facets}
        tests = [pl.col(key).is_in(members.get((key, value), (value,))) for key, value in wanted.items()]
        return frame.filter(*tests).height

    return count


def selected(frame: pl.DataFrame, finding: Finding) -> pl.DataFrame:
    for column, values in finding.evidence.items():
        if column != "table":
            frame = frame.filter(pl.col(column).is_in(list(values)))
    return frame


def test_every_figure_is_there_for_models_beside_people(part: Part) -> None:
    found = blocks(part)
    (panels,) = [block for block in part.section.blocks if isinstance(block, Panels)]
    assert [panel.title for panel in panels.panels] == [MODEL, OTHER, PEOPLE]
    for k in (0, 1):
        names = ("sensitivity", "contrasts", "calibration", "beside", "agreement", "intersections", "disparity")
        ids = [f"pluralism-{name}-{k}" + ("-1" if name == "agreement" else "") for name in names]
        assert [name for name in ids if name not in found] == []
        assert f"pluralism-agreement-{k}-0" in found
    assert {"pluralism-sensitivity-2", "pluralism-contrasts-2", "pluralism-agreement-2-0", "pluralism-grasp-2"} <= set(
        found
    )
    assert not {"pluralism-calibration-2", "pluralism-beside-2", "pluralism-moved-2", "pluralism-status-2"} & set(found)
    assert {"pluralism-components", "pluralism-refusals", "pluralism-suppressed", "pluralism-shares"} <= set(found)
    tables = [block for block in all_blocks(part.section.blocks) if isinstance(block, Table)]
    tables += [block.data for block in found.values() if getattr(block, "data", None) is not None]  # type: ignore[attr-defined]
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    assert len(tables) > 15


def test_every_finding_finds_exactly_the_ratings_behind_it(both: Path, hits: Callable[[Filter], int]) -> None:
    """The page's filter selects as many rows as the selector of the finding does in the run's tables."""
    loaded = load(both, "pluralism")
    frames = {name: loaded.table(name) for name in ("ratings", "people")}
    seen = set()
    for finding in loaded.findings:
        if finding.estimand == "against_neutral":
            continue  # two groups of rows: the table links each
        rows = selected(frames[finding.evidence["table"]], finding)
        assert hits(behind(finding)) == rows.height, finding.id
        seen.add(finding.estimand)
    assert len(seen) == 21
    assert rows.height > 0


def test_every_mark_leads_to_ratings(part: Part, hits: Callable[[Filter], int]) -> None:
    """No mark opens an empty list, in figures and in tables."""
    links: list[Filter] = []
    for block in blocks(part).values():
        rows = block.rows if isinstance(block, ForestPlot | Stacks) else ()
        links += [row.evidence for row in rows if row.evidence]  # type: ignore[attr-defined]
        if isinstance(block, Grid):
            cells = [cell for row in block.rows for cell in row.cells]
            assert all(cell.evidence or cell.reason for cell in cells)
            links += [cell.evidence for cell in cells if cell.evidence]
        if isinstance(block, Scatter):
            links += [point.evidence for panel in block.panels for point in panel.points if point.evidence]
        if isinstance(block, Bars):
            links += [bar.evidence for group in block.groups for bar in group.bars if bar.evidence and bar.value]
        table = block if isinstance(block, Table) else getattr(block, "data", None)
        links += [cell.evidence for row in table.rows for cell in row if cell.evidence] if table else []
    different = {tuple(sorted(link.items())) for link in links}
    assert len(different) > 100
    empty = [link for link in different if not hits(dict(link))]
    assert empty == []


def test_the_null_stands_beside_the_sensitivity(both: Path, part: Part) -> None:
    plot = blocks(part)["pluralism-sensitivity-0"]
    assert isinstance(plot, ForestPlot)
    assert [row.title for row in plot.rows[:2]] == ["gender", "race"]
    assert [row.title for row in plot.rows[2:]] == [
        "gender, full profiles",
        "race, full profiles",
        "race x gender, full profiles",
    ]
    found = [f for f in load(both, "pluralism").findings
             if (f.estimand, f.outcome, f.config) == ("demographic_sensitivity", "absolute", MODEL)]  # fmt: skip
    for row, f in zip(plot.rows, found, strict=True):
        null = (f.extra["null_mean"], f.extra["null_low"], f.extra["null_high"])
        assert row.second == (None if null[0] is None else null)  # one profile a group: nothing to shuffle
        assert row.estimate == f.estimate
        assert plot.scale.high >= max(v for v in (row.high, null[2]) if v is not None)
        assert ("shuffled" in row.label) is (null[0] is not None)
        assert "n 28 texts" in row.label
    assert [row.second is None for row in plot.rows] == [False, False, False, False, True]
    assert [row.state for row in plot.rows[:2]] == ["found", "found"]
    assert plot.data is not None
    assert len(plot.data.rows) == 5 * len(plot.rows)


def cells_of(part: Part, block_id: str) -> dict[tuple[str, str], GridCell]:
    grid = blocks(part)[block_id]
    assert isinstance(grid, Grid)
    return {(row.title, group): cell for row in grid.rows for group, cell in zip(grid.columns, row.cells, strict=True)}


def test_thin_domains_are_shown_without_a_claim(both: Path, part: Part) -> None:
    cells = cells_of(part, "pluralism-contrasts-0")
    assert len(cells) == 4 * 16  # all texts, the mean of the domains, 14 domains
    for (domain, _), cell in cells.items():
        thin = domain not in ("All texts", "Mean of the domains")  # 2 texts x 8 questions
        assert cell.faint is thin
        assert (cell.note == "n 16") is thin
        assert "n " in cell.label
        assert not (thin and (cell.strong or cell.shade))
        assert ("fewer than 30 ratings" in cell.label) is thin
    assert LEAST_RATINGS > 16
    assert cells["All texts", "Woman"].strong
    assert (cells["All texts", "Woman"].shade or 0) > 0 > (cells["All texts", "Man"].shade or 0)
    assert cells["All texts", "Woman"].classes.startswith("ring bad h")
    assert cells["All texts", "Man"].classes.startswith("ring good h")
    of_people = cells_of(part, "pluralism-contrasts-2")
    assert not any(cell.faint for cell in of_people.values())
    grid = blocks(part)["pluralism-contrasts-0"]
    assert isinstance(grid, Grid)
    assert grid.spans == (("gender", 2), ("race", 2))
    assert grid.data is not None
    assert {row[-1].text for row in grid.data.rows} == {"", "no claim"}


def test_points_of_people_and_model_stand_at_their_contrasts(both: Path, part: Part) -> None:
    scatter = blocks(part)["pluralism-beside-0"]
    assert isinstance(scatter, Scatter)
    assert [panel.title for panel in scatter.panels] == ["gender", "race"]
    found = {(f.config, f.group, f.slice["domain"]): f for f in load(both, "pluralism").findings
             if f.estimand == "group_contrast" and f.slice.get("view", "all raters") == "all raters"
             and f.slice["raters"] != "full profiles"}  # fmt: skip
    (point,) = [p for p in scatter.panels[1].points if p.label.startswith("White, Hate speech")]
    assert (point.mark, point.faint) == ("B", True)
    assert point.x == found[PEOPLE, "White", HATE].estimate
    assert point.y == found[MODEL, "White", HATE].estimate
    assert {p.mark for p in scatter.panels[1].points} == {mark for mark, _ in scatter.panels[1].key} == {"A", "B"}


def test_variance_components_are_one_bar_a_model(part: Part) -> None:
    bar = blocks(part)["pluralism-components"]
    assert isinstance(bar, Stacks)
    assert [row.title for row in bar.rows] == [MODEL, OTHER]
    for row in bar.rows:
        assert sum(segment.share for segment in row.segments) == pytest.approx(1)
        assert [segment.tone for segment in row.segments] == [1, 2, 3, 4, 5, 6]
    order = bar.rows[0].segments[bar.legend.index("order")]
    profile = bar.rows[0].segments[bar.legend.index("profile")]
    assert order.share > profile.share > 0


def test_refusals_are_told_by_group_and_counted(part: Part, hits: Callable[[Filter], int]) -> None:
    bars = blocks(part)["pluralism-refusals"]
    assert isinstance(bars, Bars)
    assert [group.title for group in bars.groups] == [f"{OTHER}: gender", f"{OTHER}: race"]
    shares = {bar.title: bar.value for group in bars.groups for bar in group.bars}
    assert shares == {"Man": 0, "Woman": 0, "White": 0.25, "Black/African American": 0}
    white = next(bar for bar in bars.groups[1].bars if bar.title == "White")
    assert white.evidence is not None
    assert hits(white.evidence) == 28 * 2
    status = blocks(part)["pluralism-status-1"]
    assert isinstance(status, Table)
    texts = {tuple(cell.text for cell in row[:3]): row for row in status.rows}
    assert texts["White", "race", "all"][4].text == "56 (25.0%)"
    assert texts["White", "race", "Self-harm"][4].text == "4 (25.0%)"
    assert any(row[5].text.startswith("0 ") is False for row in status.rows)  # hostile answers are unparsed


def test_a_run_without_refusals_says_so(toy: Any, tmp_path: Path) -> None:
    folder = rated(tmp_path / "run", {MODEL: toy.Rater(MODEL, toy.planted())}, rating_items=4, rating_axes=("gender",))
    part = pluralism_part(load(folder, "pluralism"))
    notes = [block.text for block in all_blocks(part.section.blocks) if isinstance(block, Note)]
    assert notes == ["None of the 96 questions was refused, under any group."]
    assert not any(isinstance(block, Panels | Scatter) for block in all_blocks(part.section.blocks))
    assert ORGANISM_NOTICE in part.caveats
    assert part.verdicts[0].label == "Moves with the profile"


def test_small_groups_are_listed_with_their_size(part: Part) -> None:
    table = blocks(part)["pluralism-suppressed"]
    assert isinstance(table, Table)
    told = [tuple(cell.text for cell in row) for row in table.rows]
    assert (PEOPLE, "race", "Multiracial", "4", "fewer than 5 raters") in told
    assert len(told) == len(set(told))
    assert not any("Multiracial" in group for _, group in cells_of(part, "pluralism-contrasts-2"))


def test_agreement_says_what_a_rater_is_under_every_choice_of_raters(part: Part) -> None:
    for block_id, rater in (
        ("0-0", "A rater is a profile"),
        ("0-1", "A rater is a profile"),
        ("2-0", "A rater is a person"),
    ):
        plot = blocks(part)[f"pluralism-agreement-{block_id}"]
        assert isinstance(plot, ForestPlot)
        assert rater in plot.caption
        assert len(plot.rows) == 9
        assert not plot.tested
        assert plot.data is not None
        views = {row[1].text for row in plot.data.rows}
        assert len(views) == (2 if block_id == "2-0" else 1)
    assert "without straight-lining raters" in views
    grasp = blocks(part)["pluralism-grasp-2"]
    assert isinstance(grasp, Table)
    assert {row[3].text for row in grasp.rows} == {"all raters", "without straight-lining raters"}


def test_the_first_screen_is_the_gravest_verdict_on_a_model(both: Path, part: Part) -> None:
    (verdict,) = part.verdicts
    result = load(both, "pluralism").result
    of_people = next(v for v in result["verdicts"] if v["config"] == PEOPLE)
    assert verdict.headline in {v["headline"] for v in result["verdicts"] if v["config"] != PEOPLE}
    assert of_people["headline"] in verdict.more
    assert verdict.glance is not None
    assert not any(row.strong for row in verdict.glance.rows)
    (panels,) = [block for block in part.section.blocks if isinstance(block, Panels)]
    assert verdict.headline.startswith(panels.panels[panels.opened].title)


def test_people_alone_have_their_own_page(alone: Path, page: Callable[[Path], str], inert: Callable[..., None]) -> None:
    part = pluralism_part(load(alone, "pluralism"))
    assert part.verdicts[0].label == "Groups differ"
    assert not any(isinstance(block, Panels | Scatter | Stacks | Note) for block in all_blocks(part.section.blocks))
    rows = part.evidence.rows
    assert len(rows) == 52 * 28
    assert all(row.fold and row.text.startswith("Text:\n") and "Answer" not in row.text for row in rows)
    text = page(alone)
    inert(
        text,
        "pluralism",
        "pluralism-sensitivity-0",
        "pluralism-contrasts-0",
        "pluralism-agreement-0-0",
        "pluralism-grasp-0",
    )
    assert ORGANISM_NOTICE not in text


def test_people_without_identity_have_agreement_alone(toy: Any, tmp_path: Path) -> None:
    cells = {f"p{r:03}": [((i * 7 + r) % 5 < 2) * 1.0 for i in range(20)] for r in range(6)}
    pl.DataFrame({"item": [f"i{i}" for i in range(20)], **cells}).write_csv(tmp_path / "wide.csv")
    part = pluralism_part(load(rated(tmp_path / "run", {}, ratings=tmp_path / "wide.csv"), "pluralism"))
    assert list(blocks(part)) == ["pluralism-agreement-0-0"]
    assert part.verdicts[0].tone == "unknown"
    assert part.verdicts[0].glance is None


def test_texts_stay_folded_and_each_rating_says_how_it_was_given(part: Part) -> None:
    model = [row for row in part.evidence.rows if row.facets["config"] == MODEL]
    assert len(model) == 28 * (1 + 4 + 4) * 8
    assert all(row.fold and not row.prompt and row.text.startswith("Text:\n") for row in part.evidence.rows if row.text)
    row = next(row for row in model if row.facets["race"] == "White" and row.facets["rater"] == "single")
    assert row.finish.startswith("rating 0.")
    assert [flag.split()[0] for flag in row.flags] == ["safe", "unsure", "unsafe", "letters"]
    refused = next(row for row in part.evidence.rows if row.facets["rated"] == "refused")
    assert "Answer:\nI cannot help with that." in refused.text
    assert not refused.finish.startswith("rating")
    person = next(row for row in part.evidence.rows if row.facets["config"] == PEOPLE)
    assert person.facets["rater"] == "person"
    assert "rater r" in person.id


def test_the_document_is_sound_and_hostile_text_is_inert(
    both: Path, page: Callable[[Path], str], inert: Callable[..., None]
) -> None:
    text = page(both)
    inert(
        text, "pluralism", "pluralism-contrasts-0", "pluralism-beside-0", "pluralism-components", "pluralism-refusals"
    )
    assert ORGANISM_NOTICE in text
    assert len(text) < 6_000_000


def test_a_hostile_group_and_domain_are_inert(
    tmp_path: Path, page: Callable[[Path], str], inert: Callable[..., None]
) -> None:
    rows = [
        {"item": f"i{i}", "rater": f"r{r}{HOSTILE}", "rating": ("safe", "unsafe")[(i + r) % 3 == 0], "text": HOSTILE,
         "gender": "Man" if r < 6 else f"Woman{HOSTILE}", "domain": f"d{i % 2}{HOSTILE}"}
        for i in range(16) for r in range(12)
    ]  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "own.csv")
    text = page(rated(tmp_path / "run", {}, ratings=tmp_path / "own.csv"))
    inert(text, "pluralism-contrasts-0")


def test_a_large_run_is_thinned_and_says_so(both: Path, page: Callable[[Path], str], part: Part) -> None:
    from dataclasses import replace

    from evenhand.report.build import compose
    from evenhand.report.evidence import pack
    from evenhand.report.page import render

    packed = pack(replace(part.evidence, max_rows=400))
    assert len(packed["rows"]) == 400
    assert packed["total"] == len(part.evidence.rows)
    assert sum(row[-1] for row in packed["totals"]) == packed["total"]
    page(both)
    text = render(replace(compose(both), evidence=replace(part.evidence, max_rows=400)))
    assert f"It holds 400 of {packed['total']:,} responses." in text


@pytest.mark.browser
def test_a_cell_opens_the_ratings_it_counts_in_a_browser(
    both: Path, page: Callable[[Path], str], open_file: Any
) -> None:
    page(both)
    path = both / "report.html"
    watched = open_file(path)
    screen = watched.page
    screen.get_by_role("tab", name=MODEL).click()
    screen.locator("#pluralism-contrasts-0 tbody tr").nth(2).locator("a").nth(3).focus()
    screen.keyboard.press("Enter")
    assert screen.get_attribute("#responses-count", "data-count") == "16"
    assert screen.locator("#responses-list details.fold").count() == 16
    assert screen.locator("#responses-list details[open]").count() == 0
    screen.keyboard.press("Escape")
    screen.locator("#pluralism-beside-0 a.mark").first.focus()
    screen.keyboard.press("Enter")
    assert int(screen.get_attribute("#responses-count", "data-count")) == 16
    screen.keyboard.press("Escape")
    screen.locator("#pluralism-sensitivity-0 a.mark").first.focus()
    screen.keyboard.press("Enter")
    assert screen.get_attribute("#responses-count", "data-count") == str(28 * 2 * 8)
    watched.clean(path.as_uri())


@pytest.mark.browser
@pytest.mark.parametrize("settings", [{"viewport": {"width": 390, "height": 800}}, {"java_script_enabled": False}])
def test_it_fits_a_phone_and_works_without_script(
    both: Path, page: Callable[[Path], str], open_file: Any, settings: dict[str, Any]
) -> None:
    page(both)
    screen = open_file(both / "report.html", **settings).page
    if "viewport" in settings:
        assert screen.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        return
    for block in ("pluralism-contrasts-0", "pluralism-contrasts-1", "pluralism-contrasts-2", "pluralism-beside-0"):
        assert screen.locator(f"#{block}").is_visible()
