"""Where every dataset, engine, grader, classifier and audit is registered: one line each, loaded on first use.

A plug-in is a package with an entry point in the group ``evenhand`` that names a function; the function is called with no
arguments and adds its own lines, for example ``GRADERS.add("mine", "my_package.graders:Mine", "what it does")``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from evenhand.errors import BadInput


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered thing: its name, the ``module:attribute`` that makes it, and one line about it."""

    name: str
    target: str
    summary: str

    def load(self) -> Any:
        """Import and return the registered object."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


@dataclass(frozen=True, slots=True)
class Method:
    """Everything that Evenhand knows of one audit, repair or corpus build. Nothing else has to be touched to add one.

    Targets are ``module:attribute`` texts, loaded on first use. ``paper`` is the name of the package below
    ``evenhand.methods`` and of its docs page. ``audit`` is an `evenhand.runs.method.Audit`, empty where the method has a command
    of its own; ``settings`` a pydantic model of the settings that this method alone reads; ``rows`` a function from a
    `evenhand.runs.load.LoadedRun` to the frame behind its findings, empty for graded responses; ``shown`` the columns of it that
    `evenhand show` prints, and ``filters`` the column that each option of `show` selects by (``{"group": "declared"}``);
    ``section`` a function from a LoadedRun to a `evenhand.report.build.Part`, empty for the generic one; ``commands`` a function
    that adds commands to the app. ``order`` is the place in lists and pages; a plug-in comes last.
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
    section: str = ""
    commands: str = ""
    datasets: tuple[Entry, ...] = ()
    graders: tuple[Entry, ...] = ()
    classifiers: tuple[Entry, ...] = ()
    order: int = 1_000


@cache
def built_in_methods() -> tuple[Method, ...]:
    """The METHOD of every ``method.py`` below ``evenhand/methods``, in their order."""
    root = Path(__file__).parent / "methods"
    names = (".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("method.py"))
    found: list[Method] = [import_module(f"evenhand.methods.{name}").METHOD for name in names]
    return tuple(sorted(found, key=lambda method: method.order))


class Registry:
    """Entries of one kind, by name."""

    def __init__(self, kind: str, *entries: tuple[str, str, str]):
        self.kind = kind
        self._entries = {name: Entry(name, target, summary) for name, target, summary in entries}

    def add(self, name: str, target: str, summary: str) -> None:
        """Register one more entry; a name can be taken once."""
        if name in self._entries:
            raise BadInput(f"{self.kind} '{name}' is registered twice.")
        self._entries[name] = Entry(name, target, summary)

    def get(self, name: str) -> Any:
        """Load the object registered as ``name``."""
        load_plugins()
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise BadInput(f"No {self.kind} is called '{name}'.", do=f"Known: {known}.")
        return self._entries[name].load()

    def __contains__(self, name: str) -> bool:
        load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        load_plugins()
        return iter(self._entries.values())


AUDITS = Registry(
    "audit",
    (
        "service",
        "evenhand.methods.service.audit:ServiceAudit",
        "refusals and worse service on harmless prompts, by group",
    ),
    (
        "reward",
        "evenhand.methods.reward.margins.audit:RewardAudit",
        "which stage of alignment rewarded a harm, by group",
    ),
    (
        "affirmation",
        "evenhand.methods.reward.pronouns.audit:AffirmationAudit",
        "misgendering, by pronoun family and stage",
    ),
    (
        "difference",
        "evenhand.methods.dart.difference.audit:DifferenceAudit",
        "does it know when groups differ, and when they do not",
    ),
    (
        "transfer",
        "evenhand.methods.dart.transfer.audit:TransferAudit",
        "open questions that need a stated difference, controls apart",
    ),
    (
        "safety",
        "evenhand.methods.tsdi.safety.audit:SafetyAudit",
        "safety by category, over-refusal, the shift of refusal openers",
    ),
    (
        "pluralism",
        "evenhand.methods.pluralism.rating.audit:PluralismAudit",
        "do safety ratings move with the rater's profile, and as people's do",
    ),
)

ENGINES = Registry(
    "engine",
    (
        "organism",
        "evenhand.engines.local:open_organism",
        "organism/NAME[+tsdi:DIR]: a tiny shipped model with planted harms",
    ),
    (
        "hf",
        "evenhand.engines.local:open_hf",
        "hf/ID-or-FOLDER[@REVISION][+ADAPTER][+tsdi:DIR]: transformers, on this machine",
    ),
    ("openai", "evenhand.engines.http:open_openai", "openai/MODEL: the OpenAI API (key from OPENAI_API_KEY)"),
    ("http", "evenhand.engines.http:open_http", "http(s)://HOST/v1#MODEL: any endpoint that speaks the OpenAI wire"),
)

DATASETS = Registry(
    "dataset",
    ("names-and-stems", "evenhand.datasets.shipped:NamesAndStems", "shipped: 64 first names in 8 groups x 36 stems"),
    ("noun-phrases", "evenhand.datasets.shipped:NounPhrases", "shipped: explicit noun phrases x the same stems"),
    ("llama2-qos", "evenhand.methods.service.data.llama2_qos:Llama2Qos", "early public release of the published study"),
    ("xstest", "evenhand.datasets.xstest:XSTest", "XSTest v2: 250 safe and 200 unsafe prompts"),
    (
        "holisticbias",
        "evenhand.methods.service.data.holisticbias:HolisticBias",
        "HolisticBias v1.1 noun phrases, hostile parts dropped",
    ),
    (
        "winoqueer",
        "evenhand.methods.reward.margins.data.winoqueer:WinoQueer",
        "WinoQueer: 45,540 pairs about queer identities (texts folded)",
    ),
    (
        "tango",
        "evenhand.methods.reward.pronouns.data.tango:Tango",
        "TANGO: 2,880 misgendering prompts, six pronoun families",
    ),
    (
        "misgendered",
        "evenhand.methods.reward.pronouns.data.misgendered:Misgendered",
        "MISGENDERED: 50 sentences with a blank, 11 pronoun sets",
    ),
    (
        "transfer",
        "evenhand.methods.dart.transfer.data.queries:Transfer",
        "shipped: 280 open questions, 224 need a difference, 56 are controls",
    ),
)

PAIR_SETS = Registry(
    "pair set",
    (
        "identity",
        "evenhand.methods.reward.margins.data.pair_sets:identity",
        "shipped: four gender-diverse groups against cisgender people",
    ),
    (
        "binary",
        "evenhand.methods.reward.margins.data.pair_sets:binary",
        "shipped: women against men, with the same neutral controls",
    ),
    (
        "winoqueer",
        "evenhand.methods.reward.margins.data.pair_sets:winoqueer",
        "WinoQueer: 45,540 pairs about nine queer identities",
    ),
    (
        "winoqueer-strict",
        "evenhand.methods.reward.margins.data.pair_sets:winoqueer_strict",
        "its 5,900 pairs about transgender and nonbinary people",
    ),
    (
        "winoqueer-broad",
        "evenhand.methods.reward.margins.data.pair_sets:winoqueer_broad",
        "its 16,004 pairs against cisgender people",
    ),
)

GRADERS = Registry(
    "grader",
    ("prefix", "evenhand.graders.refusals:PrefixGrader", "refusal openers at the start of the text"),
    ("lexicon", "evenhand.graders.refusals:LexiconGrader", "refusal wordings anywhere in the text"),
    ("rubric", "evenhand.graders.rubric:RubricGrader", "a judge model with the fixed six-label rubric (needs --judge)"),
    ("human", "evenhand.graders.human:HumanGrader", "labels that people gave, from a csv, jsonl or parquet file"),
    ("grammar", "evenhand.organisms.grader:GrammarGrader", "exact labels for organisms, from their own grammar"),
)

CLASSIFIERS = Registry(
    "classifier",
    (
        "sentiment-lexicon",
        "evenhand.graders.content:SentimentLexicon",
        "a small word list: share of positive minus negative",
    ),
    (
        "harm-lexicon",
        "evenhand.methods.dart.drift.graders.harm:HarmLexicon",
        "a small word list: mild insults and generalising phrases, 0 to 1",
    ),
    ("hf", "evenhand.graders.hf_classifier:HfClassifier", "hf/FOLDER-or-ID#LABEL: probability of one label"),
)

SECTIONS = Registry(
    "report section",
    ("service", "evenhand.methods.service.report.build:service_part", "figures and verdict of the service audit"),
    ("reward", "evenhand.methods.reward.margins.report.build:reward_part", "margins by stage, fates and extremes"),
    (
        "affirmation",
        "evenhand.methods.reward.pronouns.report.build:affirmation_part",
        "misgendering by family and stage",
    ),
    (
        "difference",
        "evenhand.methods.dart.difference.report.build:difference_part",
        "decisions beside their baselines, and choices",
    ),
    (
        "transfer",
        "evenhand.methods.dart.transfer.report.build:transfer_part",
        "response classes by domain, controls apart",
    ),
    (
        "safety",
        "evenhand.methods.tsdi.safety.report.build:safety_part",
        "safety by category, compliance, the shift of the openers",
    ),
    (
        "pluralism",
        "evenhand.methods.pluralism.rating.report.build:pluralism_part",
        "ratings by profile and by people, beside their nulls",
    ),
    ("drift", "evenhand.methods.dart.drift.report.build:drift_part", "harm drift under every rule, beside its null"),
    ("dart", "evenhand.methods.dart.repair.report.build:dart_part", "a DART repair: accuracy and drift step by step"),
    (
        "tsdi",
        "evenhand.methods.tsdi.estimate.report.build:tsdi_part",
        "a TSDI estimate: refusal openers by position, tokens moved most",
    ),
    (
        "tsdi-sweep",
        "evenhand.methods.tsdi.sweep.report.sweep:sweep_part",
        "TSDI over its settings: fronts, recommendation, checkpoints",
    ),
)

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
