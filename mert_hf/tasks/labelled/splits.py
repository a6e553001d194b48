"""Which tracks are trained on, choose the epoch, and are measured: no group of tracks is in two of these."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mert_hf.audio import AudioSource
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import generator
from mert_hf.tasks.base import SPLITS
from mert_hf.tasks.labelled.tables import cell_text


def group_tracks(rows: Sequence[Mapping[str, Any]], sources: Iterable[AudioSource], group_column: str) -> list[str]:
    """The group of each track: its cell in `group_column` where there is one, else itself; equal files share a group."""
    cells = [cell_text(row.get(group_column), f"column {group_column!r}") for row in rows]
    groups = [cell or f"track {number}" for number, cell in enumerate(cells)]
    first: dict[str, str] = {}
    for number, source in enumerate(sources):
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        twin = first.setdefault(hashlib.sha256(content).hexdigest(), groups[number])
        if twin != groups[number]:
            other = groups[number]
            groups = [twin if group == other else group for group in groups]
            first = {key: twin if group == other else group for key, group in first.items()}
    return groups


def split_tracks(
    groups: Sequence[str], classes: np.ndarray | None, validation_share: float, test_share: float, seed: int
) -> dict[str, list[int]]:
    """Draw the splits, indices of tracks, by groups; classes are spread evenly as far as the groups allow.

    Args:
        groups: of each track.
        classes: (tracks,) of each track, to keep their shares; None draws groups without regard to labels.
        validation_share, test_share: of the groups (of each class's, with classes).

    Raises:
        InputError: fewer than three groups.
    """
    if len(set(groups)) < 3:
        count = len(set(groups))
        raise InputError(f"{count} groups of tracks cannot be split into train, validation and test; three are needed.")
    return _require_all(_draw_splits(groups, classes, validation_share, test_share, seed))


def read_split(
    rows: Sequence[Mapping[str, Any]],
    column: str,
    groups: Sequence[str],
    classes: np.ndarray | None = None,
    validation_share: float = 0.0,
    seed: int = 0,
) -> dict[str, list[int]]:
    """The splits that the table or the folders give; where they give no validation, it is drawn from train.

    Args:
        column: of the split.
        groups, classes: as in [`split_tracks`].
        validation_share: of the groups of train.

    Raises:
        InputError: another name than train, validation and test, a split without a track, or a group in two splits.
    """
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    found: dict[str, str] = {}
    for track, (row, group) in enumerate(zip(rows, groups, strict=True)):
        split = cell_text(row[column], f"column {column!r}")
        if split not in splits:
            raise InputError(f"column {column!r} holds {split[:80]!r}; accepted: {', '.join(SPLITS)}.")
        if found.setdefault(group, split) != split:
            raise InputError(
                f"{group[:200]!r} (equal files, or one group) is in {found[group]} and in {split}: the test would leak."
            )
        splits[split].append(track)
    if splits["train"] and not splits["validation"]:
        given = splits["train"]
        part = None if classes is None else classes[given]
        drawn = _draw_splits([groups[track] for track in given], part, validation_share, 0.0, seed)
        splits |= {split: [given[place] for place in drawn[split]] for split in ("train", "validation")}
    return _require_all(splits)


def _draw_splits(
    groups: Sequence[str], classes: np.ndarray | None, validation_share: float, test_share: float, seed: int
) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {group: [] for group in sorted(set(groups))}
    for track, group in enumerate(groups):
        members[group].append(track)
    # groups of one kind (the commonest class of their tracks) are dealt out together
    kinds: dict[int, list[str]] = {}
    for group, tracks in members.items():
        kind = 0 if classes is None else int(np.bincount(classes[tracks]).argmax())
        kinds.setdefault(kind, []).append(group)
    dealt: dict[str, list[str]] = {split: [] for split in SPLITS}
    owed_test = owed_validation = 0.0
    for kind in sorted(kinds):
        order = generator(seed, "split", kind).permutation(len(kinds[kind]))
        shuffled = [kinds[kind][place] for place in order]
        # fractions are carried over to the next kind, so that many small kinds add up to the shares
        owed_test += test_share * len(shuffled)
        owed_validation += validation_share * len(shuffled)
        test, validation = min(round(owed_test), len(shuffled) - 1), 0
        validation = min(round(owed_validation), len(shuffled) - 1 - test)
        owed_test, owed_validation = owed_test - test, owed_validation - validation
        dealt["test"] += shuffled[:test]
        dealt["validation"] += shuffled[test : test + validation]
        dealt["train"] += shuffled[test + validation :]
    return {split: sorted(track for group in dealt[split] for track in members[group]) for split in SPLITS}


def _require_all(splits: dict[str, list[int]]) -> dict[str, list[int]]:
    empty = [split for split, tracks in splits.items() if not tracks]
    if empty:
        raise InputError(f"no track is left for {', '.join(empty)}; give more tracks (or groups), or other shares.")
    return splits
