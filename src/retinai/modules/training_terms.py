"""What training adds to the loss of the task: terms that watch the one forward pass of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from retinai.config.build import build
from retinai.data.loading.fields import SampleField
from retinai.modules.branches import chosen

if TYPE_CHECKING:
    from retinai.data.datamodule import FundusDataModule


class TrainingTerm(ABC):
    """A term of the loss that depends on more than logits and targets.

    The `terms` of a `model` section name sections; each of them says by `_target_` which term it is of. A subclass
    takes the section's keys, among them `name`. Making one reads no file: it happens wherever a checkpoint is loaded.

    Attributes:
        weight: What its value is multiplied by; 0 measures it and leaves the training as it is.
    """

    weight: float

    def fields(self) -> list[SampleField]:
        """Return what training batches must carry for it.

        Raises:
            UserError: If files that it needs are not there.
        """
        return []

    def prepare(self, module: Any, datamodule: FundusDataModule) -> list[str]:
        """Check that it can work with network and data, before the run folder is made.

        Returns:
            Sentences that the user should read.

        Raises:
            UserError: If it cannot.
        """
        return []

    @abstractmethod
    def watch(self, module: Any) -> AbstractContextManager[Any]:
        """Return a context in which the forward pass of a step takes place; what it gives is passed to `values`."""

    @abstractmethod
    def values(self, module: Any, seen: Any, logits: Tensor, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return scalars by the name under which they are logged; the first of them is the term.

        Args:
            module: The module, whose forward pass is done.
            seen: What `watch` gave.
            logits: (B, num_outputs).
            batch: The batch.
        """


def build_terms(sections: Mapping[str, Any] | None) -> dict[str, TrainingTerm]:
    """Return the terms of a `model` section; one that is missing or named `none` is no term.

    Args:
        sections: Section by name.

    Raises:
        ConfigError: If a section is of no term, a key is unknown or a value makes no sense.
    """
    return {name: build(section, TrainingTerm) for name, section in chosen(sections).items()}


@contextmanager
def watching(terms: Mapping[str, TrainingTerm], module: Any) -> Iterator[dict[str, Any]]:
    """Let all terms watch the forward pass inside; gives what each of them sees, by its name."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(term.watch(module)) for name, term in terms.items()}
