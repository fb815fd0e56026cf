from __future__ import annotations

import dataclasses
import email
import mailbox
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from nightcrew.errors import Refused
from reports import mail, mailbox_folder, views
from reports.check import html_faults
from reports.mail import SETS_SHOWN, Morning, MorningNight, MorningSet, compose, message_id
from reports.model import NightPage, Notice
from reports.verdict import judge
from tests.reports import samples
from tests.reports.test_render import HOSTILE, hostile_page

AT = datetime(2026, 3, 15, 8, 0, tzinfo=UTC)
LINK = "http://127.0.0.1:8765/night/2026-03-14/index.html"


def morning(*pages: NightPage, **changes: Any) -> Morning:
    nights = tuple(MorningNight(page=page, verdict=judge(page), link=LINK) for page in pages)
    return dataclasses.replace(Morning(date="2026-03-15", site="Hill Observatory", nights=nights), **changes)


def composed(made: Morning) -> EmailMessage:
    return compose(made, sender="Nightcrew <nightcrew@hill.example>", to=("observer@hill.example",), sent_at=AT)


def bodies(message: EmailMessage) -> tuple[str, str]:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    return str(plain.get_content()), str(html.get_content())


def test_the_verdict_is_in_the_subject() -> None:
    message = composed(morning(samples.good_night()))
    assert message["Subject"].startswith("Nightcrew 2026-03-15: Good night - 40 of 41 lights reduced, 30 with grade A")


def test_both_bodies_tell_verdict_needs_balance_and_link() -> None:
    for text in bodies(composed(morning(samples.troubled_night()))):
        for expected in ("Needs a look", "registration found 2 matching stars", "flat", LINK, "nightcrew doctor", "degraded"):
            assert expected.lower() in text.lower()


def test_both_bodies_tell_the_key_numbers_of_the_page() -> None:
    page = samples.good_night()
    told = {tile.label: tile for tile in views.tiles(page, judge(page))}
    fwhm, calibrations = told["Median FWHM"], told["Calibrations"]
    for text in bodies(composed(morning(page))):
        assert f"Median FWHM: {fwhm.value} ({fwhm.detail})" in text
        assert f"Calibrations: {calibrations.value} ({calibrations.detail})" in text
        assert "Files seen:" not in text  # the balance says so
    assert all("Median FWHM" not in text for text in bodies(composed(morning(samples.empty_night()))))


def test_pictures_are_inside_and_named_by_the_html() -> None:
    message = composed(morning(samples.good_night()))
    _, html = bodies(message)
    parts = {str(part["Content-ID"]).strip("<>"): part for part in message.walk() if part["Content-ID"]}
    assert len(parts) == 3  # the grid and two stacks
    assert all(f'src="cid:{cid}"' in html for cid in parts)
    assert all(part.get_content_disposition() == "inline" for part in parts.values())
    assert html.count("<img") == len(parts)
    assert "http://" not in html.replace(LINK, "")


def test_one_mail_covers_all_nights_of_the_morning() -> None:
    message = composed(morning(samples.good_night(), samples.empty_night(), samples.failed_night()))
    assert message["Subject"] == "Nightcrew 2026-03-15: The night failed, Good night and Empty night"
    plain, html = bodies(message)
    assert plain.count("Night of 14 March 2026") == 3
    assert html.count("Open the report") == 3


def test_an_empty_morning_and_a_failed_report_are_mailed_too() -> None:
    plain, html = bodies(composed(morning(samples.empty_night())))
    assert "most likely nothing was taken" in plain
    assert "most likely nothing was taken" in html
    plain, html = bodies(composed(morning()))
    assert "Nothing new" in plain
    assert "Nothing new" in html
    failed = composed(morning(failed="the disk is full"))
    assert failed["Subject"] == "Nightcrew 2026-03-15: the morning report failed"
    assert all("the disk is full" in text for text in bodies(failed))


def test_an_unknown_delivery_is_told_next_morning() -> None:
    notice = Notice(level="warning", text="Whether the mail of 2026-03-14 arrived is unknown.", command="nightcrew doctor")
    assert all("2026-03-14 arrived is unknown" in text for text in bodies(composed(morning(notices=(notice,)))))


def test_the_message_id_is_fixed_by_morning_and_site() -> None:
    first = composed(morning(samples.good_night()))["Message-ID"]
    assert first == composed(morning(samples.empty_night()))["Message-ID"]
    assert first.endswith("@hill.example>")
    assert first != message_id("2026-03-16", "nightcrew@hill.example", "Hill Observatory")


@pytest.mark.parametrize("bad", [*HOSTILE, "x\r\nBcc: victim@example.org", "x\n\nbody", "a\u2028Bcc: v@example.org", "é" * 300])
def test_header_injection_stays_inert(bad: str) -> None:
    page = hostile_page(bad)
    message = composed(morning(page, site=bad, failed=bad if bad.startswith("x") else ""))
    raw = message.as_bytes()
    back = email.message_from_bytes(raw, policy=policy.SMTP)
    assert back["Bcc"] is None
    assert [str(value) for value in back.get_all("To", [])] == ["observer@hill.example"]
    assert len(back.get_all("Subject", [])) == 1
    assert {part.get_content_type() for part in back.walk()} <= {
        "multipart/alternative",
        "multipart/related",
        "text/plain",
        "text/html",
        "image/png",
        "image/jpeg",
    }
    _, html = bodies(message)
    assert [fault for fault in html_faults(html) if "loads 'cid:" not in fault] == []


@pytest.mark.parametrize("address", ["observer", "a b@x", "a@x\r\nBcc: v@y", "", "@x", "a@b, c@d"])
def test_addresses_that_are_none_are_refused(address: str) -> None:
    with pytest.raises(Refused, match="no mail address"):
        compose(morning(), sender="nightcrew@hill.example", to=(address,), sent_at=AT)


def test_names_beside_addresses_stay_out_of_the_envelope() -> None:
    assert mail.bare_addresses(("Hill <a@x.example>", "b@y.example")) == ("a@x.example", "b@y.example")


def test_lines_are_short_and_ascii_for_every_server() -> None:
    raw = composed(morning(samples.troubled_night())).as_bytes()
    assert raw.isascii()
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert len(raw) < 1_000_000


def test_the_mailbox_folder_holds_one_file_a_morning(tmp_path: Path) -> None:
    raw = composed(morning(samples.good_night())).as_bytes()
    path = mailbox_folder.deliver(raw, tmp_path / "box", "2026-03-15")
    mailbox_folder.deliver(raw, tmp_path / "box", "2026-03-15")
    assert [file.name for file in (tmp_path / "box").iterdir()] == ["2026-03-15.eml"]
    read = mailbox.Message(email.message_from_bytes(path.read_bytes()))
    assert read["Message-ID"].startswith("<nightcrew.2026-03-15.")
    assert path.stat().st_mode & 0o077 == 0
    assert mailbox_folder.deliver(raw, tmp_path / "box", "../../x").parent == tmp_path / "box"


def test_a_mail_names_the_worst_of_many_sets_and_counts_the_others() -> None:
    sets = [MorningSet(title=f"Sensor s{n}", status="good", word="Good", sentence="Fine.", needs=("look",) * 100) for n in range(300)]
    sets[-1] = dataclasses.replace(sets[-1], status="bad", word="Bad")
    message = composed(morning(sets=tuple(sets)))
    assert str(message["Subject"]).endswith("300 sets: Bad and 299 x Good")
    plain, html = bodies(message)
    for text in (plain, html):
        assert "Sensor s299" in text
        assert text.count("Sensor s") == SETS_SHOWN
        assert f"{300 - SETS_SHOWN} more sets changed" in text
    assert plain.count("- look") < 10 * SETS_SHOWN
    assert "- and 92 more on the page" in plain


def test_a_trouble_of_an_empty_night_stands_once_in_the_plain_mail() -> None:
    page = dataclasses.replace(samples.empty_night(), notices=(Notice(level="problem", text="The disk of the camera is away"),))
    plain, _ = bodies(composed(morning(page)))
    assert plain.count("The disk of the camera is away") == 1
