"""`format=hf`: a LLaVA's adapter folder, which plain transformers and peft load without retinai."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retinai.files import write_json, write_text
from retinai.output_folders import whole_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from retinai.llava.module import LlavaGrader
    from retinai.llava.network import LlavaNetwork

BASE = "base"


def export(cfg: DictConfig, module: LlavaGrader, out: Path) -> None:
    """Write adapter, projector, processor, generation settings, prompts and a card into one folder.

    Args:
        cfg: The configuration of `conf/export.yaml`; `merge` puts the adapters into the weights.
        module: A trained LLaVA grader.
        out: A new or empty folder; it appears whole or not at all.
    """
    if module.network.settings.is_assembled:
        _export_parts(module, out)
        return
    with whole_folder(out) as folder:
        merged = bool(cfg.merge) or not module.network.tuning.has_adapters
        if merged:
            _write_merged(module, folder)
        else:
            _write_adapter(module.network, folder)
        module.network.processor.save_pretrained(folder)
        _generation_settings(module).save_pretrained(folder)
        write_json(folder / "grading.json", grading_settings(module))
        write_text(folder / "README.md", card(module, merged))


def _export_parts(module: LlavaGrader, out: Path) -> None:
    """Write the parts of a LLaVA that is put together; adapters are merged, `merge=` changes nothing."""
    from retinai.llava.parts_export import write_parts

    network = _unquantised(module.network) if module.network.tuning.name == "qlora" else module.network
    with whole_folder(out) as folder:
        write_parts(module, network, folder)
        write_json(folder / "grading.json", grading_settings(module))


def grading_settings(module: LlavaGrader) -> dict[str, Any]:
    """Return what a program needs to grade as retinai does, beside the network: texts, classes, preprocessing."""
    return {
        "task": module.task.to_dict(),
        "prompt": module.network.conversations.prompt_text(module.prompts.question()),
        **module.asking.settings(),
        "length_normalised": module.length_normalised,
        "max_new_tokens": module.max_answer_tokens,
        "preprocessing": module.preprocessing.to_dict(),
        "calibration": getattr(module, "calibration", None),
    }


def _write_adapter(network: LlavaNetwork, folder: Path) -> None:
    """Write adapters and projector in PEFT's format; the tiny network, which no hub has, comes along."""
    base = BASE if network.settings.is_tiny else network.settings.weights
    for config in network.model.peft_config.values():
        config.base_model_name_or_path = base
        config.revision = network.settings.revision
    network.model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's form of a card; ours follows
    if network.settings.is_tiny:
        from retinai.llava.tiny import write_tiny_llava

        write_tiny_llava(folder / BASE)


def _write_merged(module: LlavaGrader, folder: Path) -> None:
    """Write the whole network with the adapters in its weights, which are not quantised then."""
    network = module.network
    if network.tuning.name == "qlora":
        network = _unquantised(network)
    model = network.model.merge_and_unload() if network.tuning.has_adapters else network.model
    model.to(dtype=_dtype(network)).save_pretrained(folder)


def _unquantised(network: LlavaNetwork) -> LlavaNetwork:
    """Return the same adapters on the base network in its own type: 4-bit weights cannot take them in."""
    from dataclasses import replace

    from retinai.llava.network import LlavaNetwork as Network

    whole = Network(network.settings, replace(network.tuning, name="lora"), gradient_checkpointing=False)
    whole.load_state_dict(network.state_dict())
    return whole.eval()


def _dtype(network: LlavaNetwork) -> Any:
    import torch

    return getattr(torch, network.settings.dtype)


def _generation_settings(module: LlavaGrader) -> Any:
    from transformers import GenerationConfig

    tokenizer = module.network.processor.tokenizer
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=module.max_answer_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def card(module: LlavaGrader, merged: bool) -> str:
    """Return the model card: what it is, how to load it, what it must not be used for."""
    settings, task = module.network.settings, module.task
    base = "the folder `base/`" if settings.is_tiny else f"`{settings.weights}`"
    what = "The whole network, adapters merged into its weights" if merged else f"Adapters for {base}"
    trained_on = (module.data_config or {}).get("name", "unknown data")
    grades = "\n".join(f"- {grade}: {text}" for grade, text in enumerate(module.asking.texts()))
    return f"""# LLaVA that grades fundus photographs ({task.name})

{what}, trained by retinai on {trained_on}. Research software: no medical device, not for diagnosis.

## Load
```python
{_loading_code(module, merged)}
```
Photographs: crop to the field of view, pad to a square, scale to {module.preprocessing.input_size} pixels, as
`grading.json` ("preprocessing") says; the image processor then changes nothing but the colours' scale.

## Grades
The prompt is in `grading.json`. The probability of a grade is the softmax over the log-likelihoods of these sentences
after the prompt:
{grades}

## Licence
The weights of the base network keep their own licence; the data set's terms apply to what was learnt from it.
"""


def _loading_code(module: LlavaGrader, merged: bool) -> str:
    settings = module.network.settings
    head = "import torch\nfrom transformers import AutoProcessor, LlavaForConditionalGeneration\n"
    dtype = f"torch.{settings.dtype}"
    if merged:
        return f'{head}\nmodel = LlavaForConditionalGeneration.from_pretrained(FOLDER, dtype={dtype})\n' \
               'processor = AutoProcessor.from_pretrained(FOLDER)'  # fmt: skip
    base = 'f"{FOLDER}/base"' if settings.is_tiny else f'"{settings.weights}"'
    quantised = module.network.tuning.name == "qlora"
    if quantised:
        head += "from transformers import BitsAndBytesConfig\n"
    head += "from peft import PeftModel\n"
    options = f"dtype={dtype}"
    setting = ""
    if quantised:
        options += ", quantization_config=four_bits"
        skipped = '["lm_head", "model.vision_tower", "model.multi_modal_projector"]'
        setting = (
            'four_bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", '
            f"bnb_4bit_use_double_quant=True,\n    bnb_4bit_compute_dtype={dtype}, llm_int8_skip_modules={skipped})\n"
        )
    return (
        f"{head}\n{setting}base = LlavaForConditionalGeneration.from_pretrained({base}, {options})\n"
        "model = PeftModel.from_pretrained(base, FOLDER).eval()\n"
        "processor = AutoProcessor.from_pretrained(FOLDER)"
    )
