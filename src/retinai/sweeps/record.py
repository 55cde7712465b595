"""`sweep.json`: what a sweep is made of. Written by who starts the jobs; the jobs write their own states beside it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retinai.errors import UserError
from retinai.files import read_json, write_json
from retinai.run.run_records import is_there

SWEEP = "sweep.json"
FOLDER = "sweeps"


_Number = Annotated[str, Field(pattern=r"\A[0-9]{1,9}\z")]
_QueueId = Annotated[str, Field(pattern=r"\A[0-9A-Za-z_.+-]{1,100}\z")]


class SweepJob(BaseModel):
    """One job of a sweep.

    Attributes:
        number: Counted from 0, the same in every call.
        folder: Name of its run folder inside the sweep's.
        overrides: The words that it is composed with, without those that every sweep adds (`run_dir`, `sweep`).
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    number: int = Field(ge=0)
    folder: str = Field(pattern=r"\A\d+[\w.+-]*\z")
    overrides: list[str]


class Submission(BaseModel):
    """What was handed to a cluster's queue at once.

    Attributes:
        submitted: When, ISO 8601.
        ids: Number of a job -> its id in the queue, such as `4711_3`.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    submitted: str
    ids: dict[_Number, _QueueId]


class SweepRecord(BaseModel):
    """Content of `sweep.json`.

    Attributes:
        name: The sweep's name.
        created: When it was first started, ISO 8601.
        words: The words of the command line that say what is swept.
        jobs: All jobs, by number.
        submissions: What was handed to a queue, oldest first; empty for jobs that run where the sweep was started.
        study: What a sweeper that chooses the jobs itself keeps of its search; empty otherwise.
    """

    model_config = ConfigDict(strict=True, extra="forbid")
    name: str
    created: str
    words: list[str]
    jobs: list[SweepJob]
    submissions: list[Submission] = []
    study: dict[str, Any] = {}

    @field_validator("jobs")
    @classmethod
    def _counted(cls, jobs: list[SweepJob]) -> list[SweepJob]:
        if [job.number for job in jobs] != list(range(len(jobs))):
            raise ValueError("the jobs are not numbered from 0 on")
        return jobs

    def queue_ids(self) -> dict[int, str]:
        """Return the newest id in the queue of each job that was handed to one."""
        return {int(number): job for submission in self.submissions for number, job in submission.ids.items()}


def read_sweep(folder: Path) -> SweepRecord:
    """Return the record of a sweep's folder.

    Raises:
        UserError: If it is missing or damaged; says why.
    """
    path = folder / SWEEP
    if not is_there(path):
        raise UserError(f"{folder} is no sweep ({SWEEP} is missing)")
    try:
        return SweepRecord.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is not readable: {where}: {first['msg']}") from error


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Write the record of a sweep whole or not at all."""
    write_json(folder / SWEEP, record.model_dump())


def find_sweep(place: str, outputs: str) -> Path:
    """Return the folder of a sweep.

    Args:
        place: Its folder, or its name below `<outputs>/sweeps`.
        outputs: `paths.outputs`.

    Raises:
        UserError: If there is none; names those that there are.
    """
    base = Path(outputs) / FOLDER
    for folder in (Path(place).expanduser(), base / place):
        if is_there(folder / SWEEP):
            return folder
    known = sorted((path.parent for path in base.glob(f"*/{SWEEP}")), key=lambda p: p.stat().st_mtime, reverse=True)
    there = f"there are: {', '.join(p.name for p in known[:10])}" if known else f"there are none below {base}"
    raise UserError(f"no sweep {place!r} ({there}); name one, or its folder")


def now() -> str:
    """Return the time as records tell it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
