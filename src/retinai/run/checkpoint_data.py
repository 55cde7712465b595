"""The data that a checkpoint is used on: that of its training, or another of the same task, seen as it sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from retinai.config.build import check_kind
from retinai.data.curation.known_split import KnownSplit
from retinai.data.datamodule import FundusDataModule
from retinai.data.loading.fields import SampleField, field_sections
from retinai.errors import CheckpointError, ConfigError
from retinai.run.factories import make_datamodule
from retinai.tasks.task import check_same_task

if TYPE_CHECKING:
    from retinai.modules.grading import GradingModule

# Keys of the data section that decide a split, where none is followed.
_SPLIT_KEYS = ("folds", "fold", "split_seed", "val_fraction", "test_fraction")


def open_data(cfg: DictConfig, module: GradingModule, checkpoint: Path) -> tuple[FundusDataModule, list[str]]:
    """Build the data that is asked for, or that of the training, seen as the module sees it.

    On the data set that the module was trained on, also on a copy with other photographs, the split of the
    training is followed: another seed would put photographs that it was trained on into the test part.
    `data.split_file=FILE` is followed instead, and `data.split_file=null` splits anew.

    Args:
        cfg: With `data` (None: that of the training), `paths`, and perhaps `batch_size` and `num_workers`.
        module: The checkpoint's module.
        checkpoint: Its file, in its run folder.

    Returns:
        The datamodule, not set up, and sentences about it.

    Raises:
        CheckpointError: If the data is of another task.
    """
    own = dict(module.data_config or {})
    cfg, is_own = cfg.copy(), cfg.get("data") is None
    with open_dict(cfg):
        if is_own:
            if not own:
                raise CheckpointError(f"checkpoint {checkpoint} does not say what it was trained on; add data=")
            cfg.data = OmegaConf.create(trained_on(own, checkpoint))
        for key in ("batch_size", "num_workers"):
            if cfg.get(key) is not None:
                cfg.data[key] = cfg[key]
        _check_preprocessing(cfg, module)
        cfg.seed = int(module.hparams.get("seed", 0))
        known, notes = _training_split(cfg, own, module, checkpoint)
    datamodule = _make_datamodule(cfg, module, checkpoint, is_own)
    datamodule.use_fields([*module.fields(), *module.reference_fields()])
    check_task(checkpoint, module, datamodule)
    if known is not None:
        datamodule.follow(known)
    return datamodule, notes


def _make_datamodule(cfg: DictConfig, module: GradingModule, checkpoint: Path, is_own: bool) -> FundusDataModule:
    """Build the data; where the checkpoint names it, what is wrong with that is told with its file."""
    try:
        return make_datamodule(cfg, module.preprocessing)
    except ConfigError as error:
        if not is_own:
            raise
        said = "; ".join(error.problems)
        raise CheckpointError(f"checkpoint {checkpoint} names data that cannot be built ({said}); add data=") from error


def _check_preprocessing(cfg: DictConfig, module: GradingModule) -> None:
    """Refuse words that would prepare photographs otherwise than the training did: the checkpoint decides that."""
    ours = module.preprocessing.to_dict()
    other = {key: value for key, value in (cfg.data.get("preprocess") or {}).items() if ours.get(key) != value}
    asked = [key for key in other if f"data.preprocess.{key}" in _typed_keys()]
    if asked:
        had = ", ".join(f"{key}={ours[key]}" for key in asked)
        words = ", ".join(f"data.preprocess.{key}={other[key]}" for key in asked)
        raise ConfigError([f"{words} contradicts the checkpoint, which was trained with {had}; leave it out"])


def trained_on(section: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Return the data section of a checkpoint, once it is known to name a data set of retinai and nothing else.

    Args:
        section: `data_config` of a module.
        checkpoint: Its file, for the error.

    Raises:
        CheckpointError: If it names anything else, or holds words that the configuration would look up elsewhere.
    """
    try:
        check_kind(section, FundusDataModule)
        for field in field_sections(section):
            check_kind(field, SampleField)
        if "${" in repr(section):
            raise ConfigError(["the data section refers to values outside of it"])
    except ConfigError as error:
        raise CheckpointError(f"checkpoint {checkpoint} names no data set of retinai ({error}); add data=") from error
    return dict(section)


def overlap_notes(module: GradingModule, datamodule: FundusDataModule, split: str) -> list[str]:
    """Say how many photographs of a part the module was trained or chosen on, where the part is not their own."""
    same = datamodule.name == (module.data_config or {}).get("name")
    if module.split is None or not same or split not in ("val", "test"):
        return []
    known, ids = KnownSplit.from_dict(module.split), datamodule.split_table(split)["id"]
    seen = sum(known.part_of(name) in (("train",) if split == "val" else ("train", "val")) for name in ids)
    if not seen:
        return []
    return [f"{seen} of the {len(ids)} photographs of this part were trained or chosen on: its results are too kind"]


def check_task(checkpoint: Path, module: GradingModule, datamodule: FundusDataModule) -> None:
    """Refuse data of another task than the module's.

    Raises:
        CheckpointError: Names both tasks.
    """
    owners = (f"checkpoint {checkpoint}", f"data={datamodule.name}")
    check_same_task(module.task, owners[0], datamodule.task, owners[1], "choose data= of the same task")


def run_folder_of(checkpoint: Path) -> Path:
    """Return the run folder that a checkpoint lies in; the checkpoint's own folder where it lies elsewhere."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def _training_split(
    cfg: DictConfig, own: dict[str, Any], module: GradingModule, checkpoint: Path
) -> tuple[KnownSplit | None, list[str]]:
    """Return the split to follow, None for none, and sentences; `cfg.data` is cleared of what counts no more."""
    if any(cfg.data.get(key) != own.get(key) for key in ("name", "target")):
        return None, []
    typed = _typed_keys()
    if "data.split_file" in typed:
        told = "the photographs are split anew, as data.split_file=null asks"
        return None, [] if cfg.data.split_file else [told]
    known = known_split_of(module, checkpoint)
    if known is None:
        return None, [
            f"it is not known which photographs {checkpoint} was trained on (neither it nor its run folder holds a "
            "split), so they are split anew with the training's seed; some of them may stand in this part"
        ]
    idle = [f"data.{key}" for key in _SPLIT_KEYS if f"data.{key}" in typed]
    for key, value in (("split_file", None), ("folds", None), ("fold", 0)):
        if key in cfg.data:
            cfg.data[key] = value
    if not idle:
        return known, []
    return known, [f"{', '.join(idle)}: not used, since the split of the training is followed (data.split_file=null)"]


def known_split_of(module: GradingModule, checkpoint: Path) -> KnownSplit | None:
    """Return the split that the checkpoint holds; its run folder's where it holds none; None where neither does."""
    file = run_folder_of(checkpoint) / "split.csv"
    if module.split is not None:
        return KnownSplit.from_dict(module.split)
    return KnownSplit.of_file(file) if file.exists() else None


def _typed_keys() -> set[str]:
    """Return the keys that were given on the command line."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return {word.partition("=")[0].lstrip("+") for word in words}
