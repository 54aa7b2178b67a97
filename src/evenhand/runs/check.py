"""What a run folder must hold to be read, and the JSON schema of its findings.

`python -m evenhand.runs.check` writes the shipped schema file again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from evenhand.errors import BadInput, EvenhandError
from evenhand.records import Finding, HypothesisTest, Interval

MANIFEST_SCHEMA = 1
CHECKSUMS = "checksums"
"""Key of the manifest of a run whose tables and findings carry checksums."""
_RESTORE = "Restore it from a copy, or make the run again in a new folder."
_HOLDS = {
    "dedup.json": "It holds what `evenhand corpus dedup` kept and dropped: see dedup.json and dropped.csv.",
    "sweep.json": "It holds the thresholds of `evenhand corpus sweep`: open sweep.html.",
    "bias.safetensors": "It holds a TSDI correction, to be used as MODEL+tsdi:FOLDER; give the run folder around it.",
    "adapter_config.json": "It holds an adapter, to be used as MODEL+FOLDER; give the run folder of its training.",
    "config.json": "It holds a model, to be used as hf/FOLDER.",
}
_WORDS: dict[str, Any] = {
    "id": str, "audit": str, "estimand": str, "outcome": str, "config": str, "group": (str, type(None)),
    "reference": (str, type(None)), "estimate": (int, float, type(None)), "unit": str, "interval": (dict, type(None)),
    "test": (dict, type(None)), "n": int, "clusters": dict, "standard_error": (int, float, type(None)),
    "minimum_detectable": (int, float, type(None)), "grader": str, "reason": str, "decision": str,
    "decision_reason": str, "slice": dict, "extra": dict,
    "evidence": dict, "evidence_digest": str,
}  # fmt: skip
_NUMBER, _MAYBE = (int, float), (int, float, type(None))


def no_run(folder: Path) -> BadInput:
    """The error for a folder without a manifest: it names what the folder holds instead, where that is known."""
    if folder.exists() and not folder.is_dir():
        return BadInput("This is a file, not a run folder.", file=folder)
    if not folder.exists():
        return BadInput("There is no such folder.", file=folder)
    held = next((text for name, text in _HOLDS.items() if (folder / name).exists()), None)
    return BadInput("The folder holds no run (there is no manifest.json).", file=folder, do=held)


def check_manifest(found: Any, path: Path) -> dict[str, Any]:
    """The manifest, if it has all that every reader of a run relies on. Raises BadInput naming the file."""
    if not isinstance(found, dict):
        raise BadInput("The manifest is not a JSON object.", file=path, do=_RESTORE)
    if found.get("schema") != MANIFEST_SCHEMA:
        raise BadInput(
            f"The manifest has schema {found.get('schema')!r}; this version reads {MANIFEST_SCHEMA}.", file=path
        )
    kinds: dict[str, Any] = {
        "plan": dict,
        "versions": dict,
        "timings": dict,
        "audits": dict,
        "created": str,
        "state": str,
    }
    for key, kind in kinds.items():
        _is(found.get(key), kind, key, path)
    plan = found["plan"]
    _is(found.get("left_out", {}), dict, "left_out", path)
    for name in _is(found.get("tables", []), list, "tables", path):
        _is(name, str, "tables", path)
    _is(plan.get("config", {}), dict, "plan.config", path)
    for name in _is(plan.get("audits", []), list, "plan.audits", path):
        _is(name, str, "plan.audits", path)
    for role, identity in _is(plan.get("identities", {}), dict, "plan.identities", path).items():
        _is(identity, dict, f"plan.identities.{role}", path)
    for name, seconds in found["timings"].items():
        _is(seconds, _NUMBER, f"timings.{name}", path)
    return found


def check_findings(found: Any, path: Path) -> dict[str, Any]:
    """The findings by audit, if every audit and finding has its fields. Raises BadInput naming the file."""
    audits = _is(_is(found, dict, "the file", path).get("audits"), dict, "audits", path)
    lists = ("verdicts", "findings", "headlines", "methods", "caveats")
    for name, audit in audits.items():
        where = f"audits.{name}"
        _is(audit, dict, where, path)
        for key, kind in {**dict.fromkeys(lists, list), "rows": int, "missing": int, "facts": dict}.items():
            _is(audit.get(key), kind, f"{where}.{key}", path)
        for key in ("verdicts", "headlines"):
            for at, row in enumerate(audit[key]):
                _is(row, dict, f"{where}.{key}[{at}]", path)
        for at, row in enumerate(audit["findings"]):
            _check_finding(row, f"{where}.findings[{at}]", path)
    return dict(audits)


def _check_finding(row: Any, where: str, path: Path) -> None:
    _is(row, dict, where, path)
    unknown = sorted(set(row) - set(_WORDS))
    if unknown:
        raise BadInput(f"{where} has the unknown field '{unknown[0]}'.", file=path, do=_RESTORE)
    for key in ("id", "audit", "estimand", "outcome", "config", "group", "reference", "estimate", "unit"):
        if key not in row:
            raise BadInput(f"{where} has no '{key}'.", file=path, do=_RESTORE)
    for key, value in row.items():
        _is(value, _WORDS[key], f"{where}.{key}", path)
    for key, kind, numbers in (
        ("interval", Interval, {"low": _NUMBER, "high": _NUMBER, "level": _NUMBER, "method": str}),
        ("test", HypothesisTest, {"p": _MAYBE, "method": str, "smallest_p": _MAYBE, "p_holm": _MAYBE, "q_bh": _MAYBE}),
    ):
        part = row.get(key)
        if part is None:
            continue
        field_names = {field.name for field in fields(kind)}
        if not set(part) <= field_names:
            raise BadInput(
                f"{where}.{key} has the unknown field '{min(set(part) - field_names)}'.", file=path, do=_RESTORE
            )
        for name, form in numbers.items():
            if name in part or key == "interval" or name in ("p", "method"):
                _is(part.get(name), form, f"{where}.{key}.{name}", path)


def _is(value: Any, kind: Any, where: str, path: Path) -> Any:
    """``value``, if it is of a kind; true and false are not numbers."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, _NUMBER, _MAYBE)):
        raise BadInput(f"{where} is missing or of the wrong type ({type(value).__name__}).", file=path, do=_RESTORE)
    return value


def finding_from(row: Mapping[str, Any]) -> Finding:
    """A Finding from its JSON form."""
    values = dict(row)
    values["interval"] = Interval(**values["interval"]) if values.get("interval") else None
    values["test"] = HypothesisTest(**values["test"]) if values.get("test") else None
    return Finding(**values)


@contextmanager
def readable(folder: Path, manifest: Mapping[str, Any]) -> Iterator[None]:
    """Reads the contents of a run. If its files carry no checksums, any failure is attributed to them and raised as BadInput.

    Files that were edited, or written by another version, can lack any column or key. With checksums they are as this version
    wrote them: an unexpected error is then a fault of Evenhand's, and is not disguised.
    """
    from polars.exceptions import PanicException, PolarsError

    try:
        yield
    except BadInput as error:
        if error.file is not None or CHECKSUMS in manifest:
            raise
        raise BadInput(error.what, file=folder, row=error.row, do=error.do) from error
    except EvenhandError:
        raise
    except (PolarsError, PanicException, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if CHECKSUMS in manifest:
            raise
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise BadInput(
            f"The run's files carry no checksums and do not fit together ({why}).", file=folder, do=_RESTORE
        ) from error


SCHEMA_FILE = Path(__file__).with_name("findings.schema.json")


def findings_schema() -> dict[str, Any]:
    """A schema that the ``findings.json`` of this version fits."""
    from pydantic import TypeAdapter

    from evenhand.records import Finding

    finding = TypeAdapter(Finding).json_schema(ref_template="#/$defs/{model}")
    definitions = finding.pop("$defs", {})
    definitions["Finding"] = finding
    audit_fields = {
        "audit": {"type": "string"},
        "verdicts": {"type": "array", "items": {"type": "object"}},
        "findings": {"type": "array", "items": {"$ref": "#/$defs/Finding"}},
        "headlines": {"type": "array", "items": {"type": "object"}},
        "rows": {"type": "integer", "minimum": 0},
        "missing": {"type": "integer", "minimum": 0},
        "methods": {"type": "array"},
        "caveats": {"type": "array", "items": {"type": "string"}},
        "facts": {"type": "object"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Evenhand findings",
        "type": "object",
        "required": ["schema", "audits"],
        "properties": {
            "checksum": {"type": "string", "pattern": "^xxh128:[0-9a-f]{32}$"},
            "schema": {"const": MANIFEST_SCHEMA},
            "audits": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "required": sorted(audit_fields),
                    "properties": audit_fields,
                    "additionalProperties": False,
                },
            },
        },
        "$defs": definitions,
    }


if __name__ == "__main__":
    from evenhand.files import write_json

    write_json(SCHEMA_FILE, findings_schema(), seal=False)
