"""Planning a set: what should exist of a folder of files that belong together (sensor, laboratory, campaign, photon lists).

A kind's own rules are one function, ``nightcrew.planning.set_<kind>.plan(builder)``: it looks at the files, says which
wait, which are set aside or rejected, and adds the products that should exist.  Fingerprints, what is made already, what
failed, what waits for what, files that are gone or copies of each other: all that is worked out here, the same for all kinds.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any

from nightcrew.errors import RejectedInput, TransientError
from nightcrew.io.patience import SilentError, folders_of, while_they_answer
from nightcrew.ledger.database import storable
from nightcrew.ledger.history import Failure
from nightcrew.ledger.rows import FrameRow, ProductRow, ScopeRow
from nightcrew.planning.fingerprints import canonical
from nightcrew.planning.model import OUTDATED, RAW_IS_GONE, Input, PlannedProduct, Status
from nightcrew.planning.set_names import safe_part
from nightcrew.recipes.catalogue import RECIPES
from nightcrew.recipes.parameters import SetParameters

MAX_TEXT_BYTES = 4_000_000
_CACHED_BYTES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFile:
    """One file of a set; ``relative`` is its name below the set's folder, ``/``-separated, surrogateescape text.

    ``kind`` is a word for what its bytes are: ``fits``, ``hdf5``, or the ending of its name (``csv``, ``toml``, ``bin``).
    ``absent``: "gone" from its folder; "changing": its bytes are not those that were read, it is read again.
    """

    id: int
    path: bytes
    relative: str
    size: int
    mtime_ns: int
    sha256: str
    arrived_at: str
    kind: str
    absent: str = ""
    ctime_ns: int = field(default=0, compare=False)  # 0: not known


@dataclass(frozen=True, kw_only=True)
class SetSnapshot:
    """Everything that the plan of a set may look at.  ``files`` are sorted by ``relative``; copies are left out for the plan."""

    scope: ScopeRow
    root: bytes
    files: Sequence[SetFile]
    products: Mapping[str, ProductRow]  # of this scope, by fingerprint
    current: Mapping[tuple[str, str], str]  # (recipe, key) -> fingerprint
    failures: Mapping[str, Failure]
    parameters: SetParameters
    quiet_s: float
    unread: int = 0  # files of the set that arrived and nobody has read yet
    left_out: Mapping[int, Mapping[str, str]] = field(default_factory=dict)  # product id -> relative -> reason
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)  # fingerprint of a current product -> relative names
    remake: bool = True  # False: an old set, whose outdated products are kept until a person asks
    frames: Sequence[FrameRow] = ()
    elsewhere: Sequence[ProductRow] = ()
    hindrances: Mapping[str, str] = field(default_factory=dict)  # fingerprint -> why it could not be made for now

    @property
    def closed(self) -> bool:
        """Has the set closed, so that what is missing is missing?"""
        return self.scope.state == "closed"


class TextNotNow(TransientError):
    """A file's text is asked for and the file is gone or is not what was read; a plan need not catch this."""

    def __init__(self, file: SetFile, why: str) -> None:
        super().__init__(f"{file.relative} {why}")
        self.file = file


PlanSet = Callable[["SetBuilder"], None]
"""The rules of one kind of sets."""


class SetBuilder:
    """What a kind's plan talks to: the files of the set in, planned products out."""

    def __init__(self, snapshot: SetSnapshot, as_of: str, every: Sequence[SetFile] = ()) -> None:
        self.snapshot = snapshot
        self._every = every or snapshot.files  # with those that are gone
        self.as_of = as_of
        self.products: dict[str, PlannedProduct] = {}
        self.waiting: dict[int, str] = {}
        self.aside: dict[int, str] = {}
        self.rejected: dict[int, str] = {}
        self.wakes: list[str] = []
        self.incomplete = False  # the plan asked whether the set is quiet, and it was not
        self._keys: set[tuple[str, str]] = set()

    @property
    def parameters(self) -> SetParameters:
        """The configuration's options of this kind."""
        return self.snapshot.parameters

    def quiet(self, files: Iterable[SetFile] | None = None) -> bool:
        """Did nothing join the set (or these files of it) for ``quiet_s``, or is it closed?  Otherwise the plan asks to be woken.

        Joint analyses wait for this, conversions of single files do not.  While the answer is no, what was analysed before
        and is not planned now stays current.
        """
        seen = self.snapshot
        if seen.closed:
            return True
        mine = list(files) if files is not None else list(seen.files)
        if seen.unread or any(file.absent == "changing" for file in mine):
            self.incomplete = True
            return False  # reading them raises the scope's mark
        times = [file.arrived_at for file in mine] + ([seen.scope.last_arrival_at] if files is None else [])
        last = max((time for time in times if time), default="")
        quiet_at = later(last, seen.quiet_s) if last else self.as_of
        if quiet_at <= self.as_of:
            return True
        self.incomplete = True
        self.wakes.append(quiet_at)
        return False

    def wait(self, files: Iterable[SetFile], reason: str) -> None:
        """These files wait; ``reason`` says for what."""
        self.waiting |= {file.id: reason for file in files}

    def set_aside(self, files: Iterable[SetFile], reason: str) -> None:
        """These files need nothing (logs, notes, frames of another kind); ``reason`` says why."""
        self.aside |= {file.id: reason for file in files}

    def reject(self, files: Iterable[SetFile], reason: str) -> None:
        """These files cannot be used, by their own fault."""
        self.rejected |= {file.id: reason for file in files}

    def text(self, file: SetFile, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
        """The text of a small file (a configuration, a log), UTF-8 with surrogates for other bytes.

        Raises
        ------
        RejectedInput
            It is larger than ``max_bytes``.
        TextNotNow
            It is gone or changes just now; a plan lets this through and is made again.
        """
        if file.absent:
            raise TextNotNow(file, "is gone" if file.absent == "gone" else "changed and is read again first")
        if file.size > max_bytes:
            raise RejectedInput(f"{file.relative} has {file.size} bytes; a text of at most {max_bytes} was expected")
        return _short_text(file) if file.size <= _CACHED_BYTES else read_text(file)

    def add(
        self,
        recipe: str,
        key: str,
        *,
        files: Sequence[SetFile] = (),
        products: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> PlannedProduct:
        """Plan a product of these files and of other planned products (by their fingerprints).

        The answer tells its fingerprint and its status: a plan that goes on without what failed looks at ``status``.
        ``parameters`` are all options that its numbers depend on, ``facts`` what the unit should know beside them; both are
        plain values and a part of the fingerprint.  ``key`` tells it from the set's other products of the recipe.
        """
        key = safe_part(key)
        if (recipe, key) in self._keys:
            raise ValueError(f"{recipe} {key} is planned twice in {self.snapshot.scope.name}")
        unknown = [print_ for print_ in products if print_ not in self.products]
        if unknown:
            raise ValueError(f"{recipe} {key} asks for the product {unknown[0][:12]}, which is not planned")
        self._keys.add((recipe, key))
        inputs = self._inputs(files, products)
        print_ = self._fingerprint(recipe, key, inputs, parameters or {}, facts or {})
        if not self.snapshot.remake and not self._is_made(print_):
            kept = self._standing(recipe, key, OUTDATED)
            if kept is not None:
                return kept
        status, reason = self._status(recipe, key, print_, inputs)
        return self._enter(recipe, key, print_, inputs, dict(parameters or {}), dict(facts or {}), status, reason)

    def _inputs(self, files: Sequence[SetFile], products: Sequence[str]) -> tuple[Input, ...]:
        of_files = [Input(file.relative, file.sha256, file=file) for file in sorted(files, key=lambda file: (file.relative, file.sha256))]
        of_products = [Input(role_of(self.products[print_]), print_) for print_ in products]
        return (*of_files, *sorted(of_products, key=lambda item: (item.role, item.fingerprint)))

    def _fingerprint(self, recipe: str, key: str, inputs: Sequence[Input], parameters: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        scope = self.snapshot.scope
        parts = [recipe, str(RECIPES[recipe].version), scope.kind, scope.name, key, canonical(dict(parameters)), canonical(dict(facts))]
        for item in inputs:
            parts += ("file" if item.file is not None else "product", item.role, item.fingerprint)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()

    def _is_made(self, print_: str) -> bool:
        row = self.snapshot.products.get(print_)
        return row is not None and row.state == "made"

    def _is_marked_bad(self, print_: str) -> bool:
        row = self.snapshot.products.get(print_)
        return row is not None and bool(row.marked_bad)

    def _status(self, recipe: str, key: str, print_: str, inputs: Sequence[Input]) -> tuple[Status, str]:
        if self._is_made(print_) and not any(self._is_marked_bad(item.fingerprint) for item in inputs if item.is_product):
            return ("present" if self.snapshot.current.get((recipe, key)) == print_ else "adopt"), ""
        failure = self.snapshot.failures.get(print_)
        if failure is not None:
            return "failed", failure.reason
        waits: tuple[Status, str] | None = None
        for item in inputs:
            if item.file is not None:
                if item.file.absent:
                    waits = waits or ("pending", f"{item.role} changed and is read again first")
                continue
            before = self.products[item.fingerprint]
            if before.status == "failed":
                return "failed", f"its input {before.name} could not be made: {before.reason}"
            row = self.snapshot.products.get(item.fingerprint)
            if row is None or not row.usable:
                barred = f": {row.barred_because}" if row is not None and row.state == "made" else ""
                waits = waits or ("pending", f"waits for {before.name}{barred}")
        return waits or ("ready", "")

    def _enter(
        self,
        recipe: str,
        key: str,
        print_: str,
        inputs: tuple[Input, ...],
        parameters: dict[str, Any],
        facts: dict[str, Any],
        status: Status,
        reason: str,
    ) -> PlannedProduct:
        scope = self.snapshot.scope
        planned = PlannedProduct(
            recipe=recipe,
            version=RECIPES[recipe].version,
            scope_id=scope.id,
            night=scope.name,
            instrument=scope.instrument,
            key=key,
            fingerprint=print_,
            inputs=inputs,
            parameters=parameters,
            facts=facts,
            grade="A",
            grade_reasons=(),
            status=status,
            reason=reason,
            kind=scope.kind,
        )
        self.products[print_] = planned
        return planned

    def _standing(self, recipe: str, key: str, why: str) -> PlannedProduct | None:
        """The current product of that key as it is; None without one."""
        row = self.snapshot.products.get(self.snapshot.current.get((recipe, key), ""))
        if row is None or row.state != "made":
            return None
        mine = self.snapshot.parts.get(row.fingerprint, frozenset())
        inputs = tuple(Input(f.relative, f.sha256, file=f) for f in self._every if storable(f.relative) in mine)
        standing = self._enter(recipe, key, row.fingerprint, inputs, row.parameters, row.facts, "present", "")
        planned = standing._replace(
            version=row.version,
            grade=row.grade,
            grade_reasons=row.grade_reasons,
            kept=why,
        )
        self.products[row.fingerprint] = planned
        return planned

    def held(self) -> frozenset[tuple[str, str]]:
        """(recipe, key) of what is current and will be planned again when the set is quiet."""
        return frozenset(self.snapshot.current.keys() - self._keys) if self.incomplete else frozenset()

    def lacking(self) -> set[int]:
        """Ids of files that are gone and that a product which is not made would need."""
        unmade = (p for p in self.products.values() if p.status not in ("present", "adopt"))
        return {item.file.id for p in unmade for item in p.inputs if item.file is not None and item.file.absent == "gone"}

    def keep_what_was_made_of(self, gone: Iterable[SetFile]) -> None:
        """A raw file that vanished takes nothing away: current products of it that nothing asks for any more stand."""
        names = {storable(file.relative) for file in gone}
        for recipe, key in sorted(self.snapshot.current.keys() - self._keys):
            print_ = self.snapshot.current[recipe, key]
            if recipe in RECIPES and names & self.snapshot.parts.get(print_, frozenset()):
                self._keys.add((recipe, key))
                self._standing(recipe, key, RAW_IS_GONE)


def role_of(planned: PlannedProduct) -> str:
    """By what name a product is an input of another: ``bias_model_-10C``."""
    return f"{planned.recipe}_{planned.key}"


def later(time_utc: str, seconds: float) -> str:
    """The ledger's time ``seconds`` after another."""
    return (datetime.fromisoformat(time_utc) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def read_text(file: SetFile) -> str:
    """The text of a file, which must still be what was ingested; ``TextNotNow`` otherwise."""
    try:
        return while_they_answer(partial(_read_text, file), folders_of([file.path]))
    except SilentError as error:
        raise TextNotNow(replace(file, absent="changing"), f"cannot be read now: {error}") from error


def _read_text(file: SetFile) -> str:
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe of that name must not hold us
    except FileNotFoundError as error:
        raise TextNotNow(replace(file, absent="gone"), "is gone") from error
    except OSError as error:
        raise TextNotNow(replace(file, absent="changing"), f"cannot be read now: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        data = os.pread(descriptor, file.size + 1, 0)
    except OSError as error:  # a share that went away, a pipe
        raise TextNotNow(replace(file, absent="changing"), f"cannot be read now: {error.strerror}") from error
    finally:
        os.close(descriptor)
    moved = file.ctime_ns not in (0, status.st_ctime_ns) and hashlib.sha256(data).hexdigest() != file.sha256
    if (status.st_size, status.st_mtime_ns, len(data)) != (file.size, file.mtime_ns, file.size) or moved:
        raise TextNotNow(replace(file, absent="changing"), "changed and is read again first")
    return data.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=512)
def _short_text(file: SetFile) -> str:
    """As :func:`read_text`; a plan is made many times, and asks for the same configurations each time."""
    return read_text(file)
