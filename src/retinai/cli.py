"""`retinai <command> [group=option] [key=value] ...`: one entry for every command.

Start-up stays light: a command's code, and torch with it, is imported only when the command runs.
Exit codes: 0 done, 1 a defect of retinai, 2 a fault of the user's that one sentence explains, 130 ended by
Ctrl-C, 141 because nobody reads what it says any more (`retinai runs | head`), 143 by SIGTERM.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from retinai import log
from retinai.errors import UserError
from retinai.files import place_fault
from retinai.run.signals import stoppable

COMMANDS: dict[str, str] = {
    "train": "train a grader, test its best checkpoint, write the report",
    "evaluate": "measure a checkpoint on a split of any data set with the same task",
    "predict": "grade a folder of photographs into a CSV file",
    "embed": "write the embeddings of photographs by a frozen encoder to a file",
    "probe": "measure what embeddings know: linear and nearest-neighbour probes, compared",
    "fetch": "get what a backbone needs from a network: weights, tokenizer, processor",
    "export": "write a checkpoint as a folder that grades without PyTorch",
    "app": "serve a page for the clinic on an exported folder, and REST beside it",
    "worklist": "grade a folder of photographs into a page, the most urgent first",
    "benchmark": "time a grader on a CPU beside the networks that it replaces",
    "prepare": "check a data set, find duplicates, write the cache of prepared photographs",
    "synthesize": "draw a synthetic cohort in the folder tree of a data set's owner, or photographs by a generator",
    "segment": "write the vessels of photographs as masks: arteries, veins",
    "runs": "list the runs",
    "report": "put runs side by side: intervals, and spread over folds and seeds",
    "explain": "draw what a checkpoint's answers rest on, and measure whether it looks where it should",
    "stress": "measure how a checkpoint's answers hold when photographs get worse, are turned, or come from one group",
    "dashboard": "one page about many runs: tables, curves, settings; and the same for W&B",
}
# Words without "=" that such a command takes: `retinai report RUN RUN` is `runs=[RUN,RUN]`.
_WORDS: dict[str, str] = {"report": "runs", "dashboard": "runs"}
# Keys that take several values: `retinai probe shots=1,5,10` is `shots=[1,5,10]`, unless -m asks for a run of each.
_SEVERAL: dict[str, tuple[str, ...]] = {"probe": ("embeddings", "target", "shots")}
# Keys that Hydra would take for the choice of a group of that name: `retinai predict model=FOLDER`.
_SPELLED_OUT: dict[str, dict[str, str]] = {
    "predict": {"model": "model.folder"},
    "synthesize": {"from": "generator.ckpt", "class": "generator.label"},
    "app": {"model": "model.folder"},
    "worklist": {"model": "model.folder"},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code.

    Args:
        argv: The words after the program's name; None takes them from the command line. One word
            that names a command takes the rest from the command line (`train.py` does so).

    Raises:
        SystemExit: Always; the code is 0, 1, 2, 130, 141 or 143.
    """
    try:
        code = _command(argv)
        _flush()
    except BrokenPipeError:  # `retinai runs | head`: whoever read it has enough
        _drop_output()
        code = 128 + 13
    except OSError as error:
        fault = place_fault(error)
        if fault is None:
            raise
        _drop_output()
        fail(str(fault))
    except SystemExit:
        try:
            _flush()
        except OSError:  # it was told already, or is less than what is told
            _drop_output()
        raise
    sys.exit(code)


def _flush() -> None:
    """Write what waits for the standard output, so that its errors are met here and not where the interpreter ends."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _drop_output() -> None:
    """Let the interpreter end without another try at what could not be written."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(argv: Sequence[str] | None) -> int:
    """Run the command that the words name, or print the help; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal cannot show ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    if not os.environ.get("COLUMNS", "1").strip("0"):  # a terminal that does not tell its width, not one of no width
        del os.environ["COLUMNS"]
    log.set_up()
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is not None and len(words) == 1 and words[0] in COMMANDS:
        words += sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        from retinai import __version__

        print(f"retinai {__version__}")
        return 0
    command, arguments = words[0], words[1:]
    if command not in COMMANDS:
        fail(f"unknown command {command!r}; the commands are: {', '.join(COMMANDS)}")
    if any(word in ("-h", "--help") for word in arguments):
        from retinai.config.help import command_help

        print(command_help(command, COMMANDS[command]))
        return 0
    return _run(command, arguments)


def overview() -> str:
    """Return the text of `retinai --help`."""
    width = max(map(len, COMMANDS))
    lines = ["retinai: train, evaluate and ship models that read retinal photographs", ""]
    lines += ["usage: retinai <command> [group=option] [key=value] ...", "", "commands:"]
    lines += [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    lines += ["", "retinai <command> --help shows what a command can choose, with examples."]
    lines += ["Research software: no medical device, not for diagnosis."]
    return "\n".join(lines)


def fail(message: str) -> None:
    """Tell a user's fault on stderr and leave with code 2."""
    log.logger.error(message)
    sys.exit(2)


def _run(command: str, arguments: list[str]) -> int:
    """Compose the command's configuration and run it; return the exit code."""
    # Torch's threads spin while they wait for each other; on a machine that does anything else besides, a
    # step then takes ten times as long. Read when torch is imported, so set before; the user's own value wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from retinai.commands.job import Job
    from retinai.config.build import import_plugins
    from retinai.config.compose import launch

    try:
        Path.cwd()
    except FileNotFoundError:
        fail("the folder in which retinai was started is no longer there; change to one that is (cd) and try again")

    words, flags = _split_flags(arguments)
    if command in _WORDS:
        words = _gather_words(words, _WORDS[command])
    words = [_spell_out(word, _SPELLED_OUT.get(command, {})) for word in words]
    if not {"-m", "--multirun"} & set(flags):
        words = [_as_list(word, _SEVERAL.get(command, ())) for word in words]
    with stoppable() as stop:
        try:
            import_plugins()
            launch(Job(command), [*words, *flags])
        except BaseException as error:
            if stop.signum is not None:  # whatever was made of it on the way: an import that it broke is an ImportError
                log.logger.warning(stop.reason, extra={"plain": True})
                return stop.code
            if not isinstance(error, UserError):
                raise
            if _wants_traceback(arguments):
                traceback.print_exc()
            fail(str(error))
    return 0


def _gather_words(words: list[str], key: str) -> list[str]:
    """Turn words without `=` into one list override, and places whose names have one (a folder `lr=0.1` of a sweep)."""
    plain = [word for word in words if "=" not in word or ("/" in word.partition("=")[0] and Path(word).exists())]
    rest = [word for word in words if word not in plain]
    if plain and any(word.startswith(f"{key}=") for word in rest):
        fail(f"{plain[0]} and {key}= both name what is meant; give all of them as words, or all in {key}=[...]")
    quoted = ",".join("'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'" for word in plain)
    return [*rest, f"{key}=[{quoted}]"] if plain else rest


def _split_flags(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the words and the flags such as `-m`: Hydra understands flags only where no word comes after them."""
    from retinai.config.compose import FLAGS_WITH_VALUE

    words: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        (flags if argument.startswith("-") else words).append(argument)
        if argument in FLAGS_WITH_VALUE:
            flags += [value for value in [next(rest, None)] if value is not None]
    return words, flags


def _as_list(argument: str, keys: tuple[str, ...]) -> str:
    key, _, value = argument.partition("=")
    return f"{key}=[{value}]" if key in keys and "," in value and value[0] not in "[{\"'" else argument


def _spell_out(argument: str, keys: dict[str, str]) -> str:
    key, equals, value = argument.partition("=")
    return f"{keys[key]}={value}" if equals and key in keys else argument


def _wants_traceback(arguments: list[str]) -> bool:
    return "debug=true" in arguments or os.environ.get("RETINAI_DEBUG") == "1"


if __name__ == "__main__":
    main()
