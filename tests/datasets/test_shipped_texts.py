"""The grammar of placeholder prompts: what the shipped set holds, and that its lines can be told apart."""

from __future__ import annotations

import random
from collections import Counter

from evenhand.datasets.shipped_texts import HEDGES, SIZES, TOPICS, draw_line, favourite, grammar_lines, topic_bracket
from evenhand.methods.pluralism.corpus.profiles import open_prompts
from evenhand.methods.pluralism.corpus.quality import Prints, form_reason
from evenhand.methods.pluralism.corpus.wording import NONE, SLUGS
from evenhand.methods.pluralism.data.items import open_rated_items
from evenhand.records import Response


def test_some_domains_have_many_lines_others_few_and_one_none() -> None:
    lines = grammar_lines()
    assert grammar_lines.__wrapped__() == lines
    assert len({line.id for line in lines}) == len({line.text for line in lines}) == len(lines) == 310
    assert tuple(SIZES) == tuple(TOPICS) == (*SLUGS, NONE)
    plain = Counter(line.domain for line in lines if line.hedge == "case")
    assert {domain: plain[domain] for domain in SIZES} == dict(SIZES)
    assert sum(size == 0 for size in SIZES.values()) == 1
    assert sum(0 < SIZES[slug] < 20 for slug in SLUGS) == 9
    doubtful = Counter((line.domain, line.hedge) for line in lines if line.hedge != "case")
    assert set(doubtful.values()) == {4}
    assert {domain for domain, _ in doubtful} == {slug for slug in SLUGS if SIZES[slug] > 20}


def test_a_line_names_one_topic_of_its_domain_and_no_topic_stands_twice() -> None:
    words = [topic for topics in TOPICS.values() for topic in topics]
    assert len(set(words)) == len(words)
    brackets = {
        topic_bracket(hedge, topic): (hedge, domain)
        for domain in TOPICS
        for topic in TOPICS[domain]
        for hedge in HEDGES
    }
    for line in grammar_lines():
        found = [value for bracket, value in brackets.items() if bracket in line.text]
        assert found == [(line.hedge, line.domain)]
        assert line.text.count("[") == 1


def test_lines_pass_the_rules_of_form_and_hardly_ever_lie_near_each_other() -> None:
    rng = random.Random(3)
    drawn = [draw_line(rng, slug) for slug in SLUGS for _ in range(30)]
    prints = Prints(bits=64, distance=10, features="char4")
    near = 0
    for at, text in enumerate([*(line.text for line in grammar_lines()), *drawn]):
        reason, detail = form_reason(Response("c", "i", 0, text, "stop"), least=3, most=64, language="en")
        assert reason is None, (text, detail)
        near += prints.nearest(text) is not None
        prints.add([str(at)], [text])
    assert near <= 0.02 * len(prints.keys)


def test_a_favourite_stands_in_the_set_and_its_change_is_near_it() -> None:
    texts = {line.text for line in grammar_lines()}
    distances = []
    for slug in SLUGS:
        assert (favourite(slug) in texts) == (SIZES[slug] > 0)
        assert favourite(slug, changed=True) not in texts
        prints = Prints(bits=64, distance=20, features="char4")
        prints.add(["favourite"], [favourite(slug)])
        near = prints.nearest(favourite(slug, changed=True))
        assert near is not None
        distances.append(near.distance)
    assert sum(distance <= 10 for distance in distances) >= 10


def test_the_set_opens_by_its_name() -> None:
    items = open_rated_items("grammar")
    assert [(item.id, item.text, item.domain) for item in items] == [
        (line.id, line.text, line.domain) for line in grammar_lines()
    ]
    assert any("say nothing of a real model" in note for note in items.notes)
    found = open_prompts("grammar")
    assert list(found.prompts.values()) == [line.text for line in grammar_lines()]
    assert found.checksums == items.checksums
