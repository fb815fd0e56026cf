"""Errands of the supervisor that need the ledger: ``python -m deployments.errands prepare | tell LEVEL TEXT | stopped``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deployments.cli.common import clean, say
from nightcrew.errors import NightcrewError, Refused
from nightcrew.frames.profiles import choose_profile, load_profiles
from nightcrew.ingest_sets import settle_kinds
from nightcrew.io.patience import answers
from nightcrew.ledger import arrivals, messages, migrate
from nightcrew.ledger.database import Database
from nightcrew.settings import Settings
from watchers.lock import FolderLock
from watchers.service import SILENT, unwatchable

_ANSWER_S = 10.0  # how long a start waits for a watched folder to say that it is there


def prepare(settings: Settings) -> None:
    """What must be right before anything starts: profiles that exist and can be read, folders that are there, free and of the kind
    that they were, a ledger of this schema.  What was never read of folders that are watched no more is set aside.

    Raises ``Refused`` otherwise.
    """
    _check_profiles(settings)
    waited_for = _check_folders(settings)
    database = Database(settings.ledger_url)
    migrate.upgrade(database)
    settle_kinds(database, settings.folders, waited_for)
    ended = arrivals.end_unwatched(database, {str(folder.path) for folder in settings.folders})
    if ended:
        say(f"Note: {ended} files of folders that are not watched any more were never read; they are set aside and say so.")
    messages.happened(database, "service", "info", messages.STARTED)


def _check_folders(settings: Settings) -> set[Path]:
    """Refuse folders that another service watches; those that cannot be watched for now are told, and waited for."""
    paths = [folder.path for folder in settings.folders]
    answered = answers({path: partial(FolderLock, path, settings.state.root) for path in paths}, _ANSWER_S)
    for lock in answered.values():
        if isinstance(lock, FolderLock):
            lock.close()
    for path in paths:
        error = answered.get(path)
        if error is None:
            say(f"Note: {path}: {SILENT}.")
        elif isinstance(error, FileNotFoundError):
            say(f"Note: {path} does not exist yet; it will be watched as soon as it does.")
        elif isinstance(error, OSError):
            say(f"Note: {unwatchable(path, error)}.")
        elif isinstance(error, Exception):
            raise error
    return {path for path in paths if not isinstance(answered.get(path), FolderLock)}


def _check_profiles(settings: Settings) -> None:
    """A misspelt profile would reject no file and read none: every one would wait for ever."""
    folder = settings.instruments.folder
    profiles = load_profiles(folder if folder.is_dir() else None)
    for watched in settings.folders:
        try:
            choose_profile((), profiles, watched.instrument)
        except Refused as error:
            raise Refused(f"[[folders]] {watched.path}: {error}") from error


def tell(settings: Settings, level: str, text: str) -> None:
    """Write down something that a person may want to know."""
    messages.happened(Database(settings.ledger_url), "service", level, text)


def main(words: Sequence[str]) -> int:
    """Run one errand; the exit code, with a sentence on stderr when it is not 0."""
    try:
        settings = Settings.load()
        if words[0] == "prepare":
            prepare(settings)
        elif words[0] == "stopped":  # on purpose, and in order: what ended with it is no trouble
            tell(settings, "info", messages.STOPPED)
        else:
            tell(settings, words[1], words[2])
    except NightcrewError as error:
        sys.stderr.write(f"nightcrew: {clean(error)}\n")
        return 2 if isinstance(error, Refused) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
