"""The table of ratings that every reader of ratings makes: long rows, items, and matrices of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evenhand.datasets.question_texts import OPTIONS
from evenhand.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


AXES = ("gender", "race", "age", "education", "locale")
"""Axes that are known by name."""
VIEWS = ("all raters", "without the raters its authors removed", "without straight-lining raters")
"""Which raters take part; results are to be shown under each (pluralism section 10)."""
MOST_CELLS = 100_000_000


def label_of(value: float) -> str:
    """``safe`` below 0.5, ``unsure`` at 0.5, ``unsafe`` above: the rule by which section 3.1 counts a rating as unsafe."""
    return OPTIONS[0] if value < 0.5 else OPTIONS[2] if value > 0.5 else OPTIONS[1]


@dataclass(frozen=True, slots=True, eq=False)
class RatingTable:
    """Ratings of items by raters.

    ``frame`` is long: item_id, rater_id (texts), value (0 safe to 1 unsafe), label (safe, unsure, unsafe), and a column for each
    of ``axes``, empty where a rater's value is missing; one row for each (item, rater). ``items`` holds item_id, text, and reply,
    domain (texts, empty where missing) and gold (1 unsafe, 0 safe, null unknown) where the source has them.
    ``checksums`` is file to ``xxh128:...``; ``notes`` is what a reader of the numbers must know; ``rejected`` holds (data row from
    1, reason with file and row). ``removed_by_authors`` are raters that the authors of the data leave out of their analyses; they
    are in ``frame`` unless the reader was asked to drop them. Where ``identified`` is False, a rater_id is a place in
    a list and not a person: what needs to know who rated (ICC of two-way models, rater resampling) is not defined.
    """

    frame: pl.DataFrame
    axes: tuple[str, ...]
    items: pl.DataFrame
    origin: str
    checksums: Mapping[str, str]
    notes: tuple[str, ...] = ()
    rejected: tuple[tuple[int, str], ...] = ()
    removed_by_authors: tuple[str, ...] = ()
    identified: bool = True

    def matrix(self, view: pl.DataFrame | None = None) -> tuple[NDArray[np.float64], tuple[str, ...], tuple[str, ...]]:
        """Values (items, raters), NaN where a rater gave none, with the item ids and rater ids of its rows and columns.

        ``view`` is some rows of ``frame``, for example of one group or domain; without it all. Items and raters stand in
        the order of ``frame``; those without a rating in the view are left out. Raises BadInput for more than `MOST_CELLS`.
        """
        import numpy as np

        rows = self.frame if view is None else view
        at, to, items, raters = self._places(rows)
        values = np.full((len(items), len(raters)), np.nan)
        values[at, to] = rows["value"].to_numpy()
        return values, items, raters

    def codes(self, view: pl.DataFrame | None = None) -> tuple[NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        """The same with the label of each rating, 0 safe, 1 unsure, 2 unsafe, and -1 where a rater gave none."""
        import numpy as np

        rows = self.frame if view is None else view
        at, to, items, raters = self._places(rows)
        labels = np.full((len(items), len(raters)), -1, dtype=np.int64)
        place = {label: code for code, label in enumerate(OPTIONS)}
        labels[at, to] = [place[label] for label in rows["label"].to_list()]
        return labels, items, raters

    def demographics(self, raters: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
        """Axis to the value of each rater, in the order of ``raters`` (default: of `matrix`); empty where missing.

        Raises BadInput for a rater who is not in the table.
        """
        known = self.frame.unique("rater_id", keep="first", maintain_order=True)
        ids = known["rater_id"].to_list()
        wanted = ids if raters is None else list(raters)
        place = {rater: at for at, rater in enumerate(ids)}
        absent = next((rater for rater in wanted if rater not in place), None)
        if absent is not None:
            raise BadInput(f"There is no rater '{absent}'.", file=self.origin)
        columns = {axis: known[axis].to_list() for axis in self.axes}
        return {axis: tuple(values[place[rater]] for rater in wanted) for axis, values in columns.items()}

    def gold(self, items: Sequence[str] | None = None) -> NDArray[np.float64] | None:
        """The expert's label of each item, 1 unsafe, 0 safe, NaN unknown; None where the source has none."""
        import numpy as np

        if "gold" not in self.items.columns:
            return None
        known = dict(zip(self.items["item_id"].to_list(), self.items["gold"].to_list(), strict=True))
        labels = [known[item] for item in (known if items is None else items)]
        return np.array([np.nan if label is None else label for label in labels], dtype=np.float64)

    def views(self) -> dict[str, pl.DataFrame]:
        """The rows under each of `VIEWS`; one that would leave nobody out, or cannot be made, is not there."""
        import numpy as np
        import polars as pl

        from evenhand.methods.pluralism.rating.statistics.rater_checks import straight_liners

        found = {VIEWS[0]: self.frame}
        if not self.identified:
            return found
        values, _, raters = self.matrix()
        distinct = np.unique(values[np.isfinite(values)])
        codes = np.where(np.isfinite(values), np.searchsorted(distinct, np.nan_to_num(values)), -1)
        straight = [raters[at] for at in straight_liners(codes)]
        for name, out in zip(VIEWS[1:], (list(self.removed_by_authors), straight), strict=True):
            kept = self.frame.filter(~pl.col("rater_id").is_in(out))
            if 0 < kept.height < self.frame.height:
                found[name] = kept
        return found

    def without_raters(self, raters: Sequence[str]) -> RatingTable:
        """The table without some raters; items that nobody else rated leave it too."""
        import polars as pl

        frame = self.frame.filter(~pl.col("rater_id").is_in(list(raters)))
        if frame.is_empty():
            raise BadInput("No rater is left.", file=self.origin)
        items = self.items.filter(pl.col("item_id").is_in(frame["item_id"].unique().to_list()))
        return replace(self, frame=frame, items=items)

    def with_notes(self, *notes: str) -> RatingTable:
        """The table with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def counts(self) -> dict[str, int]:
        """Ratings, items, raters (0 where they are not identified), rows kept aside."""
        raters = self.frame["rater_id"].n_unique() if self.identified else 0
        return {
            "ratings": self.frame.height,
            "items": self.items.height,
            "raters": raters,
            "rejected": len(self.rejected),
        }

    def _places(
        self, rows: pl.DataFrame
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
        import numpy as np

        items = {item: at for at, item in enumerate(rows["item_id"].unique(maintain_order=True).to_list())}
        present = set(rows["rater_id"].unique().to_list())
        order = self.frame["rater_id"].unique(maintain_order=True).to_list()
        raters = {rater: at for at, rater in enumerate(rater for rater in order if rater in present)}
        if len(items) * len(raters) > MOST_CELLS:
            raise BadInput(
                f"{len(items):,} items x {len(raters):,} raters are too many for one matrix.",
                file=self.origin,
                do=f"Take a sample of at most {MOST_CELLS:,} cells.",
            )
        at = np.fromiter((items[item] for item in rows["item_id"].to_list()), dtype=np.int64, count=rows.height)
        to = np.fromiter((raters[rater] for rater in rows["rater_id"].to_list()), dtype=np.int64, count=rows.height)
        return at, to, tuple(items), tuple(raters)
