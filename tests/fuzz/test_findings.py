"""What fuzzing found and was mended, where the bytes are too many for a line of ``cases/``; and what it taught about the edges."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from deployments.children import is_complete
from nightcrew.errors import Refused, RejectedInput
from nightcrew.io import hdf5
from nightcrew.irradiation.dose_log import read_dose_log
from nightcrew.lab.logs import parse_log
from nightcrew.mkid.spectra_response import read_reference
from nightcrew.settings import Settings
from tests.fuzz import run as fuzzer
from tests.fuzz.targets import CASES, TARGETS

LONG_FIELD = "x" * 200_000  # more than Python's csv module takes


@pytest.mark.parametrize("name", ["configuration", "profile"])
@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 100_000], ids=["digits", "brackets"])
def test_toml_beyond_what_python_takes_is_refused(name: str, text: str) -> None:
    with pytest.raises(Refused, match="cannot be read as TOML"):
        TARGETS[name].read(text.encode())


def test_a_folder_of_nobody_is_refused() -> None:
    with pytest.raises(Refused, match="whom this machine does not know"):
        TARGETS["configuration"].read(b'[[folders]]\npath = "~nobody-of-that-name/raw"\n')
    with pytest.raises(Refused, match="whom this machine does not know"):
        Settings.load("~nobody-of-that-name/nightcrew.toml")


def test_a_table_with_an_endless_field_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "dose.csv").write_text(f"Dose [krad],{LONG_FIELD}\n1,2\n", encoding="utf-8")
    with pytest.raises(RejectedInput, match="is no table"):
        read_dose_log(tmp_path / "dose.csv")
    with pytest.raises(RejectedInput, match="is no table"):
        parse_log(f"frame,{LONG_FIELD}\n1,2\n")
    (tmp_path / "star.txt").write_text(f"# {LONG_FIELD}\n500,1\n600 2\n", encoding="utf-8")
    assert read_reference(tmp_path / "star.txt").flux.tolist() == [1.0, 2.0]


def test_an_offset_beyond_any_file_is_no_fault(tmp_path: Path) -> None:
    """It ended the watcher, which then met the same file again, for ever."""
    path = tmp_path / "big.tiff"
    path.write_bytes(b"MM\0+\0\x08\0\0" + b"\xff" * 8 + bytes(60))
    assert not is_complete(path)


def test_a_fault_of_ours_with_one_file_does_not_end_the_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OverflowError("planted")

    monkeypatch.setattr("nightcrew.io.structure.check", broken)
    assert is_complete(tmp_path / "any.fit")  # handed on: ingest rejects it by name


@pytest.mark.parametrize("number", [0, 1])
def test_hdf5_over_which_its_library_spins_for_ever_is_rejected(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few flipped bytes, and opening the file never ends: it is another process that spins, and it is ended."""
    monkeypatch.setattr(hdf5, "TIME_BOX_S", 1.5)
    path = tmp_path / "damaged.h5"
    path.write_bytes(bytes.fromhex((CASES / "hdf5_spins.txt").read_text(encoding="ascii").splitlines()[number]))
    with pytest.raises(RejectedInput, match=r"reading it takes longer than 1\.5 s"):
        hdf5.open_hdf5(path)


def test_hdf5_over_which_its_library_crashes_is_rejected_and_the_next_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "import os, signal; input(); os.kill(os.getpid(), signal.SIGSEGV)"
    probe = hdf5._Probe()
    real = probe._running
    with h5py.File(tmp_path / "sound.h5", "w") as file:
        file["a"] = [1, 2]
    dying = subprocess.Popen([sys.executable, "-c", crash], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    monkeypatch.setattr(probe, "_running", lambda: dying)
    with pytest.raises(RejectedInput, match="the library that reads such files breaks down over it"):
        probe.check(tmp_path / "sound.h5", (0, 0, 0, 0))
    dying.communicate()
    monkeypatch.setattr(probe, "_running", real)
    probe.check(tmp_path / "sound.h5", (0, 0, 0, 0))
    probe.close()


def test_hdf5_that_points_elsewhere_is_rejected(tmp_path: Path) -> None:
    """Links and external storage could show any file of the machine as a photon table."""
    (tmp_path / "secret").write_bytes(b"secret..")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["a"] = h5py.ExternalLink("other.h5", "/a")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("a", (1,), "i8", external=[(str(tmp_path / "secret"), 0, 8)])
    for name, words in (("link", "is a link, which may lead anywhere"), ("outside", "holds its values in other files")):
        with pytest.raises(RejectedInput, match=words):
            hdf5.open_hdf5(tmp_path / f"{name}.h5")


@pytest.mark.parametrize(("minutes", "said", "found"), [(0.001, 7, False), (0.0, 7, False), (1.0, 0, True), (1.0, None, True)])
def test_a_fuzzer_runs_at_least_once_and_one_that_tried_nothing_is_no_good_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], minutes: float, said: int | None, *, found: bool
) -> None:
    asked: list[list[str]] = []

    def child(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        output = "nothing\n" if said is None else f"stat::number_of_executed_units: {said}\n"
        return subprocess.CompletedProcess(command, 0, stdout=output)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", child)
    assert fuzzer._one("configuration", minutes) is found
    assert len(asked) == 1
    assert f"configuration: {said or 0} inputs" in capsys.readouterr().out
