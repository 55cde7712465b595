"""`retinai explain`: maps of what a checkpoint's answers rest on, measured against regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.errors import UserError
from retinai.log import logger
from retinai.output_folders import check_folder, check_new

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.explain.region_masks import Family
    from retinai.explain.run import Explained, Explainer, Known
    from retinai.modules.grading import GradingModule


def run(cfg: DictConfig) -> None:
    """Explain the photographs of a data set or of files, and write maps, pictures and measures.

    Args:
        cfg: The composed configuration of `conf/explain.yaml`, already checked.

    Raises:
        UserError: If an option does not suit the checkpoint or the photographs.
    """
    from retinai.explain.checks import Check
    from retinai.explain.region_masks import chosen_families
    from retinai.explain.results import summarise, write_results
    from retinai.explain.run import Explainer
    from retinai.explain.run_report import REPORT, add_to_report
    from retinai.explain.step import Maps
    from retinai.modules.load import load_module
    from retinai.run.checkpoint_data import run_folder_of
    from retinai.run.results import results_folder
    from retinai.vessels.methods import VesselSettings

    if cfg.images is not None and cfg.get("data") is not None:
        raise UserError("give either data= (a data set) or images= (files), not both")
    folder = _folder(cfg)
    module = load_module(Path(cfg.ckpt))
    module.task.require_probabilities(str(cfg.ckpt), "retinai explain draws maps of classes")
    methods = [cfg.method] if isinstance(cfg.method, str) else list(cfg.method)
    vessels = VesselSettings(str(cfg.vessels), str(cfg.paths.weights), cfg.masks)
    families = chosen_families(list(cfg.regions), of_data_set=cfg.images is None, vessels=vessels)
    step = Maps(module, methods, _target(cfg), str(cfg.layer))
    explain = _data_set if cfg.images is None else _files

    with results_folder(folder, "retinai explain", unique=cfg.run_dir is None) as folder:

        def explainer(known: Known) -> Explainer:
            check = Check(step, str(cfg.layer), module, int(cfg.checks)) if cfg.checks else None
            return Explainer(module, step, families, known, folder, overlays=bool(cfg.overlays), check=check)

        found, about = explain(cfg, module, families, explainer)
        facts = {**_facts(cfg, module), **about, "notes": [*_notes(module, step), *about["notes"]]}
        content = summarise(found, methods, facts, int(cfg.resamples))
        figures = write_results(folder, content, found, module.task)
    report = run_folder_of(Path(cfg.ckpt)) / REPORT
    own = cfg.report and cfg.images is None and cfg.get("data") is None and cfg.split == "test"
    if own and add_to_report(report, content, figures):
        logger.info(f"{report} has a section on where it looks")
    _tell(content, found, folder)
    _track(folder, cfg, content)


def _track(folder: Path, cfg: DictConfig, content: dict[str, Any]) -> None:
    """Tell W&B, in the group of the run whose answers were explained; pictures of photographs only when asked for."""
    from retinai.run.checkpoint_data import run_folder_of
    from retinai.run.factories import plain
    from retinai.tracking.lineage import checkpoint_item, data_item
    from retinai.tracking.measurement import Measurement, flat, tell

    def measured() -> Measurement:
        from retinai.tracking.wandb_tables import pictures

        facts = {key: content[key] for key in ("model", "backbone", "target", "score", "layer", "version")}
        of_data = [] if cfg.images is not None else [data_item(content["data"], content["data_fingerprint"])]
        numbers = flat(content["methods"], "explain") | flat(content["checks"], "explain/checks")
        shown = sorted((folder / "overlays").glob("*.png"))
        return Measurement(
            "explain",
            folder,
            facts | ({} if cfg.images is not None else {"data": content["data"], "split": content["split"]}),
            numbers | {"explain/photographs": float(content["photographs"])},
            lambda options: pictures("explain/overlays", shown, options),
            taken=[*of_data, checkpoint_item(Path(cfg.ckpt))],
        )

    tell(plain(cfg.logger), measured, [run_folder_of(Path(cfg.ckpt))])


def _folder(cfg: DictConfig) -> Path:
    """Return where the results go; a folder that cannot be written or holds results is refused first."""
    from retinai.explain.results import RECORD
    from retinai.run.checkpoint_data import run_folder_of

    if cfg.run_dir is None:
        above = check_folder(run_folder_of(Path(cfg.ckpt)) / "explanations", "run_dir")
        return above / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder = check_folder(cfg.run_dir, "run_dir")
    if (folder / "run.json").exists():
        raise UserError(f"{folder} holds a training run; choose another run_dir=")
    return check_new(folder, "run_dir", (RECORD,), cfg.overwrite)


def _data_set(
    cfg: DictConfig, module: GradingModule, families: Mapping[str, Family], explainer: Callable[[Known], Explainer]
) -> tuple[Explained, dict[str, Any]]:
    """Explain a part of a data set."""
    from retinai.explain.region_masks import region_fields
    from retinai.explain.run import Known
    from retinai.explain.view import ViewField
    from retinai.prediction.splits import ordered_loader
    from retinai.run.checkpoint_data import open_data
    from retinai.run.console import print_notes

    datamodule, notes = open_data(cfg, module, Path(cfg.ckpt))
    more = region_fields(families)
    datamodule.use_fields([ViewField(), *more])
    datamodule.setup()
    table = datamodule.split_table(str(cfg.split))
    notes = [*datamodule.notes, *notes]
    print_notes(notes)
    labelled = all(target is not None for target in table["target"])
    columns = {name: dict(zip(table["id"], table[name], strict=True)) for name in ("patient", "eye", "target")}
    known = Known(columns["patient"], columns["eye"], columns["target"] if labelled else None)
    loader = ordered_loader(datamodule, str(cfg.split))
    names = [field.name for field in more]
    found = explainer(known).run(loader, names, len(table), str(cfg.accelerator))
    about = {"data": str(datamodule.name), "split": str(cfg.split), "data_fingerprint": datamodule.fingerprint}
    return found, {**about, "unreadable": {}, "notes": notes}


def _files(
    cfg: DictConfig, module: GradingModule, families: Mapping[str, Family], explainer: Callable[[Known], Explainer]
) -> tuple[Explained, dict[str, Any]]:
    """Explain loose files; one that cannot be read is told and left out."""
    from retinai.data.loading.dataset import Collate
    from retinai.explain.region_masks import region_fields
    from retinai.explain.run import Known
    from retinai.explain.view import ViewField
    from retinai.prediction.files import PhotographFiles, file_loader, readable_batches
    from retinai.prediction.photographs import find_photographs

    photographs = find_photographs(str(cfg.images))
    more = region_fields(families)
    fields = [*module.photograph_fields(), ViewField(), *more]
    files = PhotographFiles(photographs, module.preprocessing, fields)
    reasons, rows = [""] * len(files), list[int]()
    loader = file_loader(files, int(cfg.batch_size or 16), "auto" if cfg.num_workers is None else cfg.num_workers)
    batches = readable_batches(loader, Collate(module.preprocessing, module.task, fields), rows, reasons)
    known = Known(dict(zip(photographs.ids, photographs.ids, strict=True)), {})
    found = explainer(known).run(batches, [field.name for field in more], len(files), str(cfg.accelerator))
    unreadable = {name: reason for name, reason in zip(photographs.ids, reasons, strict=True) if reason}
    if not found.rows:
        raise UserError(
            f"none of the {len(files)} photographs could be read (first: {next(iter(unreadable.values()))})"
        )
    return found, {"data": str(cfg.images), "split": None, "unreadable": unreadable, "notes": []}


def _target(cfg: DictConfig) -> str:
    """Return `target=` as text; Hydra reads `target=true` as no text."""
    return "true" if cfg.target is True else str(cfg.target)


def _facts(cfg: DictConfig, module: Any) -> dict[str, Any]:
    from retinai import __version__
    from retinai.explain.scores import describe_score
    from retinai.run.record_writer import git_revision, package_versions

    return {
        "checkpoint": str(cfg.ckpt),
        "model": module.model_name,
        "backbone": module.backbone_name,
        "target": _target(cfg),
        "score": describe_score(module.criterion),
        "layer": str(cfg.layer),
        "decision_rule": module.decision_rule,
        "preprocessing": module.preprocessing.to_dict(),
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "version": __version__,
        "versions": package_versions(),
        "git_revision": git_revision(),
    }


def _notes(module: Any, step: Any) -> list[str]:
    """Return what a reader should know of the maps."""
    said = []
    if module.test_time_flips:
        said.append("predictions of this checkpoint average four flips; the maps are of the photograph as it is")
    if len(step.methods) and not module.criterion.gives_class_logits:
        said.append("its loss orders the grades and has no logit of a class: maps explain the expected grade")
    return said


def _tell(content: dict[str, Any], found: Explained, folder: Path) -> None:
    from retinai.explain.results import check_sentence, region_table

    table = region_table(content)
    if len(table):
        logger.info(table.to_string(index=False))
    checks = content["checks"]
    for method, told in checks.get("methods", {}).items():
        logger.info(f"{method}: {check_sentence(told)}")
    zero = {method: told.get("zero_maps", 0) for method, told in content["methods"].items()}
    for method, count in zero.items():
        if count:
            logger.info(f"{method}: {count} maps are zero everywhere; they are not measured")
    _tell_unreadable(list(content["unreadable"].items()))
    logger.info(f"{len(found.rows)} photographs explained; open {folder / 'explain.html'}")


def _tell_unreadable(unreadable: Sequence[tuple[str, str]]) -> None:
    if unreadable:
        logger.info(f"{len(unreadable)} photographs could not be read")
    for name, reason in unreadable[:10]:
        logger.info(f"  {name}: {reason}")
