"""The public data sets of this audit.

`Llama2Qos` is the early public release of the published study: 32 names x 24 templates, counts of all labels, samples of
responses. It keeps apart three things that look alike: ``identity`` is the group of the name and of an item;
``target_stereotype`` (``ethnicity`` in the release) is the group that the template's stereotype is about, an attribute;
"label 1".."label 3" are three generations, that is repetitions, not three annotators.

`HolisticBias` (v1.1) holds noun phrases that name a group outright. Dropped are descriptors and phrases marked
``dispreferred`` or ``polarizing``, the axis ``nonce``, and sentence templates that hate, dislike or call a group the worst.
Text built from this set is CC-BY-SA-4.0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evenhand.datasets.base import Sources, item_id
from evenhand.datasets.labels import LabelTable, gender_of_list, read_labels, relative_frequency
from evenhand.datasets.prompts import Name, Stem, build_chat, cross, read_stems
from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.datasets.responses import read_responses
from evenhand.datasets.table import Table, read_table
from evenhand.errors import BadInput
from evenhand.records import Item, Response
from evenhand.text_input import read_json_file

Size = Literal["7b", "13b"]

LOADED = frozenset({"T17", "T18", "T22"})
"""Templates that carry a slight or ask to assign blame (docs/service_quality.md): declining them is not a clear over-refusal."""


class Llama2Qos:
    """Reader of the public folder ``llama2_qos``.

    The release used a one-line system prompt and a prompt string with a literal ``<s>`` and two ``[INST]``; new items
    carry our system prompt and go through the model's own chat template instead.
    """

    name = "llama2-qos"
    licence = "none stated by the source: samples and counts only"
    source = "github.com/Gunfuboy/Llama2-Bias-Project, commit bb54246 (2023-12-19)"
    description = "early public release of the published study: 32 names x 24 templates, Llama 2 Chat 7B and 13B"
    reference_group = "white"

    def __init__(self, folder: str | Path | None = None):
        self.sources = Sources("llama2_qos", folder)

    def names(self) -> list[Name]:
        """32 names with identity, gender (coded for three identities only), frequency and the list they come from."""
        path = self.sources.file("names.json")
        lists = _lists_by_key(path)
        frequency = {row["name"]: row["name_frequency"] for row in self.counts_by_name().rows()}
        names: list[Name] = []
        for key, entries in lists.items():
            gender = gender_of_list(key)
            for entry in entries:
                if entry not in frequency:
                    raise BadInput(f"'{entry}' is not in counts_by_name.csv.", file=path)
                attributes = {"frequency": relative_frequency(frequency[entry]) or "", "name_list": key}
                attributes |= {"gender": gender} if gender else {}
                names.append(Name(entry, key.split("_")[0], attributes))
        return names

    def stems(self) -> list[Stem]:
        """24 templates with their class (ours): loaded for T17, T18 and T22, else stereotype_probe."""
        table = read_table(self.sources.file("templates.csv"))
        return [
            Stem(s.id, s.text, "loaded" if s.id in LOADED else "stereotype_probe", s.attributes)
            for s in read_stems(table, {"stem": "template", "stem_id": "template_id"})
        ]

    def items(self, *, system_prompt: str | None = SERVICE_SYSTEM_PROMPT) -> list[Item]:
        """768 items; the grammar of the templates is kept as published."""
        return cross(self.names(), self.stems(), system_prompt=system_prompt)

    def counts_by_name(self) -> Table:
        """64 rows: label counts of each name and model over 24 templates x 3 generations."""
        return read_table(self.sources.file("counts_by_name.csv"))

    def counts_by_template(self, size: Size) -> Table:
        """192 rows: label counts of each template and name list of one model."""
        return read_table(self.sources.file(f"counts_template_by_type_{size}.csv"))

    def labels(
        self, part: Literal["by_name", "by_template", "sample"] = "by_name", size: Size | None = None
    ) -> LabelTable:
        """Human labels: counts by name (both models), counts by template, or the sample (both need ``size``)."""
        if part == "by_name":
            return read_labels(self.counts_by_name())
        if size is None:
            raise BadInput(f"'{part}' is one file a model.", do="Give size '7b' or '13b'.")
        return read_labels(self.counts_by_template(size) if part == "by_template" else self._sample(size))

    def responses(self, size: Size) -> tuple[list[Item], list[Response]]:
        """The sample of one model: 64 items (templates T01 and T06), three responses each, echo already removed.

        The release stores no finish reason; the texts are taken as finished.
        """
        table = self._sample(size)
        items_by_id = {item.id: item for item in self.items()}
        mapping = {"config": "model", "stem": "template_id", "repetition": "gen"}
        return read_responses(table, mapping, items=items_by_id)

    def counts(self) -> dict[str, int]:
        """Names, groups, stems, items and labelled responses."""
        names, stems = self.names(), self.stems()
        return {
            "names": len(names),
            "groups": len({name.group for name in names}),
            "stems": len(stems),
            "items": len(names) * len(stems),
            "labelled responses": int(self.labels().frame["count"].sum()),
        }

    def _sample(self, size: Size) -> Table:
        return read_table(self.sources.file(f"sample_{size}.csv"))


def _lists_by_key(path: Path) -> dict[str, list[str]]:
    content = read_json_file(path)
    if not isinstance(content, dict) or not all(isinstance(names, list) for names in content.values()):
        raise BadInput("The file is not an object of lists.", file=path)
    return content


KEPT_PREFERENCES = frozenset({"reviewed", "no_data"})
_HOSTILE = ("hate", "don't like", "the worst")
_GENDER_OF = {"female": "woman", "male": "man", "neutral": ""}
# Words whose first letter misleads: a consonant sound behind a vowel letter, and the reverse (also letters read by
# name).
_CONSONANT_SOUND = ("uni", "use", "eu", "one", "once", "us-", "u.s", "uk")
_VOWEL_SOUND = ("hour", "honest", "heir", "lgbt", "hiv", "mtf", "ftm", "m2f", "f2m")
_UN_WORDS = ("unin", "unim", "unid")


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A noun phrase with its article, its plural and its source; ``descriptor`` is the term without a noun."""

    phrase: str
    plural: str
    axis: str
    bucket: str
    descriptor: str
    preference: str
    gender: str


class HolisticBias:
    """Reader of the public folder ``holisticbias``."""

    name = "holisticbias"
    licence = "CC-BY-SA-4.0"
    source = "github.com/facebookresearch/ResponsibleNLP, commit 0ec714e (2026-02-02); arXiv 2205.09209"
    description = (
        "noun phrases of 12 axes without dispreferred, polarizing and nonce terms; 23 of 26 sentence templates"
    )
    reference_group = "unmarked"

    def __init__(self, folder: str | Path | None = None):
        self.sources = Sources("holisticbias", folder)

    def noun_phrases(
        self, *, nouns: Collection[str] = ("man", "woman", "person"), drop: bool = True
    ) -> list[NounPhrase]:
        """Descriptors x nouns, then stand-alone phrases (their slots filled with the same nouns), without repeats.

        A descriptor that goes with one gender takes only nouns of it. ``drop=False`` keeps what is dropped by
        default, for inspection only. Raises BadInput for a noun that the word list does not hold.
        """
        nouns_by_word = {
            singular: (singular, plural, _GENDER_OF[g])
            for g, pairs in self._nouns().items()
            for singular, plural in pairs
        }
        unknown = [noun for noun in nouns if noun not in nouns_by_word]
        if unknown:
            raise BadInput(f"No noun '{unknown[0]}' in HolisticBias.", do=f"Known: {', '.join(nouns_by_word)}.")
        chosen = [nouns_by_word[noun] for noun in nouns]
        phrases: dict[str, NounPhrase] = {}
        for phrase in (*self._described(chosen), *self._standalone(chosen)):
            if not drop or (phrase.preference in KEPT_PREFERENCES and phrase.axis != "nonce"):
                phrases.setdefault(phrase.phrase.casefold(), phrase)
        return list(phrases.values())

    def sentence_templates(self, *, drop_hostile: bool = True) -> list[str]:
        """26 sentence templates, or the 23 that are not hostile."""
        templates = list(read_json_file(self.sources.file("sentence_templates.json")))
        return [template for template in templates if not (drop_hostile and is_hostile(template))]

    def names(
        self,
        *,
        group_by: Literal["axis", "bucket", "descriptor"] = "axis",
        nouns: Sequence[str] = ("man", "woman", "person"),
    ) -> list[Name]:
        """Noun phrases as names, grouped, and the bare nouns as the reference group ``unmarked``."""
        bare = [Name(f"{article_for(noun)} {noun}", "unmarked", {"axis": "none"}) for noun in nouns]
        named = [
            Name(
                p.phrase,
                p.axis
                if group_by == "axis"
                else f"{p.axis}: {p.bucket or p.descriptor}"
                if group_by == "bucket"
                else p.descriptor,
                {"axis": p.axis, "bucket": p.bucket, "descriptor": p.descriptor}
                | ({"gender": p.gender} if p.gender else {}),
            )
            for p in self.noun_phrases(nouns=nouns)
        ]
        return bare + named

    def items(
        self,
        *,
        stems: Sequence[Stem] | None = None,
        axes: Collection[str] | None = None,
        group_by: Literal["axis", "bucket", "descriptor"] = "axis",
        nouns: Sequence[str] = ("person",),
        system_prompt: str | None = SERVICE_SYSTEM_PROMPT,
    ) -> list[Item]:
        """Explicit-identity items: every stem (default: the shipped ones) with every noun phrase of the chosen axes."""
        if stems is None:
            from evenhand.datasets.shipped import NamesAndStems

            stems = NamesAndStems().stems()
        return cross(self._of_axes(axes, group_by, nouns), stems, system_prompt=system_prompt, capitalise=True)

    def sentences(
        self,
        *,
        axes: Collection[str] | None = None,
        group_by: Literal["axis", "bucket", "descriptor"] = "axis",
        nouns: Sequence[str] = ("person",),
        drop_hostile: bool = True,
        system_prompt: str | None = None,
    ) -> list[Item]:
        """The set's own form: every sentence template with every noun phrase, as one user turn."""
        plurals = {p.phrase: p.plural for p in self.noun_phrases(nouns=nouns)}
        plurals |= {f"{article_for(s)} {s}": plural for pairs in self._nouns().values() for s, plural in pairs}
        items: list[Item] = []
        for number, template in enumerate(self.sentence_templates(drop_hostile=drop_hostile), start=1):
            for name in self._of_axes(axes, group_by, nouns):
                text = template.replace("{noun_phrase}", name.name).replace("{plural_noun_phrase}", plurals[name.name])
                items.append(
                    Item(
                        id=item_id("holisticbias", f"H{number:02d}", name.name),
                        audit="holisticbias",
                        chat=build_chat(text, system_prompt),
                        group=name.group,
                        clusters={"name": name.name, "stem": f"H{number:02d}"},
                        attributes=name.attributes,
                    )
                )
        return items

    def counts(self) -> dict[str, int]:
        """Noun phrases with the noun ``person``, axes, sentence templates."""
        phrases = self.noun_phrases(nouns=("person",))
        return {
            "noun phrases": len(phrases),
            "axes": len({p.axis for p in phrases}),
            "sentence templates": len(self.sentence_templates()),
        }

    def _of_axes(self, axes: Collection[str] | None, group_by: Any, nouns: Sequence[str]) -> list[Name]:
        names = self.names(group_by=group_by, nouns=nouns)
        axes_there = {name.attributes["axis"] for name in names}
        for axis in axes or ():
            if axis not in axes_there:
                raise BadInput(
                    f"No axis '{axis}' in HolisticBias.", do=f"Known: {', '.join(sorted(axes_there - {'none'}))}."
                )
        return [name for name in names if axes is None or name.attributes["axis"] in {*axes, "none"}]

    def _nouns(self) -> dict[str, list[list[str]]]:
        nouns: dict[str, list[list[str]]] = read_json_file(self.sources.file("nouns.json"))
        return nouns

    def _described(self, nouns: Sequence[tuple[str, str, str]]) -> Iterator[NounPhrase]:
        for cells in read_table(self.sources.file("descriptors_flat.csv")).rows():
            term, only = cells["descriptor"] or "", _GENDER_OF.get(cells["gender"] or "")
            for singular, plural, gender in nouns:
                if only is None or only == gender:
                    article = cells["article"] or article_for(term)
                    yield NounPhrase(
                        f"{article} {term} {singular}",
                        f"{term} {plural}",
                        cells["axis"] or "",
                        cells["bucket"] or "",
                        term,
                        cells["preference"] or "no_data",
                        gender,
                    )

    def _standalone(self, nouns: Sequence[tuple[str, str, str]]) -> Iterator[NounPhrase]:
        for axis, entries in read_json_file(self.sources.file("standalone_noun_phrases.json")).items():
            for entry in entries:
                entry = {"noun_phrase": entry} if isinstance(entry, str) else entry
                text, preference = entry["noun_phrase"], entry.get("preference", "no_data")
                many = entry.get("plural_noun_phrase", text)
                slots = nouns if "{noun}" in text else [("", "", "")]
                for singular, plural, gender in slots:
                    one = text.replace("{article}", article_for(singular)).replace("{noun}", singular)
                    more = many.replace("{article} ", "").replace("{noun}", plural)
                    term = text.replace("{article} ", "").replace("{noun} ", "")
                    yield NounPhrase(one, more, axis, "", term, preference, gender)


def is_hostile(template: str) -> bool:
    """Whether a sentence template hates, dislikes or calls a group the worst."""
    return any(words in template for words in _HOSTILE)


def article_for(word: str) -> str:
    """The indefinite article by sound: ``a`` or ``an`` (an hour, a one-legged ..., an LGBTQ ...)."""
    low = word.casefold()
    if low.startswith(_VOWEL_SOUND):
        return "an"
    if low.startswith(_CONSONANT_SOUND) and not low.startswith(_UN_WORDS):
        return "a"
    return "an" if low[:1] in tuple("aeiouáéíóú") else "a"
