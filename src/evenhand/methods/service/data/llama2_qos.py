"""The early public release of the published study: 32 names x 24 templates, counts of all labels, samples of responses.

Three things that look alike are kept apart here. ``identity`` is the group of the name, and the group of an item.
``target_stereotype`` (``ethnicity`` in the release) is whom the template's stereotype is about: an attribute. "label
1".."label 3" are three generations, not three annotators: repetitions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from evenhand.datasets.base import Sources
from evenhand.datasets.labels import LabelTable, gender_of_list, read_labels, relative_frequency
from evenhand.datasets.prompts import Name, Stem, cross, read_stems
from evenhand.datasets.question_texts import SERVICE_SYSTEM_PROMPT
from evenhand.datasets.responses import read_responses
from evenhand.datasets.table import Table, read_table
from evenhand.errors import BadInput
from evenhand.records import Item, Response
from evenhand.text_input import read_json_file

Size = Literal["7b", "13b"]

LOADED = frozenset({"T17", "T18", "T22"})
"""Templates that carry a slight or ask to assign blame (specification 2.3): declining them is no clear over-refusal."""


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
        lists = _read_json(path)
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
        known = {item.id: item for item in self.items()}
        mapping = {"config": "model", "stem": "template_id", "repetition": "gen"}
        return read_responses(table, mapping, items=known)

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


def _read_json(path: Path) -> dict[str, list[str]]:
    content = read_json_file(path)
    if not isinstance(content, dict) or not all(isinstance(names, list) for names in content.values()):
        raise BadInput("The file is not an object of lists.", file=path)
    return content
