"""A tiny sequence classifier built here, read by its label name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import BadInput, EngineError
from evenhand.graders.content import TextClassifier, open_classifier

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of a few thousand weights with three labels."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("classifier")
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "the", "day"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
        id2label={0: "negative", 1: "neutral", 2: "positive"},
        label2id={"negative": 0, "neutral": 1, "positive": 2},
    )
    BertForSequenceClassification(config).eval().save_pretrained(path)
    return path


TEXTS = ["good day", "bad", "the the the day", "", "good " * 200]


def test_probabilities_of_the_named_label(folder: Path) -> None:
    classifiers: dict[str, Any] = {n: open_classifier(f"hf/{folder}#{n}") for n in ("negative", "neutral", "positive")}
    values = {name: c.measure(TEXTS) for name, c in classifiers.items()}
    assert all(isinstance(c, TextClassifier) for c in classifiers.values())
    for i in range(len(TEXTS)):
        assert sum(v[i] for v in values.values()) == pytest.approx(1, abs=1e-5)
    assert classifiers["positive"].truncated == 1
    assert classifiers["positive"].max_length == 24
    assert len({c.identity for c in classifiers.values()}) == 3


def test_batch_size_does_not_matter(folder: Path) -> None:
    one, four = (open_classifier(f"hf/{folder}#positive", batch_size=n).measure(TEXTS) for n in (1, 4))
    assert one == pytest.approx(four, abs=1e-5)


def test_wrong_labels_and_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no label 'Positive'\. Its labels are: negative, neutral, positive\."):
        open_classifier(f"hf/{folder}#Positive")
    with pytest.raises(EngineError, match="cannot be loaded"):
        open_classifier(f"hf/{tmp_path}#positive")


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(BertForSequenceClassification.from_pretrained(folder).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(EngineError, match="cannot be loaded"):
        open_classifier(f"hf/{tmp_path}#positive")
