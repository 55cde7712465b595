"""What each class of a task looks like, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retinai.errors import ConfigError
from retinai.tasks.task import Task

_PLACE = "{}"


@dataclass(frozen=True)
class ClassPrompts:
    """Texts of classes; each text of a class is said in each template.

    Args:
        name: Name of the configuration.
        templates: Sentences with one `{}`, where the text of a class stands.
        classes: One or more texts per class.

    Raises:
        ConfigError: With all problems: nothing to say, a template without its place, two classes with the same text.
    """

    name: str
    templates: Sequence[str]
    classes: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        problems = [
            f"prompts.templates holds {template!r}; a template has {_PLACE} once, where the text of the class stands"
            for template in self.templates
            if template.count(_PLACE) != 1 or "{" in template.replace(_PLACE, "")
        ]
        if not self.templates:
            problems.append("prompts.templates is empty; give one or more sentences with {}")
        problems += [
            f"prompts.classes.{name} is empty; give one or more texts" for name, t in self.classes.items() if not t
        ]
        owner: dict[str, str] = {}
        for name, texts in self.classes.items():
            for text in texts:
                if owner.setdefault(text, name) != name:
                    problems.append(f"prompts.classes: {owner[text]} and {name} both have the text {text!r}")
        if problems:
            raise ConfigError(problems)

    def sentences(self, task: Task) -> list[list[str]]:
        """Return the sentences of each class, in the order of the task's classes.

        Raises:
            ConfigError: If the task has labels, or other classes.
        """
        if "labels" in task.target_types:
            raise ConfigError([f"prompts={self.name} tells classes apart of which a photograph has one; task "
                               f"{task.name} has labels, of which it may have several"])  # fmt: skip
        if set(self.classes) != set(task.classes):
            raise ConfigError(
                [f"prompts={self.name} is about {', '.join(self.classes)}, and the data has {', '.join(task.classes)}; "
                 "choose prompts= with these classes, or set prompts.classes.NAME=[TEXT,...]"]
            )  # fmt: skip
        return [
            [template.replace(_PLACE, text) for text in self.classes[name] for template in self.templates]
            for name in task.classes
        ]
