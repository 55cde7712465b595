"""A training step through our module against TRL's SFTTrainer: same network file, quantisation, adapters, texts."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from typing import Any

import lightning
import torch
from transformers import TrainerCallback

from benchmarks.common import Result, Spent, ratio_of, side_by_side
from benchmarks.llava_setup import Setup
from benchmarks.watches import LightningWatch, Stopwatch
from retinai.callbacks.quiet import quiet_lightning
from retinai.llava.encoding import IGNORED
from retinai.llava.loading import quantisation

CLIP = 1.0
WARM = 1  # first steps of the optimiser in a run, not counted


class TransformersWatch(TrainerCallback):
    """Tells a stopwatch of the steps of transformers' Trainer."""

    watch = Stopwatch(WARM)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the end of a step."""
        self.watch.step()


def compare(setup: Setup, steps: int, rounds: int, scratch: Any) -> Result:
    """Time training of both on the same photographs in the same order; both with gradient checkpointing.

    Args:
        setup: Ours, and the folder that TRL loads the same network from.
        steps: Steps of the optimiser that are timed in each round, after one that is not.
        rounds: Runs of each.
        scratch: Folder that TRL wants.

    Returns:
        Seconds per photograph, one value per round.
    """
    trainer, watch = make_sft(setup, WARM + steps, scratch)
    same = check_same(setup, trainer)
    count = steps * setup.accumulate

    def theirs() -> Spent:
        watch.watch = Stopwatch(WARM)
        trainer.train()
        _check_steps(watch.watch, WARM + steps, "TRL")
        return watch.watch.taken

    times = side_by_side({"retinai": partial(train_ours, setup, WARM + steps), "trl": theirs}, rounds, items=count)
    details = {
        "shape": setup.shape, "photographs": count, "batch": 1, "accumulate": setup.accumulate,
        "gradient_checkpointing": True, "optimizer": "AdamW, 8 bits", **same,
        "ratio_of_processor_seconds": ratio_of(times.processor, "retinai", "trl"),
    }  # fmt: skip
    ratio = ratio_of(times.seconds, "retinai", "trl")
    return Result(*row(setup.shape), ratio, times.seconds, details)


def row(shape: str) -> tuple[str, str]:
    """Return name and goal of this comparison."""
    return f"{shape}: training, retinai / TRL's SFTTrainer", "<= 1.0"


def train_ours(setup: Setup, steps: int) -> Spent:
    """Train through Lightning as `retinai train` does and return what it took after the warm-up."""
    quiet_lightning()
    warnings.filterwarnings("ignore", message=".*have no `val_dataloader`.*")
    watch = Stopwatch(WARM)
    trainer = lightning.Trainer(
        max_steps=steps,
        accumulate_grad_batches=setup.accumulate,
        precision="bf16-mixed",
        devices=1,
        gradient_clip_val=CLIP,
        callbacks=[LightningWatch(watch, setup.accumulate)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(setup.module.train(), setup.loader)
    _check_steps(watch, steps, "retinai")
    return watch.taken


def make_sft(setup: Setup, steps: int, scratch: Any) -> tuple[Any, TransformersWatch]:
    """Return TRL's trainer of the same network with the same adapters, and what tells its time."""
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    warnings.filterwarnings("ignore", category=FutureWarning)  # TRL and PEFT ask transformers by old names
    network = setup.module.network
    settings = setup.module.optimizer_settings
    watch = TransformersWatch()
    args = SFTConfig(
        output_dir=str(scratch), max_steps=steps, per_device_train_batch_size=1,
        gradient_accumulation_steps=setup.accumulate, gradient_checkpointing=True,
        gradient_checkpointing_kwargs={"use_reentrant": False}, bf16=True, optim="adamw_bnb_8bit",
        learning_rate=settings.lr, weight_decay=settings.weight_decay, lr_scheduler_type="cosine",
        max_grad_norm=CLIP, max_length=None, train_sampling_strategy="sequential", dataloader_num_workers=0,
        logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        model_init_kwargs={
            "dtype": "bfloat16", "attn_implementation": "sdpa",
            "device_map": {"": "cuda:0" if torch.cuda.is_available() else "cpu"},
        },
    )  # fmt: skip
    trainer = SFTTrainer(
        model=str(setup.folder), args=args, train_dataset=_examples(setup), processing_class=network.processor,
        peft_config=copy.deepcopy(network.model.peft_config["default"]), callbacks=[watch],
        quantization_config=quantisation(torch.bfloat16),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer, watch


def _examples(setup: Setup) -> Any:
    """Return the prepared photographs with their texts in the form that TRL takes."""
    from datasets import Dataset, Image
    from PIL import Image as Pillow

    conversations = setup.module.network.conversations
    tokenizer = conversations.tokenizer
    # TRL's collator adds no token of the beginning, where ours leaves that to the tokenizer.
    begin = tokenizer.bos_token if tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id else ""
    rows: dict[str, list[Any]] = {"prompt": [], "completion": [], "image": []}
    for number in range(len(setup.data)):
        sample = setup.data[number]
        question, answer = setup.turns[sample["id"]]
        rows["prompt"].append(f"{begin}{conversations.prompt_text(question)}")
        # Tokens of their own begin with a space already.
        rows["completion"].append(f"{answer}{tokenizer.eos_token}")
        rows["image"].append(Pillow.fromarray(sample["image"]))
    return Dataset.from_dict(rows).cast_column("image", Image())


def check_same(setup: Setup, trainer: Any) -> dict[str, int]:
    """Refuse to compare two trainings that do not learn the same tokens, pixels and parameters.

    Returns:
        The number of trained parameters, and the mean tokens of a conversation and of its answer.
    """
    theirs = trainer.get_train_dataloader()
    conversations = setup.module.network.conversations
    lengths, learnt = [], []
    for number, (batch, other) in enumerate(zip(setup.loader, theirs, strict=False)):
        encoded = conversations.encode(batch["conversation"])
        for key in ("input_ids", "labels"):
            found = other[key].cpu()
            if not torch.equal(getattr(encoded, key), found):
                raise RuntimeError(f"photograph {number}: TRL's {key} are not ours")
        torch.testing.assert_close(other["pixel_values"].cpu().float(), batch["image"], atol=1e-5, rtol=0.0)
        lengths.append(encoded.input_ids.shape[1])
        learnt.append(int((encoded.labels != IGNORED).sum()))
    ours, there = (sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (setup.module, trainer.model))
    if ours != there:
        raise RuntimeError(f"{ours} parameters train here, {there} at TRL")
    return {"trained": ours, "tokens": sum(lengths) // len(lengths), "learnt": sum(learnt) // len(learnt)}


def _check_steps(watch: Stopwatch, steps: int, who: str) -> None:
    if watch.steps != steps:
        raise RuntimeError(f"{who} made {watch.steps} steps of the optimiser, not {steps}")
