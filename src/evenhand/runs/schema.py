"""The JSON schema of ``findings.json``, made from the records; run as a module it writes the shipped file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evenhand.runs.run import MANIFEST_SCHEMA

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
