"""A sequence classifier from a folder or hub id as a text classifier: the probability of one label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xxhash import xxh3_128, xxh128_hexdigest

from evenhand.errors import BadInput, EngineError, need


class HfClassifier:
    """``FOLDER-or-ID#LABEL``: the probability that a transformers sequence classifier gives LABEL.

    LABEL must be one of the model's own label names, exactly: a wrong name would silently turn a measure into its
    opposite. One label per text is read by softmax; a multi-label model (or a single logit) by sigmoid. Weights are
    safetensors only, and no remote code is run. Texts beyond the model's length are cut; ``truncated`` counts them
    over all calls. Raises BadInput for a spec without a label or with an unknown one, EngineError where the model
    cannot be loaded.
    """

    unit = "probability"

    def __init__(
        self,
        spec: str,
        *,
        revision: str | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        device: str = "cpu",
    ):
        where, mark, label = spec.removeprefix("hf/").rpartition("#")
        if not mark or not where or not label:
            raise BadInput(f"The classifier '{spec}' names no label.", do="Write hf/FOLDER-or-ID#LABEL.")
        self.name = f"hf/{where}#{label}"
        self.label, self.revision, self.batch_size, self.device = label, revision, batch_size, device
        self.truncated = 0
        self._where = where
        self._tokenizer, self._model = self._load()
        names = {int(i): str(n) for i, n in self._model.config.id2label.items()}
        wanted = [i for i, n in names.items() if n == label]
        if len(wanted) != 1:
            raise BadInput(
                f"The classifier '{where}' has no label '{label}'.", do=f"Its labels are: {', '.join(names.values())}."
            )
        self._index = wanted[0]
        self._sigmoid = len(names) == 1 or self._model.config.problem_type == "multi_label_classification"
        positions = getattr(self._model.config, "max_position_embeddings", None)
        limits = [n for n in (max_length, self._tokenizer.model_max_length, _usable(self._model, positions)) if n]
        self.max_length = min(limits)

    @property
    def identity(self) -> str:
        """A digest of weights, label and length limit."""
        return xxh128_hexdigest("\0".join((self._weights_digest(), self.label, str(self.max_length))).encode())

    def measure(self, texts: Sequence[str]) -> list[float]:
        """The probability of the label for each text, in order; the same for any batch size within float32 rounding."""
        import torch

        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        values = [0.0] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                part = order[start : start + self.batch_size]
                # 20 characters a token is beyond any tokenizer here: a megabyte need not be tokenized to be cut.
                cut = [texts[i][: 20 * self.max_length] for i in part]
                lengths = self._tokenizer(cut, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]
                self.truncated += sum(len(ids) > self.max_length for ids in lengths)
                batch = self._tokenizer(
                    cut, truncation=True, max_length=self.max_length, padding=True, return_tensors="pt"
                )
                logits = self._model(**batch.to(self.device)).logits.float()
                chances = torch.sigmoid(logits) if self._sigmoid else torch.softmax(logits, dim=-1)
                for i, chance in zip(part, chances[:, self._index].tolist(), strict=True):
                    values[i] = chance
        return values

    def _load(self) -> tuple[Any, Any]:
        need("local", "torch", "transformers", what=f"The classifier '{self.name}'")
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        options: dict[str, Any] = {"revision": self.revision, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._where, **options)
            model = AutoModelForSequenceClassification.from_pretrained(self._where, use_safetensors=True, **options)
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(f"The classifier '{self._where}' cannot be loaded: {error}") from error
        if tokenizer.pad_token_id is None:
            raise EngineError(f"The classifier '{self._where}' has no padding token.")
        return tokenizer, model.eval().to(self.device)

    def _weights_digest(self) -> str:
        folder = Path(self._where)
        if not folder.is_dir():
            return f"{self._where}@{getattr(self._model.config, '_commit_hash', None) or self.revision or 'main'}"
        digest = xxh3_128()
        for path in sorted(folder.glob("*")):
            if path.suffix in (".safetensors", ".json", ".txt", ".model"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()


def _usable(model: Any, positions: int | None) -> int | None:
    """Positions that texts may use: RoBERTa-like models lose the ones up to their padding index."""
    if positions is None:
        return None
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer"):
        return int(positions) - int(model.config.pad_token_id or 0) - 1
    return int(positions)
