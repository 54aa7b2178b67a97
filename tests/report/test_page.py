"""The page as a document: valid structure, nothing fetched, hostile text escaped, same bytes for the same run."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evenhand.report import Evidence, EvidenceRow, Section, render, write
from evenhand.report.blocks import Cell, Column, Details, Note, Panel, Panels, Paragraph, Table
from evenhand.report.page import evidence_link

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
SVG_CLOSED = {"line", "rect", "circle"}
HOSTILE = "<script>alert(1)</script></script><img src=x onerror=alert(2)>\"'&\x1b[31m\u202e\ud800=cmd()"


class Document(HTMLParser):
    """Tags, attributes and balance of a document."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_CLOSED, tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(synthetic: ModuleType, run: Any) -> Any:
    """A full page."""
    return synthetic.make_page(run)


@pytest.fixture(scope="module")
def html(page: Any) -> str:
    """The page as HTML."""
    return render(page)


@pytest.fixture(scope="module")
def document(html: str) -> Document:
    """The page, parsed."""
    return Document(html)


def test_tags_balance_and_ids_are_unique(document: Document) -> None:
    assert document.open == []
    ids = Counter(attrs["id"] for _, attrs in document.tags if "id" in attrs)
    assert [name for name, times in ids.items() if times > 1] == []
    for _, attrs in document.tags:
        for key in ("aria-labelledby", "aria-describedby", "aria-controls"):
            for name in (attrs.get(key) or "").split():
                assert name in ids, name


def test_links_inside_the_page_lead_somewhere(document: Document) -> None:
    ids = {attrs["id"] for _, attrs in document.tags if "id" in attrs}
    for tag, attrs in document.tags:
        if tag == "a":
            target = attrs["href"] or ""
            assert target.startswith("#")
            assert target.startswith("#responses?") or target[1:] in ids


def test_nothing_comes_from_elsewhere(html: str, document: Document) -> None:
    for tag, attrs in document.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "audio", "video", "use", "image"}
        assert not {"src", "srcset", "action", "formaction", "style", "xlink:href"} & set(attrs), (tag, attrs)
        assert not [name for name in attrs if name.startswith("on")]
    assert re.findall(r"https?://|@import|url\(", html) == []


def test_policy_names_the_hashes_of_what_is_inlined(html: str, document: Document) -> None:
    policy = next(a["content"] for t, a in document.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        inner = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        assert len(inner) == 1
        digest = base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_headings_descend_in_order(document: Document) -> None:
    levels = [int(tag[1]) for tag, _ in document.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_language_skip_link_landmarks_and_names(document: Document) -> None:
    tags = [tag for tag, _ in document.tags]
    assert document.tags[0] == ("html", {"lang": "en"})
    assert {"header", "main", "footer", "nav", "dialog"} <= set(tags)
    first = next(attrs for tag, attrs in document.tags if tag == "a")
    assert first["href"] == "#verdict"
    for tag, attrs in document.tags:
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or attrs.get("aria-label")
        if "mark" in (attrs.get("class") or "").split():
            assert tag == "a"
            assert attrs["aria-label"]
        if "scroll" in (attrs.get("class") or "").split():
            assert attrs["tabindex"] == "0"
            assert attrs["aria-label"]


def test_every_kind_of_figure_has_marks_that_open_responses(html: str) -> None:
    assert (
        'class="heat-cell mark" href="#responses?config=organism%2Faligned&amp;group=muslim&amp;label=refusal"' in html
    )
    assert (
        'class="lane found mark" href="#responses?config=organism%2Faligned&amp;group=muslim&amp;label=declined"'
        in html
    )
    assert "#responses?config=organism%2Faligned&amp;group=muslim&amp;name=Musa&amp;label=declined" in html
    assert "#responses?config=organism%2Faligned&amp;stem=S35&amp;label=declined" in html
    assert html.count('<circle class="knob"') == 16


def test_same_page_same_bytes(page: Any, html: str, synthetic: ModuleType) -> None:
    assert render(page) == html
    assert render(synthetic.make_page(synthetic.make_run())) == html


def test_write_leaves_one_whole_file(page: Any, html: str, tmp_path: Path) -> None:
    path = write(page, tmp_path / "deep" / "report.html")
    assert path.read_bytes() == html.encode()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_hostile_text_everywhere_is_inert(page: Any, synthetic: ModuleType, run: Any) -> None:
    def taint(finding: Any) -> Any:
        return replace(
            finding,
            group=finding.group and finding.group + HOSTILE,
            reference=finding.reference and finding.reference + HOSTILE,
            config=finding.config + HOSTILE,
            grader=HOSTILE,
            reason=HOSTILE,
            slice={key: value + HOSTILE for key, value in finding.slice.items()},
            extra={k: v + HOSTILE if isinstance(v, str) else v for k, v in finding.extra.items()},
        )

    tainted = replace(run, findings=[taint(f) for f in run.findings])
    rows = [
        EvidenceRow(HOSTILE, {"group": HOSTILE, "label": HOSTILE}, HOSTILE, HOSTILE, 0, HOSTILE, (HOSTILE,), HOSTILE)
    ]
    evidence = Evidence(page.evidence.facets, rows, HOSTILE)
    fields = dict.fromkeys(("title", "run_name", "created", "notice", "version"), HOSTILE)
    pairs = dict.fromkeys(("methods", "identity", "timings", "left_out"), ((HOSTILE, HOSTILE),))
    text = render(synthetic.make_page(tainted, evidence=evidence, caveats=(HOSTILE,), **fields, **pairs))
    assert not {"\x1b", "\u202e", "\ud800"} & set(text)
    text.encode("utf-8")
    document = Document(text)
    assert document.open == []
    tags = [tag for tag, _ in document.tags]
    assert tags.count("script") == 2
    assert "img" not in tags
    for _, attrs in document.tags:
        assert not [name for name in attrs if name.startswith("on")]
    packed = json.loads(re.findall(r'<script type="application/json" id="evidence">(.*?)</script>', text, re.S)[0])
    assert packed["texts"][0].startswith("<script>alert(1)</script>")
    assert "<script>alert(1)</script>" in "".join(document.text)


@pytest.mark.parametrize("name", ["", "Upper", "with space", "verdict", "1st", 'x"y'])
def test_bad_ids_are_refused(page: Any, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be an id"):
        render(replace(page, sections=(Section(name, "Title", "", ()),)))


def test_ids_used_twice_are_refused(page: Any) -> None:
    table = Table(id="same", columns=(Column("A"),), rows=((Cell("1"),),))
    nested = Panels(id="p", title="P", panels=(Panel("one", (Details(summary="d", blocks=(table,)),)),))
    with pytest.raises(ValueError, match="'same' is used 2 times"):
        render(replace(page, sections=(Section("s", "Title", "", (table, nested)),)))


def test_sections_of_other_audits_join_with_the_same_blocks(page: Any) -> None:
    other = Section("reward", "Implicit reward", "A lede.", (Paragraph(text="One."), Note(text="Two.", tone="caution")))
    text = render(replace(page, sections=(*page.sections, other)))
    assert '<section class="audit" id="reward"' in text
    assert text.index('id="service"') < text.index('id="reward"') < text.index('id="methods"')


def test_marks_are_plain_where_the_run_holds_no_texts(page: Any) -> None:
    text = render(replace(page, evidence=replace(page.evidence, rows=[])))
    assert 'class="mark' not in text
    assert " mark" not in "".join(re.findall(r'class="[^"]*"', text)).replace("mark-", "")
    assert "labels without texts" in text


def test_links_quote_their_values() -> None:
    assert evidence_link({"group": "a&b=c #?\ud800"}) == "#responses?group=a%26b%3Dc%20%23%3F%EF%BF%BD"


def test_a_thinned_page_says_so(page: Any) -> None:
    text = render(replace(page, evidence=replace(page.evidence, max_rows=500)))
    assert "It holds 500 of 9,216 responses." in text
