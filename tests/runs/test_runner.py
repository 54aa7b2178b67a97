"""What a run does before it asks a model anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.methods.pluralism.rating.audit import run_rating
from evenhand.methods.pluralism.rating.config import PluralismConfig
from evenhand.runs import lifecycle as engines
from evenhand.runs.runner import run_audits


def test_bad_input_is_refused_before_a_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*given: object) -> None:
        raise AssertionError("a model was opened")

    monkeypatch.setattr(engines, "open_configurations", opened)
    with pytest.raises(BadInput, match="needs a judge"):
        run_audits(make_config(grader=("rubric",)), tmp_path / "run")
    with pytest.raises(BadInput, match=r"none\.csv"):
        run_audits(make_config(only=("pluralism",), rating_set="none.csv"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(AssertionError, match="a model was opened"):
        run_audits(make_config(), tmp_path / "run")


@pytest.mark.parametrize("spec", ["organism/curator", "organism/curator+tsdi:somewhere"])
def test_the_organism_that_writes_prompts_is_not_audited(tmp_path: Path, spec: str) -> None:
    with pytest.raises(BadInput, match="answers no audit's questions"):
        run_audits(make_config(models=(spec,), only=("service",)), tmp_path / "run")
    with pytest.raises(BadInput, match="answers no audit's questions"):
        run_rating(PluralismConfig(models=(spec,), rating_set="shipped"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
