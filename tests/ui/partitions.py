"""Data partitions: the menu leads from one to another, the address says which one, and nothing of another is shown."""

import tempfile

import requests
from page import URL, browser, check, expect, file, go, noise, press, screen

NORTH, SOUTH = (f"{URL}/dicom-web/partitions/{name}" for name in ("north", "south"))


def store(root, data):
    kind = 'multipart/related; type="application/dicom"; boundary=part'
    body = b"--part\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--part--\r\n"
    answer = requests.post(f"{root}/studies", data=body, headers={"Content-Type": kind}, timeout=60)
    assert answer.status_code == 200, answer.text


def studies(root):
    return {row["00100010"]["Value"][0]["Alphabetic"] for row in requests.get(f"{root}/studies", timeout=60).json()}


def looked_through(started, south):
    with screen(started) as page:
        go(page, "studies")
        expect(page.get_by_text("Nothing is stored yet.")).to_be_visible()
        menu = page.get_by_label("Data partition")
        expect(menu).to_have_value("Microsoft.Default")
        check(page, "partitions")
        menu.select_option("north")
        expect(page.locator("table.studies tbody tr")).to_have_count(1)
        expect(page.locator("table.studies")).to_contain_text("North")
        assert "partition=north" in page.url
        page.get_by_label("Data partition").select_option("south")
        expect(page.locator("table.studies")).to_contain_text("South")
        expect(page.locator("table.studies")).not_to_contain_text("North")
        # All that is reached from there is of the same partition.
        press(page, page.locator("table.studies tbody a").first)
        expect(page.get_by_role("heading", name="South")).to_be_visible()
        page.locator("img").first.wait_for()
        page.get_by_role("button", name="Share").click()
        link = page.get_by_role("dialog").locator("input").input_value()
        page.keyboard.press("Escape")
        go(page, f"view/{south.StudyInstanceUID}/{south.SeriesInstanceUID}?partition=south")
        page.wait_for_function("() => document.querySelector('.viewport')?.viewport.shown")
        images = [url for url in page.asked if "/frames/" in url or "/pixeldata" in url]
        assert images and all(url.startswith(SOUTH) for url in images), images
    # Who gets the address sees the same.
    with screen(started) as page:
        page.goto(link)
        expect(page.get_by_role("heading", name="South")).to_be_visible()
        expect(page.get_by_label("Data partition")).to_have_value("south")


def uploaded(started):
    data, _ = file(noise(), PatientName="Sent^To")
    with tempfile.NamedTemporaryFile(suffix=".dcm") as one, screen(started) as page:
        one.write(data)
        one.flush()
        go(page, "upload?partition=north")
        page.locator("input[type=file]").first.set_input_files(one.name)
        expect(page.locator(".counts")).to_contain_text("1 of 1 stored")
        page.get_by_role("link", name="Studies", exact=True).click()
        expect(page.locator("table.studies")).to_contain_text("Sent")
        assert "partition=north" in page.url
    assert studies(NORTH) == {"North^Nora", "Sent^To"}
    assert studies(SOUTH) == {"South^Sue"}


with browser() as started:
    north, south = (file(noise(), PatientName=name) for name in ("North^Nora", "South^Sue"))
    store(NORTH, north[0])
    store(SOUTH, south[0])
    looked_through(started, south[1])
    uploaded(started)
