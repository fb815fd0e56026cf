"""Every reader answers to anything: seeds, earlier findings, and what hypothesis makes of them."""

from __future__ import annotations

import random
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target

TEXTS = {"lab_log", "lab_config", "observing_log", "beam_map", "flat_config", "dose_log", "configuration", "profile"}
HDF5 = {"photon_table", "solution"}  # each takes a turn of another process, and seconds where that spins: see tests.fuzz.run
ANSWERS = ("read", "refused")
WORDS = [
    *(
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"\r",
        b"\n",
        b"=",
        b"[",
        b"]",
        b"{",
        b"}",
        b"#",
        b"-",
        b"\x1b[31m",
    ),
    *(
        b"nan",
        b"inf",
        b"-inf",
        b"1e999",
        b"-1",
        b"0",
        b"1e400",
        b"99999999999999999999",
        b"1e-400",
        b"true",
        b"None",
        b"0x10",
        b"1_0",
        b"\xc2\xb2",
    ),
    *(
        b"[" * 200,
        b"(" * 200,
        b"9" * 5000,
        b"a" * 200_000,
        "\N{ARABIC-INDIC DIGIT THREE}".encode(),
        b"1979-05-27T07:32:00Z",
        b"\xed\xa0\x80",
    ),
]


@cache
def seeds(name: str) -> list[bytes]:
    return list(TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_sound_bytes_are_read(name: str) -> None:
    answers = {TARGETS[name].check(seed) for seed in seeds(name)}
    assert answers == ({"refused"} if name == "camera_raw" else {"read"})  # camera raw files are told from others, not read


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_stays_mended(name: str) -> None:
    for case in TARGETS[name].cases():
        assert TARGETS[name].check(case) in ANSWERS


def mutated(target: Target, seed: int) -> bytes:
    """One of the target's good inputs, spoiled in some places."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(seeds(target.name)))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice((0, 1, 1, 2, 4, 8, 80)))
        change = rng.randrange(5)
        if change == 0 and data:
            data[place % len(data)] = rng.randrange(256)
        elif change == 1:
            del data[place:end]
        elif change == 2:
            data[place:end] = rng.choice(WORDS)
        elif change == 3:
            data[place:place] = data[place:end] * rng.randrange(1, 5)
        else:
            _swap_a_word(data, rng)
    return bytes(data)


def _swap_a_word(data: bytearray, rng: random.Random) -> None:
    """Replace a word of the text (a number, a name) by one of ours."""
    words = [place for place in range(1, len(data)) if data[place - 1 : place] in b" ,;=:\n\t" and data[place : place + 1].isalnum()]
    if words:
        place = rng.choice(words)
        end = place
        while end < len(data) and data[end : end + 1] not in b" ,;=:\n\t\r":
            end += 1
        data[place:end] = rng.choice(WORDS)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(seed=st.integers(0, 2**40))
def test_spoiled_bytes_end_in_an_answer(name: str, seed: int) -> None:
    assert TARGETS[name].check(mutated(TARGETS[name], seed)) in ANSWERS


@pytest.mark.parametrize("name", sorted(TEXTS))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(text=st.text(max_size=300))
def test_any_text_ends_in_an_answer(name: str, text: str) -> None:
    assert TARGETS[name].check(text.encode("utf-8", "surrogatepass")) in ANSWERS


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TARGETS if name not in HDF5])
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**60))
def test_spoiled_bytes_at_length(name: str, seed: int) -> None:
    assert TARGETS[name].check(mutated(TARGETS[name], seed)) in ANSWERS
