"""Train, validation and test by prompt: near-duplicates, and all profiles of a prompt, on one side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xxhash import xxh128_hexdigest

from evenhand.errors import BadInput

SPLITS = ("train", "val", "test")


def split_by_group(
    groups: Mapping[str, str],
    strata: Mapping[str, str],
    shares: Sequence[float],
    *,
    seed: int,
    train_only: frozenset[str] = frozenset(),
) -> dict[str, str]:
    """The split of each row.

    ``groups`` is row to the name of its group: rows of a group stay together, since they say nearly the same. ``strata`` is row
    to its domain: a group belongs to that of its first row, and every domain is divided alike. ``shares`` are those of
    train, val and test. Rows of ``train_only`` put their whole group into train. The order of groups within a domain is
    that of a seeded hash, so that it depends on names and seed alone.
    Raises BadInput for shares that do not make 1.
    """
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise BadInput(f"The shares {tuple(shares)} are no division.", do="Give train, val and test that make 1.")
    found: dict[str, str] = {}
    stratum: dict[str, str] = {}
    for row, group in groups.items():
        stratum.setdefault(group, strata[row])
        if row in train_only:
            found[group] = SPLITS[0]
    members: dict[str, list[str]] = {}
    for group, name in stratum.items():
        if group not in found:
            members.setdefault(name, []).append(group)
    for name in members:
        order = sorted(members[name], key=lambda group: (xxh128_hexdigest(f"{seed}\0{group}".encode()), group))
        for at, group in enumerate(order):
            place = (at + 0.5) / len(order)
            found[group] = SPLITS[0 if place < shares[0] else 1 if place < shares[0] + shares[1] else 2]
    return {row: found[group] for row, group in groups.items()}
