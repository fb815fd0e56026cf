"""Plant files that go wrong, each with the reason that the report is expected to give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nightcrew.errors import Refused
from nightcrew.simulate import trouble_content, trouble_paths
from nightcrew.simulate.trouble_kind import DONE, Spot, TroubleKind
from nightcrew.simulate.truth import PlantedTrouble, Truth

KINDS: dict[str, TroubleKind] = {kind.name: kind for kind in (*trouble_content.KINDS, *trouble_paths.KINDS)}
LATE_FLAT = "late_flat"  # nothing is planted: the order of the night's own files is the trouble

_FIRST_DELAY_S = 1200.0  # after the innocent frame: clear of the other exposures of its series
_NEXT_DELAY_S = 61.0


def trouble_kind(name: str) -> TroubleKind:
    """The troublemaker of that name; Refused when there is none."""
    if name not in KINDS:
        raise Refused(f"no troublemaker is called {name!r}; choose from: {', '.join(sorted((*KINDS, LATE_FLAT)))}")
    return KINDS[name]


def plant(name: str, folder: Path, source: Path) -> PlantedTrouble:
    """Plant one troublemaker into ``folder``, made from the innocent frame ``source`` (read only).

    ``source`` must be a frame of this simulator of the kind that ``trouble_kind(name).source`` names (any where "").
    """
    kind = trouble_kind(name)
    delay_s = _FIRST_DELAY_S + _NEXT_DELAY_S * list(KINDS).index(name)
    path = kind.make(Spot(folder, source, delay_s))
    return PlantedTrouble(
        path=str(path.relative_to(folder)),
        kind=name,
        expected_words=kind.words,
        states=kind.states,
        description=kind.description,
        twin=source.name if kind.repeats_source else "",
    )


def plant_all(names: Sequence[str], raw: Path, truth: Truth) -> tuple[PlantedTrouble, ...]:
    """Plant troublemakers among the frames of a night, each spoiling an exposure of its own."""
    troubles: list[PlantedTrouble] = []
    for number, name in enumerate(names):
        if name == LATE_FLAT:
            troubles += _late_flat(truth)
            continue
        sources = [frame.name for frame in truth.frames if frame.kind == (trouble_kind(name).source or "light")]
        if not sources:
            raise Refused(f"troublemaker {name!r} needs a {trouble_kind(name).source} in the night")
        troubles.append(plant(name, raw, raw / sources[number % len(sources)]))
    return tuple(troubles)


def _late_flat(truth: Truth) -> list[PlantedTrouble]:
    """The first light of the late filter stands for all: it has to wait for its flat, and to get it."""
    late = truth.select("light", filter_name=truth.plan.late_filter)
    if not late or not truth.plan.late_filter:
        raise Refused("troublemaker 'late_flat' needs a late filter with lights in the plan")
    text = f"a light whose flat ({truth.plan.late_filter}) comes only after it: it waits, and is reduced with it"
    return [PlantedTrouble(path=late[0].name, kind=LATE_FLAT, expected_words=(), states=DONE, description=text, adds_file=False)]
