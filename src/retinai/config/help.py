"""The text of `retinai <command> --help`, read from the configuration files themselves."""

from __future__ import annotations

from retinai.config.choices import phase_defaults, words_of
from retinai.config.model_sections import takers
from retinai.config.paths import conf_dir, group_options, groups_of

_EXAMPLES: dict[str, list[str]] = {
    "train": [
        "python train.py",
        "python train.py data=idrid data.root=/data/idrid backbone.input_size=512",
        "python train.py loss=focal sampler=weighted trainer.max_epochs=30 seed=1",
        "python train.py data=aptos +init=idrid_ckpt",
        "python train.py -m backbone=vit_small,swin_tiny loss=focal,class_balanced sweep=losses",
        "python train.py resume=true run_dir=outputs/.../2026-01-31_12-00-00",
    ],
    "evaluate": [
        "retinai evaluate ckpt=RUN/checkpoints/best.ckpt",
        "retinai evaluate ckpt=RUN/checkpoints/best.ckpt data=idrid data.root=/data/idrid split=test",
        "retinai evaluate ckpt=[RUN1/checkpoints/best.ckpt,RUN2/checkpoints/best.ckpt] data=idrid data.root=/idrid",
        "retinai evaluate backbone=openclip_vit_b16 prompts=dr_grades data=idrid data.root=/data/idrid",
    ],
    "predict": [
        "retinai predict ckpt=RUN/checkpoints/best.ckpt images=photographs/ out=grades.csv",
        "retinai predict ckpt=RUN/checkpoints/best.ckpt images='photographs/*.jpg' out=grades.csv",
        "retinai predict model=FOLDER images=photographs/ out=grades.csv",
    ],
    "embed": [
        "retinai embed backbone=retfound_green backbone.weights=FILE data=idrid data.root=/data/idrid out=green.npz",
        "retinai embed ckpt=RUN/checkpoints/best.ckpt images='photographs/*.jpg' out=own.npz",
    ],
    "probe": [
        "retinai probe embeddings=green.npz data=idrid data.root=/data/idrid target=any_dr run_dir=probe",
        "retinai probe embeddings=green.npz,lite0.npz data=idrid target=all shots=1,5,10,25,100 run_dir=probe",
    ],
    "fetch": [
        "retinai fetch backbone=retfound_green out=weights",
        "HF_TOKEN=... retinai fetch backbone=retfound",
        "retinai fetch backbone=llava_1_5_7b out=HF_HOME",
    ],
    "export": [
        "retinai export ckpt=RUN/checkpoints/best.ckpt out=folder",
        "retinai export ckpt=RUN/checkpoints/best.ckpt format=openvino precision=int8 out=folder",
    ],
    "app": [
        "retinai app model=FOLDER",
        "retinai app model=FOLDER port=8080 language=es recommendation=ico_2017_low_resource",
        "retinai app model=FOLDER host=0.0.0.0 password_file=FILE keep_photographs=kept",
    ],
    "worklist": ["retinai worklist model=FOLDER images=photographs/ out=today.html"],
    "benchmark": [
        "retinai benchmark ckpt=RUN/checkpoints/best.ckpt run_dir=speed",
        "retinai benchmark backbone=efficientnet_b2 students=[openvino-int8] run_dir=speed",
    ],
    "prepare": ["retinai prepare data=idrid data.root=/data/idrid backbone.input_size=512"],
    "synthesize": ["retinai synthesize layout=aptos n=300 size=512 seed=0 out=cohort"],
    "runs": ["retinai runs", "retinai runs root=/scratch/outputs", "retinai runs sweep=losses"],
    "report": [
        "retinai report outputs/idrid/classifier/efficientnet_lite0/* out=comparison",
        "retinai report losses",
    ],
    "explain": [
        "retinai explain ckpt=RUN/checkpoints/best.ckpt split=test",
        "retinai explain ckpt=RUN/checkpoints/best.ckpt images='eyes/*.jpg' method=[gradcam,ig]",
        "retinai explain ckpt=RUN/checkpoints/best.ckpt data=idrid data.root=/idrid regions=[vessels,lesions]",
    ],
    "stress": [
        "retinai stress ckpt=RUN/checkpoints/best.ckpt",
        "retinai stress ckpt=RUN/checkpoints/best.ckpt photographs=50 severities=[1,3,5] angles=[90,180]",
    ],
    "segment": [
        "retinai segment images=photographs/ out=vessels paths.weights=weights",
        "retinai segment data=idrid data.root=/data/idrid out=vessels vessels=sato preview=true",
    ],
    "dashboard": ["retinai dashboard outputs", "retinai dashboard outputs/sweeps/recipe out=page photographs=12"],
}


def command_help(command: str, summary: str) -> str:
    """Return what a command does, the groups it chooses from, its keys, and examples."""
    lines = [f"retinai {command}: {summary}", "", f"usage: retinai {command} [group=option] [key=value] ...", ""]
    lines += [*_groups(command), *(_models() if command == "train" else [])]
    lines += ["keys (key: default # meaning):", *_keys(command), ""]
    lines += ["examples:", *[f"  {e}" for e in _EXAMPLES.get(command, [])], ""]
    lines += [
        f"retinai {command} --cfg job shows the whole composed configuration; every key in it can be set.",
        "Values inside a group: group.key=value, for example optimizer.lr=1e-4. -m runs every combination of",
        "comma-separated values.",
    ]
    return "\n".join(lines)


def _groups(command: str) -> list[str]:
    defaults = groups_of(command)
    options = group_options(command)
    if not options:
        return []
    width = max(map(len, options))
    lines = ["groups (* is the default; + marks one to add, as in +init=idrid_ckpt):"]
    for group, names in options.items():
        mark = " " if group in defaults else "+"
        shown = " ".join(f"{n}*" if n == defaults.get(group) else n for n in names)
        lines.append(f" {mark}{group:<{width}}  {shown}")
    return [*lines, ""]


def _models() -> list[str]:
    """Return which sections each model takes, and what a phase sets."""
    takes = takers()
    models = sorted({model for names in takes.values() for model in names})
    lines = ["what a model takes, and what a phase brings:"]
    lines += [f"  model={model}: {' '.join(name for name in takes if model in takes[name])}" for model in models]
    for phase in group_options("train")["phase"]:
        lines.append(f"  phase={phase}: {' '.join(words_of('phase', phase))}")
        of_models = [model for model, name in phase_defaults() if name == phase]
        lines += [f"    model={m}: {' '.join(words_of('phase_defaults', f'{m}_{phase}'))}" for m in of_models]
    return [*lines, ""]


def _keys(command: str) -> list[str]:
    """Return the command's own keys as they stand in its file, with their comments."""
    text = (conf_dir() / f"{command}.yaml").read_text(encoding="utf-8")
    lines, inside_defaults = [], False
    for line in text.splitlines():
        if line.startswith(("defaults:", "hydra:")):
            inside_defaults = True
        elif line and not line[0].isspace():
            inside_defaults = False
            if not line.startswith("#"):
                lines.append(f"  {line}")
        elif line.strip() and not inside_defaults:
            lines.append(f"  {line}")
    return lines
