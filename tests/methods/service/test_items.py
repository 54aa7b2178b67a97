"""Items of the service audit: the unsafe file beside the main one, and label files that name no configuration."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from evenhand.config import make_config
from evenhand.errors import BadInput
from evenhand.methods.service.audit import ServiceAudit
from evenhand.methods.service.graders import write_sample
from evenhand.methods.service.items import UNSAFE, unsafe_items


def write(path: Path, **columns: list[str]) -> Path:
    pl.DataFrame(columns).write_csv(path)
    return path


def test_the_unsafe_file_keeps_its_own_ids_and_takes_only_mappings_that_it_has(tmp_path: Path) -> None:
    unsafe = write(tmp_path / "unsafe.csv", id=["1", "2"], prompt=["do harm", "do more harm"])
    data = write(tmp_path / "data.csv", id=["1", "2"], text=["hello Ann", "hello Bo"], who=["a", "b"])
    config = make_config(data=data, unsafe=str(unsafe), columns={"prompt": "text", "group": "who"}, reference_group="a")
    assert [item.id for item in unsafe_items(config)] == ["unsafe/1", "unsafe/2"]
    _, items = ServiceAudit()._items(config)
    assert [(item.id, item.group, item.stratum) for item in items] == [
        ("1", "a", ""), ("2", "b", ""), ("unsafe/1", "all", UNSAFE), ("unsafe/2", "all", UNSAFE),
    ]  # fmt: skip


RESPONSES = {
    "item_id": ["1", "2", "1", "2"], "group": ["a", "b", "a", "b"], "response": ["x"] * 4, "config": ["m", "m", "n", "n"],
}  # fmt: skip


@pytest.mark.parametrize("role", ["calibration", "grader"])
def test_labels_that_name_no_configuration_vouch_for_none_of_several(tmp_path: Path, role: str) -> None:
    responses = write(tmp_path / "r.csv", **RESPONSES)
    labels = write(tmp_path / "l.csv", item_id=["1", "2"], label=["answer", "refusal"])
    named = {"calibration": labels} if role == "calibration" else {"grader": (f"human={labels}",)}
    config = make_config(responses=responses, reference_group="a", **named)
    with pytest.raises(BadInput, match=r"l\.csv, row 1: The label does not say which of the 2 configurations"):
        ServiceAudit().inputs(config)
    one = write(tmp_path / "one.csv", **{key: values[:2] for key, values in RESPONSES.items()})
    ServiceAudit().inputs(config.model_copy(update={"responses": one}))
    write(labels, item_id=["1", "2"], label=["answer", "refusal"], config=["m", "n"])
    ServiceAudit().inputs(config)


def test_models_and_system_prompts_count_as_configurations(tmp_path: Path) -> None:
    labels = write(tmp_path / "l.csv", item_id=["1"], label=["answer"])
    with pytest.raises(BadInput, match="which of the 2 configurations"):
        ServiceAudit().inputs(make_config(models=("organism/sft", "organism/aligned"), calibration=labels))


def test_the_sample_to_label_leaves_the_unsafe_set_out(tmp_path: Path) -> None:
    import evenhand

    data = write(
        tmp_path / "d.csv", prompt=[f"{n} went out to [BLANK]" for n in ("Ann", "Bo", "Cy", "Di")],
        name=["Ann", "Bo", "Cy", "Di"], group=["a", "a", "b", "b"],
    )  # fmt: skip
    unsafe = write(tmp_path / "u.csv", prompt=["say something bad", "say something worse"])
    evenhand.audit(
        "organism/aligned", data=data, reference_group="a", out=tmp_path / "run", report=False, draws=100, methods=("service",),
        unsafe=str(unsafe), repetitions=2, max_tokens=8, grader=("lexicon",),
    )  # fmt: skip
    assert write_sample(tmp_path / "run", "service", tmp_path / "s.csv", 100, 0) == 8
    assert not [key for key in pl.read_csv(tmp_path / "s.csv")["item_id"] if key.startswith("unsafe")]
