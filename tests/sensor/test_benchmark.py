"""The benchmark's plain script and ours find the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import sensor, sensor_plain
from nightcrew.frames.profiles import load_profiles
from nightcrew.sensor.characterise import characterise
from nightcrew.sensor.frames import scan
from nightcrew.sensor.options import SensorOptions
from tests.sensor.sets import whole


def test_plain_script_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sensor.make(tmp_path, 128)
    sensor_plain.main(tmp_path)
    plain = json.loads(capsys.readouterr().out)
    found = scan(sorted(tmp_path.glob("*.fits")), load_profiles(None), root=tmp_path)
    assert len(found.frames) == 60
    region = whole(characterise(found.frames, SensorOptions(bootstrap=0)))
    assert region.gain is not None
    assert region.gain.value == pytest.approx(plain["gain"], abs=2 * region.gain.error)
    assert region.noises[0].adu == pytest.approx(plain["read"], rel=0.01)
    assert region.darks[0].rate_adu_per_s == pytest.approx(plain["rate"], rel=0.01)
    assert region.flats[0].uniformity.prnu_percent == pytest.approx(100 * plain["prnu"], rel=0.2)  # with the noise of two flats in it
