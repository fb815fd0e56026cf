"""The scratch folder of the configuration reaches the units, and what dead workers left there is swept."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

from flows.housekeeping import tidy
from nightcrew.settings import FolderSettings, ProductsSettings
from tests.mkid.streams import SECOND_US, make, write
from tests.mkid.test_gaps import SECOND
from tests.support.set_bench import QUIET_S, SetBench


def test_tables_are_built_in_the_scratch_folder_and_nothing_stays_there(tmp_path: Path) -> None:
    work = tmp_path / "scratch"
    folders = (FolderSettings(path=tmp_path / "in", kind="mkid", quiet_s=QUIET_S),)
    bench = SetBench(tmp_path, folders=folders, products=ProductsSettings(root=tmp_path / "products", work=work))
    assert bench.space.context.work == work
    (tmp_path / "made").mkdir()
    files = write(tmp_path / "made", make(1, start_us=SECOND * SECOND_US, span_us=3 * SECOND_US, n_photons=500, boards=(3,)))
    texts: dict[str, str | bytes] = {f"run/{path.name}": path.read_bytes() for path in files.values()}
    texts["run/beammap.txt"] = "".join(f"{10_000 + p} 0 {p % 4} {p // 4}\n" for p in range(20))
    texts["run/observing_log.csv"] = f"name,type,start,stop,wavelength_nm\ndark,dark,{SECOND}.5,{SECOND + 1}.5,"
    bench.drop(texts)
    bench.see()
    done = bench.space.run(bench.scope("run", kind="mkid").id)
    assert [(one.recipe, one.state) for one in done.outcomes] == [("mkid_table", "made")]
    assert list(work.iterdir()) == []  # made by the unit that used it
    for name in (".nightcrew-0123456789abcdef-t.h5", ".nightcrew-0123456789abcdef.part", ".nightcrew-notes", "mine.h5"):
        (work / name).write_text("half a table")
        os.utime(work / name, (1, 1))
    (work / ".nightcrew-0123456789abcdef-young.h5").write_text("half a table that somebody writes")
    assert tidy(bench.space, date(2026, 5, 17)).orphans == 2
    assert sorted(path.name for path in work.iterdir()) == [".nightcrew-0123456789abcdef-young.h5", ".nightcrew-notes", "mine.h5"]
