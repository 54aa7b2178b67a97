"""Steps of the TSDI estimate and sweep: open an artefact, estimate one, subtract it from logits, compare fronts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from evenhand.engines import token_bias
from evenhand.engines.bias_kernel import BiasKernel
from evenhand.methods.tsdi.sweep import hypervolume as _hypervolume


def open_bias(folder: str | Path) -> token_bias.TokenBias:
    """Open a TSDI artefact: the folder with ``bias.safetensors`` and ``header.json``.

    Parameters
    ----------
    folder : path
        The artefact (``bias/`` in the folder of a run of ``evenhand repair tsdi``).

    Returns
    -------
    TokenBias
        ``bias`` and ``standard_error``: float32 of shape (positions, vocabulary), in nats; ``header``: how it was estimated.

    Raises
    ------
    BadInput
        A file is missing, damaged or of another estimate.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.tsdi.open_bias("no-such-folder")
    Traceback (most recent call last):
    evenhand.errors.BadInput: no-such-folder: There is no such folder. Estimate a bias with `evenhand repair tsdi`.
    """
    return token_bias.read_token_bias(Path(folder))


def estimate_bias(
    model: str, out: str | Path, *, reference: str | None = None, **settings: Any
) -> token_bias.TokenBias:
    """Estimate the context-free bias of an aligned model and write the artefact.

    Parameters
    ----------
    model : str
        Engine spec of the aligned local model.
    out : path
        Folder of the run; the artefact is ``bias/`` in it, for use as ``MODEL+tsdi:OUT/bias``.
    reference : str, optional
        Engine spec of the model that it was tuned from (default: an organism's parent, an adapter's base).
    **settings
        Any other field of `TsdiConfig`: ``draws``, ``length``, ``pool``, ``seed``, ...

    Returns
    -------
    TokenBias
        As returned by `open_bias`.

    Raises
    ------
    BadInput
        Settings are invalid, or ``out`` holds something else.
    EngineError
        A model cannot be loaded.

    Examples
    --------
    >>> import evenhand as eh, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     bias = eh.tsdi.estimate_bias("organism/aligned", f"{folder}/run", draws=4, length=2, fixed=True)
    >>> bias.bias.shape[0]
    2
    """
    from evenhand.config import checked
    from evenhand.methods.tsdi.config import TsdiConfig
    from evenhand.methods.tsdi.estimate.pipeline import BIAS_FOLDER, run_tsdi

    run_tsdi(checked(TsdiConfig, model=model, reference=reference, **settings), Path(out))
    return open_bias(Path(out) / BIAS_FOLDER)


def correct(logits: Any, positions: Any, bias: token_bias.TokenBias | ArrayLike, *, alpha: float = 1.0) -> Any:
    """Subtract a bias from the logits of the first output positions.

    Parameters
    ----------
    logits : array or tensor of shape (rows, vocabulary)
        numpy or torch, in nats up to a constant.
    positions : int or array of shape (rows,)
        Output position of each row, from 1; positions beyond those of the bias are not changed.
    bias : TokenBias, or array of shape (positions, vocabulary)
        The bias to subtract, in nats.
    alpha : float, default 1.0
        Strength; 0 changes nothing.

    Returns
    -------
    array or tensor of shape (rows, vocabulary)

    Raises
    ------
    BadInput
        ``alpha`` is negative, the shapes do not fit, or the bias is not finite.

    Examples
    --------
    >>> import evenhand as eh, numpy as np
    >>> logits = np.zeros((2, 3), dtype=np.float32)
    >>> eh.tsdi.correct(logits, [1, 2], np.array([[1.0, 0.0, 0.0]], dtype=np.float32)).tolist()
    [[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return BiasKernel(bias, alpha=alpha).apply(logits, positions)  # type: ignore[arg-type]  # the kernel converts arrays


def hypervolume(points: ArrayLike) -> float | None:
    """Area dominated by a set of settings in the plane of safety and compliance.

    Parameters
    ----------
    points : array of shape (settings, 2)
        Safety and compliance, 0 to 1; a point with a NaN is left out.

    Returns
    -------
    float or None
        0 to 1; None if no point is complete.

    Raises
    ------
    BadInput
        Another shape, or a coordinate outside 0 to 1.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.tsdi.hypervolume([[0.5, 1.0], [1.0, 0.5]])
    0.75
    """
    return _hypervolume.hypervolume(points)


def pareto_front(points: ArrayLike) -> tuple[int, ...]:
    """Settings that no other beats on both axes.

    Parameters
    ----------
    points : array of shape (settings, 2)
        Safety and compliance, 0 to 1; a point with a NaN is left out.

    Returns
    -------
    tuple of int
        Positions, best safety first.

    Raises
    ------
    BadInput
        Another shape, or a coordinate outside 0 to 1.

    Examples
    --------
    >>> import evenhand as eh
    >>> eh.tsdi.pareto_front([[0.5, 1.0], [1.0, 0.5], [0.4, 0.4]])
    (1, 0)
    """
    return _hypervolume.pareto_indexes(points)
