"""What a run does before it asks a model anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from evenhand.audits import engines
from evenhand.audits.runner import run_audits
from evenhand.config import make_config
from evenhand.errors import BadInput


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
