"""`retinai prepare`: check a data set, find duplicates, write the cache of prepared photographs, or conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.log import logger, note
from retinai.output_folders import check_file, check_folder

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from retinai.data.curation.duplicates import DuplicateGroup
    from retinai.data.curation.file_index import FileRecord
    from retinai.data.datamodule import FundusDataModule
    from retinai.data.photographs.cache import PreparedCache

_SHOWN = 20


def run(cfg: DictConfig) -> None:
    """Prepare a data set in the format that is asked for.

    Args:
        cfg: Composed `conf/prepare.yaml`.

    Raises:
        ConfigError: If `out` is given where nothing is written to it.
    """
    from retinai.errors import ConfigError

    if cfg.format == "llava_jsonl":
        if cfg.topology.name != "none":
            raise ConfigError(
                [f"topology={cfg.topology.name} means nothing with format=llava_jsonl; leave one of them"]
            )
        return prepare_conversations(cfg)
    if cfg.out is not None:
        raise ConfigError([f"out={cfg.out} is the file of format=llava_jsonl; leave it out, or give that format"])
    return prepare_cache(cfg)


def prepare_conversations(cfg: DictConfig) -> None:
    """Write one line per labelled photograph that a run would use: question, answer, grade, part, findings.

    Args:
        cfg: Composed `conf/prepare.yaml`.

    Raises:
        UserError: If the labels or files cannot be used, the task has no grades, or `out` cannot be written.
    """
    from retinai.config.build import build
    from retinai.lesions.fields import findings_of
    from retinai.llava.text.jsonl import SPLITS, make_conversations, write_conversations
    from retinai.llava.text.prompts import PromptTemplates
    from retinai.run.console import print_notes
    from retinai.run.factories import make_datamodule, plain

    prompts = build(plain(cfg.prompt), PromptTemplates, trusted=True)
    datamodule = make_datamodule(cfg)
    prompts.grade_text(datamodule.task, 0)  # a task without grades is refused before the files are read
    out = findings_folder(cfg) / f"{cfg.data.name}.jsonl" if cfg.out is None else Path(str(cfg.out))
    out = check_file(out, "out", cfg.overwrite)
    datamodule.setup()
    rows = datamodule.table.to_dict("records")
    conversations = make_conversations(rows, datamodule.task, prompts, findings_of(datamodule.context))
    write_conversations(out, conversations, datamodule.task)
    print_notes(datamodule.notes)
    parts = [c.split for c in conversations]
    counted = ", ".join(f"{part} {parts.count(part)}" for part in SPLITS if part in parts)
    annotated = sum(c.findings is not None for c in conversations)
    logger.info(f"conversations: {len(conversations)} ({counted}), {annotated} with findings of lesion masks")
    logger.info(f"file: {out}")


def prepare_cache(cfg: DictConfig) -> None:
    """Check every file, prepare the good ones, and write down what was found.

    Args:
        cfg: Composed `conf/prepare.yaml`.

    Raises:
        UserError: If the labels cannot be used, or photographs cannot and `data.on_bad_image` is `error`;
            the findings are written and the good photographs prepared before it is raised.
    """
    from retinai.data.curation.duplicates import find_duplicates
    from retinai.data.photographs.cache import PreparedCache
    from retinai.run.factories import make_datamodule

    folder = findings_folder(cfg)
    datamodule = make_datamodule(cfg)
    table = read_labels(datamodule, folder)
    cache = PreparedCache(cfg.paths.cache, datamodule.preprocessing)
    records = cache.prepare(table["path"].tolist(), workers=cfg.workers)
    topology = prepare_topology(cfg, datamodule, table, records, folder)
    quality = judge_photographs(cfg, table, records, folder)
    groups = find_duplicates(records, near=datamodule.curation.near_duplicates)
    problems = find_problems(table, records)
    write_findings(folder, datamodule, table, records, groups, problems)
    for sentence in cache.notes:
        note(sentence)
    show(problems, groups, table, [*cache_lines(cache), *topology, *quality], folder)
    if len(problems) and datamodule.curation.on_bad_image == "error":
        raise _refusal(problems, table, folder)


def findings_folder(cfg: DictConfig) -> Path:
    """Return the folder of the findings: `run_dir`, or `<paths.outputs>/<data>/prepare/<time>`.

    Raises:
        UserError: If it is a file, or cannot be written.
    """
    if cfg.run_dir is None:
        check_folder(cfg.paths.outputs, "paths.outputs")
        time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        return Path(cfg.paths.outputs) / str(cfg.data.name) / "prepare" / time
    return check_folder(cfg.run_dir, "run_dir")


def prepare_topology(
    cfg: DictConfig, datamodule: FundusDataModule, table: pd.DataFrame, records: Mapping[str, FileRecord], folder: Path
) -> list[str]:
    """Compute the persistence images of all good photographs, where topology is on, and draw some.

    Returns:
        What to print; empty where topology is off.
    """
    from retinai.config.build import TARGET
    from retinai.run.factories import plain

    section = {key: value for key, value in plain(cfg.topology).items() if key != TARGET}
    if section["name"] == "none":
        return []
    from retinai.topology.cache import TopologyCache
    from retinai.topology.figure import draw_topology, find_examples
    from retinai.topology.settings import TopologySettings

    cache = TopologyCache(cfg.paths.cache, datamodule.preprocessing, TopologySettings.from_dict(section))
    cache.prepare(records, workers=cfg.workers)
    good = table[[not records[path].reason for path in table["path"]]]
    examples = find_examples(good, datamodule.task, datamodule.preprocessing)
    if examples:
        draw_topology(folder / "figures" / "topology.png", examples, cache.settings)
    count, size = cache.size()
    return [f"topology: {count} photographs, {size / 1e6:.1f} MB, in {cache.folder}"]


def judge_photographs(
    cfg: DictConfig, table: pd.DataFrame, records: Mapping[str, FileRecord], folder: Path
) -> list[str]:
    """Judge the quality of all good files into `quality.csv`: a row per photograph, the worst first.

    Returns:
        What to print; empty with `quality=false`.
    """
    import pandas as pd

    from retinai.files import write_csv
    from retinai.quality.files import NO_FIELD_OF_VIEW, VerdictStore, count_verdicts

    if not cfg.quality:
        return []
    good = table[[not records[path].reason for path in table["path"]]]
    qualities = VerdictStore(str(cfg.paths.cache), cfg.workers).qualities(good["path"].tolist())
    rows = [
        (name, path, "", NO_FIELD_OF_VIEW, None) if one is None else (name, path, one.verdict, one.reason, one.score)
        for name, path, one in zip(good["id"], good["path"], qualities, strict=True)
    ]
    found = pd.DataFrame(rows, columns=["id", "path", "quality", "quality_reason", "score"])
    write_csv(folder / "quality.csv", found.sort_values("score", ascending=False, na_position="first"))
    return [f"quality: {count_verdicts(qualities)} (quality.csv; data.quality= trains on the better ones)"]


def cache_lines(cache: PreparedCache) -> list[str]:
    """Return what to print of the cache of prepared photographs."""
    count, size = cache.size()
    where = f"{size / 1e6:.1f} MB, in {cache.folder}"
    return [f"cache: {count} photographs of {cache.preprocessing.input_size} px, {where}"]


def read_labels(datamodule: FundusDataModule, folder: Path) -> pd.DataFrame:
    """Return the checked label table; what is wrong with it is written to `problems.csv` before it is raised."""
    import pandas as pd

    from retinai.errors import DataError
    from retinai.files import write_csv

    try:
        return datamodule.checked_table()
    except DataError as error:
        _ = datamodule.root  # raises where there is no folder: that leaves nothing behind
        row = {"path": str(datamodule.source.label_file), "id": "", "problem": str(error)}
        write_csv(folder / "problems.csv", pd.DataFrame([row]))
        logger.info(folder)
        raise


def find_problems(table: pd.DataFrame, records: Mapping[str, FileRecord]) -> pd.DataFrame:
    """Return one row per photograph that cannot be used: `path`, `id`, `problem`."""
    import pandas as pd

    rows = [(r["path"], r["id"], records[r["path"]].reason) for r in table.to_dict("records")]
    return pd.DataFrame([row for row in rows if row[2]], columns=["path", "id", "problem"])


def duplicate_table(table: pd.DataFrame, groups: Sequence[DuplicateGroup]) -> pd.DataFrame:
    """Return one row per group of photographs that are one.

    Args:
        table: The label table.
        groups: Of `find_duplicates`.

    Returns:
        Columns `group` (from 1), `kind` (exact, near), `size`, `ids`, `targets`, `conflict` (true if the
        labels differ) and `splits`; several values are separated by `|`, in the order of the ids.
    """
    import pandas as pd

    columns = ["group", "kind", "size", "ids", "targets", "conflict", "splits"]
    rows_of = {path: rows.to_dict("records") for path, rows in table.groupby("path", sort=False)}
    found = []
    for number, group in enumerate(groups, 1):
        rows = [row for path in group.paths for row in rows_of[path]]
        labels = {row["target"] for row in rows if row["target"] is not None}
        joined = ["|".join(values) for values in zip(*map(_as_text, rows), strict=True)]
        conflict = "true" if len(labels) > 1 else "false"
        found.append([number, group.kind, len(rows), joined[0], joined[1], conflict, joined[2]])
    return pd.DataFrame(found, columns=columns)


def _as_text(row: dict[Any, Any]) -> tuple[str, str, str]:
    import numpy as np

    target = row["target"]
    numbers = () if target is None else np.atleast_1d(target).tolist()
    return row["id"], " ".join(map(str, numbers)), row["split"]


def write_findings(
    folder: Path,
    datamodule: FundusDataModule,
    table: pd.DataFrame,
    records: Mapping[str, FileRecord],
    groups: Sequence[DuplicateGroup],
    problems: pd.DataFrame,
) -> None:
    """Write `problems.csv`, `duplicates.csv` and the figures."""
    from retinai.files import write_csv
    from retinai.reports.dataset_figures import draw_class_balance, draw_image_sizes

    write_csv(folder / "problems.csv", problems)
    write_csv(folder / "duplicates.csv", duplicate_table(table, groups))
    draw_class_balance(folder / "figures" / "class_balance.png", table, datamodule.task)
    draw_image_sizes(folder / "figures" / "image_sizes.png", table, records, datamodule.task)


def show(
    problems: pd.DataFrame, groups: Sequence[DuplicateGroup], table: pd.DataFrame, lines: list[str], folder: Path
) -> None:
    """Print the problems as a table, the numbers with `lines` of the caches, and the run folder as the last line."""
    from rich.console import Console

    if len(problems):
        Console().print(_problem_table(problems, folder))
    exact = sum(group.kind == "exact" for group in groups)
    conflicts = sum(duplicate_table(table, groups)["conflict"] == "true")
    logger.info(f"photographs: {len(table)}, of which {len(problems)} cannot be used")
    logger.info(
        f"duplicates: {exact} groups of identical files, {len(groups) - exact} of nearly identical photographs; "
        f"{conflicts} groups with conflicting labels (duplicates.csv)"
    )
    logger.info("\n".join(lines))
    logger.info(f"run folder: {folder}")


def _problem_table(problems: pd.DataFrame, folder: Path) -> Any:
    from rich.markup import escape
    from rich.table import Table

    rest = len(problems) - _SHOWN
    shown = Table(title="photographs that cannot be used", title_justify="left")
    for header in ("id", "problem", "file"):
        shown.add_column(header, overflow="fold")
    for path, name, problem in problems.head(_SHOWN).itertuples(index=False):
        shown.add_row(escape(name), escape(problem), escape(Path(path).name))
    if rest > 0:
        shown.caption = f"and {rest} more, in {escape(str(folder / 'problems.csv'))}"
    return shown


def _refusal(problems: pd.DataFrame, table: pd.DataFrame, folder: Path) -> Exception:
    from retinai.errors import DataError

    return DataError(
        f"{len(problems)} of {len(table)} photographs cannot be used (listed in {folder / 'problems.csv'}); the others "
        "are prepared: mend or remove these, or go on without them with data.on_bad_image=skip"
    )
