"""``frames rename``, ``log`` and ``stats`` from the shell; the defects of the specification, sections 3.1 to 3.3, at this level."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tools.command import Runner
from tests.tools.making import header, values, write

PIXELS = np.arange(20, dtype=np.int16).reshape(4, 5)


@pytest.fixture
def night(folder: Path) -> Path:
    write("b.fit", PIXELS, {"DATE-OBS": "2021-02-27T03:00:00", "IMAGETYP": "Bias Frame", "EXPTIME": 0.0})
    write("c.fit", PIXELS + 1, {"DATE-OBS": "2021-02-26T23:00:00", "IMAGETYP": "Dark Frame", "EXPTIME": 60.0})
    write("a.fit", PIXELS * 2, {"IMAGETYP": "Light Frame", "OBJECT": "M 31"})
    return folder


@pytest.mark.usefixtures("night")
def test_rename_dry_run_then_for_real_then_undo(frames: Runner, night: Path) -> None:
    before = {path.name: path.read_bytes() for path in night.iterdir()}
    dry = frames("rename", "*.fit", "--dry-run")
    assert dry.out.splitlines() == ["c.fit -> 20210226.0001.fit", "b.fit -> 20210226.0002.fit", "a.fit -> 20210226.0003.fit"]
    assert {path.name for path in night.iterdir()} == set(before)
    assert frames("rename", "*.fit").code == 0
    assert sorted(path.name for path in night.glob("*.fit")) == [f"20210226.000{i}.fit" for i in (1, 2, 3)]
    assert frames("rename", "--undo").code == 0
    assert {path.name: path.read_bytes() for path in night.glob("*.fit")} == before


@pytest.mark.usefixtures("night")
def test_rename_by_two_keys_with_own_root_tail_and_folder(frames: Runner, night: Path) -> None:
    (night / "sorted").mkdir()
    assert frames("rename", "?.fit", "-s", "IMAGETYP,DATE-OBS", "-o", "n-", "-t", ".fits", "--into", "sorted", "-l", "J").code == 0
    assert [header(night / "sorted" / f"n-000{i}.fits")["IMAGETYP"] for i in (1, 2, 3)] == ["Bias Frame", "Dark Frame", "Light Frame"]
    assert (night / "J.json").exists()


@pytest.mark.usefixtures("night")
def test_rename_names_what_cannot_be_read_and_leaves_it(frames: Runner, night: Path) -> None:
    Path("d.fit").write_text("not FITS")
    ran = frames("rename", "?.fit")
    assert "d.fit: is not a FITS file" in ran.err
    assert ran.code == 1
    assert (night / "d.fit").exists()
    assert len(list(night.glob("20210226.*"))) == 3


@pytest.mark.usefixtures("night")
def test_no_table_is_added_to_an_image(frames: Runner) -> None:
    before = Path("a.fit").read_bytes()
    Path("binary").write_bytes(b"\xff\xfe")
    for command in (["stats", "b.fit"], ["log", "b.fit", "-k", "EXPTIME"]):
        assert "a.fit is no text" in frames.fails(*command, "-o", "a.fit")
        assert "binary is no text" in frames.fails(*command, "-o", "binary")
    assert "too long" in frames.fails("stats", "b.fit", "-o", "x" * 300)
    assert Path("a.fit").read_bytes() == before


@pytest.mark.usefixtures("night")
def test_rename_tells_which_names_are_the_same_file(frames: Runner) -> None:
    Path("alias.fit").symlink_to("a.fit")
    ran = frames("rename", "a.fit", "alias.fit", "--dry-run")
    assert len(ran.out.splitlines()) == 1
    assert ran.out.startswith("a.fit -> ")
    assert ran.err == "nightcrew: alias.fit was named more than once, or is another name of a file that is, and counts once\n"


@pytest.mark.usefixtures("night")
def test_rename_refuses_in_one_sentence(frames: Runner) -> None:
    assert "no file matches" in frames.fails("rename", "q*")
    assert "no folder nowhere" in frames.fails("rename", "*.fit", "--into", "nowhere")
    assert "no time zone" in frames.fails("rename", "*.fit", "--date", "night", "--timezone", "Mars/Base")
    assert "needs a time zone" in frames.fails("rename", "*.fit", "--date", "night")
    assert "no journal" in frames.fails("rename", "--undo")
    assert frames("rename", "*.fit", "--date", "night", "--timezone", "America/Phoenix", "--dry-run").out.count("20210226.") == 3


@pytest.mark.usefixtures("night")
def test_log_of_all_keywords_knows_booleans(frames: Runner) -> None:
    """img_log's default always crashed on SIMPLE."""
    rows = json.loads(frames("log", "*.fit", "--format", "json").out)
    assert next(iter(rows[0])) == "Filename"
    assert list(rows[0])[1:] == sorted(list(rows[0])[1:])
    assert rows[0]["SIMPLE"] is True
    assert frames("log", "*.fit", "-k", "SIMPLE").out.split()[-3:] == ["T", "T", "T"]


@pytest.mark.usefixtures("night")
def test_log_columns_are_aligned_when_a_later_file_lacks_a_key(frames: Runner) -> None:
    lines = frames("log", "b.fit,a.fit", "-k", "Filename,OBJECT,exptime,\\\nDATE-OBS").out.splitlines()
    assert lines[0].split() == ["#1", "Filename", "OBJECT", "EXPTIME", "DATE-OBS"]
    assert lines[2].split() == ["b.fit", "....", "0.0", "2021-02-27T03:00:00"]
    assert lines[3].split() == ["a.fit", "M_31", "....", "...."]
    assert len({line.rindex(line.split()[-1]) for line in lines[:1] + lines[2:]}) == 1


@pytest.mark.usefixtures("night")
def test_log_into_files_by_ending(frames: Runner, night: Path) -> None:
    for name in ("h.log", "h.csv", "h.json", "h.ecsv"):
        assert frames("log", "*.fit", "-k", "Filename,EXPTIME", "-o", name).out == ""
    assert (night / "h.csv").read_text().splitlines()[0] == "Filename,EXPTIME"
    assert "exists already" in frames.fails("log", "*.fit", "-o", "h.csv")
    frames("log", "*.fit", "-k", "Filename,EXPTIME", "-o", "h.log")
    assert (night / "h.log").read_text().count("#1 ") == 2
    assert frames("log", "*.fit", "-o", "skip").out == ""


@pytest.mark.usefixtures("night")
def test_log_skips_what_is_not_fits_and_says_so(frames: Runner) -> None:
    Path("d.fit").write_text("not FITS")
    ran = frames("log", "*.fit", "-k", "Filename")
    assert ran.code == 1
    assert "d.fit" in ran.err
    assert len(ran.out.splitlines()) == 5


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["log", "stats"])
@pytest.mark.parametrize("where", [[], ["-o", "t.txt"], ["--format", "csv"]])
def test_a_table_without_any_file_is_not_printed(frames: Runner, command: str, where: list[str]) -> None:
    for name in ("d.fit", "e.fit"):
        Path(name).write_text("not FITS")
    ran = frames(command, "*.fit", *where)
    assert (ran.code, ran.out) == (1, "")
    assert [line.split()[1] for line in ran.err.splitlines()] == ["d.fit:", "e.fit:"]
    assert not Path("t.txt").exists()
    assert "there is no table format 'xml'" in frames(command, "*.fit", "--format", "xml").err


@pytest.mark.usefixtures("night")
def test_stats_of_a_box_given_in_every_way(frames: Runner) -> None:
    wanted = ["b.fit[2:3,1:2]", "4", "1", "7", "16"]
    for box in (["-b", 1, 3, 0, 2], ["-b", 3, 1, 2, 0], ["--box", "1,3,0,2"], ["-b", "[2:3,1:2]"]):
        ran = frames("stats", "b.fit", *box, "-s", "num,min,max,sum")
        assert ran.out.splitlines()[1].split() == wanted
        assert ran.out.splitlines()[0].split() == ["#FileName", "num", "min", "max", "sum"]


@pytest.mark.usefixtures("night")
def test_stats_default_prints_floats(frames: Runner) -> None:
    """img_stats always crashed on anything but an int."""
    assert frames("stats", "b.fit").out.splitlines()[1].split() == ["b.fit", "20", "190", "9.5", "9.5", "5.766281297"]


@pytest.mark.usefixtures("night")
def test_stats_mode_and_unknown_statistic(frames: Runner) -> None:
    assert frames("stats", "b.fit", "-s", "mode").out.split()[-1] == "0"
    assert "no statistic 'skew'" in frames.fails("stats", "b.fit", "-s", "skew")


def test_stats_box_on_a_cube_whole_and_by_plane(frames: Runner, folder: Path) -> None:
    write(folder / "cube.fits", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    rows = frames("stats", "cube.fits", "-b", 0, 2, 0, 1, "-s", "num,sum").out.splitlines()
    assert rows[1].split() == ["cube.fits[1:2,1:1,1:2]", "4", "26"]
    rows = frames("stats", "cube.fits", "-b", 0, 2, 0, 1, "-s", "num,sum", "-t").out.splitlines()
    assert [row.split() for row in rows[1:]] == [["cube.fits[1:2,1:1,1]", "2", "1"], ["cube.fits[1:2,1:1,2]", "2", "25"]]
    rows = frames("stats", "cube.fits", "-B", 0, 2, 0, 1, 1, 2, "-s", "num,sum").out.splitlines()
    assert rows[1].split() == ["cube.fits[1:2,1:1,2:2]", "2", "25"]
    assert frames("stats", "cube.fits", "-t", "-s", "num").out.splitlines()[2].split() == ["cube.fits[1:4,1:3,2]", "12"]


def test_stats_label_is_that_of_each_file_and_clipped(frames: Runner, folder: Path) -> None:
    write(folder / "a.fits", np.zeros((20, 10), np.int16))
    write(folder / "b.fits", np.zeros((30, 40), np.int16))
    rows = frames("stats", "?.fits", "-b", 1, 30, 0, 20, "-s", "num").out.splitlines()[1:]
    assert [row.split() for row in rows] == [["a.fits[2:10,1:20]", "180"], ["b.fits[2:30,1:20]", "580"]]
    assert "is empty in x" in frames.fails("stats", "a.fits", "-b", 5, 5, 0, 3)
    assert "a.fits: the box [12:20,1:3] lies outside" in frames.fails("stats", "a.fits", "-b", 11, 20, 0, 3)


@pytest.mark.usefixtures("night")
def test_stats_update_writes_a_copy_and_leaves_the_file(frames: Runner, night: Path) -> None:
    before = Path("b.fit").read_bytes()
    assert frames("stats", "b.fit", "-u", "-s", "mean,q0.25", "-b", 0, 2, 0, 2).code == 0
    assert Path("b.fit").read_bytes() == before
    made = header(night / "imst_b.fit")
    assert (made["ST_MEAN"], made["ST_Q025"], made["ST_BOX"], made["IMAGETYP"]) == (3.0, 0.75, "[1:2,1:2]", "Bias Frame")
    assert np.array_equal(values(night / "imst_b.fit"), PIXELS)
    Path("imst_b.fit").unlink()
    assert frames("stats", "b.fit", "-u", "-s", "p25,p2.5,madstd").code == 0
    assert {"ST_P25", "ST_P2_5", "ST_MADSTD"} <= set(header(night / "imst_b.fit"))
    assert "exists already" in frames.fails("stats", "b.fit", "-u")


def test_stats_leaves_out_nan_and_on_wish_flagged_pixels(frames: Runner, folder: Path) -> None:
    pixels = np.array([[1, np.nan], [3, 100]], np.float32)
    write(folder / "p.fits", pixels, MASK=np.array([[0, 0], [0, 8]], np.int16))
    assert frames("stats", "p.fits", "-s", "num,bad,max").out.split()[-3:] == ["3", "1", "100"]
    assert frames("stats", "p.fits", "-s", "num,bad,max", "--good").out.split()[-3:] == ["2", "2", "3"]
    write(folder / "q.fits", pixels)
    assert "no MASK extension" in frames.fails("stats", "q.fits", "--good")
    write("cube.fits", np.zeros((2, 3, 4), np.int16))
    assert "no MASK extension" in frames.fails("stats", "cube.fits", "--good", "--planes")


def test_stats_of_one_bad_file_does_not_stop_the_others(frames: Runner, folder: Path) -> None:
    write(folder / "a.fits", PIXELS)
    write(folder / "b.fits", None)
    (folder / "c.fits").write_bytes((folder / "a.fits").read_bytes()[:2900])
    ran = frames("stats", "?.fits", "-s", "num", "--format", "csv")
    assert ran.out == "FileName,num\na.fits,20\n"
    assert ran.code == 1
    assert "b.fits: the file holds no image" in ran.err
    assert "c.fits: data cut short" in ran.err


def test_quick_commands_import_neither_astropy_nor_prefect(folder: Path) -> None:
    write(folder / "a.fits", PIXELS, {"DATE-OBS": "2021-02-27T03:00:00"})
    for words in (["stats", "a.fits"], ["log", "a.fits"], ["rename", "a.fits", "--dry-run"], ["arith", "a.fits", "+", "1", "-s"]):
        code = (
            f"import sys; sys.argv = ['nightcrew', 'frames', *{words!r}]\n"
            "from deployments.cli import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "heavy = {'astropy', 'prefect', 'scipy', 'matplotlib', 'sqlalchemy', 'pandas'} & set(sys.modules)\n"
            "sys.exit(str(heavy) if heavy else 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)
        assert done.returncode == 0, (words, done.stderr)
