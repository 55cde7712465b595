"""The card of an exported folder: what it is, how it was checked, how it is used, where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retinai.files import write_text
from retinai.runtime.cpu import Cpu
from retinai.tasks.task import Task

_ENGINES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}


def write_card(file: Path, facts: dict[str, Any]) -> None:
    """Write the card.

    Args:
        file: The file to write.
        facts: What `model.json` says, with `check`.
    """
    task = facts["task"]
    parts = [
        f"# {facts['backbone']} for {task['name']}",
        "Research software: no medical device, not for diagnosis. A person who knows the limits below decides.",
        "## What it does",
        _purpose(facts),
        *_weights(facts.get("weights")),
        *_masks(facts.get("masks")),
        *_outside(facts.get("outside")),
        "## Compared with its checkpoint",
        _check(facts),
        "## Operating points",
        _points(facts["calibration"], facts.get("members") or []),
        "## Use",
        'pip install "retinai[runtime]", then:',
        "```\nretinai predict model=THIS_FOLDER images=PHOTOGRAPHS out=grades.csv\n```",
        "## Limits",
        _limits(facts),
    ]
    write_text(file, "\n\n".join(parts) + "\n")


def _purpose(facts: dict[str, Any]) -> str:
    task, pixels = facts["task"], facts["preprocessing"]
    answer, rule = Task.from_dict(task).answer, facts["decision_rule"]
    lines = [
        f"- gives a photograph of the retina {answer}: {', '.join(task['classes'])}; decided by {rule}",
        f"- network: {facts['backbone']}, {facts['parameters'] / 1e6:.1f} million parameters, {facts['precision']}, "
        f"for {_ENGINES[facts['engine']]}",
        f"- trained on: {facts['trained_on']}",
        f"- input: {pixels['input_size']} x {pixels['input_size']} pixels, crop {pixels['crop']}, "
        f"Graham {_on(pixels['ben_graham'])}, CLAHE {_on(pixels['clahe'])}; done by the runtime as in training",
        f"- beside the photograph: {', '.join(_beside(facts)) or 'nothing'}",
    ]
    return "\n".join(lines)


def _weights(known: dict[str, Any] | None) -> list[str]:
    """Return the section on the weights that the training began from; nothing where nothing is known of them."""
    if known is None:
        return []
    forbids = f"; **it forbids {known['forbids']}**, of this folder too" if known["forbids"] else ""
    package = f"pip package {known['package']}"
    where = known["repository"] or known["address"] or package
    lines = [
        f"- the training began from {known['title']} ({where})",
        f"- licence: {known['licence']}{forbids}",
        f"- pre-trained on: {', '.join(known['pretrained_on'])}",
    ]
    return ["## Weights that it began from", "\n".join(lines)]


def _masks(known: dict[str, Any] | None) -> list[str]:
    """Return the section on the network that draws masks; nothing where there is none."""
    if known is None:
        return []
    names = ", ".join(name.replace("_", " ") for name in known["names"])
    return [
        "## Masks",
        f"A second network, `{known['network']}`, draws {names} at {known['input_size']} pixels, in float32. They show "
        "what it takes for lesions; how often it is right, the evaluation of the checkpoint says. In Python: "
        "`ExportedModel(FOLDER).masks.read(FILE)`.",
    ]


def _outside(known: dict[str, Any] | None) -> list[str]:
    """Return the section on photographs that are unlike those of the training; nothing where none is known."""
    if known is None:
        return []
    return [
        "## Outside what the network saw",
        f"`distance` says how far a photograph lies from the {known['n']} of the training, by the features that it is "
        f"graded from. Above 1 it lies outside: {known['false_alarms']:.0%} of photographs like those of validation do "
        "by chance. What looks alike to the network is not told apart, so a small distance is no proof.",
    ]


def _beside(facts: dict[str, Any]) -> list[str]:
    """Return the names of the inputs after the photograph."""
    return list(facts["inputs"])[1:]


def _check(facts: dict[str, Any]) -> str:
    check, place = facts["check"], facts["checked_on"]
    lines = [
        f"On a CPU {_cpu(facts)} and {check['photographs']} photographs of {place['data']} ({place['split']} split), "
        f"{check['changed_decisions']} decided otherwise; largest difference of a probability "
        f"{check['largest_difference']:.2g}.",
        "",
        "| | checkpoint | this folder |",
        "|---|---|---|",
    ]
    for name, before in check["checkpoint"].items():
        after = check["folder"][name]
        lines.append(f"| {name} | {_number(before)} | {_number(after)} |")
    return "\n".join(lines)


def _points(calibration: dict[str, Any] | None, members: Sequence[dict[str, Any]]) -> str:
    if calibration is None:
        own = "the checkpoint was not calibrated, so its probabilities are those of the network."
        return f"None{'. ' + _of_networks(members) if members else ': ' + own}"
    scaled = f"Probabilities are scaled by the temperature {calibration['temperature']:.3f}."
    own = "Probabilities are the network's own: no temperature showed a gain by cross-validation."
    lines = [_of_networks(members) if members else own if calibration["temperature"] == 1 else scaled]
    where = "held-out training" if "pooled" in calibration else "validation"
    if members:
        lines.append(
            "Points and sets were chosen on training photographs, each graded by those networks that were not trained "
            "on it. The mean of all is another grader: what holds is to be looked at on photographs of your own."
        )
    points = calibration.get("operating_points") or {}
    if points:
        lines += ["", "| referable from this probability | sensitivity | specificity | |", "|---|---|---|---|"]
    for name, point in points.items():
        cells = [_number(point[key]) for key in ("threshold", "sensitivity", "specificity")]
        lines.append(f"| {' | '.join(cells)} | {name} |")
    if sets := calibration.get("sets"):
        lines += [
            "",
            f"With each grade come those that cannot be ruled out. At least {sets['level']:.0%} of these sets hold the "
            f"true grade, for photographs like the {sets['n']} {where} photographs that they were fitted on.",
        ]
    if points:
        lines += ["", f"Sensitivity and specificity are those on the {where} photographs that chose the points."]
    return "\n".join(lines)


def _of_networks(members: Sequence[dict[str, Any]]) -> str:
    known = [f"{one['temperature']:.3f}" if one["temperature"] else "none" for one in members]
    return (
        f"The probabilities are the mean of {len(members)} networks, each scaled by its own temperature "
        f"({', '.join(known)}); `members` gives those of each, and the table their entropy and mutual information."
    )


def _limits(facts: dict[str, Any]) -> str:
    lines = [
        "- Figures hold for photographs like those it was trained and checked on; another camera, another population "
        "or another quality needs a check of its own before anybody relies on it.",
        "- A file without a field of view is refused, but a photograph of something else that is lit like a retina "
        "is graded all the same.",
        "- It sees nothing that it was not trained on: other diseases pass unnoticed.",
    ]
    if facts["precision"] == "int8":
        lines.append("- int8 arithmetic differs between CPUs. " + _int8_weights(bool(facts["int8_reduce_range"])))
    if facts["precision"] == "bf16":
        lines.append("- bf16 saves time only on CPUs that compute in bfloat16; others compute in float32.")
    if facts["precision"] != "fp32":
        lines.append(
            f"- Checked for CPUs that compute {_cpu(facts).arithmetic(facts['precision'])}, and for no others; "
            "`retinai predict` warns on any other. Grade photographs whose grades you know there first."
        )
    return "\n".join(lines)


def _int8_weights(reduced: bool) -> str:
    if reduced:
        return "The weights keep to 7 bits, so that CPUs without VNNI (AVX2 only, or AVX-512) cut off no sum."
    return "The weights take 8 bits: for CPUs with VNNI or AMX only; others cut off sums, and grades can be wrong."


def _cpu(facts: dict[str, Any]) -> Cpu:
    cpu = Cpu.from_dict(facts["checked_on"]["cpu"])
    assert cpu is not None
    return cpu


def _on(value: bool) -> str:
    return "on" if value else "off"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
