"""Which of too many lights a page shows."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from reports import check, views
from reports.choice import chosen
from reports.render import judged_html
from reports.text import number
from reports.verdict import judge
from tests.reports.samples import big_night


@given(items=st.lists(st.booleans(), max_size=200), most=st.integers(1, 60))
def test_as_many_as_there_is_room_for_in_their_order(items: list[bool], most: int) -> None:
    numbered = list(enumerate(items))
    got = chosen(numbered, most, lambda item: item[1])
    assert len(got) == min(most, len(items))
    assert [place for place, _ in got] == sorted({place for place, _ in got})
    urgent, shown = sum(items), sum(wanted for _, wanted in got)
    assert shown >= min(urgent, most // 2)
    assert len(got) == len(items) or shown == urgent or shown >= most // 2


def test_they_are_spread_evenly() -> None:
    assert chosen(range(100), 10, lambda place: place in (3, 50)) == [0, 3, 13, 25, 37, 50, 51, 63, 75, 87]


def test_a_page_of_very_many_lights_says_how_many_it_shows() -> None:
    page = big_night(1200)
    shown = {light.name for light in chosen(page.lights, 600, lambda light: light.state == "degraded")}
    lights = tuple(light if light.name in shown else dataclasses.replace(light, thumbnail=None, pictured=False) for light in page.lights)
    page = dataclasses.replace(page, lights=lights)
    assert not [fault for fault in check.page_faults(page) if "picture" in fault]
    tile = next(tile for tile in views.tiles(page, judge(page)) if tile.label == "Lights reduced")
    assert tile.value.split(" ")[1] == number(1200, 0)  # a line may break before the second number, never within one
    html = judged_html(page)
    assert f"600 lights of {number(1200, 0)} with a picture here" in html
    assert html.count("<img") < 700
    assert len(views.listed_lights(page.lights)) == views.LISTED_LIGHTS
    assert "those that need a look first" in html
    assert not check.html_faults(html)
