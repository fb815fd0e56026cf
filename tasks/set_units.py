"""Units of work of sets: a folder made new and whole, then named; every file of it stands in the ledger with its hash.

A kind's unit is a plain function ``SetUnit -> SetResult``: it reads the files and input folders that it is given, writes
into ``out``, and returns numbers and a page.  Claims, names, hashes, durability and the ledger are done here.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from nightcrew import failpoints
from nightcrew.io import atomic
from nightcrew.io.atomic import PART_PREFIX, PART_SUFFIX, FinalExistsError
from nightcrew.ledger.rows import FileRow, Measurement, NewProduct, ProductRow, worst
from nightcrew.planning.model import PlannedProduct
from nightcrew.planning.sets import SetFile
from tasks import naming
from tasks.context import UnitContext
from tasks.frames_in import checked_path
from tasks.kinds import unit_of

if TYPE_CHECKING:
    from reports.analysis import AnalysisPage

_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SetUnit:
    """What a kind's unit of work gets.

    ``files`` are its input files, in the order of their names; ``inputs`` the folders of its input products by role
    (``<recipe>_<key>``); ``out`` an empty folder: everything written there becomes the product.  ``work`` is a scratch folder, which may
    lie on another file system; what a unit leaves there is swept.
    """

    planned: PlannedProduct
    files: Sequence[SetFile]
    inputs: Mapping[str, Path]
    out: Path
    memory_bytes: int = 600_000_000
    threads: int = 2
    work: Path | None = None
    told: tuple[str, ...] = ()  # what lowers the grades of its input products

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The recipe's parameters, as the plan gave them."""
        return self.planned.parameters

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the plan said beside the parameters."""
        return self.planned.facts

    def path(self, file: SetFile) -> Path:
        """Where a file lies, after checking that its bytes are those that were ingested (size and time).

        Raises
        ------
        TransientError
            It is gone, or changed since: it is read again.
        """
        return checked_path(file)

    @property
    def commands(self) -> tuple[str, ...]:
        """What a page of the product offers besides the commands of its set."""
        from reports.commands import command

        return (command("why", self.planned.fingerprint[:12]),)

    def inputs_of(self, recipe: str) -> dict[str, Path]:
        """Key -> folder of the input products of one recipe, sorted by key."""
        start = f"{recipe}_"
        found = {role.removeprefix(start): folder for role, folder in self.inputs.items() if role.startswith(start)}
        return dict(sorted(found.items()))


@dataclass(kw_only=True)
class SetResult:
    """What a kind's unit says of what it wrote; ``left_out`` are input files that it did not use: relative name -> reason."""

    grade: str = "A"
    grade_reasons: tuple[str, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    page: AnalysisPage | None = None


def make_set_product(context: UnitContext, planned: PlannedProduct) -> NewProduct:
    """Make one product of a set: the unit writes into a new folder, which then gets its final name.

    Raises
    ------
    FinalExistsError
        A folder stands under the final name: it was left by a worker that died before it could record it.
    RejectedInput, MissingCalibration, TransientError
        As the unit says; nothing is left behind.
    """
    final = context.products_root / naming.set_folder(planned)
    if final.exists():
        raise FinalExistsError(f"{final.name} exists already")
    rows = [context.product(item.fingerprint) for item in planned.inputs if item.is_product]
    files = [item.file for item in planned.inputs if item.file is not None]
    for file in files:
        checked_path(file)
    part = final.with_name(f"{PART_PREFIX}{planned.fingerprint[:12]}-{secrets.token_hex(4)}{PART_SUFFIX}")
    atomic.make_folder(part, durable=context.durable)
    try:
        unit = SetUnit(
            planned=planned,
            files=files,
            inputs=_folders(context, planned, rows),
            out=part,
            memory_bytes=context.memory_bytes,
            threads=context.threads,
            work=context.work,
            told=_told(rows),
        )
        result = unit_of(planned.kind, planned.recipe)(unit)
        return _published(context, planned, result, part, rows)
    except OSError as error:
        raise atomic.explain(error, final) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _folders(context: UnitContext, planned: PlannedProduct, rows: Sequence[ProductRow]) -> dict[str, Path]:
    roles = [item.role for item in planned.inputs if item.is_product]
    return {role: context.folder(row) for role, row in zip(roles, rows, strict=True)}


def _published(context: UnitContext, planned: PlannedProduct, result: SetResult, part: Path, rows: Sequence[ProductRow]) -> NewProduct:
    grade = worst(result.grade, *(row.grade for row in rows))
    reasons = (*result.grade_reasons, *(reason for reason in _told(rows) if reason not in result.grade_reasons))
    if result.page is not None:
        from reports.analysis import write_analysis

        write_analysis(_graded(result.page, grade, reasons), part)
    json.dumps([result.metrics, [m.where for m in result.measurements]], allow_nan=False)  # before anything gets its final name
    folder = naming.set_folder(planned)
    files = _listed(part, folder, durable=context.durable)
    if not files:
        raise ValueError(f"{planned.name}: its unit wrote no file")
    failpoints.reach("set.half_written")
    _named(part, context.products_root / folder, durable=context.durable)
    return NewProduct(
        files=files,
        metrics=result.metrics,
        grade=grade,
        grade_reasons=reasons,
        files_left_out=dict(result.left_out),
        measurements=result.measurements,
    )


def _told(rows: Sequence[ProductRow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reason for row in rows for reason in row.grade_reasons))


def _graded(page: AnalysisPage, grade: str, reasons: tuple[str, ...]) -> AnalysisPage:
    """The page with the grade that the ledger gives: no better than what the product was made of, and with the reasons that lower it."""
    if worst(page.summary.grade, grade) == page.summary.grade:
        return page
    warnings = (*page.summary.warnings, *(reason for reason in reasons if reason not in page.summary.warnings))
    told = (*page.needs_person, *(reason for reason in reasons if reason not in page.needs_person))
    return replace(
        page,
        status="attention" if page.status == "good" and grade in ("C", "D") else page.status,
        needs_person=told,
        summary=replace(page.summary, grade=grade, warnings=warnings),
    )


def _listed(part: Path, folder: PurePosixPath, *, durable: bool) -> tuple[FileRow, ...]:
    """Every file that the unit wrote, by name below the product's folder, brought to disk."""
    rows = []
    for path in sorted(part.rglob("*")):
        mode = path.lstat().st_mode
        relative = path.relative_to(part).as_posix()
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise ValueError(f"a unit wrote {relative}, which is neither a file nor a folder")
        sha256, size = _hashed(path, durable=durable)
        rows.append(FileRow(role=relative, path=str(folder / relative), sha256=sha256, size=size))
    return tuple(rows)


def _hashed(path: Path, *, durable: bool) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
        if durable:
            os.fsync(file.fileno())
    return digest.hexdigest(), size


def _named(part: Path, final: Path, *, durable: bool) -> None:
    """Give the whole folder its final name, in one step; what stands there stays."""
    if durable:
        for folder in sorted((path for path in part.rglob("*") if path.is_dir()), reverse=True):
            atomic.fsync_folder(folder)
        atomic.fsync_folder(part)
    try:
        part.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FinalExistsError(f"{final.name} exists already") from error
        raise
    if durable:
        atomic.fsync_folder(final.parent)
