"""What became of each file of a simulated night, against what should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightcrew.simulate.comparison import Item, count_item
from nightcrew.simulate.truth import PlantedTrouble, Truth

States = Mapping[str, tuple[str, str]]


def untwine(troubles: Sequence[PlantedTrouble], states: States) -> dict[str, tuple[str, str]]:
    """States with duplicates told apart: which of two equal files counts depends on which came first, and either may."""
    result = dict(states)
    for trouble in troubles:
        twin, own = result.get(trouble.twin), result.get(trouble.path)
        if twin and own and twin[0] in trouble.states and own[0] not in trouble.states:
            result[trouble.twin], result[trouble.path] = own, twin
    return result


def outcome_items(truth: Truth, states: States) -> list[Item]:
    """Files seen, and good frames of each kind that ended as done."""
    everything = {frame.name for frame in truth.frames} | {trouble.path for trouble in truth.troubles}
    unseen = sorted(everything - set(states))
    items = [count_item("files seen", len(everything) - len(unseen), len(everything), f"never seen: {', '.join(unseen)}")]
    for kind in ("bias", "dark", "flat", "light"):
        names = [frame.name for frame in truth.select(kind)]
        wrong = [f"{name}: {' '.join(states.get(name, ('unseen', '')))}" for name in names if states.get(name, ("", ""))[0] != "done"]
        items.append(count_item(f"{kind} frames done", len(names) - len(wrong), len(names), "; ".join(wrong)))
    return items


def trouble_items(troubles: Sequence[PlantedTrouble], states: States) -> list[Item]:
    """One item a troublemaker: is it in an expected state, and does its reason name the planted cause?"""
    items = []
    for trouble in troubles:
        state, reason = states.get(trouble.path, ("unseen", ""))
        named = not trouble.expected_words or any(word.lower() in reason.lower() for word in trouble.expected_words)
        rule = f"{' or '.join(trouble.states)}"
        if trouble.expected_words:
            rule += f", the reason says {' or '.join(repr(word) for word in trouble.expected_words)}"
        passed = state in trouble.states and named
        items.append(
            Item(
                name=f"{trouble.kind}: {trouble.path}",
                recovered=None,
                truth=None,
                unit="",
                rule=rule,
                passed=passed,
                note=f"{state}: {reason}" if reason else state,
            )
        )
    return items
