"""From the ledger to the model of a night's page: everything that the page shows, read and worked out, nothing drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import chain
from zoneinfo import ZoneInfo

from nightcrew.ledger import arrivals, messages
from nightcrew.ledger.database import iso
from reports import (
    gather_calibrations,
    gather_files,
    gather_lights,
    gather_masters,
    gather_plates,
    gather_queries,
    gather_service,
    gather_trends,
)
from reports.commands import own_config
from reports.model import AnalysisSection, LightEntry, NightPage, ScopeKind, TruthRow, instruments_of
from reports.night_data import Archive, ScopeData, read_night
from reports.pictures import Gallery


def gather_night(
    archive: Archive,
    night: str,
    *,
    made_at: datetime,
    kind: ScopeKind = "night",
    failed: str = "",
    truth: Sequence[TruthRow] = (),
    sections: Sequence[AnalysisSection] = (),
    lights_known: Callable[[tuple[LightEntry, ...], tuple[str, ...]], None] | None = None,
) -> NightPage:
    """The page of ``night`` over all its instruments; a night that the ledger does not know is an empty one.

    ``made_at`` must know its time zone.  ``failed`` says why the night's run itself broke off.  ``lights_known`` is called with
    the lights and the page's instruments while everything else is still to be read.
    """
    scopes = read_night(archive, kind, night, iso(made_at))
    gallery, threads = Gallery(archive.products_root, archive.keep), archive.settings.limits.threads
    balance = gather_files.balance(scopes)
    lights = tuple(chain.from_iterable(gather_lights.lights(data, gallery, threads) for data in scopes))
    if lights_known is not None:
        lights_known(lights, instruments_of(balance))
    numbers = [_numbers(archive, data) for data in scopes]
    zone = archive.settings.site.timezone
    with archive.database.read() as connection:
        last_seen, signs = gather_queries.last_seen(connection), messages.signs_of_life(connection)
        last_night = gather_queries.last_night_with_frames(connection, night)
        of_sets = {str(folder.path) for folder in archive.settings.folders if folder.kind != "night"}
        stray = [row for row in arrivals.without_scope(connection) if row.folder not in of_sets]
    return NightPage(
        night=night,
        site=archive.settings.site.name,
        made_at=made_at.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat(timespec="seconds"),
        kind=kind,
        timezone=zone,
        closed=all(data.scope.state == "closed" for data in scopes),
        failed=failed,
        balance=balance,
        causes=gather_files.causes(scopes),
        calibrations=tuple(chain.from_iterable(gather_calibrations.calibrations(data) for data in scopes)),
        masters=tuple(
            chain.from_iterable(
                gather_masters.masters(data, measured, gallery) for data, (measured, _) in zip(scopes, numbers, strict=True)
            )
        ),
        lights=lights,
        stacks=tuple(chain.from_iterable(gather_lights.stacks(data, gallery) for data in scopes)),
        plates=tuple(chain.from_iterable(gather_plates.plates(data, archive.parameters.plates) for data in scopes)),
        trends=tuple(chain.from_iterable(gather_trends.trends(data, *found) for data, found in zip(scopes, numbers, strict=True))),
        truth=tuple(truth),
        sections=tuple(sections),
        folders=gather_service.folders(archive.settings, last_seen, signs, night, made_at),
        last_night_with_files=last_night,
        notices=(
            *gather_service.notices(archive, night, made_at, [data.scope.id for data in scopes]),
            *gather_service.stray_notice(stray),
            *gather_service.vanished_notice(scopes),
            *gather_service.absent_notice(archive, scopes),
            *gather_service.twins_notice(scopes),
            *gather_service.ahead_notice(scopes),
            *gather_service.outdated_notice(scopes, night),
            *gather_service.damaged_notice(gallery.damaged),
        ),
        provenance=gather_service.provenance(archive, scopes, night),
        files=gather_files.file_table(scopes),
        config=own_config(archive.settings),
    )


def _numbers(archive: Archive, data: ScopeData) -> tuple[list[gather_queries.Measured], list[gather_queries.Catalogued]]:
    """What was measured in the last nights of a scope's instrument."""
    with archive.database.read() as connection:
        nights = gather_queries.last_nights(connection, data.instrument, data.scope.name, gather_trends.NIGHTS)
        return gather_queries.measured(connection, data.instrument, nights), gather_queries.catalogued(connection, data.instrument, nights)
