"""Logs and configurations as they come."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.errors import RejectedInput
from nightcrew.lab.config import absent_config, parse_config, read_config, to_entry
from nightcrew.lab.keywords import config_keywords
from nightcrew.lab.logs import parse_log, read_log

HEAD = "FrameNum, TimeStamp, ExtTemperature, ExpTime, RealExpTime, ExpGain, Temperature, InitialTemp, DeltaTemperature, PowerCons\n"


def test_a_usual_log_becomes_keywords_in_seconds() -> None:
    log = parse_log(HEAD + "0, 100, 5, 12, 13, 2, -10, -11, 0.5, 3\n")
    row = log.by_frame[0].values
    assert row == {
        "FRAMENUM": 0,
        "TIMESTAMP": 100.0,
        "EQTEMP": 5.0,
        "EXPTIME": pytest.approx(1.2e-5),
        "REXPTIME": pytest.approx(1.3e-5),
        "GAIN": 2.0,
        "TEMP": -10.0,
        "TEMP_0": -11.0,
        "DELTMP": 0.5,
        "POWCONS": 3.0,
    }
    assert log.warnings == ()


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_any_delimiter(sign: str) -> None:
    assert parse_log(f"FrameNum{sign}Temperature\n3{sign}-1.5\n").by_frame[3].values["TEMP"] == -1.5


def test_blanks_as_delimiter_and_decimal_commas() -> None:
    assert parse_log("frame Temperature\n1 2.5\n").by_frame[1].values["TEMP"] == 2.5
    assert parse_log("frame;Temperature\n1;2,5\n").by_frame[1].values["TEMP"] == 2.5


def test_no_other_column_becomes_the_temperature() -> None:
    values = parse_log("FrameNum,Temperature,SetTemp,Attempt\n0,1.5,20,3\n").by_frame[0].values
    assert values["TEMP"] == 1.5
    assert values["SETTEMP"] == 20.0
    assert values["ATTEMPT"] == 3.0


def test_byte_order_mark_number_with_point_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "temperatureLog.csv"
    path.write_bytes(b"\xef\xbb\xbfFrameNum,ExpTime,Temperature\n0.0,,-3\n")
    assert read_log(path).by_frame[0].values == {"FRAMENUM": 0, "TEMP": -3.0}


def test_nan_and_infinite_values_are_undefined_and_named() -> None:
    log = parse_log("FrameNum,ExpTime,Temperature\n0,inf,nan\n1,10,2\n")
    assert log.by_frame[0].values == {"FRAMENUM": 0, "EXPTIME": None, "TEMP": None}
    assert "frame 0" in log.warnings[0]


def test_of_repeated_rows_the_last_counts_and_a_contradiction_is_named() -> None:
    same = parse_log("FrameNum,Temperature\n0,1\n0,1\n")
    assert same.warnings == ()
    other = parse_log("FrameNum,Temperature\n0,1\n0,2\n")
    assert other.by_frame[0].values["TEMP"] == 2.0
    assert "more than once" in other.warnings[0]
    assert len(other.rows) == 2


def test_rows_without_frame_number_are_counted() -> None:
    log = parse_log("FrameNum,Temperature\n,5\nx,6\n1,7\n")
    assert list(log.by_frame) == [1]
    assert "2 rows have no frame number" in log.warnings[0]


def test_a_first_column_stands_for_the_frame_number_with_a_warning() -> None:
    log = parse_log("Number,Temperature\n4,7\n")
    assert log.by_frame[4].values["TEMP"] == 7.0
    assert "no column FrameNum" in log.warnings[0]


def test_a_unit_in_the_name_of_the_column_counts() -> None:
    assert parse_log("FrameNum,ExpTime (s)\n0,2\n").by_frame[0].values["EXPTIME"] == 2.0


@pytest.mark.parametrize(
    ("column", "cell", "keyword", "expected"),
    [
        ("Temperature (K)", "263.15", "TEMP", -10.0),
        ("Temperature [F]", "14", "TEMP", -10.0),
        ("CCD_Temp_K", "263.15", "TEMP", -10.0),
        ("Temperature", "-10", "TEMP", -10.0),
        ("Temperature (C)", "-10", "TEMP", -10.0),
        ("DeltaTemperature (K)", "0.5", "DELTMP", 0.5),
        ("ExpTime", "12", "EXPTIME", 1.2e-5),
        ("ExpTime (us)", "12", "EXPTIME", 1.2e-5),
        ("ExpTime [ms]", "12", "EXPTIME", 0.012),
        ("ExpTime_s", "12", "EXPTIME", 12.0),
        ("RealExpTime (min)", "2", "REXPTIME", 120.0),
        ("TimeStamp (ms)", "1780000000123", "TIMESTAMP", 1780000000.123),
        ("Dose (Gy)", "50", "DOSE", 5.0),
        ("Dose (Mrad)", "0.01", "DOSE", 10.0),
        ("PowerCons (mW)", "2500", "POWCONS", 2.5),
    ],
)
def test_the_unit_of_a_column_counts(column: str, cell: str, keyword: str, expected: float) -> None:
    log = parse_log(f"FrameNum,{column}\n0,{cell}\n")
    assert log.by_frame[0].values[keyword] == pytest.approx(expected, rel=1e-12)
    assert log.warnings == ()


def test_values_of_a_unit_that_is_not_known_are_undefined_and_named() -> None:
    log = parse_log("FrameNum,Temperature (mV),ExpTime (ticks),Humidity (%)\n0,263,12,40\n")
    assert log.by_frame[0].values == {"FRAMENUM": 0, "TEMP": None, "EXPTIME": None, "HUMIDITY": 40.0}
    assert "the unit of the column 'Temperature (mV)' is not known" in log.warnings[0]
    assert "ExpTime (ticks)" in log.warnings[1]


def test_units_of_a_configuration_count() -> None:
    size = "WIDTH=2\nHEIGHT=2\nBIT_DEPTH=16\n"
    values, warnings = config_keywords(parse_config(f"{size}Temperature = 263.15 K\nExpTime = 2 min\nDose: 5 Gy\n"))
    assert (values["TEMP"], values["EXPTIME"], values["DOSE"]) == (-10.0, 120.0, 0.5)
    assert warnings == []
    values, warnings = config_keywords(parse_config(f"{size}Temperature = 263 mV\n"))
    assert values["TEMP"] is None
    assert "no number of a unit that is known" in warnings[0]


def test_a_table_that_no_reader_understands_is_rejected_with_the_reason() -> None:
    with pytest.raises(RejectedInput, match="is no table"):
        parse_log("FrameNum,Note\n0," + "x" * 140_000 + "\n")


@pytest.mark.parametrize("text", ["", "\n\n", "FrameNum,Temperature\n", "1,2\n3,4\n"])
def test_a_log_without_rows_or_names_is_rejected(text: str) -> None:
    with pytest.raises(RejectedInput):
        parse_log(text)


def test_configuration_in_both_grammars_and_any_case() -> None:
    one = parse_config("WIDTH = 8\nheight: 4\n# note\n\nBit_Depth=12\nGain = 2 dB\nnote: a=b\n")
    assert (one.width, one.height, one.bit_depth, one.bytes_per_pixel) == (8, 4, 12, 2)
    assert one.entries["Gain"].value == 2
    assert one.entries["Gain"].unit == "dB"
    assert one.warnings == ()
    assert parse_config("Width=7\nHeight=5\nBitDepth: 8\n").width == 7


def test_missing_size_is_assumed_with_a_warning() -> None:
    config = parse_config("GAIN=1\n")
    assert (config.width, config.height, config.bit_depth) == (2048, 2048, 16)
    assert len(config.warnings) == 3


@pytest.mark.parametrize("text", ["WIDTH=0\n", "WIDTH=wide\n", "HEIGHT=-3\n", "BIT_DEPTH=17\n", "WIDTH=3\nwidth=4\n", "WIDTH=1e9\n"])
def test_impossible_sizes_are_rejected(text: str) -> None:
    with pytest.raises(RejectedInput):
        parse_config(text)


def test_configuration_with_foreign_letters(tmp_path: Path) -> None:
    path = tmp_path / "configFile.txt"
    path.write_bytes("WIDTH=2\nHEIGHT=2\nBIT_DEPTH=16\nOPERATOR = Jos\xe9\n".encode("latin-1"))
    config = read_config(path)
    assert config.entries["OPERATOR"].value == "Jos\xe9"
    assert "Latin-1" in config.warnings[0]
    path.write_bytes(b"\0\1\2")
    with pytest.raises(RejectedInput, match="no text"):
        read_config(path)


def test_absent_configuration() -> None:
    assert absent_config().width == 2048


def test_values() -> None:
    assert to_entry("true").value is True
    assert to_entry("1e999").value == "1e999"
    assert to_entry("two").value == "two"


def test_digits_without_end_are_a_text_at_once() -> None:
    """The time grows with the length, not with its third power: an hour for these, once."""
    for text in ("9" * 20_000 + "!", "9" * 20_000 + " " * 20_000 + "x!", "1" + "()" * 20_000 + "!"):
        assert to_entry(text).value == text
