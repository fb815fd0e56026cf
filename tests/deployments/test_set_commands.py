"""One folder analysed at once, without a server; and the commands over its ledger."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.cli.why import explanations
from nightcrew.settings import Settings
from reports.commands import asking, command
from tests.support.commands import nightcrew
from tests.support.local_set import run_set
from tests.support.set_bench import SetBench
from tests.support.toy_kind import toy_kind


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    with toy_kind():
        yield


def filled(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    for name, text in {"a.num": "1", "sub/b.num": "2.5", "x.num": "broken", "notes.log": "hi"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_folder_is_one_set_whatever_is_in_it(tmp_path: Path) -> None:
    folder = filled(tmp_path / "raw" / "my set")
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    done = run_set("sensor", folder, tmp_path / "out", Settings())
    assert (done.run.made, done.scope.name, done.scope.state) == (3, "my set", "closed")
    (total,) = done.of_recipe("toy_sum")
    assert total.metrics == {"sum": 3.5}
    assert (done.folder(total) / "report.html").is_file()
    assert done.failures == ("toy_convert x.num: it holds no number",)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert run_set("sensor", folder, tmp_path / "out", Settings()).run.made == 0


def test_products_may_lie_beside_the_files(tmp_path: Path) -> None:
    folder = filled(tmp_path / "set1")
    assert run_set("sensor", folder, folder / "out", Settings()).run.made == 3
    assert run_set("sensor", folder, folder / "out", Settings()).run.made == 0


def test_two_doors_give_the_same_bytes(tmp_path: Path) -> None:
    bench = SetBench(tmp_path)
    filled(bench.folder / "set1")
    bench.see()
    bench.settle()
    done = run_set("sensor", bench.folder / "set1", tmp_path / "out", Settings())
    assert {row.fingerprint for row in done.products} == {row.fingerprint for row in bench.products().values()}
    for name, data in bench.content().items():
        assert (tmp_path / "out" / name).read_bytes() == data


@pytest.fixture
def laboratory(tmp_path: Path) -> Path:
    """A folder with a configuration and the ledger of one set."""
    bench = SetBench(tmp_path)
    filled(bench.folder / "set1")
    bench.see()
    bench.settle()
    bench.space.database.close()
    (tmp_path / "nightcrew.toml").write_text('[[folders]]\npath = "in"\nkind = "sensor"\n', encoding="utf-8")
    return tmp_path


def test_status_and_close_understand_sets(laboratory: Path) -> None:
    shown = nightcrew("status", "sensor/set1", folder=laboratory)
    assert shown.returncode == 0, shown.stderr
    assert "sensor  set1  closed" in shown.stdout
    assert "toy number: it holds no number" in shown.stdout
    found = json.loads(nightcrew("status", "set1", "--json", folder=laboratory).stdout)["scopes"][0]
    assert (found["title"], found["seen"]) == ("sensor/set1", 4)
    assert "was closed already" in nightcrew("close", "sensor/set1", folder=laboratory).stdout
    wrong = nightcrew("status", "sensor/set9", folder=laboratory)
    assert wrong.returncode == 2
    assert "sensor/set1" in wrong.stderr


def test_report_writes_the_page_of_a_set(laboratory: Path) -> None:
    done = nightcrew("report", "sensor/set1", "--json", folder=laboratory)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["page"].endswith("reports/sensor/set1/index.html")
    assert (laboratory / "reports" / "sensor" / "set1" / "index.html").is_file()


def test_why_explains_files_products_and_what_failed(laboratory: Path) -> None:
    bench = SetBench(laboratory)
    (file,) = explanations(bench.space, "set1/a.num")
    assert file.verdict == "done: in toy number"
    assert [product["recipe"] for product in file.products] == ["toy_convert"]
    (bad,) = explanations(bench.space, "set1/x.num")
    assert bad.verdict == "rejected: toy number: it holds no number"
    failed = bad.products[0]["fingerprint"][:12]
    (never,) = explanations(bench.space, failed)
    assert never.verdict == "failed: it holds no number"
    row = bench.products()["toy_sum all"]
    for name in (row.fingerprint[:12], row.files[0].path, f"toy_sum_all-{row.fingerprint[:12]}"):
        (product,) = explanations(bench.space, name)
        assert product.verdict == "current, grade A"


def test_the_command_that_a_page_offers_finds_its_file_whatever_it_is_called(tmp_path: Path) -> None:
    bench = SetBench(tmp_path)
    named = ["--x;y.num", "--help", "$(x).num", "-rf.num", "a --config b.num"]
    bench.drop({f"set1/{name}": "broken" for name in named})
    bench.see()
    bench.space.database.close()
    config = tmp_path / "named.toml"
    config.write_text('[[folders]]\npath = "in"\nkind = "sensor"\n', encoding="utf-8")
    for name in named:
        words = shlex.split(asking(command("why", name), str(config)))
        done = nightcrew(*words[1:], folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0].endswith(f"/set1/{name}")


def test_rerun_tries_again_what_failed(laboratory: Path) -> None:
    done = nightcrew("rerun", "sensor/set1", folder=laboratory)
    assert "sensor/set1: 0 made, 1 failed" in done.stdout
    assert done.returncode == 1
    assert "0 made, 0 failed" in nightcrew("rerun", "sensor/set1", "--no-retry", folder=laboratory).stdout
