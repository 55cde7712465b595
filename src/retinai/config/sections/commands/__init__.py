"""The keys of each command that stand outside of all sections."""

from __future__ import annotations

from retinai.config.sections.base import Section
from retinai.config.sections.commands.grading import App, Evaluate, ModelFolder, Predict, Worklist
from retinai.config.sections.commands.measuring import Embed, Explain, Probe, Stress
from retinai.config.sections.commands.pictures import Generator, LogOdds, Segment, Synthesize
from retinai.config.sections.commands.records import Dashboard, Report, Runs
from retinai.config.sections.commands.shipping import Benchmark, Export
from retinai.config.sections.commands.training import Fetch, Prepare, Train

__all__ = ["COMMANDS", "Generator", "LogOdds", "ModelFolder"]

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
