"""The keys of each command that stand outside of all sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Accelerator,
    CohortSize,
    Count,
    CountOrZero,
    Name,
    NotNegative,
    Path,
    Section,
    Seed,
    Text,
    Workers,
)

_Processes = Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
_Engine = Literal["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-bf16", "openvino-int8"]
_Baseline = Literal["resnet101", "efficientnet_b5", "convnext_small", "resnext101"]
_Map = Literal[
    "gradcam",
    "gradcampp",
    "hirescam",
    "layercam",
    "cam",
    "occlusion",
    "ig",
    "kernelshap",
    "lime",
    "rollout",
    "attention",
]
_Table = Literal["md", "csv", "html"]
_BatchSize = Annotated[int, Field(ge=1, le=2**16)]


class _Command(Section):
    debug: bool = UNSET


class Train(_Command):
    """`retinai train`."""

    run_dir: Path | None = UNSET
    resume: bool = UNSET
    seed: Seed = UNSET
    calibrate: bool = UNSET
    test: bool = UNSET
    allow_double_balancing: bool = UNSET
    phase: Name = UNSET
    sweep: Path | None = UNSET
    study: Path | None = UNSET
    max_jobs: Annotated[int, Field(ge=1, le=100_000)] = UNSET


class Evaluate(_Command):
    """`retinai evaluate`."""

    ckpt: Path = UNSET
    split: Literal["train", "val", "test", "predict"] = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    batch_size: _BatchSize | None = UNSET
    num_workers: Workers | None = UNSET
    accelerator: Accelerator = UNSET
    grading: Literal["score", "generate"] | None = UNSET
    thresholds: Literal["half", "validation"] = UNSET
    level: Literal["photograph", "patient"] = UNSET
    pooling: Literal["max", "mean", "noisy_or"] = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that thresholds of photographs are none of patients."""
        if values.get("level") == "patient" and values.get("thresholds") == "validation":
            yield "thresholds=validation were fitted on photographs; leave it out with level=patient"


class Predict(_Command):
    """`retinai predict`."""

    ckpt: Path | None = UNSET
    images: Path = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET
    quality: bool = UNSET
    format: Literal["auto", "retinai", "kaggle", "course", "odir"] = UNSET
    batch_size: _BatchSize = UNSET
    num_workers: Workers = UNSET
    accelerator: Accelerator = UNSET
    threads: Annotated[int, Field(ge=1, le=1024)] | None = UNSET
    thresholds: Literal["half", "validation"] = UNSET
    engine: Literal["local", "ray"] = UNSET
    part_size: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    attempts: Annotated[int, Field(ge=1, le=100)] = UNSET
    ray_address: Text | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield what an engine or a layout cannot do."""
        if values.get("quality") and (values.get("engine") == "ray" or values.get("format") not in ("auto", "retinai")):
            yield "quality=true is of engine=local and retinai's own columns; leave out engine= and format="
        if values.get("engine") == "ray":
            if values.get("ckpt") is not None:
                yield "engine=ray grades with a folder of `retinai export`: model=FOLDER in the place of ckpt="
            if values.get("format") not in ("auto", "retinai"):
                yield f"engine=ray writes Parquet files with retinai's columns; leave out format={values['format']}"
            if values.get("thresholds") == "validation":
                yield "thresholds=validation is not of engine=ray, which decides from one half on; leave it out"
        elif values.get("ray_address") is not None:
            yield f"ray_address={values['ray_address']} is of engine=ray; leave it out, or give that engine"


class ModelFolder(Section):
    """`model=FOLDER` of the commands that grade with an exported folder."""

    folder: Path | None = UNSET


class _Clinic(_Command):
    """What the commands of `retinai.app` share."""

    language: Literal["en", "es", "hi"] = UNSET
    refer_if: Annotated[list[Text], Field(min_length=1)] = UNSET
    audit: Path | None = UNSET
    keep_photographs: Path | None = UNSET
    max_megabytes: Annotated[int, Field(ge=1, le=512)] = UNSET
    time_limit: Annotated[float, Field(gt=0, le=600)] = UNSET
    threads: Annotated[int, Field(ge=1, le=1024)] | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that photographs are to be kept without a record that tells whose they are."""
        if values.get("keep_photographs") is not None and "audit" in values and values["audit"] is None:
            yield "keep_photographs= belongs to the record of audit=; give both, or leave out keep_photographs="


class App(_Clinic):
    """`retinai app`."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$", description="an address or a name")] = UNSET
    port: Annotated[int, Field(ge=0, le=65535)] = UNSET
    password_file: Path | None = UNSET


class Worklist(_Clinic):
    """`retinai worklist`."""

    images: Path = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET


class Embed(_Command):
    """`retinai embed`."""

    ckpt: Path | None = UNSET
    images: Path | None = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET
    pooling: Literal["own", "avg", "token", "all"] = UNSET
    dtype: Literal["float16", "float32"] = UNSET
    neighbours: Annotated[int, Field(ge=1, le=20)] | None = UNSET
    batch_size: _BatchSize = UNSET
    num_workers: Workers = UNSET
    accelerator: Accelerator = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that a file of another kind cannot be written."""
        if values.get("out") is not None and not str(values["out"]).lower().endswith((".npz", ".parquet")):
            yield f"out={values['out']} must be a .npz or a .parquet file"


_Percent = Annotated[float, Field(gt=0, le=100)] | Annotated[int, Field(ge=1, le=100)]


class Probe(_Command):
    """`retinai probe`."""

    embeddings: Path | Annotated[list[Path], Field(min_length=1)] = UNSET
    target: Text | Annotated[list[Text], Field(min_length=1)] = UNSET
    method: Literal["linear", "knn"] = UNSET
    smote: bool = UNSET
    shots: _Percent | Annotated[list[_Percent], Field(min_length=1)] | None = UNSET
    draws: Annotated[int, Field(ge=1, le=1000)] = UNSET
    label_issues: bool = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    seed: Seed = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that a file is named twice."""
        files = values.get("embeddings")
        if isinstance(files, list) and len({PurePath(str(file)).stem for file in files}) < len(files):
            yield (
                "embeddings= names two files of one name (without the suffix), by which results are told apart; "
                "rename one of them"
            )


class Fetch(_Command):
    """`retinai fetch`."""

    out: Path = UNSET
    overwrite: bool = UNSET


class Export(_Command):
    """`retinai export`."""

    reasons: ClassVar[dict[str, str]] = {"split=predict": "that part has no labels to compare on"}
    ckpt: Path = UNSET
    out: Path = UNSET
    format: Literal["onnx", "openvino", "hf"] = UNSET
    precision: Literal["fp32", "bf16", "int8"] = UNSET
    int8_photographs: Count = UNSET
    int8_reduce_range: bool = UNSET
    split: Literal["test", "val", "train"] = UNSET
    max_difference: NotNegative | None = UNSET
    max_drop: NotNegative | None = UNSET
    force: bool = UNSET
    merge: bool = UNSET
    batch_size: _BatchSize | None = UNSET
    num_workers: Workers | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that the other formats have nothing to merge: their graphs hold the adapters already."""
        if values.get("merge") and values.get("format") in ("onnx", "openvino"):
            yield f"merge=true is of format=hf; leave it out with format={values['format']}"


class Benchmark(_Command):
    """`retinai benchmark`."""

    reasons: ClassVar[dict[str, str]] = {
        "split=test": "the test photographs are told beside and choose nothing",
        "batch=1": "single photographs are measured in any case",
    }
    ckpt: Path | None = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    students: list[_Engine] = UNSET
    baselines: list[_Baseline] = UNSET
    reference: list[_Engine] = UNSET
    baseline_engines: list[_Engine] = UNSET
    untrained: list[_Engine] = UNSET
    images: Path | None = UNSET
    threads: Annotated[int, Field(ge=1, le=1024)] = UNSET
    batch: Annotated[int, Field(ge=2, le=2**16)] = UNSET
    rounds: Count = UNSET
    rounds_batch: Count = UNSET
    split: Literal["val", "train"] = UNSET
    int8_photographs: Count = UNSET
    int8_reduce_range: bool = UNSET
    seed: Seed = UNSET
    quick: bool = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield the lists that would measure a row twice."""
        for key in ("students", "baselines", "reference", "baseline_engines", "untrained"):
            names = values.get(key) or []
            if len(set(names)) != len(names):
                yield f"{key}={','.join(names)} names one twice"


class Prepare(_Command):
    """`retinai prepare`."""

    format: Literal["cache", "llava_jsonl"] = UNSET
    out: Path | None = UNSET
    overwrite: bool = UNSET
    run_dir: Path | None = UNSET
    workers: _Processes = UNSET


class LogOdds(Section):
    """What the outcome of the cohort `oculomics` depends on."""

    artery: float = UNSET
    tortuosity: float = UNSET
    age: float = UNSET
    male: float = UNSET


class Generator(Section):
    """`retinai synthesize from=CKPT class=NAME`."""

    ckpt: Path | None = UNSET
    label: Text | None = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that a class is of a generator."""
        if values.get("label") is not None and values.get("ckpt") is None:
            yield f"class={values['label']} is of from=CKPT (a checkpoint of model=vae); give both, or leave class= out"


class Synthesize(_Command):
    """`retinai synthesize`."""

    layout: Literal["aptos", "idrid", "odir", "odir_kaggle", "odir_course", "eyepacs", "messidor2", "ddr", "brset",
                    "oculomics"] = UNSET  # fmt: skip
    n: CohortSize = UNSET
    size: Annotated[int, Field(ge=64, le=4288)] | None = UNSET
    seed: Seed = UNSET
    out: Path = UNSET
    masks: bool = UNSET
    camera: Literal["mixed", "canon", "zeiss", "kowa", "topcon"] = UNSET
    workers: _Processes = UNSET


class Segment(_Command):
    """`retinai segment`."""

    images: Path | None = UNSET
    out: Path = UNSET
    overwrite: bool = UNSET
    vessels: Literal["wnet", "wnet_vessels", "sato", "folder"] = UNSET
    masks: Path | None = UNSET
    preview: bool = UNSET
    biomarkers: bool = UNSET
    disc: Literal["networks", "none"] = UNSET
    num_workers: Workers = UNSET
    accelerator: Accelerator = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield that masks of other tools are named where they are not taken, or the other way round."""
        if values.get("vessels") is not None and (values["vessels"] == "folder") != (values.get("masks") is not None):
            yield "masks= names the folder of vessels=folder; give both of them or neither"


class Runs(_Command):
    """`retinai runs`."""

    root: Path = UNSET
    limit: Count | None = UNSET
    sweep: Path | None = UNSET


class Report(_Command):
    """`retinai report`."""

    runs: list[Path] = UNSET
    out: Path | None = UNSET
    overwrite: bool = UNSET
    format: _Table | Annotated[list[_Table], Field(min_length=1)] = UNSET
    against: Path | None = UNSET
    metrics: list[Text] | None = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET


class Explain(_Command):
    """`retinai explain`."""

    ckpt: Path = UNSET
    images: Path | None = UNSET
    split: Literal["train", "val", "test", "predict"] = UNSET
    method: _Map | Annotated[list[_Map], Field(min_length=1)] = UNSET
    target: Text = UNSET
    layer: Text = UNSET
    regions: list[Literal["vessels", "lesions", "disc"]] = UNSET
    vessels: Literal["wnet", "wnet_vessels", "sato", "folder"] = UNSET
    masks: Path | None = UNSET
    checks: CountOrZero = UNSET
    report: bool = UNSET
    overlays: bool = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    batch_size: _BatchSize | None = UNSET
    num_workers: Workers | None = UNSET
    accelerator: Accelerator = UNSET


class Stress(_Command):
    """`retinai stress`."""

    reasons: ClassVar[dict[str, str]] = {"split=predict": "that part has no labels to measure on"}
    ckpt: Path = UNSET
    split: Literal["train", "val", "test"] = UNSET
    photographs: Count | None = UNSET
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)] = UNSET
    angles: list[Annotated[int, Field(ge=1, le=359)]] = UNSET
    resamples: Annotated[int, Field(ge=1, le=10**6)] = UNSET
    run_dir: Path | None = UNSET
    overwrite: bool = UNSET
    num_workers: Annotated[int, Field(ge=0, le=1024)] = UNSET
    accelerator: Accelerator = UNSET


class Dashboard(_Command):
    """`retinai dashboard`."""

    runs: list[Path] = UNSET
    out: Path | None = UNSET
    overwrite: bool = UNSET
    title: Text | None = UNSET
    photographs: Annotated[int, Field(ge=0, le=200)] = UNSET
    wandb: bool = UNSET
    project: Name = UNSET
    entity: Name | None = UNSET


COMMANDS: dict[str, type[Section]] = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "embed": Embed,
    "probe": Probe,
    "fetch": Fetch,
    "export": Export,
    "benchmark": Benchmark,
    "prepare": Prepare,
    "synthesize": Synthesize,
    "segment": Segment,
    "runs": Runs,
    "report": Report,
    "dashboard": Dashboard,
    "explain": Explain,
    "app": App,
    "worklist": Worklist,
    "stress": Stress,
}
