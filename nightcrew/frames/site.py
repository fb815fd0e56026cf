"""The site, and the night that a moment belongs to: local noon to local noon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NOON = 12


@dataclass(frozen=True, slots=True)
class Site:
    """Where the instrument stands.  ``longitude_deg`` is positive east; ``timezone`` is an IANA name or "" when unknown."""

    longitude_deg: float = 0.0
    latitude_deg: float = 0.0
    elevation_m: float = 0.0
    timezone: str = "UTC"

    @property
    def zone(self) -> tzinfo:
        """The civil time zone; mean solar time of the longitude when the name is unknown."""
        return _zone(self.timezone, self.longitude_deg)


@lru_cache(maxsize=64)
def _zone(name: str, longitude_deg: float) -> tzinfo:
    if name:
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # unknown: by longitude, as the contract of night_of says
    east_deg = (longitude_deg + 180.0) % 360.0 - 180.0
    return timezone(timedelta(minutes=round(east_deg * 4.0)))


def as_utc(time_utc: str | datetime) -> datetime:
    """``time_utc`` as an aware datetime; text and naive datetimes are UTC."""
    moment = datetime.fromisoformat(time_utc) if isinstance(time_utc, str) else time_utc
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def night_of(time_utc: str | datetime, site: Site) -> str:
    """ISO date of the local noon before ``time_utc``.

    The wall clock decides, so a day of 23 or 25 hours changes nothing; noon itself opens the new night.
    """
    local = as_utc(time_utc).astimezone(site.zone)
    day = local.date()
    return (day if local.hour >= _NOON else day - timedelta(days=1)).isoformat()


def night_of_ut_date(day: date, site: Site) -> str:
    """Night of an exposure of which only the UT date is known: the night whose local midnight falls in that UT date.

    That is the night which most dark hours of the UT date belong to.
    """
    for local_day in (day, day + timedelta(days=1)):
        midnight = datetime(local_day.year, local_day.month, local_day.day, tzinfo=site.zone)
        if midnight.astimezone(UTC).date() == day:
            return (local_day - timedelta(days=1)).isoformat()
    return day.isoformat()


def night_span(night: str, site: Site) -> tuple[datetime, datetime]:
    """First and last moment (UTC, aware) of the night: its local noon and the next."""
    day = date.fromisoformat(night)
    noons = [datetime(d.year, d.month, d.day, _NOON, tzinfo=site.zone) for d in (day, day + timedelta(days=1))]
    return noons[0].astimezone(UTC), noons[1].astimezone(UTC)
