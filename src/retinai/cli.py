"""`retinai <command> [group=option] [key=value] ...`: one entry for every command.

Start-up stays light: a command's code, and torch with it, is imported only when the command runs.
Exit codes: 0 done, 1 a defect of retinai, 2 a fault of the user's that one sentence explains.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence

from retinai.errors import UserError

COMMANDS: dict[str, str] = {
    "train": "train a grader, test its best checkpoint, write the report",
    "evaluate": "measure a checkpoint on a split of any data set with the same task",
    "predict": "grade a folder of photographs into a CSV file",
    "export": "write a checkpoint as a folder that grades without PyTorch",
    "benchmark": "time a grader on a CPU beside the networks that it replaces",
    "prepare": "check a data set, find duplicates, write the cache of prepared photographs",
    "synthesize": "draw a synthetic cohort in the folder tree of a data set's owner",
    "runs": "list the runs",
    "report": "put runs side by side: intervals, and spread over folds and seeds",
}
# Words without "=" that such a command takes: `retinai report RUN RUN` is `runs=[RUN,RUN]`.
_WORDS: dict[str, str] = {"report": "runs"}
# Keys that Hydra would take for the choice of a group of that name: `retinai predict model=FOLDER`.
_SPELLED_OUT: dict[str, dict[str, str]] = {"predict": {"model": "model.folder"}}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code.

    Args:
        argv: The words after the program's name; None takes them from the command line. One word
            that names a command takes the rest from the command line (`train.py` does so).

    Raises:
        SystemExit: Always; the code is 0, 1 or 2.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the terminal cannot show ends no command
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is not None and len(words) == 1 and words[0] in COMMANDS:
        words += sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        sys.exit(0)
    if words[0] == "--version":
        from retinai import __version__

        print(f"retinai {__version__}")
        sys.exit(0)
    command, arguments = words[0], words[1:]
    if command not in COMMANDS:
        fail(f"unknown command {command!r}; the commands are: {', '.join(COMMANDS)}")
    if any(word in ("-h", "--help") for word in arguments):
        from retinai.config.help import command_help

        print(command_help(command, COMMANDS[command]))
        sys.exit(0)
    sys.exit(_run(command, arguments))


def overview() -> str:
    """Return the text of `retinai --help`."""
    width = max(map(len, COMMANDS))
    lines = ["retinai: train, evaluate, explain and ship models that read retinal photographs", ""]
    lines += ["usage: retinai <command> [group=option] [key=value] ...", "", "commands:"]
    lines += [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    lines += ["", "retinai <command> --help shows what a command can choose, with examples."]
    lines += ["Research software: no medical device, not for diagnosis."]
    return "\n".join(lines)


def fail(message: str) -> None:
    """Print a user's fault on stderr and leave with code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _run(command: str, arguments: list[str]) -> int:
    """Compose the command's configuration and run it; return the exit code."""
    # Torch's threads spin while they wait for each other; on a machine that does anything else besides, a
    # step then takes ten times as long. Read when torch is imported, so set before; the user's own value wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from retinai.config.compose import launch

    if command in _WORDS:
        arguments = _gather_words(arguments, _WORDS[command])
    arguments = [_spell_out(argument, _SPELLED_OUT.get(command, {})) for argument in arguments]
    try:
        launch(command, arguments)
    except UserError as error:
        if _wants_traceback(arguments):
            traceback.print_exc()
        fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _gather_words(arguments: list[str], key: str) -> list[str]:
    """Turn words without `=` into one list override."""
    plain = [a for a in arguments if "=" not in a and not a.startswith("-")]
    rest = [a for a in arguments if a not in plain]
    quoted = ",".join("'" + a.replace("\\", "\\\\").replace("'", "\\'") + "'" for a in plain)
    return [*rest, f"{key}=[{quoted}]"] if plain else rest


def _spell_out(argument: str, keys: dict[str, str]) -> str:
    key, equals, value = argument.partition("=")
    return f"{keys[key]}={value}" if equals and key in keys else argument


def _wants_traceback(arguments: list[str]) -> bool:
    return "debug=true" in arguments or os.environ.get("RETINAI_DEBUG") == "1"


if __name__ == "__main__":
    main()
