"""What is deleted comes back; administration shows the trash, operations, damage and rates. `oversee.py URL DATA`: DATA is the server's folder."""

import pathlib
import re
import sys

import requests
from page import PATIENCE, ROOT, URL, browser, check, expect, file, go, noise, press, screen, store
from pydicom.uid import generate_uid

DATA = pathlib.Path(sys.argv[2])


def two(name):
    """A study with two instances."""
    study = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientName": name, "PatientID": name[:4].upper()}
    made = [file(noise(seed=at), **study, InstanceNumber=at) for at in (1, 2)]
    store(data for data, _ in made)
    return [ds for _, ds in made]


def stored(study):
    return requests.get(f"{ROOT}/studies/{study}/instances", timeout=60).json()


def confirm(page, number):
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("can be brought back for 72 hours")
    dialog.get_by_label(f"Type {number}").fill(str(number))
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()


def undone(started):
    """Right after a delete: by pointer, by the tabulator, and by the key for it."""
    first, second = two("Undo^One")[0], two("Undo^Two")[0]
    with screen(started) as page:
        go(page, f"study/{first.StudyInstanceUID}")
        press(page, page.get_by_role("button", name="Delete"))
        confirm(page, 2)
        expect(page.get_by_text("2 instances deleted.")).to_be_visible()
        check(page, "undo")
        assert not stored(first.StudyInstanceUID)
        press(page, page.get_by_role("button", name="Undo"))
        expect(page.get_by_text("2 instances are there again.")).to_be_visible()
        expect(page.get_by_role("heading", name="Undo, One")).to_be_visible()
        assert len(stored(first.StudyInstanceUID)) == 2
    with screen(started) as page:
        go(page, "studies?PatientID=UNDO")
        rows = page.locator("table.studies tbody tr")
        expect(rows).to_have_count(2)
        for way in ["button", "key"]:
            page.get_by_label("Choose all").click()
            page.get_by_role("region", name="Chosen studies").get_by_role("button", name="Delete").click()
            confirm(page, 4)
            expect(page.get_by_text("No study matches these filters.")).to_be_visible()
            if way == "button":
                page.get_by_role("button", name="Undo").click()
            else:
                page.locator("main").focus()
                page.keyboard.press("?")
                expect(page.get_by_role("dialog")).to_contain_text("Bring back what was just deleted")
                page.keyboard.press("Escape")
                page.keyboard.press("Control+z")
            expect(rows).to_have_count(2)
            expect(page.get_by_role("button", name="Undo")).to_have_count(0)
        assert len(stored(second.StudyInstanceUID)) == 2
        # Nothing is left to be undone.
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).not_to_contain_text("Bring back what was just deleted")


def trash(started):
    """What was deleted elsewhere is in the trash, and comes back from there; what cannot says why."""
    first, second = two("Trash^<b>Bin</b>")
    requests.delete(f"{ROOT}/studies/{first.StudyInstanceUID}", timeout=60).raise_for_status()
    with screen(started) as page:
        go(page, "admin")
        region = page.get_by_role("region", name="Trash")
        row = region.get_by_role("row").filter(has_text="Trash, <b>Bin</b>")
        expect(row).to_contain_text("Study")
        expect(row).to_contain_text("deleted")
        check(page, "the trash")
        press(page, row.get_by_role("button", name="Restore"))
        expect(page.get_by_text("2 instances are there again.")).to_be_visible()
        expect(page.get_by_text("The trash is empty.")).to_be_visible()
        assert len(stored(first.StudyInstanceUID)) == 2
        # Something else has taken the place of one of them.
        requests.delete(f"{ROOT}/studies/{first.StudyInstanceUID}", timeout=60).raise_for_status()
        other, _ = file(noise(seed=9), **{name: first.get(name) for name in ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientName", "PatientID"]})
        store([other])
        page.reload()
        press(page, row.get_by_role("button", name="Restore"))
        expect(page.get_by_role("alert").filter(has_text="1 instance could not come back.")).to_contain_text("delete that one first")
        expect(row).to_contain_text("1")
        assert len(stored(first.StudyInstanceUID)) == 2
    assert second


def operations(started):
    """What was begun, and how far it is."""
    with screen(started) as page:
        go(page, "admin")
        page.get_by_label("Attribute").fill("BodyPartExamined")
        page.get_by_role("button", name="Add").click()
        region = page.get_by_role("region", name="Operations")
        expect(region.get_by_role("row").filter(has_text="Indexing of query tags")).to_contain_text("done")
    kinds = ["reindex", "export", "update", "scrub", "transfer", "commitment"]
    times = {"created": "2026-11-30T08:00:00Z", "updated": "2026-11-30T08:01:00Z"}
    rows = [{"id": kind, "kind": kind, "status": status, "percent": 40, **times} for kind, status in zip(kinds, ["running", "notStarted", "completed", "failed", "canceled", "running"])]
    with screen(started) as page:
        page.route("**/ui/operations", lambda route: route.fulfill(json=rows))
        go(page, "admin")
        region = page.get_by_role("region", name="Operations")
        expect(region.get_by_role("progressbar")).to_have_count(3)
        expect(region.get_by_role("progressbar").first).to_have_attribute("value", "40")
        expect(region.get_by_role("row").nth(1)).to_contain_text("40 %")
        assert "operation." not in region.inner_text() and "status." not in region.inner_text()
        check(page, "operations")


def damage(started):
    """What is damaged, since when, and what to do; it is gone when it is whole again."""
    data, ds = file(noise(seed=5), PatientName="Hurt^One")
    store([data])
    with screen(started) as page:
        go(page, "admin")
        expect(page.get_by_text("No stored instance is known to be damaged.")).to_be_visible()
        [blob] = [path for path in DATA.glob("blobs/**/*.dcm") if ds.SOPInstanceUID in path.name]
        blob.unlink()
        answer = requests.get(f"{ROOT}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}", headers={"Accept": "application/dicom"}, timeout=60)
        assert answer.status_code == 500, answer.status_code
        region = page.get_by_role("region", name="Damage")
        row = region.get_by_role("row").filter(has_text=ds.SOPInstanceUID)
        expect(row).to_contain_text("Its bytes are gone")
        expect(page.get_by_role("alert")).to_contain_text("Store them again")
        check(page, "damage")
        store([data])
        expect(page.get_by_text("No stored instance is known to be damaged.")).to_be_visible()


def rates(started):
    """How much is stored, read and sent now."""
    with screen(started) as page:
        go(page, "admin")
        speed = page.locator("dl").nth(1)
        for label in ["Instances stored", "Reading requests", "Received", "Sent"]:
            expect(speed).to_contain_text(label)
        # Something goes on between two looks.
        for _ in range(30):
            store(file(noise(seed=7))[0] for _ in range(3))
            requests.get(f"{ROOT}/studies", timeout=60)
            page.wait_for_timeout(500)
            text = speed.inner_text()
            if all(re.search(rf"{label}\s+[\d.]*[1-9]", text) for label in ["Instances stored", "Reading requests", "Received", "Sent"]):
                break
        else:
            raise AssertionError(text)
        assert re.search(r"[kM]?B a second", text), text
        check(page, "rates")


assert PATIENCE
with browser() as started:
    operations(started)
    undone(started)
    trash(started)
    damage(started)
    rates(started)
