"""One job of a sweep, wherever a launcher runs it: it goes on where it was stopped, and its fault stays its own."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from retinai.errors import UserError
from retinai.log import is_first_process, logger
from retinai.run.run_records import RECORD, read_record
from retinai.sweeps.naming import called, own_words
from retinai.sweeps.objectives import SCORE, measure
from retinai.sweeps.record import read_sweep
from retinai.sweeps.report import write_report_of_ended
from retinai.sweeps.states import FAILED, FINISHED, INTERRUPTED, begin_state, note_state


class GivenUp(SystemExit):
    """Raised by the signal before a time limit where a job is not put back; no `except Exception` catches it.

    The signal comes anywhere, also while a file is read, and an error there would be told as a damaged file.

    Args:
        reason: Why the job is not put back.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(2)
        self.reason = reason


class SweptJob:
    """What a launcher calls for each job, in place of the command itself. A class, so that launchers can pickle it.

    Args:
        command: The command with its checks, as it runs without a sweep.
        folder: The sweep's folder.
        again: Whether finished runs are begun again (`resume=true` on the command line).
        objectives: What a study looks for in each job.
    """

    def __init__(
        self,
        command: Callable[[DictConfig], object],
        folder: Path,
        again: bool = False,
        objectives: Sequence[str] = (SCORE,),
    ) -> None:
        self.command = command
        self.folder = folder
        self.again = again
        self.objectives = tuple(objectives)

    def __call__(self, cfg: DictConfig) -> object:
        """Run the job; note how it ended; the last job to end writes the sweep's report.

        Returns:
            The best value of the monitored metric.
        """
        run = Path(str(cfg.run_dir)).expanduser()
        number = number_of(run)
        if not is_first_process():
            return self.command(cfg)
        try:
            if not self.again and _finished(run):  # stopped between its end and the note of it
                return self._finish(number, run, read_record(run).get("best_score"))
            with self._noting(number):
                return self._finish(number, run, self.command(cfg))
        finally:
            write_report_of_ended(self.folder)

    def _finish(self, number: int, run: Path, score: object) -> object:
        """Write down that a job has finished, with what a study looks for in it; return its score."""
        known = float(score) if isinstance(score, int | float) else None
        values = measure(self.objectives, known, run)
        note_state(self.folder, number, status=FINISHED, score=score, values=values, reason="")
        return score

    def run_of(self, words: Sequence[str]) -> Path:
        """Return the run folder that a job's words name."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        overrides = OverridesParser.create().parse_overrides(list(words))
        return Path(str(next(o.value() for o in overrides if o.key_or_group == "run_dir"))).expanduser()

    @contextmanager
    def _noting(self, number: int) -> Iterator[None]:
        """Write down that a job runs, and why it failed; what it raises goes on to the launcher."""
        begin_state(self.folder, number)
        try:
            yield
        except UserError as error:
            note_state(self.folder, number, status=FAILED, reason=str(error), defect=False)
            logger.error(f"{self._called(number)}: {error}")
            raise
        except Exception as error:  # a defect of ours: the sweep's record keeps it too
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            note_state(self.folder, number, status=FAILED, reason=reason, defect=True)
            logger.error(f"{self._called(number)} ended by a defect:\n{traceback.format_exc()}")
            raise
        except GivenUp as end:
            note_state(self.folder, number, status=FAILED, reason=end.reason, defect=False)
            logger.error(f"{self._called(number)}: {end.reason}")
            raise
        except BaseException:  # Ctrl-C, SIGTERM, or the queue takes the job back
            note_state(self.folder, number, status=INTERRUPTED)
            raise

    def _called(self, number: int) -> str:
        return called(number, own_words([job.overrides for job in read_sweep(self.folder).jobs])[number])


def number_of(run: Path) -> int:
    """Return the number with which the name of a job's run folder begins."""
    found = re.match(r"\d+", run.name)
    if found is None:
        raise UserError(f"{run} is not the folder of a job of a sweep: its name begins with no number")
    return int(found.group())


def _finished(run: Path) -> bool:
    return (run / RECORD).exists() and read_record(run).get("status") == FINISHED
