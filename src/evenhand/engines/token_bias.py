"""The context-free bias of an aligned model, as a file: ``bias.safetensors`` with its header, validated on load."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evenhand.errors import BadInput
from evenhand.files import read_sealed_json, write_atomically, write_json
from evenhand.seal import altered

BIAS_FILE, HEADER_FILE = "bias.safetensors", "header.json"
_TABLES = ("bias", "standard_error", "p_aligned", "p_reference")
_CHECKSUM = "checksum"
_AGAIN = "Estimate it again with `evenhand repair tsdi`."
FloatTable = NDArray[np.float32]


class BiasHeader(BaseModel):
    """How a bias was estimated, and which models, tokenizer and template it belongs to (docs/tsdi.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = Field(1, description="Version of this format.")
    length: int = Field(ge=1, description="L, the number of corrected output positions.")
    vocabulary: int = Field(ge=1, description="Columns of the tables: the valid ids are 0 to vocabulary - 1.")
    draws: int = Field(ge=2, description="N, the random contexts that were averaged.")
    dropped: int = Field(0, ge=0, description="Contexts left out because a model's logits were not numbers.")
    estimator: Literal["mean_log_ratio", "ratio_of_means"] = Field(
        "mean_log_ratio", description="Mean of the log-ratios, or log-ratio of the mean probabilities."
    )
    variant: Literal["random", "aligned", "reference"] = Field(
        "random", description="Where the tokens before position i come from: the pool, or one of the two models."
    )
    pool: str = Field(description="Name of the token pool.")
    pool_digest: str = Field(description="xxh128 of the pool.")
    pool_size: int = Field(ge=1, description="Token occurrences in the pool, after exclusions.")
    prompt_lengths: tuple[int, int] = Field(description="Fewest and most random tokens of a prompt.")
    seed: int = Field(description="Seed of the draws.")
    floor: float = Field(-40.0, lt=0, allow_inf_nan=False, description="Smallest log-probability counted, nats.")
    gauge: Literal["median", "none"] = Field(
        "median", description="What was taken off every position's row: its median over the valid tokens, or nothing."
    )
    excluded: tuple[int, ...] = Field(
        (), description="Ids with no correction: special, control, beyond the tokenizer, not shared by both models."
    )
    include_eos: bool = Field(False, description="Whether tokens that end a turn are corrected too (for study).")
    kept: Literal["all", "raised", "openers"] = Field(
        "all", description="Which part of the measured bias the table holds; zero elsewhere."
    )
    tokenizer: str = Field(description="`vocabulary_digest` of the aligned model's tokenizer.")
    template: str = Field(description="Digest of the chat template, or `plain`.")
    aligned: dict[str, Any] = Field(description="Identity of the aligned model.")
    reference: dict[str, Any] = Field(description="Identity of the reference model.")
    surrogate: bool = Field(False, description="The reference is not the model that the aligned one was tuned from.")
    partial: bool = Field(False, description="Only some tokens could be estimated (endpoints that return the top k).")
    start_tokens: int = Field(
        0, ge=0, description="Assistant tokens that the template itself writes before position 1."
    )
    openers: tuple[int, ...] = Field((), description="First tokens of the refusal openers in this tokenizer.")
    achieved_error: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Largest standard error among probable tokens, nats."
    )
    target_error: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Standard error at which the estimation stops, nats."
    )
    warnings: tuple[str, ...] = Field((), description="What a reader of the result should know.")
    evenhand: str = Field(description="Version of Evenhand.")

    @model_validator(mode="after")
    def _consistent(self) -> BiasHeader:
        low, high = self.prompt_lengths
        if not 0 <= low <= high:
            raise ValueError(f"prompt_lengths {low} to {high} is not a range")
        for name in ("excluded", "openers"):
            wrong = [token for token in getattr(self, name) if not 0 <= token < self.vocabulary]
            if wrong:
                raise ValueError(f"{name} holds the id {wrong[0]}, which is not in 0 to {self.vocabulary - 1}")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class TokenBias:
    """A bias with what it was made from.

    All tables are float32 of shape ``[length, vocabulary]``: ``bias`` and its ``standard_error`` in nats, and the mean
    probabilities of each token at each position under both models.
    """

    header: BiasHeader
    bias: FloatTable
    standard_error: FloatTable
    p_aligned: FloatTable
    p_reference: FloatTable
    checked: bool = True
    """Off for an artefact that was read from files without checksums."""

    @property
    def digest(self) -> str:
        """xxh128 over the header (JSON, sorted) and the bytes of the four tables, 32 hexadecimal digits."""
        from xxhash import xxh128

        digest = xxh128(_header_text(self.header).encode("ascii"))
        for name in _TABLES:
            digest.update(np.ascontiguousarray(getattr(self, name)).data)
        return digest.hexdigest()


def vocabulary_digest(tokenizer: Any) -> str:
    """xxh128 over a tokenizer's id -> token map, sorted by id, added tokens included."""
    from xxhash import xxh128_hexdigest

    pairs = sorted((int(token_id), str(token)) for token, token_id in tokenizer.get_vocab().items())
    return xxh128_hexdigest(json.dumps(pairs, ensure_ascii=True).encode("ascii"))


def write_token_bias(folder: Path, bias: TokenBias) -> None:
    """Write ``bias.safetensors`` and ``header.json`` into a folder, each as a whole or not at all, each with a checksum.

    Equal biases give equal bytes. Raises BadInput for tables that `read_token_bias` would refuse.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    _check_tables(bias, folder / BIAS_FILE)
    tables = {name: np.ascontiguousarray(getattr(bias, name)) for name in _TABLES}
    # One key alone: safetensors writes several in no fixed order.
    head = {_CHECKSUM: f"xxh128:{bias.digest}", **bias.header.model_dump(mode="json")}
    text = json.dumps(head, sort_keys=True, ensure_ascii=True, allow_nan=False)
    write_atomically(folder / BIAS_FILE, save(tables, metadata={"header": text}))
    write_json(folder / HEADER_FILE, bias.header.model_dump(mode="json"))


def read_token_bias(folder: Path) -> TokenBias:
    """The bias in a folder.

    An artefact without checksums, of an older version, is read with ``checked`` off. Raises BadInput, naming the file, where a file
    is missing or not what it should be: another checksum than that of its contents, no safetensors, a header with a
    missing, unknown or impossible field, a table that is missing, of another shape or type, or holds NaN or infinity, a
    bias that is not zero at an excluded id, or a ``header.json`` that is not the header within ``bias.safetensors``.
    """
    folder = Path(folder)
    path = folder / BIAS_FILE
    if not folder.is_dir():
        raise BadInput("There is no such folder.", file=folder, do="Estimate a bias with `evenhand repair tsdi`.")
    if not path.is_file():
        raise BadInput("The folder holds no bias: the file is not there.", file=path, do=_AGAIN)
    text, tables = _contents(path)
    checksum, header = _header(text, path)
    missing = [name for name in _TABLES if name not in tables]
    if missing:
        raise BadInput(f"The table '{missing[0]}' is missing.", file=path, do=_AGAIN)
    if extra := sorted(set(tables) - set(_TABLES)):
        raise BadInput(f"There is a table '{extra[0]}' that this version does not know.", file=path, do=_AGAIN)
    bias = TokenBias(
        header, tables["bias"], tables["standard_error"], tables["p_aligned"], tables["p_reference"],
        checked=checksum is not None,
    )  # fmt: skip
    _check_tables(bias, path)
    if checksum is not None and checksum != f"xxh128:{bias.digest}":
        raise altered(path, _AGAIN)
    header_path = folder / HEADER_FILE
    stored, sealed = read_sealed_json(header_path)
    if checksum is not None and not sealed:
        raise altered(header_path, _AGAIN)
    if stored != header.model_dump(mode="json"):
        raise BadInput(
            f"The header differs from the one within {BIAS_FILE}: the two files are not of one estimate.",
            file=header_path,
            do=_AGAIN,
        )
    return bias


def _header_text(header: BiasHeader) -> str:
    return json.dumps(header.model_dump(mode="json"), sort_keys=True, ensure_ascii=True, allow_nan=False)


def _contents(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            tables = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"The file is not a readable safetensors file ({error}).", file=path, do=_AGAIN) from error
    if set(metadata) > {"header"}:
        raise BadInput("The file has metadata that this version does not know.", file=path, do=_AGAIN)
    if "header" not in metadata:
        raise BadInput("The file has no header: it is not a bias of Evenhand.", file=path, do=_AGAIN)
    return str(metadata["header"]), tables


def _header(text: str, path: Path) -> tuple[str | None, BiasHeader]:
    """The checksum of the artefact, None in one of an older version, and the header."""
    try:
        fields = json.loads(text)
        checksum = fields.pop(_CHECKSUM, None) if isinstance(fields, dict) else None
        # As text, since JSON has lists where the header has tuples.
        return checksum, BiasHeader.model_validate_json(json.dumps(fields))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise _unusable(error, path) from None
        raise BadInput(f"The header is not valid JSON ({error}).", file=path, do=_AGAIN) from None


def _unusable(error: ValidationError, path: Path) -> BadInput:
    problems = "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'header'}: {e['msg']}" for e in error.errors(include_url=False)
    )
    return BadInput(f"The header cannot be used ({problems}).", file=path, do=_AGAIN)


def _check_tables(bias: TokenBias, path: Path) -> None:
    header = bias.header
    wanted = (header.length, header.vocabulary)
    for name in _TABLES:
        table = getattr(bias, name)
        if table.shape != wanted:
            raise BadInput(
                f"The table '{name}' has the shape {table.shape}, the header says {wanted}.", file=path, do=_AGAIN
            )
        if table.dtype != np.float32:
            raise BadInput(f"The table '{name}' holds {table.dtype}, not float32.", file=path, do=_AGAIN)
        if not np.isfinite(table).all():
            row, column = np.argwhere(~np.isfinite(table))[0]
            raise BadInput(
                f"The table '{name}' holds NaN or infinity (position {row + 1}, token {column}).", file=path, do=_AGAIN
            )
    if (bias.standard_error < 0).any():
        raise BadInput("A standard error is negative.", file=path, do=_AGAIN)
    for name in ("p_aligned", "p_reference"):
        table = getattr(bias, name)
        if (table < 0).any() or (table > 1 + 1e-4).any():
            raise BadInput(f"The table '{name}' holds a number that is no probability.", file=path, do=_AGAIN)
    if header.excluded:
        excluded = np.asarray(header.excluded)
        moved = excluded[bias.bias[:, excluded].any(axis=0)]
        if len(moved):
            raise BadInput(f"The bias of the excluded token {moved[0]} is not zero.", file=path, do=_AGAIN)
