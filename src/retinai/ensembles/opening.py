"""What `ckpt=` names: one checkpoint, or several that are to answer as one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retinai.data.curation.known_split import KnownSplit
from retinai.data.datamodule import FundusDataModule
from retinai.ensembles.module import EnsembleGrader
from retinai.ensembles.passes import Passes
from retinai.errors import CheckpointError, DataError
from retinai.modules.grading import GradingModule
from retinai.modules.load import load_module
from retinai.run.checkpoint_data import known_split_of
from retinai.tasks.task import check_same_task

# Of the parts that members had a photograph in, the first that occurs is its part for all together.
_ORDER = ("train", "val", "test", "predict")


def checkpoint_paths(words: Any) -> list[Path]:
    """Return the files that `ckpt=` names: one, or those of a list."""
    return [Path(str(words))] if isinstance(words, str | Path) else [Path(str(word)) for word in words]


def open_grader(words: Any, passes: Passes | None = None) -> GradingModule:
    """Load what `ckpt=` names: of one checkpoint its module, of several an `EnsembleGrader`.

    Args:
        words: A path, or a list of them.
        passes: How often each is asked about a photograph; one that is asked several times is an `EnsembleGrader` too.

    Raises:
        CheckpointError: If a file cannot be used, or the members do not go together.
        UserError: If they cannot be asked so.
    """
    paths, passes = checkpoint_paths(words), passes or Passes()
    members = [load_module(path) for path in paths]
    if len(members) == 1 and not passes.on:
        return members[0]
    check_members(paths, members)
    passes.check(paths, members)
    return EnsembleGrader.of(members, passes)


def open_grader_for_data(words: Any, data_name: str | None, passes: Passes | None = None) -> GradingModule:
    """Load what `ckpt=` names, to be used on a data set.

    An ensemble knows a split as far as its members do: a photograph that any of them was trained on counts as trained
    on, one that any was chosen on as validation; so only photographs that no member has seen are in `test`.

    Args:
        words: As in `open_grader`.
        data_name: Name of the data set; None: that of the training.
        passes: As in `open_grader`.

    Raises:
        UserError: If a file cannot be used, the members do not go together or cannot be asked so, or it is not known
            what one of them was trained on.
    """
    module = open_grader(words, passes)
    if len(members_of(module)) > 1:
        assert isinstance(module, EnsembleGrader)
        _take_split(module, checkpoint_paths(words), data_name)
    return module


def members_of(module: GradingModule) -> list[GradingModule]:
    """Return the members of an ensemble; of any other grader itself."""
    return module.members if isinstance(module, EnsembleGrader) else [module]


def ensemble_notes(module: GradingModule, words: Any) -> list[str]:
    """Return what somebody should know of several checkpoints that answer as one; nothing for a single one."""
    if not isinstance(module, EnsembleGrader):
        return []
    told = [f"{len(module.members)} checkpoints answer as one: the mean of their calibrated probabilities"]
    if len(module.members) == 1:
        told = [f"the probabilities are the mean of {module.passes.answers} calibrated answers: {module.passes}"]
    elif module.passes.on:
        told = [f"{told[0]}, of each {module.passes}"]
    pairs = zip(checkpoint_paths(words), module.members, strict=True)
    plain = [str(path) for path, member in pairs if member.calibration is None]
    return told + [f"{path} was not calibrated: its probabilities count as the network gives them" for path in plain]


def check_part(module: GradingModule, datamodule: FundusDataModule, split: str) -> None:
    """Check that a part of the data has photographs for a grader.

    Args:
        module: One grader, or an ensemble.
        datamodule: Set up, with the split that the grader's training knows.
        split: The part.

    Raises:
        DataError: If it has none; of an ensemble it says that members were trained on all of them.
    """
    try:
        datamodule.split_table(split)
    except DataError as error:
        if len(members_of(module)) == 1:
            raise
        raise DataError(
            f"{error}. What any of the checkpoints was trained or chosen on counts as such for all of them; choose "
            "checkpoints of one split, or data= with other photographs"
        ) from error


def check_members(paths: Sequence[Path], members: Sequence[GradingModule]) -> None:
    """Refuse checkpoints whose probabilities cannot be averaged.

    Args:
        paths: Their files, for the messages.
        members: What they hold, one each.

    Raises:
        CheckpointError: Names the first pair that differs in task, preprocessing, decision rule or in what it reads
            beside photographs, a file that is there twice, or one that gives no probabilities.
    """
    first, digests = members[0], dict[str, Path]()
    for path, member in zip(paths, members, strict=True):
        same = digests.setdefault(_digest(path), path)
        if same != path or list(paths).count(path) > 1:
            raise CheckpointError(f"ckpt= names the same checkpoint twice: {same} and {path}; leave one of them out")
        if not member.states_probabilities:
            raise CheckpointError(
                f"{path} gives answers without probabilities, so there is nothing to average; choose another checkpoint"
            )
        remedy = "the checkpoints of ckpt=[...] must be of one task"
        check_same_task(member.task, f"checkpoint {path}", first.task, f"checkpoint {paths[0]}", remedy)
        _check_alike(path, _seen(member), paths[0], _seen(first))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _seen(member: GradingModule) -> dict[str, Any]:
    """Return what members must have in common, by the word of the message."""
    fields = {field.name: field.to_dict() for field in member.fields()}
    return {**member.preprocessing.to_dict(), "decision_rule": member.decision_rule, "fields": fields}


def _check_alike(path: Path, own: dict[str, Any], other: Path, theirs: dict[str, Any]) -> None:
    for key, value in own.items():
        if value != theirs[key] and not (key == "fields" and _agree(value, theirs[key])):
            raise CheckpointError(
                f"checkpoint {path} has {key}={value}, checkpoint {other} has {key}={theirs[key]}; an ensemble sees "
                "and decides each photograph in one way, so choose checkpoints that were trained alike"
            )


def _agree(own: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether fields of one name have the same settings; a member may do without some."""
    return all(own[name] == theirs[name] for name in own.keys() & theirs.keys())


def _take_split(ensemble: EnsembleGrader, paths: Sequence[Path], data_name: str | None) -> None:
    """Give the ensemble the data section and the split of those members that were trained on the data in question."""
    pairs = list(zip(paths, ensemble.members, strict=True))
    names = {str((member.data_config or {}).get("name")) for member in ensemble.members}
    if data_name is None and len(names) > 1:
        raise CheckpointError(
            f"the checkpoints were trained on different data ({', '.join(sorted(names))}); add data= to say which"
        )
    theirs = [(p, m) for p, m in pairs if data_name in (None, (m.data_config or {}).get("name"))] or pairs
    ensemble.data_config = dict(theirs[0][1].data_config or {})
    splits = []
    for path, member in theirs:
        split = known_split_of(member, path)
        if split is None:
            raise CheckpointError(
                f"it is not known which photographs {path} was trained on (neither it nor its run folder holds a "
                "split), so no photograph is safe to test an ensemble on; leave it out, or put the split.csv of its "
                "training beside it"
            )
        splits.append(split)
    ensemble.split = joined_split(splits).to_dict()


def joined_split(splits: Sequence[KnownSplit]) -> KnownSplit:
    """Return in which part each photograph stands for all: what any member was trained on is in `train`.

    Args:
        splits: Of the members, at least one.
    """
    parts: dict[str, str] = {}
    for split in splits:
        for name, part in split.parts.items():
            parts[name] = min(parts.get(name, part), part, key=_rank)
    return KnownSplit(parts)


def _rank(part: str) -> int:
    return _ORDER.index(part) if part in _ORDER else len(_ORDER)
