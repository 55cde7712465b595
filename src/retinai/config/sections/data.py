"""The `data` section: one model per data set, on what all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from retinai.config.paths import conf_dir, read_conf
from retinai.config.sections.base import (
    UNSET,
    BuiltSection,
    CohortSize,
    CountOrZero,
    Layout,
    Name,
    OpenShare,
    Path,
    Section,
    Seed,
    Text,
    Workers,
)


class Preprocess(Section):
    """How the frame of a photograph becomes a square."""

    crop: Literal["fov", "none"] = UNSET
    ben_graham: bool = UNSET
    clahe: bool = UNSET
    decoding: Literal["reduced", "whole"] = UNSET


class Data(BuiltSection):
    """What every data set takes; see `retinai.data.datamodule.FundusDataModule`."""

    name: Name = UNSET
    root: Path | None = UNSET
    batch_size: Annotated[int, Field(ge=1, le=2**16)] = UNSET
    num_workers: Workers = UNSET
    folds: Annotated[int, Field(ge=2, le=1000)] | None = UNSET
    fold: CountOrZero = UNSET
    test_fraction: OpenShare = UNSET
    val_fraction: OpenShare = UNSET
    split_seed: Seed | None = UNSET
    split_file: Path | None = UNSET
    limit: Annotated[int, Field(ge=2, le=10**9)] | None = UNSET
    on_bad_image: Literal["error", "skip"] = UNSET
    quality: Literal["good", "usable"] | None = UNSET
    near_duplicates: bool = UNSET
    extra_train: Path | Annotated[list[Path], Field(min_length=1)] | None = UNSET
    # Keys that `fields` knows by name switch these on and off.
    fields: dict[str, Any] = UNSET
    findings: bool = UNSET
    vessels: bool = UNSET
    preprocess: Preprocess = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield what folds, shares and split files say against each other."""
        folds, fold = values.get("folds"), values.get("fold") or 0
        if folds is not None and fold >= folds:
            yield f"data.fold={fold} does not exist with data.folds={folds}; folds count from 0 to {folds - 1}"
        if folds is not None and values.get("split_file") is not None:
            yield "data.split_file and data.folds both decide the split; leave one of them out"
        if values.get("val_fraction", 0) + values.get("test_fraction", 0) >= 1:
            yield "data.val_fraction and data.test_fraction together leave nothing to train on"


class Aptos(Data):
    """`data=aptos`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.aptos.AptosDataModule",)


class Idrid(Data):
    """`data=idrid`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.idrid.IdridDataModule",)
    target: Literal["grade", "dme", "joint", "labels"] = UNSET
    masks: bool = UNSET


class Odir(Data):
    """`data=odir`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.odir.OdirDataModule",)
    layout: Literal["auto", "official", "kaggle", "course"] = UNSET
    split: Literal["published", "patient"] = UNSET
    unknown_keywords: Literal["error", "skip"] = UNSET


class Eyepacs(Data):
    """`data=eyepacs`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.eyepacs.EyepacsDataModule",)


class Messidor2(Data):
    """`data=messidor2`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.messidor2.Messidor2DataModule",)
    pairs: Path | None = UNSET


class Ddr(Data):
    """`data=ddr`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.ddr.DdrDataModule",)


class Brset(Data):
    """`data=brset`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.brset.BrsetDataModule",)


class LlavaJsonl(Data):
    """`data=llava_jsonl`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.llava.jsonl_source.LlavaJsonlDataModule",)
    jsonl: Path | None = UNSET
    target: Literal["grade", "dme"] = UNSET


class Synthetic(Data):
    """`data=synthetic`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.synthetic.datamodule.SyntheticDataModule",)
    layout: Layout = UNSET
    n: CohortSize = UNSET
    size: Annotated[int, Field(ge=64, le=4288)] = UNSET
    cohort_seed: Seed = UNSET


_Classes = Annotated[list[Text], Field(min_length=2, description="a list of two or more texts")]


class Columns(Section):
    """Which column of a table is what."""

    id: Text | None = UNSET
    path: Text | None = UNSET
    target: Text | Annotated[list[Text], Field(min_length=2)] | None = UNSET
    patient: Text | None = UNSET
    eye: Text | None = UNSET
    split: Text | None = UNSET


class _Own(Data):
    classes: _Classes | None = UNSET
    referable_from: Annotated[int, Field(ge=1, le=49)] | None = UNSET
    prevalence: OpenShare | None = UNSET


class Table(_Own):
    """`data=table`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.table.TableDataModule",)
    kind: Literal["auto", "binary", "grade", "number", "none"] = UNSET
    file: Path | None = UNSET
    columns: Columns = UNSET


class Folder(_Own):
    """`data=folder`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.folder.FolderDataModule",)
    kind: Literal["auto", "binary", "grade", "none"] = UNSET
    patient_pattern: Text | None = UNSET


# What is said once for all sources.
_OF_ALL = (
    "batch_size", "num_workers", "folds", "fold", "val_fraction", "test_fraction", "split_seed", "split_file", "limit",
    "on_bad_image", "quality", "near_duplicates", "extra_train", "preprocess",
)  # fmt: skip


class Several(Data):
    """`data=[A,B]`."""

    builds: ClassVar[tuple[str, ...]] = ("retinai.data.sources.several.SeveralDataModule",)
    sources: dict[str, Any] = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield what stands in a source and is said once for all."""
        yield from super().contradictions(values)
        for name, section in (values.get("sources") or {}).items():
            given = section if isinstance(section, Mapping) else {}
            before = _values_of("_shared") | _values_of(str(name))  # as they are where nobody says otherwise
            for key in [key for key in _OF_ALL if given.get(key, before.get(key)) != before.get(key)]:
                yield f"data.sources.{name}.{key} is said once for all sources: set data.{key}"
            for field in [field for field in given.get("fields") or {} if given.get(field) is True]:
                yield f"data.sources.{name}.{field}=true has no meaning: switch fields of the whole, data.{field}"


def _values_of(option: str) -> dict[str, Any]:
    """Return the values that the file of an option of the group `data` holds, such as the batches of `odir`."""
    file = conf_dir() / "data" / f"{option}.yaml"
    return read_conf(file) if file.is_file() else {}


MODELS: tuple[type[Section], ...] = (
    Aptos, Idrid, Odir, Eyepacs, Messidor2, Ddr, Brset, LlavaJsonl, Synthetic, Table, Folder, Several,
)  # fmt: skip
