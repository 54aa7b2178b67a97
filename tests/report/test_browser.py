"""The report in a real browser: from a mark to the responses behind it, by mouse and by keyboard, hostile text and all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evenhand.report import Evidence, EvidenceRow, write

pytestmark = pytest.mark.browser

Open = Callable[..., Any]
DECLINED = ("refusal", "harmful refusal")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\u202egnp.exe\ud800 =HYPERLINK(1)"


@pytest.fixture(scope="module")
def report(synthetic: ModuleType, run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The full report in a file."""
    return write(synthetic.make_page(run), tmp_path_factory.mktemp("report") / "report.html")


def counted(page: Any) -> int:
    """The number of responses that the panel says it has."""
    return int(page.get_attribute("#responses-count", "data-count"))


def listed(page: Any) -> int:
    """The number of responses on every page of the panel."""
    total = page.locator("#responses-list > li").count()
    while page.locator("#responses-next").is_visible() and page.locator("#responses-next").is_enabled():
        before = page.inner_text("#responses-page")
        page.click("#responses-next")
        page.wait_for_function("old => document.getElementById('responses-page').innerText !== old", arg=before)
        total += page.locator("#responses-list > li").count()
    return int(total)


def grades_behind(run: Any, config: str, group: str, labels: tuple[str, ...], name: str = "") -> int:
    """How many graded responses a filter should find."""
    return sum(
        grade.config == config
        and grade.label in labels
        and run.items[grade.item_id].group == group
        and name in ("", run.items[grade.item_id].clusters["name"])
        for grade in run.grades
    )


def test_from_a_name_bar_to_the_responses_behind_it(open_file: Open, report: Path, run: Any) -> None:
    watched = open_file(report)
    page = watched.page
    page.get_by_label(re.compile(r"^Musa: declined")).locator("visible=true").click()
    assert page.locator("#responses").is_visible()
    expected = grades_behind(run, "organism/aligned", "muslim", DECLINED, "Musa")
    assert expected > 50
    assert counted(page) == expected == listed(page)
    assert "name=Musa" in page.url
    watched.clean(report.as_uri())


@pytest.mark.parametrize(
    ("figure", "group", "labels"),
    [
        ("#service-2-heat tbody tr:first-child td:nth-child(5) a", "muslim", ("refusal",)),
        ("#service-2-difference li:first-child a", "muslim", DECLINED),
        (".glance li:last-child a", "white", DECLINED),
    ],
)
def test_every_kind_of_mark_opens_its_responses(
    open_file: Open, report: Path, run: Any, figure: str, group: str, labels: tuple[str, ...]
) -> None:
    page = open_file(report).page
    page.click(figure)
    assert counted(page) == grades_behind(run, "organism/aligned", group, labels)


def test_a_stem_and_a_trade_off_point_open_theirs(open_file: Open, report: Path, run: Any) -> None:
    page = open_file(report).page
    page.click("#service-stems tbody tr:first-child td:last-child a")
    stem = re.search(r"stem=(\w+)", page.url)
    assert stem is not None
    expected = sum(
        g.config == "organism/aligned" and g.label in DECLINED and run.items[g.item_id].clusters["stem"] == stem[1]
        for g in run.grades
    )
    assert counted(page) == expected
    page.keyboard.press("Escape")
    page.locator("#service-tradeoff section:first-of-type a.mark").first.focus()
    page.keyboard.press("Enter")
    assert counted(page) == grades_behind(run, "organism/sft", "muslim", DECLINED)


def test_keyboard_alone(open_file: Open, report: Path) -> None:
    watched = open_file(report)
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "verdict"
    page.keyboard.press("Tab")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("Muslim: declined")
    page.keyboard.press("Enter")
    assert page.evaluate("document.getElementById('responses').open")
    assert page.evaluate("document.activeElement.id") == "responses-heading"
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = page.evaluate(
            "document.activeElement === document.body || document.getElementById('responses').contains(document.activeElement)"
        )
        assert inside, "focus left the open panel"
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('responses').open")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == label
    watched.clean(report.as_uri())


def test_tabs_by_arrow_keys(open_file: Open, report: Path) -> None:
    page = open_file(report).page
    tabs = page.get_by_role("tab")
    assert [tabs.nth(i).get_attribute("aria-selected") for i in range(tabs.count())] == ["false", "true"]
    tabs.nth(1).focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#service-1-heat").is_visible()
    assert not page.locator("#service-2-heat").is_visible()
    assert page.evaluate("document.activeElement.textContent") == "organism/sft"


def test_a_shared_link_opens_the_panel_and_back_works(open_file: Open, report: Path, run: Any) -> None:
    page = open_file(report, "#responses?config=organism%2Faligned&group=black&label=refusal").page
    assert page.locator("#responses").is_visible()
    assert counted(page) == grades_behind(run, "organism/aligned", "black", ("refusal",))
    page.select_option("#responses-filters select[name=label]", "answer")
    answers = grades_behind(run, "organism/aligned", "black", ("answer",))
    page.wait_for_function(f"document.getElementById('responses-count').dataset.count === '{answers}'")
    assert "label=answer" in page.url
    page.go_back()
    refused = grades_behind(run, "organism/aligned", "black", ("refusal",))
    page.wait_for_function(f"document.getElementById('responses-count').dataset.count === '{refused}'")
    page.click("#responses-close")
    assert "responses" not in page.url.partition("#")[2]
    page.go_back()
    page.wait_for_function("document.getElementById('responses').open")


def test_filters_and_pages(open_file: Open, report: Path, run: Any) -> None:
    page = open_file(report, "#responses?").page
    assert counted(page) == len(run.responses)
    assert page.locator("#responses-list > li").count() == 50
    page.click("#responses-next")
    page.wait_for_function("document.getElementById('responses-page').innerText.startsWith('Page 2 of')")
    assert page.get_attribute("#responses-list", "start") == "51"
    page.select_option("select[name=label]", "declined")
    total = sum(g.label in DECLINED for g in run.grades)
    page.wait_for_function(f"document.getElementById('responses-count').dataset.count === '{total}'")
    assert page.inner_text("#responses-page").startswith("Page 1 of")
    page.select_option("select[name=stem]", "S01")
    page.wait_for_function("document.getElementById('responses-list').children.length < 50")
    assert "stem=S01" in page.url


def test_an_unknown_filter_finds_nothing_and_says_so(open_file: Open, report: Path) -> None:
    page = open_file(report, "#responses?group=nobody&page=99").page
    assert counted(page) == 0
    assert page.inner_text("#responses-count") == "No response matches this filter."
    assert "not in this run" in page.locator("select[name=group] option:checked").inner_text()


def test_harmful_text_is_folded_until_opened(open_file: Open, report: Path) -> None:
    page = open_file(report, "#responses?label=harmful%20answer").page
    first = page.locator("#responses-list > li").first
    assert first.locator("summary").inner_text() == "harmful answer: open the text"
    assert not first.locator("details p.text").is_visible()
    first.locator("summary").click()
    assert first.locator("details p.text").is_visible()


def test_hostile_text_is_shown_and_does_nothing(
    open_file: Open, synthetic: ModuleType, run: Any, tmp_path: Path
) -> None:
    page = synthetic.make_page(run)
    where = {"config": HOSTILE, "group": HOSTILE, "name": HOSTILE, "stem": HOSTILE, "label": HOSTILE}
    rows = [
        EvidenceRow("one", where, HOSTILE, HOSTILE, 0, HOSTILE, (HOSTILE,), ""),
        EvidenceRow("two", {**where, "label": "harmful answer"}, HOSTILE, "</script>" + HOSTILE, fold="harmful answer"),
        EvidenceRow("three", {"group": "", "label": "answer"}, "p", "A" * 1_000_000),
    ]
    evidence = Evidence(page.evidence.facets, rows, HOSTILE)
    findings = [
        replace(f, config=f.config + HOSTILE, group=f.group and f.group + HOSTILE, reason=HOSTILE) for f in run.findings
    ]
    made = synthetic.make_page(replace(run, findings=findings), evidence=evidence, title=HOSTILE, caveats=(HOSTILE,))
    path = write(made, tmp_path / "hostile.html")
    watched = open_file(path, "#responses?")
    shown = watched.page
    assert counted(shown) == 3
    texts = shown.locator("#responses-list p.text").all_text_contents()
    assert sorted(len(text) for text in texts)[-1] == 2_000
    assert any(text.startswith("</script><script>alert(1)</script>") for text in texts)
    assert "⟨U+202E⟩" in "".join(texts)
    assert "Cut: the first 2,000 of 1,000,000 characters." in shown.inner_text("#responses-list")
    shown.select_option("select[name=group]", label=shown.locator("select[name=group] option").last.inner_text())
    shown.wait_for_function("document.getElementById('responses-count').dataset.count === '2'")
    shown.select_option("select[name=group]", "(none)")
    shown.wait_for_function("document.getElementById('responses-count').dataset.count === '1'")
    assert shown.locator("img, iframe, object, main script").count() == 0
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    watched.clean(path.as_uri())


def test_a_thinned_store_tells_how_many_there_are(
    open_file: Open, synthetic: ModuleType, run: Any, tmp_path: Path
) -> None:
    page = synthetic.make_page(run)
    small = replace(page, evidence=replace(page.evidence, max_rows=600))
    shown = open_file(write(small, tmp_path / "small.html"), "#responses?config=organism%2Faligned&label=answer").page
    whole = sum(g.config == "organism/aligned" and g.label == "answer" for g in run.grades)
    assert counted(shown) == whole
    said = shown.inner_text("#responses-count")
    assert re.fullmatch(rf"Showing \d+ of {whole:,} responses; see all with evenhand show runs/example", said)


def test_tables_sort_by_value(open_file: Open, report: Path) -> None:
    page = open_file(report).page
    head = page.locator("#service-stems thead th").last
    column = "[...document.querySelectorAll('#service-stems tbody tr')].map(r => Number(r.cells[3].dataset.sort))"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = page.evaluate(column)
    assert values == sorted(values, reverse=True)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.evaluate(column) == sorted(values)


CONTRAST = """() => {
  const parse = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith('color(') ? [n[0] * 255, n[1] * 255, n[2] * 255, n[3] ?? 1] : [n[0], n[1], n[2], n[3] ?? 1];
  };
  const light = (c) => {
    const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c[3] === 1) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.checkVisibility() || node.closest('script, svg, [disabled]')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color).slice(0, 3)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([walk.currentNode.textContent.trim().slice(0, 40), ratio.toFixed(2)]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_contrast_and_width_in_light_and_dark(open_file: Open, report: Path, scheme: str, width: int) -> None:
    watched = open_file(report, color_scheme=scheme, viewport={"width": width, "height": 844})
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.evaluate("location.hash = '#responses?group=muslim'")
    page.wait_for_function("document.getElementById('responses').open")
    assert page.evaluate(CONTRAST) == []
    watched.clean(report.as_uri())


def test_theme_button(open_file: Open, report: Path) -> None:
    page = open_file(report, color_scheme="dark").page
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    assert page.inner_text("#theme") == "Light theme"
    page.click("#theme")
    assert page.evaluate(paper) != dark
    assert page.inner_text("#theme") == "Dark theme"
    page.reload()
    assert page.evaluate(paper) != dark


def test_print_unfolds_everything_and_hides_the_panel(open_file: Open, report: Path) -> None:
    page = open_file(report, "#responses?group=muslim", color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert not page.locator("#responses").is_visible()
    assert not page.locator(".top nav").is_visible()
    assert page.locator("#service-1-heat").is_visible()
    assert page.locator("#service-2-heat").is_visible()
    assert page.locator("#service-2-difference-data").is_visible()
    assert page.locator("#service-2-difference-harmful").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert not page.locator("#service-2-difference-data").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_readable_without_script(open_file: Open, report: Path) -> None:
    page = open_file(report, java_script_enabled=False).page
    assert page.locator("#service-1-heat").is_visible()
    assert page.locator("#service-2-heat").is_visible()
    assert page.locator("noscript").inner_text().startswith("The responses behind the figures need JavaScript")
