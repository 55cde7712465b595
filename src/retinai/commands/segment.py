"""`retinai segment`: the vessels of photographs as class maps, with arteries and veins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from retinai.errors import ConfigError
from retinai.log import logger, note
from retinai.output_folders import check_folder, remove_leftovers

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from retinai.prediction.photographs import Photographs


def run(cfg: DictConfig) -> None:
    """Write a class map for each photograph, and a table.

    Args:
        cfg: The composed configuration of `conf/segment.yaml`, already checked.

    Raises:
        UserError: If photographs, weights or masks are not there, or files are in the way.
    """
    from retinai.files import write_csv
    from retinai.prediction.predictor import choose_device
    from retinai.vessels.biomarkers.measure import PATIENTS, by_patient, check_biomarkers
    from retinai.vessels.methods import VesselSettings, open_method
    from retinai.vessels.names import TABLE, check_names, mask_names, overlay_name
    from retinai.vessels.segment import Plan, segment_photographs

    if (cfg.images is None) == (cfg.get("data") is None):
        raise ConfigError(["give either images= (a folder, a file or a pattern) or data= (a data set)"])
    out = check_folder(cfg.out, "out")
    masks = None if cfg.masks is None else str(cfg.masks)
    settings = VesselSettings(str(cfg.vessels), str(cfg.paths.weights), masks)
    device = str(choose_device(str(cfg.accelerator))) if settings.uses_network else "cpu"
    open_method(settings, device)  # what is missing is told before anything is read
    if cfg.biomarkers:
        check_biomarkers(settings.weights if cfg.disc == "networks" else None)
    photographs, patients = _photographs(cfg, out)
    names = mask_names(photographs.paths)
    by_person = cfg.biomarkers and bool(patients)
    written = [
        TABLE,
        *([PATIENTS] if by_person else []),
        *names,
        *(overlay_name(name) for name in names if cfg.preview),
    ]
    check_names(out, written, photographs.paths, bool(cfg.overwrite))
    for place in {(out / name).parent for name in written}:
        remove_leftovers(place, None)  # of a command that was killed
    kept_apart = len(set(names) - {f"{Path(path).stem}.png" for path in photographs.paths})
    if kept_apart:
        note(f"{kept_apart} photographs share a name with another one: their masks keep folder or suffix, see {TABLE}")
    disc = cfg.disc == "networks"
    plan = Plan(settings, out, bool(cfg.preview), device, biomarkers=bool(cfg.biomarkers), disc=disc)
    table = segment_photographs(plan, photographs.ids, photographs.paths, names, cfg.num_workers)
    write_csv(out / TABLE, table)
    if by_person:
        write_csv(out / PATIENTS, by_patient(table, patients))
    _tell(table, out / TABLE)


def _photographs(cfg: DictConfig, out: Path) -> tuple[Photographs, dict[str, str]]:
    """Return loose files without those that lie in the folder of the masks, or every photograph of a data set.

    Of a data set it is told too whose each photograph is, by id.
    """
    from retinai.prediction.photographs import Photographs, find_photographs, name_photographs

    if cfg.images is not None:
        found = find_photographs(str(cfg.images))
        # Masks of an earlier run in a folder below that of the photographs are no photographs.
        own = os.path.realpath(out)
        loose = [Path(path) for path in found.paths if not Path(os.path.realpath(path)).is_relative_to(own)]
        return found if len(loose) in (0, len(found.paths)) else name_photographs(loose), {}
    from retinai.data.photographs.preprocessing import Preprocessing
    from retinai.data.sources.label_table import check_files
    from retinai.run.factories import make_datamodule

    # Photographs are read whole; a data set wants to know how they would be prepared all the same.
    datamodule = make_datamodule(cfg, Preprocessing(512, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    table = datamodule.checked_table()
    check_files(table, datamodule.root)
    patients = dict(zip(table["id"].tolist(), table["patient"].tolist(), strict=True))
    return Photographs(table["id"].tolist(), table["path"].tolist()), patients


def _tell(table: pd.DataFrame, file: Path) -> None:
    from retinai.csv_cells import to_cell

    good, bad = table[table["error"] == ""], table[table["error"] != ""]
    logger.info(f"{len(good)} of {len(table)} photographs have a mask, {len(bad)} could not be used: {file}")
    if len(good) and "crae" in good:
        told = good["avr"].notna().sum()
        mean = f", mean artery-vein ratio {good['avr'].mean():.2f}" if told else ""
        discs = good["disc_diameter"].notna().sum()
        logger.info(f"calibres of {told} photographs, discs found in {discs}{mean}")
    if len(good):
        uncertain = good["uncertain"].mean()
        share = "" if uncertain != uncertain else f", of which {uncertain:.0%} are both or uncertain"
        logger.info(f"vessels cover {good['density'].mean():.1%} of the field of view on average{share}")
    for row in bad.head(10).itertuples():
        logger.info(f"  {to_cell(str(row.path))}: {row.error}")
