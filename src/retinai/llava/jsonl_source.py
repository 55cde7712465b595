"""Conversations of a JSON lines file as a data set: the usual batches, and what is asked and answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from retinai.data.datamodule import SourceDataModule
from retinai.data.loading.fields import FieldSample, SampleField
from retinai.data.sources.label_table import as_targets
from retinai.data.sources.source import Source
from retinai.errors import ConfigError, DataError, UserError
from retinai.lesions.findings import Findings
from retinai.llava.text.jsonl import Conversation, read_conversations
from retinai.tasks.known import DME_RISK, DR_GRADE

if TYPE_CHECKING:
    from retinai.llava.encoding import Conversations

_TASKS = {"grade": DR_GRADE, "dme": DME_RISK}


class ConversationField(SampleField):
    """`conversation`: question and answer of a photograph; None where there are none.

    Args:
        turns: (question, answer) per id.
    """

    name = "conversation"
    needs_annotations = True

    def __init__(self, turns: Mapping[str, tuple[str, str]]) -> None:
        self.turns = dict(turns)

    def load(self, sample: FieldSample) -> tuple[str, str] | None:
        """Return question and answer of one sample; None where there are none."""
        return self.turns.get(sample.id)

    def collate(self, values: list[tuple[str, str] | None]) -> list[tuple[str, str] | None]:
        """Return the conversations of a batch as a list."""
        return list(values)


class LlavaJsonlSource(Source):
    """Photographs with conversations, as `retinai prepare format=llava_jsonl` or others write them.

    Batches carry `conversation`, a (question, answer) per photograph. The parts are those of the file;
    where it gives none, they are cut as for a data set without official parts.

    Args:
        name: Name of the data set.
        jsonl: The file; a relative one counts from the working directory.
        target: What the grades are: `grade` (retinopathy, 0 to 4) or `dme` (risk of macular oedema, 0 to 2).
        root: The folder that image paths count from; None: that of the file.
        cache: The cache folder.
    """

    # A line gives the path of its photograph, which may lie anywhere: `retinai prepare` writes such files itself.
    paths_stay_below_root = False

    def __init__(
        self,
        name: str = "llava_jsonl",
        jsonl: str | None = None,
        target: str = "grade",
        root: str | None = None,
        cache: str | Path | None = None,
    ) -> None:
        super().__init__(name, root, cache)
        if target not in _TASKS:
            raise ConfigError([f"data.target={target!r} is unknown for conversations (valid: {', '.join(_TASKS)})"])
        self.task = _TASKS[target]
        self.jsonl = jsonl
        self._conversations: list[Conversation] | None = None

    @property
    def file(self) -> Path:
        """The file of conversations.

        Raises:
            DataError: If it is not given.
        """
        if not self.jsonl:
            raise DataError("the conversations are not known; set data.jsonl=FILE")
        return Path(self.jsonl).expanduser().absolute()

    @property
    def root(self) -> Path:
        """The folder that image paths count from."""
        return super().root if self.given_root else self.file.parent

    @property
    def conversations(self) -> list[Conversation]:
        """The checked lines of the file.

        Raises:
            DataError: If lines cannot be used; tells every one with its number.
        """
        if self._conversations is None:
            self._conversations = read_conversations(self.file, self.task, self.root)
        return self._conversations

    def read_table(self) -> pd.DataFrame:
        """Return the label table of the file."""
        self.label_file = str(self.file)
        lines = self.conversations
        return pd.DataFrame(
            {
                "id": [line.id for line in lines],
                "path": [line.path for line in lines],
                "target": as_targets([line.grade for line in lines]),
                "patient": [line.patient or line.id for line in lines],
                "eye": [line.eye for line in lines],
                "split": [line.split for line in lines],
                "source": self.file.name,
                "row": [line.line for line in lines],
            }
        )

    def fields(self) -> list[SampleField]:
        """Return the conversations, which every sample carries."""
        return [ConversationField({line.id: (line.question, line.answer) for line in self.conversations})]

    def findings(self) -> dict[str, Findings]:
        """Return the findings that the lines bring."""
        return {line.id: line.findings for line in self.conversations if line.findings is not None}


class LlavaJsonlDataModule(SourceDataModule):
    """Conversations as a datamodule; options of `LlavaJsonlSource`, `CurationSettings` and `LoadingSettings`."""

    source_class = LlavaJsonlSource


def check_lengths(fields: Iterable[SampleField], conversations: Conversations) -> None:
    """Check that every conversation that a data set brings fits into the context of a network.

    Args:
        fields: Of the data set.
        conversations: Of the network.

    Raises:
        UserError: If one is too long; names its photograph.
    """
    for field in fields:
        for name, turn in field.turns.items() if isinstance(field, ConversationField) else ():
            try:
                conversations.encode([turn])
            except UserError as error:
                raise UserError(f"photograph {name}: {error}") from error
