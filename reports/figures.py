"""Figures of the pages and the mail, drawn by matplotlib without a display; each carries the numbers that it shows.

Every figure is small enough to be read on a phone (3.5 inches wide) and comes in two dresses, for light and for dark
pages.  A figure that would show nothing raises :class:`EmptyFigureError`: an empty figure is an error, never a success.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nightcrew.errors import NightcrewError
from reports.keep import NOTHING_KEPT, Keep, key_of
from reports.model import LightEntry, Limits, Trend, TrendPoint
from reports.tables import columns, trend_table
from reports.text import adaptive, by_wavelength, plural, quantity, visible
from reports.values import Figure, NumberTable, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_DPI = 200


class EmptyFigureError(NightcrewError):
    """A figure has nothing to show; the text says which and why."""


@dataclass(frozen=True)
class Dress:
    """Colours of one page theme."""

    paper: str
    ink: str
    faint: str
    grid: str
    accent: str
    band: str
    alarm: str


LIGHT = Dress(paper="#ffffff", ink="#1f2328", faint="#6a737d", grid="#e6e8eb", accent="#2f5d8a", band="#dfe9f3", alarm="#b3261e")
DARK = Dress(paper="#1b1f24", ink="#e6e9ec", faint="#98a2ad", grid="#30363d", accent="#7fb2e5", band="#25384b", alarm="#ff8a80")

_FILTER_COLOURS = {"U": "#8e5bd0", "B": "#3f7fd6", "G": "#2f9e62", "V": "#2f9e62", "R": "#d9534a", "I": "#a8577e", "L": "#8a8f96"}
_CYCLE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")  # Okabe and Ito: told apart by all eyes
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

Painter = Callable[["Axes", Dress], None]


def load() -> None:
    """Load what draws: it takes longer than a figure."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401  # loading it is what this is for


def _paint_both(painter: Painter, size_in: tuple[float, float], alt: str) -> tuple[Picture, Picture]:
    """The figure for light and for dark pages; what is where is worked out once."""
    light, place = _paint(painter, LIGHT, size_in, alt)
    dark, _ = _paint(painter, DARK, size_in, alt, place)
    return light, dark


def _paint(painter: Painter, dress: Dress, size_in: tuple[float, float], alt: str, place: Bbox | None = None) -> tuple[Picture, Bbox]:
    """The figure in one dress, and where its axes are; ``place``: where they are, when that is known."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=size_in, dpi=_DPI, facecolor=dress.paper, layout="constrained" if place is None else None)
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot(facecolor=dress.paper)
    _dress_axes(axes, dress)
    painter(axes, dress)
    if place is not None:
        axes.set_position(place)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", facecolor=dress.paper, metadata={"Software": None})
    width, height = canvas.get_size_inches() * _DPI
    picture = Picture(data=buffer.getvalue(), media_type="image/png", width_px=round(width), height_px=round(height), alt=alt)
    return picture, axes.get_position()


def _dress_axes(axes: Axes, dress: Dress) -> None:
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(dress.grid)
    axes.tick_params(colors=dress.faint, labelsize=7.5, length=0, pad=4)
    axes.grid(visible=True, axis="y", color=dress.grid, linewidth=0.7)
    axes.set_axisbelow(True)


def figure(name: str, title: str, caption: str, painter: Painter, numbers: NumberTable, size_in: tuple[float, float]) -> Figure:
    """A figure of ``size_in`` inches that ``painter(axes, dress)`` draws, once for light and once for dark pages."""
    light, dark = _paint_both(painter, size_in, _alt(title, caption))
    return Figure(name=name, title=title, caption=caption, picture=light, dark=dark, numbers=numbers)


@dataclass(frozen=True)
class Drawing:
    """A figure by what it shows: plain values from which any process draws the same."""

    kind: str  # of PAINTERS
    size_in: tuple[float, float]
    shows: Any  # what JSON can hold


def pictures_of(drawing: Drawing, alt: str) -> tuple[Picture, ...]:
    """The figure for light and for dark pages."""
    return _paint_both(lambda axes, dress: PAINTERS[drawing.kind](axes, dress, drawing.shows), drawing.size_in, alt)


def _kept_figure(name: str, title: str, caption: str, numbers: NumberTable, drawing: Drawing, keep: Keep) -> Figure:
    """A figure that is drawn once for the same values and kept, in the process beside ours where there is one."""
    alt = _alt(title, caption)

    def paint() -> tuple[Picture, ...]:
        beside = keep.beside
        asked = beside.pictures_of(drawing.kind, drawing.size_in, drawing.shows, alt) if beside is not None else ()
        return asked or pictures_of(drawing, alt)

    light, dark = keep.pictures(key_of("figure", drawing.kind, drawing.size_in, alt, drawing.shows), paint)
    return Figure(name=name, title=title, caption=caption, picture=light, dark=dark, numbers=numbers)


def _alt(title: str, caption: str) -> str:
    return visible(f"{title}. {caption}")


def plain(text: str) -> str:
    """Text for matplotlib: nothing hidden, and a dollar sign starts no formula."""
    return visible(text).replace("$", r"\$")


def trend_figure(trend: Trend, name: str, keep: Keep = NOTHING_KEPT) -> Figure:
    """A quantity over the last nights with its learned limits as a band; the last night stands out."""
    points = _finite(trend)
    if not points:
        raise EmptyFigureError(f"trend of {trend.label}: no finite value in {plural(len(trend.points), 'night')}")

    unit = f" ({trend.unit})" if trend.unit else ""
    caption = _trend_caption(trend, points[-1].value, points[-1].night)
    numbers = trend_table((trend,), name)
    return _kept_figure(name, f"{trend.label}{unit}", caption, numbers, Drawing("trend", (3.5, 1.75), dataclasses.asdict(trend)), keep)


def _paint_trend(axes: Axes, dress: Dress, shows: Any) -> None:
    trend = Trend(
        **{
            **shows,
            "points": tuple(TrendPoint(**point) for point in shows["points"]),
            "limits": Limits(**shows["limits"]) if shows["limits"] else None,
        }
    )
    points = _finite(trend)
    _trend_band(axes, dress, trend, len(points))
    places = range(len(points))
    axes.plot(places, [p.value for p in points], color=dress.accent, linewidth=1.1, marker="o", markersize=2.8)
    for place, point in zip(places, points, strict=True):
        if point.error is not None and math.isfinite(point.error):
            axes.errorbar(place, point.value, yerr=point.error, color=dress.accent, linewidth=0.8)
    if trend.tonight:
        colour = dress.alarm if trend.outside else dress.accent
        axes.plot(places[-1], points[-1].value, marker="D", markersize=6, color=colour, markeredgecolor=dress.paper, zorder=5)
    _night_ticks(axes, [point.night for point in points])
    axes.set_xlim(-0.6, len(points) - 0.4)
    _quiet_y(axes)


def _finite(trend: Trend) -> list[TrendPoint]:
    return [point for point in trend.points if math.isfinite(point.value)]


def _trend_band(axes: Axes, dress: Dress, trend: Trend, count: int) -> None:
    if trend.limits is None:
        return
    axes.axhspan(trend.limits.low, trend.limits.high, color=dress.band, linewidth=0, zorder=0)
    axes.plot([-0.6, count - 0.4], [trend.limits.median] * 2, color=dress.faint, linewidth=0.7, linestyle=(0, (4, 3)))


def _trend_caption(trend: Trend, value: float, night: str) -> str:
    shown = quantity(adaptive(value), trend.unit)
    when = "tonight" if trend.tonight else f"on {night}"
    if trend.limits is None:
        return f"{shown} {when}; too few nights to learn limits from"
    limits = f"{adaptive(trend.limits.low)} to {adaptive(trend.limits.high)}, learned from {plural(trend.limits.nights, 'night')}"
    return f"{shown} {when}, {'outside' if trend.outside else 'within'} the limits {limits}"


def _night_ticks(axes: Axes, nights: Sequence[str]) -> None:
    last = len(nights) - 1
    places = sorted({0, last}) if last < 4 else sorted({0, last // 2, last})
    axes.set_xticks(places, [plain(nights[place][5:] if len(nights[place]) == 10 else nights[place][:12]) for place in places])


def _quiet_y(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


COURSES: tuple[tuple[str, str, str], ...] = (
    ("fwhm_px", "Sharpness: FWHM of the stars", "px"),
    ("background", "Sky background", ""),
    ("depth_mag", "Depth: faintest star at 5 sigma, no zero point", "mag"),
)


def course_figure(lights: Sequence[LightEntry], attribute: str, title: str, unit: str, name: str, keep: Keep = NOTHING_KEPT) -> Figure:
    """One quality of all lights through the night, one colour and marker a filter."""
    places = [(light, _hours(light.time_utc), getattr(light, attribute)) for light in lights]
    drawn = [
        (light, hour, float(value)) for light, hour, value in places if hour is not None and value is not None and math.isfinite(value)
    ]
    if not drawn:
        raise EmptyFigureError(f"{title}: none of {plural(len(lights), 'light')} has a value")
    start = 24.0 * (min(hour for _, hour, _ in drawn) // 24.0)

    values = sorted(value for _, _, value in drawn)
    middle = values[len(values) // 2]
    caption = f"{plural(len(drawn), 'light')}, median {quantity(adaptive(middle), unit)}, {adaptive(values[0])} to {adaptive(values[-1])}"
    numbers = NumberTable(
        name=name,
        columns=columns("file", "filter", "time_utc", f"{attribute}|{unit}"),
        rows=tuple((light.name, light.filter, light.time_utc, value) for light, _, value in drawn),
    )
    shows = [(light.filter, hour - start, value) for light, hour, value in drawn]
    return _kept_figure(name, f"{title} ({unit})" if unit else title, caption, numbers, Drawing("course", (3.5, 2.1), shows), keep)


def _paint_course(axes: Axes, dress: Dress, shows: Any) -> None:
    """``shows``: filter, hour and value of each light."""
    filters = sorted({row[0] for row in shows}, key=by_wavelength)
    for place, wanted in enumerate(filters):
        x, y = zip(*[(hour, value) for name, hour, value in shows if name == wanted], strict=True)
        axes.plot(
            x,
            y,
            linestyle="",
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=4.2 if len(shows) < 80 else 2.6,
            color=_FILTER_COLOURS.get(wanted[:1].upper() if len(wanted) == 1 else "", _CYCLE[place % len(_CYCLE)]),
            label=plain(wanted or "no filter"),
        )
    _clock_axis(axes)
    _quiet_y(axes)
    if len(filters) > 1 or filters[0]:
        axes.figure.legend(
            loc="outside upper right",
            fontsize=7,
            frameon=False,
            ncols=min(6, len(filters)),
            labelcolor=dress.ink,
            handletextpad=0.1,
            columnspacing=0.8,
        )


def _hours(time_utc: str) -> float | None:
    try:
        moment = datetime.fromisoformat(time_utc)
    except ValueError:
        return None
    return moment.toordinal() * 24.0 + moment.hour + moment.minute / 60 + moment.second / 3600


def _clock_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = axes.get_xlim()
    if high - low < 0.2:
        middle = (high + low) / 2
        axes.set_xlim(middle - 0.1, middle + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_clock_label))


def _clock_label(hour: float, _: Any = None) -> str:
    minutes = round(hour * 60)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


PAINTERS: dict[str, Callable[[Axes, Dress, Any], None]] = {"course": _paint_course, "trend": _paint_trend}
