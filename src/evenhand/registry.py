"""What is registered: methods, engines, datasets, sets of single methods, graders and classifiers, each loaded on first use.

A method and all that only it uses is declared in its own folder (``methods/**/method.py``); what several methods share is
listed here. A plug-in is a package with an entry point in the group ``evenhand`` that names a function; the function is called
without arguments and adds what the package brings, for example ``METHODS.add(Method("mine", ...))`` or
``GRADERS.add("mine", "my_package:Mine", "what it does")``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from evenhand.errors import BadInput

_MISSING = "the plug-in that made these numbers is not installed here"
_METHOD_NAME = re.compile(r"[a-z][a-z0-9-]*")


def load_target(target: str) -> Any:
    """The object that a ``module:attribute`` text names. Raises BadInput if the module or attribute does not exist."""
    name, _, attribute = target.partition(":")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists; one that it imports does not
        raise BadInput(
            f"'{target}' is registered, but there is no module {error.name}.", do="Install its package again."
        ) from None
    if not hasattr(module, attribute):
        raise BadInput(f"'{target}' is registered, but {name} has no '{attribute}'.", do="Install its package again.")
    return getattr(module, attribute)


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered object: its name, the ``module:attribute`` that makes it, and one line about it."""

    name: str
    target: str
    summary: str

    def load(self) -> Any:
        """Import and return the registered object. Raises BadInput where its target does not exist."""
        return load_target(self.target)


@dataclass(frozen=True, slots=True)
class Method:
    """Everything that Evenhand knows of one audit, repair or corpus build. Nothing else has to be touched to add one.

    Targets are ``module:attribute`` texts, loaded on first use, so that a declaration imports nothing heavy.

    Parameters
    ----------
    name : lower-case letters, digits and hyphens; also the folder of its tables in a run.
    title : heading in lists and on pages.
    summary : one line.
    paper : the package below ``evenhand.methods``, and its docs page; empty for a plug-in.
    audit : an `evenhand.runs.method.Audit`; empty for a method with its own command.
    settings : a pydantic model of the settings that this method alone reads.
    rows : the frame behind the findings: the name of a table of the method (``"pairs"``), a target that takes a
        `evenhand.runs.load.LoadedRun` and returns a frame, or empty for graded responses.
    shown : the columns of it that `evenhand show` prints (default: the first eight).
    filters : the column that an option of `evenhand show` selects by, where it is not called like the option
        (``{"group": "declared"}``).
    labels : the labels of graded responses where they are a fixed list.
    sample : a target that writes responses for human labels (`evenhand sample`), called with (run folder, name, CSV file, size,
        seed) and returning the number of rows; empty where human labels do not calibrate the method.
    section : a target that takes a LoadedRun and returns a `evenhand.report.build.Part`; empty for the generic section.
    fold : why the texts of the generic section stay closed until a reader opens them; empty closes harmful labels alone.
    commands : a target that takes the typer app and adds commands.
    datasets, graders, classifiers : what only this method brings.
    sets : the same for the sets of single methods, by their kind in `KINDS` (``{"safety-sets": (Entry(...),)}``).
    order : place in lists and on pages; plug-ins come last.
    """

    name: str
    title: str
    summary: str
    paper: str = ""
    audit: str = ""
    settings: str = ""
    rows: str = ""
    shown: tuple[str, ...] = ()
    filters: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    sample: str = ""
    section: str = ""
    fold: str = ""
    commands: str = ""
    datasets: tuple[Entry, ...] = ()
    graders: tuple[Entry, ...] = ()
    classifiers: tuple[Entry, ...] = ()
    sets: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    order: int = 1_000

    def brings(self, kind: str) -> tuple[Entry, ...]:
        """The entries of one kind of `KINDS` that this method brings."""
        shared_kinds = {"datasets": self.datasets, "graders": self.graders, "classifiers": self.classifiers}
        return shared_kinds[kind] if kind in shared_kinds else tuple(self.sets.get(kind, ()))


@cache
def built_in_methods() -> tuple[Method, ...]:
    """The METHOD of every ``method.py`` below ``evenhand/methods``, in their order."""
    root = Path(__file__).parent / "methods"
    names = (".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("method.py"))
    methods: list[Method] = [import_module(f"evenhand.methods.{name}").METHOD for name in names]
    return tuple(sorted(methods, key=lambda method: method.order))


class Methods:
    """The declarations of the built-in methods and of plug-ins, by name, in their order."""

    def __init__(self) -> None:
        self._added: dict[str, Method] = {}

    def add(self, method: Method) -> None:
        """Declare one more method. Raises BadInput for a name that is taken or malformed."""
        if not _METHOD_NAME.fullmatch(method.name):
            raise BadInput(
                f"'{method.name}' cannot be the name of a method.", do="Use lower-case letters, digits and hyphens."
            )
        if method.name in self._added or any(one.name == method.name for one in built_in_methods()):
            raise BadInput(f"method '{method.name}' is registered twice.")
        unknown = sorted(set(method.sets) - set(KINDS))
        if unknown:
            raise BadInput(f"method '{method.name}' brings '{unknown[0]}'.", do=f"Known kinds: {', '.join(KINDS)}.")
        self._added[method.name] = method

    def get(self, name: str) -> Method:
        """The declaration called ``name``. Raises BadInput, with the known names, for another."""
        method = next((method for method in self if method.name == name), None)
        if method is None:
            raise BadInput(f"No method is called '{name}'.", do=f"Known: {', '.join(method.name for method in self)}.")
        return method

    def of_run(self, name: str) -> Method:
        """The declaration of a method that a run holds; a bare one where its plug-in is not installed."""
        return next((method for method in self if method.name == name), Method(name, name, _MISSING, fold=_MISSING))

    def __contains__(self, name: str) -> bool:
        return any(method.name == name for method in self)

    def __iter__(self) -> Iterator[Method]:
        load_plugins()
        return iter(sorted((*built_in_methods(), *self._added.values()), key=lambda method: method.order))


METHODS = Methods()


def audits() -> list[Method]:
    """The methods that `evenhand audit` runs, in their order."""
    return [method for method in METHODS if method.audit]


def open_audit(name: str) -> Any:
    """A new audit (`evenhand.runs.method.Audit`) of the method ``name``. Raises BadInput for any other name."""
    method = next((method for method in audits() if method.name == name), None)
    if method is None:
        known = ", ".join(sorted(method.name for method in audits()))
        raise BadInput(f"No audit is called '{name}'.", do=f"Known: {known}.")
    return load_target(method.audit)()


class Registry:
    """Entries of one kind, by name: the shared ones, those that methods bring, and those of plug-ins."""

    def __init__(self, kind: str, *entries: tuple[str, str, str], brought: str = ""):
        self.kind = kind
        self._brought = brought
        self._entries = {name: Entry(name, target, summary) for name, target, summary in entries}

    def add(self, name: str, target: str, summary: str) -> None:
        """Register one more entry. Raises BadInput for a name that is taken."""
        if name in self._entries:
            raise self._twice(name)
        self._entries[name] = Entry(name, target, summary)

    def _twice(self, name: str) -> BadInput:
        return BadInput(f"{self.kind} '{name}' is registered twice.")

    def _all(self) -> dict[str, Entry]:
        """Every entry by name. Raises BadInput where two have one name."""
        load_plugins()
        entries = dict(self._entries)
        for entry in (entry for method in METHODS for entry in method.brings(self._brought)) if self._brought else ():
            if entry.name in entries:
                raise self._twice(entry.name)
            entries[entry.name] = entry
        return entries

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in order of registration."""
        return tuple(self._all())

    def get(self, name: str) -> Any:
        """Load the object registered as ``name``. Raises BadInput, with the known names, for another."""
        entries = self._all()
        if name not in entries:
            raise BadInput(f"No {self.kind} is called '{name}'.", do=f"Known: {', '.join(sorted(entries))}.")
        return entries[name].load()

    def __contains__(self, name: str) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._all().values())


# fmt: off
ENGINES = Registry(
    "engine",
    ("organism", "evenhand.engines.local:open_organism", "organism/NAME[+tsdi:DIR]: a tiny shipped model with planted harms"),
    ("hf", "evenhand.engines.local:open_hf",
     "hf/ID-or-FOLDER[@REVISION][+ADAPTER][+tsdi:DIR]: transformers, on this machine"),
    ("openai", "evenhand.engines.http:open_openai", "openai/MODEL: the OpenAI API (key from OPENAI_API_KEY)"),
    ("http", "evenhand.engines.http:open_http", "http(s)://HOST/v1#MODEL: any endpoint that speaks the OpenAI wire"),
)
DATASETS = Registry(
    "dataset",
    ("names-and-stems", "evenhand.datasets.shipped:NamesAndStems", "shipped: 64 first names in 8 groups x 36 stems"),
    ("noun-phrases", "evenhand.datasets.shipped:NounPhrases", "shipped: explicit noun phrases x the same stems"),
    ("xstest", "evenhand.datasets.xstest:XSTest", "XSTest v2: 250 safe and 200 unsafe prompts"),
    brought="datasets",
)
GRADERS = Registry(
    "grader",
    ("prefix", "evenhand.graders.refusals:PrefixGrader", "refusal openers at the start of the text"),
    ("lexicon", "evenhand.graders.refusals:LexiconGrader", "refusal wordings anywhere in the text"),
    ("rubric", "evenhand.graders.rubric:RubricGrader", "a judge model with the fixed six-label rubric (needs --judge)"),
    ("human", "evenhand.graders.human:HumanGrader", "labels that people gave, from a csv, jsonl or parquet file"),
    ("grammar", "evenhand.organisms.grader:GrammarGrader", "exact labels for organisms, from their own grammar"),
    brought="graders",
)
CLASSIFIERS = Registry(
    "classifier",
    ("sentiment-lexicon", "evenhand.graders.content:SentimentLexicon", "a small word list: share of positive minus negative"),
    ("hf", "evenhand.graders.hf_classifier:HfClassifier", "hf/FOLDER-or-ID#LABEL: probability of one label"),
    brought="classifiers",
)
# fmt: on
PAIR_SETS = Registry("pair set", brought="pair-sets")
"""Functions without arguments that return a `PairSet` of the reward audit."""
PRONOUN_SETS = Registry("pronoun set", brought="pronoun-sets")
"""Functions of a keyword ``seed`` that return an `AffirmationSet`."""
DIFFERENCE_SETS = Registry("difference set", brought="difference-sets")
"""Functions without arguments that return `Cases` of the difference audit."""
TRANSFER_SETS = Registry("transfer set", brought="transfer-sets")
"""Functions without arguments that return a `Transfer`."""
SAFETY_SETS = Registry("safety set", brought="safety-sets")
"""Functions of the folder of public sets (None: EVENHAND_DATA) that return a `SafetySet`."""
RATING_SETS = Registry("rating set", brought="rating-sets")
"""Texts to be rated: functions of the folder of public sets (None: EVENHAND_DATA) that return `RatedItems`."""
HUMAN_RATINGS = Registry("set of human ratings", brought="human-ratings")
"""Ratings by people: functions of the folder of public sets (None: EVENHAND_DATA) that return a `RatingTable`."""

KINDS: Mapping[str, Registry] = {
    "engines": ENGINES,
    "datasets": DATASETS,
    "pair-sets": PAIR_SETS,
    "pronoun-sets": PRONOUN_SETS,
    "difference-sets": DIFFERENCE_SETS,
    "transfer-sets": TRANSFER_SETS,
    "safety-sets": SAFETY_SETS,
    "rating-sets": RATING_SETS,
    "human-ratings": HUMAN_RATINGS,
    "graders": GRADERS,
    "classifiers": CLASSIFIERS,
}
"""Every registry by the name that `evenhand list` knows it by."""

_plugins_loaded = False


def load_plugins() -> None:
    """Call every entry point of the group ``evenhand`` once."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True
    from importlib.metadata import entry_points

    for point in entry_points(group="evenhand"):
        point.load()()
