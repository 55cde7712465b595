"""One run of a command: its configuration is checked, then the command's file is imported and called."""

from __future__ import annotations

import importlib
import sys

from omegaconf import DictConfig

from retinai import log
from retinai.errors import UserError, missing_extra
from retinai.files import place_fault
from retinai.log import is_first_process


class Job:
    """What Hydra calls for one composed configuration. A class, so that launchers can pickle it.

    Args:
        command: Name of the command; `retinai.commands.<command>.run(cfg)` is called.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.fault: UserError | None = None
        self.broken: Exception | None = None
        self.called = False
        self.words = list(sys.argv)
        # Hydra names a job after these two attributes of its task function.
        self.__module__ = "retinai.cli"
        self.__name__ = command
        self.__qualname__ = command

    def __call__(self, cfg: DictConfig) -> object:
        """Check the configuration, then run the command.

        A user's fault in a single run is kept for `launch`, since Hydra would print its own words
        above it; in a multirun it goes through Hydra, which knows the job it belongs to. An optional
        package that is not installed is such a fault, and a place that the system does not let retinai use.
        """
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode
        from omegaconf.errors import OmegaConfBaseException

        from retinai.config.checks import check
        from retinai.config.choices import settle
        from retinai.config.devices import check_machine
        from retinai.config.hydra_launch import in_sweep
        from retinai.run.console import print_notes
        from retinai.run.resume_config import resumed, say_where_it_stands

        self.called = True
        log.set_up()  # a launcher may call this in a process of its own
        try:
            cfg, notes = settle(self.command, cfg, list(HydraConfig.get().overrides.task))
            print_notes(notes)
            if self.command == "train":
                cfg = resumed(cfg)
                _refuse_name_without_sweep(cfg)
            # Lightning starts the other processes of a DDP run with the words that started this one.
            sys.argv = _words_of_one(self.words, cfg) if in_sweep() else self.words
            with say_where_it_stands(cfg):
                check(self.command, cfg)
                check_machine(self.command, cfg)
                return importlib.import_module(f"retinai.commands.{self.command}").run(cfg)
        except OmegaConfBaseException as error:  # a reference to nothing
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            self.broken = error
            return None
        except (UserError, ModuleNotFoundError, OSError) as error:
            fault = _users_fault(error)
            if fault is None or (fault is error and HydraConfig.get().mode == RunMode.MULTIRUN):
                raise
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise fault from error
            if fault is not error:
                fault.__cause__ = error  # for debug=true
            self.fault = fault
            return None


def _users_fault(error: UserError | ModuleNotFoundError | OSError) -> UserError | None:
    """Return what the user can mend; None for a defect of retinai."""
    if isinstance(error, UserError):
        return error
    return missing_extra(error) if isinstance(error, ModuleNotFoundError) else place_fault(error)


def _refuse_name_without_sweep(cfg: DictConfig) -> None:
    """Refuse `sweep=` and `study=` without `-m`; processes of a job and resumed runs have the name of their sweep."""
    from retinai.config.hydra_launch import in_multirun

    key = next((key for key in ("sweep", "study") if cfg.get(key)), None)
    if key and not in_multirun() and not cfg.resume and is_first_process():
        raise UserError(f"{key}={cfg[key]} names several runs; add -m, or leave it out for a single run")


def _words_of_one(words: list[str], cfg: DictConfig) -> list[str]:
    """Return the words that start a job of a sweep alone."""
    from retinai.config.hydra_launch import launched_with

    program = words[: 2 if words[1:2] == ["train"] else 1]
    return [*program, *launched_with()[0], f"resume={str(bool(cfg.resume)).lower()}"]
