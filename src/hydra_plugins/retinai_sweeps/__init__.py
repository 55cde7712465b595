"""Where Hydra looks for sweepers and launchers; what they do stands in `retinai.sweeps`, imported when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
except ModuleNotFoundError:  # without the extra `slurm`: the launcher says so when it is chosen
    BaseSubmititLauncher = None


class GridSweeper(Sweeper):
    """Every combination of the values between commas (`hydra/sweeper=grid`, the default of `retinai train`)."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments: Sequence[str]) -> Any:
        """Run or submit the jobs."""
        from retinai.sweeps.sweeper import Sweeping, sweep

        return sweep(Sweeping(self.config, self.hydra_context, self.task), list(arguments))


class OptunaSweeper(Sweeper):
    """Optuna chooses the values, a batch of jobs at a time (`hydra/sweeper=optuna study=NAME`)."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments: Sequence[str]) -> Any:
        """Run the study until it has its trials."""
        from retinai.sweeps.searching import search
        from retinai.sweeps.sweeper import Sweeping

        return search(Sweeping(self.config, self.hydra_context, self.task), self.settings, list(arguments))


class SlurmLauncher(BaseSubmititLauncher or Launcher):  # type: ignore[misc]
    """One array of jobs in SLURM's queue (`hydra/launcher=slurm`), by submitit; it does not wait for their end.

    `hydra-submitit-launcher` composes and runs the job on its node. Submitting is ours, because that package waits for
    the results and counts jobs anew in each call.
    """

    def __init__(self, **params: Any) -> None:
        if BaseSubmititLauncher is not None:
            super().__init__(**params)
        self.given = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def check(self, folder: Path) -> None:
        """Refuse what cannot be submitted, before anything of the sweep is written."""
        from retinai.errors import MissingExtraError
        from retinai.sweeps.slurm import check_cluster

        if BaseSubmititLauncher is None:
            raise MissingExtraError("hydra-submitit-launcher", "slurm")
        check_cluster(self.given, folder)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Submit the jobs; return their ids in the queue."""
        from retinai.sweeps.slurm import submit

        state = Singleton.get_state()
        numbered = enumerate(job_overrides, initial_job_idx)
        calls = [(list(words), "hydra.sweep.dir", number, "", state) for number, words in numbered]
        named = {**self.params, "name": self.params.get("name") or self.task_function.folder.name}
        return submit(self, named, calls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run one job on its node; a job that fails leaves with an error, so that SLURM knows it, too."""
        from retinai.errors import UserError
        from retinai.sweeps.slurm import checkpoint_time, keep_signal_to_this_process

        keep_signal_to_this_process()
        self.began_with = checkpoint_time(self.task_function.run_of(args[0]))
        result = super().__call__(*args, **kwargs)
        if isinstance(result._return_value, UserError):
            raise SystemExit(2)  # told already, and no reason for a traceback
        return result.return_value

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Return what submitit puts back in the queue at the time limit: the same job, which goes on by itself."""
        from retinai.errors import UserError
        from retinai.sweeps.job import GivenUp, number_of
        from retinai.sweeps.slurm import check_progress

        run = self.task_function.run_of(args[0])
        try:
            check_progress(self.task_function.folder, run, number_of(run), self.began_with)
        except UserError as error:
            raise GivenUp(str(error)) from error
        return super().checkpoint(*args, **kwargs)
