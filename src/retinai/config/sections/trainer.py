"""The `trainer` section: arguments of Lightning's Trainer that retinai hands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from retinai.config.sections.base import (
    UNSET,
    Accelerator,
    Count,
    CountOrZero,
    NotNegative,
    Section,
    ShareAboveZero,
)

_Devices = Annotated[list[Annotated[int, Field(ge=0, le=1023)]], Field(min_length=1)]
_Time = Annotated[str, Field(pattern=r"\A\d+:\d\d:\d\d:\d\d\z", description="a time as DD:HH:MM:SS")]


class Trainer(Section):
    """How and on what a run trains; keys that Lightning knows besides have a reason in `instead`."""

    instead: ClassVar[dict[str, str]] = {
        "callbacks": "callbacks are chosen by callbacks=",
        "default_root_dir": "the folder of a run is chosen by run_dir=",
        "enable_checkpointing": "a run keeps its checkpoints in any case; remove the key",
        "enable_model_summary": "the number of parameters is printed at the start in any case; remove the key",
        "fast_dev_run": "a quick look is trainer=smoke",
        "limit_predict_batches": "a part of a data set is chosen by data.limit=",
        "limit_test_batches": "a part of a data set is chosen by data.limit=",
        "logger": "the logger is chosen by logger=",
        "max_steps": "the length of a run is chosen by trainer.max_epochs=",
        "plugins": "retinai chooses the plugins itself; remove the key",
        "val_check_interval": "how often is validated is chosen by trainer.check_val_every_n_epoch=",
    }

    reasons: ClassVar[dict[str, str]] = {
        f"precision={bits}-true": (
            f"{bits}-true keeps the weights themselves in 16 bits, whose rounding loses most steps of training (of "
            f"adapters and cut-offs too); {bits}-mixed computes in 16 bits and keeps the weights in 32"
        )
        for bits in ("bf16", "16")
    }

    accelerator: Accelerator = UNSET
    devices: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] | _Devices = UNSET
    num_nodes: Annotated[int, Field(ge=1, le=10**5)] = UNSET
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", "fsdp"] = (
        UNSET
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = UNSET
    max_epochs: Annotated[int, Field(ge=0, le=10**6)] = UNSET
    gradient_clip_val: NotNegative | None = UNSET
    accumulate_grad_batches: Count = UNSET
    check_val_every_n_epoch: Count = UNSET
    log_every_n_steps: Count = UNSET
    deterministic: bool | Literal["warn"] = UNSET
    benchmark: bool | None = UNSET
    limit_train_batches: Count | ShareAboveZero = UNSET
    limit_val_batches: Count | ShareAboveZero = UNSET
    overfit_batches: CountOrZero | Annotated[float, Field(ge=0, le=1)] = UNSET
    detect_anomaly: bool = UNSET
    num_sanity_val_steps: Annotated[int, Field(ge=-1, le=10**9)] = UNSET
    # The samplers of retinai share photographs among processes themselves; Lightning's would do so once more.
    use_distributed_sampler: Literal[False] = UNSET
    enable_progress_bar: bool = UNSET
    # Keys that conf/ does not set: +trainer.min_epochs=3.
    min_epochs: Count | None = UNSET
    max_time: _Time | None = UNSET
    gradient_clip_algorithm: Literal["norm", "value"] | None = UNSET
    profiler: Literal["simple", "advanced"] | None = UNSET
    sync_batchnorm: bool = UNSET

    @classmethod
    def contradictions(cls, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield why a run would end before its first validation, and what Lightning cannot do with shared weights."""
        yield from _of_fsdp(values)
        every, last = values.get("check_val_every_n_epoch"), values.get("max_epochs")
        if every is not None and last and every > last:
            yield (
                f"trainer.check_val_every_n_epoch={every} is more than trainer.max_epochs={last}: no epoch would be "
                "validated, and no checkpoint be the best"
            )


def _of_fsdp(values: Mapping[str, Any]) -> Iterator[str]:
    if values.get("strategy") != "fsdp":
        return
    if values.get("accelerator") in ("cpu", "mps"):
        yield (
            f"trainer.strategy=fsdp shares the weights among GPUs, and trainer.accelerator={values['accelerator']} has "
            "none; several processes on a CPU are trainer=ddp trainer.accelerator=cpu trainer.devices=2"
        )
    if values.get("gradient_clip_val") is not None and values.get("gradient_clip_algorithm") != "value":
        yield (
            "trainer.strategy=fsdp cannot clip the norm of gradients, which lie on several GPUs; choose "
            "trainer.gradient_clip_val=null, or +trainer.gradient_clip_algorithm=value"
        )
