"""Weighted LoRA fine-tuning: trl's trainer with one change, the loss of a step is a weighted mean of row losses.

    L = sum_i w_i l_i / sum_i w_i,   l_i = mean over target tokens of -log p(token | prompt, tokens before)

over all rows of an optimiser step, however many forward passes it is made of. The usual mean over tokens lets long explanations
dominate. Under several processes the sum of weights is gathered, so a launcher gives the same gradient (tested with two processes
on a CPU). FSDP, and bf16 on a GPU, follow the libraries' documented use and are not tested.

Under a launcher this module is the program of each process:

    accelerate launch --num_processes 4 --use_fsdp --fsdp_version 2 -m evenhand.methods.dart.repair.train OUT
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xxhash import xxh128_hexdigest

from evenhand.engines import ticks
from evenhand.engines.identity import adapter_files, tokenizer_files
from evenhand.errors import BadInput, EngineError
from evenhand.files import read_json, write_json
from evenhand.methods.dart.repair.rows import MASKED, Example, TrainingRow, digest_rows, encode_rows
from evenhand.records import Message
from evenhand.seal import check_folder, write_checksums

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
BEGUN, DONE = "job.json", "training.json"
WEIGHTS_FILE = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """How an adapter is trained; defaults are the DART code's."""

    epochs: int = 3
    rate: float = 2e-4
    batch: int = 2
    accumulation: int = 8
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_norm: float = 1.0
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    targets: tuple[str, ...] = TARGETS
    max_tokens: int = 1024
    save_steps: int = 200
    seed: int = 0
    cpu: bool = True


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training did. ``losses`` are (step, weighted mean loss in nats a target token); ``seconds`` its wall time."""

    steps: int
    rows: int
    dropped: tuple[tuple[str, str], ...]
    cut: int
    tokens: int
    losses: tuple[tuple[int, float], ...]
    seconds: float
    job: str

    @property
    def final_loss(self) -> float | None:
        """The last loss that was logged."""
        return self.losses[-1][1] if self.losses else None


def train_adapter(
    model: str | Path, rows: Sequence[TrainingRow], plan: TrainPlan, out: Path, *, adapter: Path | None = None,
    revision: str | None = None,
) -> TrainReport:  # fmt: skip
    """Train a LoRA adapter on ``rows`` into ``out``; with ``adapter`` the same adapter goes on, with a fresh optimiser.

    A finished ``out`` is returned unchanged; an interrupted one continues from its last checkpoint. Equal rows, plan and seed
    give equal bytes on one machine, thread count and library versions. Raises BadInput if ``out`` holds another training or
    damaged files, if no row is left to learn, for a weight that is not a finite number above 0, and if the plan's LoRA settings are
    not those of the adapter that is continued.
    """
    wrong = next((row for row in rows if not 0 < row.weight < float("inf")), None)
    if wrong is not None:
        raise BadInput(
            f"Training row '{wrong.id}' has the weight {wrong.weight}.",
            do="Give a finite number above 0, or leave it out.",
        )
    job = _job(model, rows, plan, adapter, revision)
    if (out / DONE).exists():
        return _finished(out, job)
    _check_begun(out, job)
    from evenhand.engines.machine import torch_with_threads

    torch = torch_with_threads()
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    encoded = encode_rows(rows, tokenizer, plan.max_tokens)
    if not encoded.examples:
        why = encoded.dropped[0][1] if encoded.dropped else "there are none"
        raise BadInput(f"No row is left to learn: of {len(rows)} all were dropped, the first because {why}.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / BEGUN, {"job": job})
    began = time.monotonic()
    torch.manual_seed(plan.seed)
    with warnings.catch_warnings():
        # The libraries warn of one another's coming changes; the user can change none of it.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        trainer = _trainer(
            _model(model, revision, plan, adapter), encoded.examples, tokenizer, plan, out / "checkpoints"
        )
        trainer.add_callback(_step_ticks())
        last = _last_checkpoint(out / "checkpoints")
        with ticks.batch(1):
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        _save(trainer, out)
    losses = tuple((int(row["step"]), float(row["loss"])) for row in trainer.state.log_history if "loss" in row)
    report = TrainReport(
        steps=int(trainer.state.global_step), rows=len(encoded.examples), dropped=encoded.dropped, cut=encoded.cut,
        tokens=plan.epochs * sum(len(e["input_ids"]) for e in encoded.examples), losses=losses,
        seconds=round(time.monotonic() - began, 3), job=job,
    )  # fmt: skip
    if trainer.is_world_process_zero():
        # Before the mark of a finished training: where that is, the checksums are.
        write_checksums(out, [path.name for path in (*adapter_files(out), *tokenizer_files(out))])
        write_json(out / DONE, asdict(report))
        shutil.rmtree(
            out / "checkpoints", ignore_errors=True
        )  # as large as the adapter, and of use to an unfinished one alone
    return report


def _job(
    model: str | Path, rows: Sequence[TrainingRow], plan: TrainPlan, adapter: Path | None, revision: str | None
) -> str:
    """A digest of all that decides the adapter; the folder's own name is not part of it."""
    if adapter is not None:
        check_folder(adapter)
    before = xxh128_hexdigest((adapter / WEIGHTS_FILE).read_bytes()) if adapter is not None else ""
    parts = (str(model), str(revision), json.dumps(asdict(plan), sort_keys=True), digest_rows(rows), before)
    return xxh128_hexdigest("\0".join(parts).encode())


def _finished(out: Path, job: str) -> TrainReport:
    stored = read_json(out / DONE)
    if stored["job"] != job:
        raise BadInput("The folder holds the adapter of another training.", file=out, do="Choose another folder.")
    check_folder(out)
    listed = {name: tuple(map(tuple, stored[name])) for name in ("dropped", "losses")}
    return TrainReport(**{**stored, **listed})


def _check_begun(out: Path, job: str) -> None:
    """Raises BadInput if the folder holds the checkpoints of another training."""
    if (out / BEGUN).exists() and read_json(out / BEGUN)["job"] != job:
        raise BadInput("The folder holds the checkpoints of another training.", file=out, do="Choose another folder.")


def _model(model: str | Path, revision: str | None, plan: TrainPlan, adapter: Path | None) -> Any:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if plan.cpu else torch.bfloat16
    base = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype=dtype, use_safetensors=True)
    base.config.use_cache = False
    if adapter is not None:
        continued = PeftModel.from_pretrained(base, adapter, is_trainable=True)
        has = continued.peft_config["default"]
        wanted = (plan.rank, plan.alpha, plan.dropout, set(plan.targets))
        if (has.r, has.lora_alpha, has.lora_dropout, set(has.target_modules)) != wanted:
            raise BadInput("The adapter that goes on has other LoRA settings than the plan.", file=adapter,
                           do="Continue with its rank, alpha, dropout and target modules.")  # fmt: skip
        return continued
    config = LoraConfig(
        r=plan.rank, lora_alpha=plan.alpha, lora_dropout=plan.dropout, bias="none", task_type="CAUSAL_LM",
        target_modules=sorted(plan.targets), revision=revision,
    )  # fmt: skip
    return get_peft_model(base, config)


def _step_ticks() -> Any:
    """Reports every finished step of a training as a tick."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            ticks.tick(state.global_step / max(1, state.max_steps))

    return Steps()


def _collated(examples: Sequence[Example], pad: int) -> dict[str, Any]:
    """One batch, padded on the left so that targets are at the end; with labels, positions and weights."""
    import torch

    width = max(len(e["input_ids"]) for e in examples)

    def padded(rows: Sequence[list[int]], filler: int) -> Any:
        return torch.tensor([[filler] * (width - len(row)) + row for row in rows])

    mask = torch.tensor([[0] * (width - len(e["input_ids"])) + [1] * len(e["input_ids"]) for e in examples])
    return {
        "input_ids": padded([e["input_ids"] for e in examples], pad),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        "labels": padded([e["labels"] for e in examples], MASKED),
        "weight": torch.tensor([e["weight"] for e in examples], dtype=torch.float32),
    }


def row_losses(model: Any, batch: dict[str, Any]) -> Any:
    """Mean negative log-probability of each row's target tokens, (rows,), in nats; the head sees target positions alone."""
    import torch

    labels = batch["labels"]
    kept = labels.shape[1] - int((labels != MASKED).int().argmax(1).min())
    logits = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], position_ids=batch["position_ids"],
        logits_to_keep=kept + 1, use_cache=False,
    ).logits[:, :-1]  # fmt: skip
    wanted = labels[:, -logits.shape[1] :]
    losses = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), wanted.flatten(), ignore_index=MASKED, reduction="none"
    ).view(wanted.shape)
    learnt = (wanted != MASKED).sum(1)
    return losses.sum(1) / learnt


def _trainer(model: Any, examples: Sequence[Example], tokenizer: Any, plan: TrainPlan, checkpoints: Path) -> Any:
    from trl import SFTConfig, SFTTrainer

    import datasets

    class WeightedTrainer(SFTTrainer):  # type: ignore[misc, unused-ignore]
        """trl's trainer with the weighted mean of row losses over the whole optimiser step."""

        loss_is_scaled_for_ga = True

        def _set_signature_columns_if_needed(self) -> None:
            self._signature_columns = ["input_ids", "labels", "weight"]

        def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
            if not batch_samples:
                return None
            total = sum(batch["weight"].sum() for batch in batch_samples).to(device)
            if self.args.world_size > 1:
                total = self.accelerator.gather(total).sum()
            return total

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            weight = inputs["weight"]
            total = weight.sum() if num_items_in_batch is None else num_items_in_batch
            # Gradients are averaged over processes, so a sum over them needs their number.
            loss = (weight * row_losses(model, inputs)).sum() / total * self.args.world_size
            return (loss, None) if return_outputs else loss

    datasets.disable_progress_bars()
    steps = -(-len(examples) // (plan.batch * plan.accumulation)) * plan.epochs
    warmup = min(math.ceil(plan.warmup * steps), steps - 1)  # the first step of a warm-up has rate 0 and learns nothing
    arguments = SFTConfig(
        output_dir=str(checkpoints), num_train_epochs=plan.epochs, learning_rate=plan.rate,
        per_device_train_batch_size=plan.batch, gradient_accumulation_steps=plan.accumulation,
        lr_scheduler_type="cosine", warmup_steps=warmup, weight_decay=plan.weight_decay,
        max_grad_norm=plan.max_norm, optim="adamw_torch", bf16=not plan.cpu, gradient_checkpointing=not plan.cpu,
        use_cpu=plan.cpu, dataloader_pin_memory=not plan.cpu, seed=plan.seed, data_seed=plan.seed,
        save_strategy="steps", save_steps=plan.save_steps, save_total_limit=1, logging_steps=1, report_to=[],
        disable_tqdm=True, remove_unused_columns=True, max_length=None, dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    data = datasets.Dataset.from_list([dict(example) for example in examples])
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = WeightedTrainer(
        model=model, args=arguments, train_dataset=data, processing_class=tokenizer,
        data_collator=lambda rows: _collated(rows, pad),
    )  # fmt: skip
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole; an interrupted one lacks its trainer state."""
    checkpoints = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").exists()]
    return max(checkpoints, key=lambda path: int(path.name.rpartition("-")[2])) if checkpoints else None


def _save(trainer: Any, out: Path) -> None:
    """Write the adapter; its settings are sorted, so that equal trainings give equal bytes."""
    # Under FSDP every process takes part in gathering the weights; one of them writes.
    state = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    if not trainer.is_world_process_zero():
        return
    out.mkdir(parents=True, exist_ok=True)
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(out, state_dict=state, safe_serialization=True)
    path = out / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])
    path.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    (out / "README.md").unlink(missing_ok=True)


FILE = "launch.json"


def launcher_words(launcher: str) -> list[str]:
    """The words of a launcher's command. Raises BadInput if it cannot be read, or its program is not found."""
    try:
        words = shlex.split(launcher)
    except ValueError as error:
        raise BadInput(f"The launcher '{launcher}' cannot be read: {error}.") from None
    if not words or shutil.which(words[0]) is None:
        raise BadInput(f"The launcher '{launcher}' names no program on the PATH.", do="Give its full path.")
    return words


def launch(
    launcher: str,
    model: str | Path,
    rows: Sequence[TrainingRow],
    plan: TrainPlan,
    out: Path,
    *,
    adapter: Path | None = None,
) -> TrainReport:
    """Write the job into ``out``, run it under the launcher's command, and return its report.

    The command is split into words and started without a shell. Raises BadInput for a command that cannot be started,
    EngineError if it ends with an error; finished steps are kept, and the next call continues.
    """
    words = launcher_words(launcher)
    out.mkdir(parents=True, exist_ok=True)
    job = {
        "model": str(model),
        "rows": [asdict(row) for row in rows],
        "plan": asdict(plan),
        "adapter": str(adapter) if adapter else None,
    }
    write_json(out / FILE, job)
    command = [*words, "-m", "evenhand.methods.dart.repair.train", str(out)]
    done = subprocess.run(command)  # noqa: S603
    if done.returncode != 0:
        raise EngineError(
            f"The training under '{launcher}' ended with exit code {done.returncode}; continue with --resume."
        )
    return train_adapter(model, rows, plan, out, adapter=adapter)


def main(folder: Path) -> TrainReport:
    """Carry out the job in a folder."""
    job = read_json(folder / FILE)
    rows = [TrainingRow(**{**row, "chat": tuple(Message(**turn) for turn in row["chat"])}) for row in job["rows"]]
    plan = TrainPlan(**{**job["plan"], "targets": tuple(job["plan"]["targets"])})
    adapter = Path(job["adapter"]) if job["adapter"] else None
    return train_adapter(job["model"], rows, plan, folder, adapter=adapter)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
