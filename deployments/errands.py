"""Errands of the supervisor that need the ledger: ``python -m deployments.errands prepare | tell LEVEL TEXT | stopped``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack

from deployments.cli.common import clean, say
from nightcrew.errors import NightcrewError, Refused
from nightcrew.frames.profiles import choose_profile, load_profiles
from nightcrew.ingest_sets import settle_kinds
from nightcrew.ledger import messages, migrate
from nightcrew.ledger.database import Database
from nightcrew.settings import Settings
from watchers.lock import FolderLock


def prepare(settings: Settings) -> None:
    """What must be right before anything starts: profiles that exist and can be read, folders that are there, free and of the kind
    that they were, a ledger of this schema.

    Raises ``Refused`` otherwise.
    """
    _check_profiles(settings)
    with ExitStack() as locks:
        for folder in settings.folders:
            if folder.path.exists():  # one that is not mounted yet is waited for
                locks.enter_context(FolderLock(folder.path, settings.state.root))
            else:
                say(f"Note: {folder.path} does not exist yet; it will be watched as soon as it does.")
    database = Database(settings.ledger_url)
    migrate.upgrade(database)
    settle_kinds(database, settings.folders)
    messages.happened(database, "service", "info", messages.STARTED)


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
