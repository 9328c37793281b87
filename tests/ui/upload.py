"""Upload: files and folders, what is no DICOM, what is refused and why, a server that goes away, pause and retry."""

import os
import tempfile

import requests
from page import ROOT, browser, check, expect, file, go, noise, press, screen
from pydicom.uid import generate_uid

FILES = 30


def folder(root):
    study = generate_uid()
    os.makedirs(f"{root}/disc/images")
    for at in range(FILES):
        data, _ = file(noise(seed=at), StudyInstanceUID=study, InstanceNumber=at, PatientName="Up^Load", PatientID="UP")
        open(f"{root}/disc/images/{at}.dcm", "wb").write(data)
    open(f"{root}/disc/readme.txt", "w").write("not an image")
    open(f"{root}/disc/empty", "w").close()
    # Its file meta information is whole, its data set is not.
    data, _ = file(noise(), StudyInstanceUID=study)
    open(f"{root}/disc/images/broken.dcm", "wb").write(data[:420] + b"\xff" * 40)
    return study


def stored(study):
    answer = requests.get(f"{ROOT}/studies/{study}/instances", headers={"Accept": "application/dicom+json"}, timeout=60)
    return len(answer.json())


def by_button(started, root, study):
    with screen(started) as page:
        go(page, "upload")
        page.locator("input[webkitdirectory]").set_input_files(f"{root}/disc")
        counts = page.locator(".counts")
        expect(counts).to_have_text(f"{FILES} of {FILES + 1} stored · 1 failed · 2 left out (not DICOM)")
        row = page.get_by_role("row").filter(has_text="disc/images/broken.dcm")
        expect(row).to_contain_text("0x")
        check(page, "upload with a failure")
        page.get_by_role("button", name="Try failed ones again").click()
        expect(counts).to_contain_text("1 failed")
        assert stored(study) == FILES
        page.get_by_role("link", name=f"Study with {FILES} new instances").click()
        expect(page.get_by_role("heading", name="Up, Load")).to_be_visible()
        go(page, "upload")
        page.get_by_role("button", name="Clear the list").click()
        expect(counts).to_be_hidden()


def by_keys(started, root):
    """The whole way with no pointer: to the screen, files, what failed, the study that came of it."""
    with screen(started) as page:
        go(page, "studies")
        press(page, page.locator("nav").get_by_role("link", name="Upload"))
        with page.expect_file_chooser() as chooser:
            press(page, page.get_by_role("button", name="Choose files"))
        chooser.value.set_files([f"{root}/disc/images/{at}.dcm" for at in range(5)] + [f"{root}/disc/images/broken.dcm"])
        counts = page.locator(".counts")
        expect(counts).to_have_text("5 of 6 stored · 1 failed · 0 left out (not DICOM)")
        press(page, page.get_by_role("button", name="Try failed ones again"), "Space")
        expect(counts).to_contain_text("1 failed")
        press(page, page.get_by_role("link", name="Study with 5 new instances"))
        expect(page.get_by_role("heading", name="Up, Load")).to_be_visible()
        page.go_back()
        press(page, page.get_by_role("button", name="Clear the list"))
        expect(counts).to_be_hidden()


def by_drop(started, root):
    """A real drop of a folder, by the protocol of the browser."""
    with screen(started) as page:
        go(page, "upload")
        box = page.locator(".drop").bounding_box()
        session = page.context.new_cdp_session(page)
        data = {"items": [], "files": [f"{root}/disc"], "dragOperationsMask": 1}
        for kind in ["dragEnter", "dragOver", "drop"]:
            session.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 50, "y": box["y"] + 50, "data": data})
        expect(page.locator(".counts")).to_contain_text(f"{FILES} of {FILES + 1} stored")


def through_trouble(started, root):
    """Requests that do not get through are sent again; pause holds the rest; other screens may be looked at meanwhile."""
    with screen(started) as page:
        troubles = []

        def trouble(route):
            if route.request.method != "POST" or len(troubles) >= 2:
                return route.continue_()
            troubles.append(route.request.url)
            if len(troubles) == 1:
                return route.abort("connectionreset")
            return route.fulfill(status=503, headers={"Retry-After": "1"}, body="busy")

        page.route("**/dicom-web/studies", trouble)
        go(page, "upload")
        page.locator("input[type=file]").first.set_input_files([f"{root}/disc/images/{at}.dcm" for at in range(FILES)])
        expect(page.locator(".notice")).not_to_be_empty()
        page.get_by_role("button", name="Pause").click()
        expect(page.locator(".notice")).to_contain_text("Paused")
        page.get_by_role("button", name="Go on").click()
        page.locator("nav").get_by_role("link", name="Studies").click()
        expect(page.locator("table.studies tbody tr").first).to_be_visible()
        page.locator("nav").get_by_role("link", name="Upload").click()
        expect(page.locator(".counts")).to_contain_text(f"{FILES} of {FILES} stored · 0 failed")
        assert len(troubles) == 2


with tempfile.TemporaryDirectory() as root, browser() as started:
    study = folder(root)
    by_button(started, root, study)
    by_keys(started, root)
    by_drop(started, root)
    through_trouble(started, root)
