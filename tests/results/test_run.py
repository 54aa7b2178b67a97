"""A run as an object: how it prints, its page, its audits."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

import evenhand
from evenhand.errors import BadInput
from evenhand.results import AuditView, RunResult


def test_a_run_prints_as_a_table(organism_run: RunResult) -> None:
    text = repr(organism_run)
    lines = text.splitlines()
    assert lines[1].split() == ["audit", "verdict", "main", "number", "95%", "interval", "group"]
    for name in organism_run:
        assert any(line.startswith(f"{name} ") for line in lines), name
        headline = organism_run[name].result["headlines"][0]
        assert " ".join(str(headline["what"]).split()[:2]) in text
    assert max(map(len, lines[:-2])) < 150
    assert f"kept in {organism_run.folder}" in lines[-1]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


@pytest.mark.parametrize("part", ["run", "audit", "figure"])
def test_nothing_in_a_run_acts_in_a_notebook_or_a_terminal(labels_run: Path, part: str) -> None:
    run = evenhand.load(labels_run)
    shown = {"run": run, "audit": run["service"], "figure": run.plot(figure="service-1-difference")}[part]
    page = shown._repr_html_()
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.seen
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "\x1b" not in repr(shown)


def test_load_opens_a_run_or_one_audit_of_it(labels_run: Path) -> None:
    run = evenhand.load(labels_run)
    view = evenhand.load(labels_run, "service")
    assert isinstance(run, RunResult)
    assert isinstance(view, AuditView)
    assert view.rows.equals(run["service"].rows)
    assert view.result["audit"] == "service"
    assert view.table("grades").height == 72
    assert run.manifest["state"] == view.manifest["state"] == "done"
    assert run["service"] is run["service"]
    with pytest.raises(BadInput, match=r"no audit 'reward'\. It holds: service\."):
        evenhand.load(labels_run, "reward")
    with pytest.raises(BadInput, match="There is no such folder"):
        evenhand.load(labels_run / "none")


def test_the_page_is_written_where_it_is_asked_for(labels_run: Path, tmp_path: Path) -> None:
    run = evenhand.load(labels_run)
    path = run.report(tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert run.report() == run.folder / "report.html"
    assert (run.folder / "report.html").read_bytes() == path.read_bytes()
    with pytest.raises(BadInput, match="This is a folder, not a file"):
        run.report(tmp_path)


def test_a_run_that_another_process_writes_is_not_discarded(labels_run: Path) -> None:
    from evenhand.runs.run import hold

    run = evenhand.load(labels_run)
    lock = hold(run.folder)
    try:
        with pytest.raises(BadInput, match="Another process is writing this run"):
            run.discard()
    finally:
        lock.release()
    assert run.findings.height
