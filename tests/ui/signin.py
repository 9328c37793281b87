"""Signing in with a token: it is in memory only, and what it does not allow is not on the page."""

import json
import sys

from page import URL, browser, check, expect, file, go, noise, press, screen, store

FULL, LIMITED, DELETER = sys.argv[2:5]


def enter(page, token):
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def nowhere(page, token):
    """The token is in no address and in nothing that the browser keeps."""
    kept = page.evaluate("async () => JSON.stringify([location.href, { ...localStorage }, { ...sessionStorage }, document.cookie, await indexedDB.databases(), await caches.keys()])")
    assert token not in kept and token[:40] not in kept
    assert not [url for url in page.asked if token[:40] in url]


def shared_by_link(started, ds, away):
    """A link lands on its study and shows nothing else; its code is in no address, no storage and no request's address."""
    with screen(started) as page:
        page.goto(URL)
        enter(page, FULL)
        press(page, page.get_by_role("link", name="Mine, Own"))
        press(page, page.get_by_role("button", name="Share"))
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_label("Good for")).to_have_value("86400")
        dialog.get_by_label("Good for").select_option("3600")
        press(page, dialog.get_by_role("button", name="Make a link"))
        field = dialog.get_by_label("Link", exact=True)
        expect(field).to_be_visible()
        check(page, "share")
        link = field.input_value()
    assert link.startswith(f"{URL}/ui/#/shared/"), link
    code = link.rsplit("/", 1)[1]
    with screen(started, width=320) as page:
        page.goto(link)
        expect(page.get_by_role("heading", name="Mine, Own")).to_be_visible()
        expect(page).to_have_url(f"{URL}/ui/#/study/{ds.StudyInstanceUID}")
        nowhere(page, code)
        expect(page.get_by_role("button", name="Delete")).to_have_count(0)
        page.locator(".card a.view").first.click()
        page.locator(".corner.bl div").first.wait_for()
        go(page, f"study/{away.StudyInstanceUID}")
        expect(page.get_by_role("alert")).to_contain_text("There is no such study")
        go(page, "studies")
        expect(page.locator("table.studies tbody tr")).to_have_count(1)
        nowhere(page, code)
        page.reload()
        expect(page.get_by_label("Access token")).to_be_visible()
        page.goto(f"{link}x")
        expect(page.get_by_role("alert")).to_contain_text("not one of this server")
        check(page, "a link that is none")


mine, ds = file(noise(), PatientName="Mine^Own", PatientID="MINE")
other, away = file(noise(), PatientName="Other^One", PatientID="OTHER")
store([mine, other], {"Authorization": f"Bearer {FULL}"})
with browser() as started:
    with screen(started) as page:
        page.goto(URL)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        check(page, "sign in")
        enter(page, "nonsense")
        expect(page.get_by_role("alert")).to_contain_text("That did not work.")
        enter(page, FULL)
        expect(page.locator("table.studies tbody tr")).to_have_count(2)
        expect(page.get_by_role("link", name="Administration")).to_be_visible()
        nowhere(page, FULL)
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.locator(".corner.bl div").first.wait_for()
        go(page, f"study/{ds.StudyInstanceUID}")
        expect(page.get_by_role("button", name="Delete")).to_be_visible()
        nowhere(page, FULL)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Access token")).to_be_visible()
        page.reload()
        expect(page.get_by_label("Access token")).to_be_visible()
    shared_by_link(started, ds, away)
    with screen(started) as page:
        page.goto(URL)
        enter(page, LIMITED)
        rows = page.locator("table.studies tbody tr")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("Mine, Own")
        expect(page.get_by_role("link", name="Administration")).to_be_hidden()
        expect(page.get_by_role("link", name="Upload")).to_be_hidden()
        rows.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Mine, Own")).to_be_visible()
        expect(page.get_by_role("button", name="ZIP", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Delete")).to_have_count(0)
        go(page, f"study/{away.StudyInstanceUID}")
        expect(page.get_by_role("alert")).to_contain_text("There is no such study")
        go(page, "admin")
        assert json.dumps(page.asked).count("Bearer") == 0
        nowhere(page, LIMITED)
    # Who may delete but not restore is offered no way back, neither before nor after.
    gone, lost = file(noise(), PatientName="Lost^One", PatientID="LOST")
    store([gone], {"Authorization": f"Bearer {FULL}"})
    with screen(started) as page:
        page.goto(f"{URL}/ui/#/study/{lost.StudyInstanceUID}")
        enter(page, DELETER)
        page.get_by_role("button", name="Delete").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("This page cannot bring them back.")
        dialog.get_by_label("Type 1").fill("1")
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 instance deleted.")).to_be_visible()
        expect(page.get_by_role("button", name="Undo")).to_have_count(0)
        go(page, "admin")
        expect(page.get_by_text("Index and blob store")).to_be_visible()
        expect(page.get_by_role("heading", name="Trash")).to_have_count(0)
