"""Finding a study and what can be done with it: list, study, attributes, delete; a hostile one is shown as text."""

import io
import re
import zipfile

import pydicom
from page import ROOT, URL, browser, check, check_all, expect, file, go, press, noise, screen, store
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

HOSTILE = '<img src=x onerror=alert(1)>\u202e"><script>alert(2)</script>'


def find(started):
    with screen(started) as page:
        page.goto(URL)
        expect(page).to_have_url(f"{URL}/ui/")
        rows = page.locator("table.studies tbody tr")
        expect(rows).to_have_count(50)
        # Pages by the server's links, and back.
        last = rows.nth(49).inner_text()
        page.get_by_role("link", name="Next page").click()
        expect(rows.first).not_to_contain_text(last)
        expect(rows).to_have_count(12)
        page.get_by_role("button", name="Previous page").click()
        expect(rows).to_have_count(50)
        page.get_by_role("button", name="Count all").click()
        expect(page.get_by_role("button", name="62 studies")).to_be_visible()
        # As somebody types; the address keeps it behind the #, where no server sees it.
        page.get_by_label("Patient", exact=True).fill("miller")
        expect(rows).to_have_count(3)
        assert "PatientName=miller" in page.url.split("#")[1]
        page.get_by_label("Description").fill("knee")
        expect(rows).to_have_count(1)
        page.reload()
        expect(rows).to_have_count(1)
        expect(page.get_by_label("Description")).to_have_value("knee")
        page.get_by_label("Modality").select_option("MR")
        expect(page.get_by_text("No study matches these filters.")).to_be_visible()
        page.get_by_role("button", name="Clear filters").first.click()
        expect(rows).to_have_count(50)
        page.get_by_label("Modality").select_option("MR")
        expect(rows).to_have_count(2)
        page.get_by_label("Study date").select_option("range")
        page.get_by_label("From", exact=True).fill("2026-02-01")
        expect(rows).to_have_count(1)
        # Something arrives while the list is looked at.
        go(page, "studies")
        with page.expect_response("**/changefeed/latest*"):
            page.reload()
        expect(rows).to_have_count(50)
        data, _ = file(PatientName="Newest^One", PatientID="NEW")
        store([data])
        page.get_by_role("button", name="Something new").click()
        expect(rows.first).to_contain_text("Newest, One")


def sorting(started):
    """By the server, by pointer and by keys; in the address, over pages, and as a choice where there are no heads."""
    with screen(started) as page:
        go(page, "studies?ModalitiesInStudy=MR")
        rows = page.locator("table.studies tbody tr")
        head = page.get_by_role("columnheader", name="Study date")
        expect(rows).to_have_count(2)
        expect(head).not_to_have_attribute("aria-sort", "descending")
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "descending")
        expect(rows.first).to_contain_text("Other, One")
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        expect(head).to_have_attribute("aria-sort", "ascending")
        expect(rows.first).to_contain_text("Miller, Bob")
        expect(page.get_by_text("By Study date, ascending.")).to_be_visible()
        page.reload()
        expect(rows.first).to_contain_text("Miller, Bob")
        go(page, "studies?order=PatientName")
        expect(rows).to_have_count(50)
        names = rows.locator("th a").all_inner_texts()
        page.get_by_role("link", name="Next page").click()
        expect(rows.first).not_to_contain_text(names[0])
        names += rows.locator("th a").all_inner_texts()
        folded = [name.lower().replace(", ", "^") for name in names if "<" not in name]
        assert folded == sorted(folded) and len(names) > 60, names
    with screen(started, width=320) as page:
        go(page, "studies?ModalitiesInStudy=MR")
        page.get_by_label("Order").select_option("-PatientName")
        expect(page.locator("table.studies tbody tr").first).to_contain_text("Other, One")


def columns(started):
    """Columns are chosen and kept in this browser."""
    with screen(started) as page:
        go(page, "studies?PatientID=M1")
        heads = page.locator("table.studies thead th")
        expect(heads).to_have_count(8)
        page.get_by_role("button", name="Columns").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Date of birth").focus()
        page.keyboard.press("Space")
        dialog.get_by_label("Accession number").click()
        dialog.get_by_label("Description").click()
        check(page, "columns")
        page.keyboard.press("Escape")
        expect(heads).to_have_count(7)
        page.reload()
        expect(heads).to_have_count(7)
        expect(page.get_by_role("columnheader", name="Date of birth")).to_be_visible()
        page.get_by_role("button", name="Columns").click()
        dialog.get_by_role("button", name="The usual ones").click()
        expect(heads).to_have_count(8)


def many_at_once(started):
    """Several studies are chosen, saved and deleted; what goes is said, and must be confirmed."""
    store(file(PatientName=f"Many^{at}", PatientID="MANY")[0] for at in range(3))
    with screen(started) as page:
        go(page, "studies?PatientID=MANY")
        rows = page.locator("table.studies tbody tr")
        expect(rows).to_have_count(3)
        page.get_by_label("Choose Many, 0").focus()
        page.keyboard.press("Space")
        bar = page.get_by_role("region", name="Chosen studies")
        expect(bar).to_contain_text("1 study chosen")
        check(page, "one chosen")
        with page.expect_download() as download:
            bar.get_by_role("button", name="ZIP").click()
        assert download.value.suggested_filename.endswith(".zip")
        page.get_by_label("Choose all").click()
        expect(bar).to_contain_text("3 studies chosen")
        page.get_by_label("Choose Many, 1").click()
        expect(bar).to_contain_text("2 studies chosen")
        bar.get_by_role("button", name="Delete").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("2 studies with 2 instances go")
        expect(dialog).to_contain_text("Many, 2")
        expect(dialog).not_to_contain_text("Many, 1")
        dialog.get_by_label("Type 2").fill("2")
        page.keyboard.press("Enter")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("Many, 1")
        expect(bar).to_be_hidden()


def compared(started, one, other):
    """Two instances of a series side by side."""
    with screen(started) as page:
        go(page, f"tags/{one.StudyInstanceUID}/{one.SeriesInstanceUID}/{one.SOPInstanceUID}")
        rows = page.locator("table.tags tbody tr:visible")
        expect(page.get_by_text("(0010,0010)")).to_be_visible()
        page.get_by_label("Compare with").select_option(other.SOPInstanceUID)
        expect(page.locator("table.tags thead th")).to_have_count(5)
        page.get_by_label("Differences only").click()
        expect(rows.filter(has_text="(0020,0013)")).to_have_count(1)
        expect(rows.filter(has_text="(0008,0018)")).to_have_count(1)
        expect(rows.filter(has_text="(0010,0010)")).to_have_count(0)
        check(page, "two compared")


def by_keys(started, ds):
    """From the list to the attributes of an instance and to its deletion, without a pointer."""
    with screen(started) as page:
        page.goto(URL)
        rows = page.locator("table.studies tbody tr")
        expect(rows).to_have_count(50)
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.keyboard.press("/")
        expect(page.get_by_label("Patient", exact=True)).to_be_focused()
        page.keyboard.type("goner")
        expect(rows).to_have_count(1)
        page.get_by_role("link", name="Goner, Will").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Goner, Will")).to_be_visible()
        page.get_by_role("button", name="Instances").focus()
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Instance 1").focus()
        # Somebody types before the names of the attributes are there.
        names, typed = [], []
        page.route("**/ui/dictionary*", lambda asked: asked.continue_() if typed else names.append(asked))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Attributes")).to_be_visible()
        search = page.get_by_label("Search name, number or value")
        search.focus()
        page.keyboard.type("patient name")
        typed.append(True)
        for asked in names:
            asked.continue_()
        expect(page.locator("table.tags tbody tr:visible")).to_have_count(1)
        expect(page.locator("table.tags tbody tr:visible")).to_contain_text("(0010,0010)")
        page.go_back()
        page.get_by_role("button", name="Delete").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("1 series with 2 instances go")
        page.keyboard.press("Tab")
        dialog.get_by_label("Type 2").focus()
        page.keyboard.type("3")
        page.keyboard.press("Enter")
        expect(dialog).to_be_visible()
        page.keyboard.press("Backspace")
        page.keyboard.type("2")
        page.keyboard.press("Enter")
        expect(page.get_by_text("2 instances deleted.")).to_be_visible()
        page.get_by_label("Patient", exact=True).fill("goner")
        expect(page.get_by_text("No study matches these filters.")).to_be_visible()


def hostile(started, ds):
    with screen(started) as page:
        page.on("dialog", lambda _: page.wrong.append("a script of the study ran"))
        for route, place in [("studies?PatientID=HOSTILE", "table.studies tbody"), (f"study/{ds.StudyInstanceUID}", "main"), (f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}", ".corner.tr"), (f"tags/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{ds.SOPInstanceUID}", "table.tags")]:
            go(page, route)
            expect(page.locator(place)).to_contain_text("<img src=x onerror=alert(1)>")
            assert page.locator("main img[src=x], main script").count() == 0, route
            page.wait_for_function("(place) => [...document.querySelectorAll(place + ' bdi')].some((one) => one.textContent.includes('\\u202e'))", arg=place)
        assert "onerror" not in page.title() or page.locator("title").inner_text() == page.title()


def endless(started):
    """Texts of 100 kB, markup among them: shown as their beginning, and nothing is in the way of anything."""
    text = HOSTILE * 1_800
    assert len(text) > 100_000
    _, ds = file(noise(), PatientID="ENDLESS")
    # Explicit VR has no room for such lengths.
    for name in ["PatientName", "StudyDescription", "SeriesDescription", "AccessionNumber", "ReferringPhysicianName"]:
        setattr(ds, name, text)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    store([out.getvalue()])
    with screen(started) as page:
        page.on("dialog", lambda _: page.wrong.append("a script of the study ran"))
        places = [("studies?PatientID=ENDLESS", "table.studies tbody tr"), (f"study/{ds.StudyInstanceUID}", ".card"), (f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}", ".corner.bl div"), (f"tags/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{ds.SOPInstanceUID}", "table.tags tbody tr")]
        for route, ready in places:
            go(page, route)
            page.locator(ready).first.wait_for()
            assert page.locator("main img[src=x], main script").count() == 0, route
            check(page, f"endless {route}")
            assert len(page.title()) < 500 and page.evaluate("document.querySelector('main').scrollHeight") < 40 * 800, route
        go(page, f"study/{ds.StudyInstanceUID}")
        page.get_by_role("button", name="Delete").click()
        assert page.get_by_role("dialog").bounding_box()["height"] < 800


def forced_colours(started, ds):
    """Where somebody sets all colours, what is chosen and where one is can still be seen."""
    with screen(started) as page:
        page.emulate_media(forced_colors="active")
        go(page, "studies")
        current = page.locator("nav a[aria-current]")
        expect(current).to_be_visible()
        assert page.evaluate("matchMedia('(forced-colors: active)').matches")
        assert current.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        pressed = page.locator(".tools [aria-pressed=true]").first
        expect(pressed).to_be_visible()
        assert pressed.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"


def languages(started, ds):
    """Every language on every screen: no text is missing, nothing scrolls sideways, and the page says which language it is."""
    screens = [("studies", "table.studies tbody tr"), (f"study/{ds.StudyInstanceUID}", ".card"), (f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}", ".corner.bl div"), ("upload", ".drop"), ("admin", "section table")]
    for language in ["de", "fr", "ja", "zh"]:
        for width in [1280, 320]:
            with screen(started, width=width, language=language) as page:
                for route, ready in screens:
                    go(page, route)
                    page.locator(ready).first.wait_for(state="attached")
                    assert page.evaluate("document.documentElement.lang").startswith(language)
                    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (language, width, route)
                    # A key where a text should be.
                    words = page.locator("body").inner_text() + " ".join(page.evaluate("[...document.querySelectorAll('[aria-label], [title]')].map((one) => one.getAttribute('aria-label') ?? one.title)"))
                    bare = re.findall(r"\b(?:nav|field|studies|study|viewer|tool|upload|admin|tag|feed|key|keys|share|mpr|delete|selection|columns|window|operation|status|damage|trash|rate|undo)\.[a-z]+\b", words)
                    assert not bare, (language, route, bare)


def study(started, ds):
    with screen(started) as page:
        go(page, f"study/{ds.StudyInstanceUID}")
        expect(page.locator(".card")).to_have_count(2)
        page.locator(".card img").nth(1).wait_for()
        expect(page.get_by_role("heading", name="Other studies of this patient")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="ZIP", exact=True).click()
        names = zipfile.ZipFile(io.BytesIO(open(download.value.path(), "rb").read())).namelist()
        assert len([name for name in names if name.endswith(".dcm")]) == 3, names
        with page.expect_download() as download:
            page.get_by_role("button", name="ZIP of series").first.click()
        names = zipfile.ZipFile(io.BytesIO(open(download.value.path(), "rb").read())).namelist()
        assert 1 <= len([name for name in names if name.endswith(".dcm")]) <= 2, names
        page.get_by_role("button", name="Instances").first.click()
        with page.expect_download() as download:
            page.get_by_role("button", name="as a DICOM file").first.click()
        assert open(download.value.path(), "rb").read()[128:132] == b"DICM"
        page.locator(".card a.view").first.click()
        page.locator(".corner.bl div").first.wait_for()
        page.go_back()
        page.locator("main li a", has_text="knee").click()
        expect(page.get_by_text("Study UID")).to_be_visible()
    with screen(started) as page:
        go(page, "study/1.2.3.4")
        expect(page.get_by_role("alert")).to_contain_text("There is no such study")


def administration(started):
    with screen(started) as page:
        go(page, "admin")
        expect(page.get_by_text("Index and blob store")).to_be_visible()
        page.get_by_label("Attribute").fill("BodyPartExamined")
        page.get_by_role("button", name="Add").click()
        row = page.get_by_role("row").filter(has_text="00180015")
        expect(row).to_be_visible()
        row.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_text("There are none.")).to_be_visible()
        page.get_by_role("button", name="Older").click()
        page.get_by_role("button", name="Newest").click()
        expect(page.get_by_role("cell", name="Create").first).to_be_visible()


def administration_by_keys(started):
    with screen(started) as page:
        go(page, "studies")
        press(page, page.locator("nav").get_by_role("link", name="Administration"))
        expect(page.get_by_text("Index and blob store")).to_be_visible()
        press(page, page.get_by_label("Attribute"), "ArrowRight")
        page.keyboard.type("BodyPartExamined")
        # The level by its first letter, then the form by its own key.
        press(page, page.get_by_label("Level"), "S")
        page.keyboard.press("Enter")
        press(page, page.get_by_role("button", name="Add"))
        row = page.get_by_role("row").filter(has_text="00180015")
        expect(row).to_be_visible()
        press(page, row.get_by_role("button", name="Delete"))
        dialog = page.get_by_role("dialog")
        check(page, "a query tag goes")
        # Nothing goes by Escape; the focus comes back to where it was.
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(row).to_be_visible()
        press(page, row.get_by_role("button", name="Delete"))
        press(page, dialog.get_by_role("button", name="Delete"))
        expect(page.get_by_text("There are none.")).to_be_visible()
        press(page, page.get_by_role("button", name="Older"))
        press(page, page.get_by_role("button", name="Newest"), "Space")
        expect(page.get_by_role("cell", name="Create").first).to_be_visible()


def everything():
    files = [file(PatientName=f"Patient^{at:02}", PatientID=f"ID{at}", AccessionNumber=f"ACC{at}") for at in range(56)]
    miller = {"PatientName": "Miller^Ann", "PatientID": "M1"}
    first, second = generate_uid(), generate_uid()
    files.append(file(**miller, StudyDescription="Knee left"))
    pair = [file(noise(), **miller, StudyInstanceUID=first, SeriesInstanceUID=second, InstanceNumber=at) for at in (1, 2)]
    files += pair
    last = file(noise(), **miller, StudyInstanceUID=first, SeriesNumber=2)
    files += [last, file(PatientName="Miller^Bob", PatientID="M2", Modality="MR", StudyDate="20260110"), file(PatientName="Other^One", Modality="MR", StudyDate="20260301")]
    goner = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientName": "Goner^Will", "PatientID": "G"}
    gone = [file(noise(), **goner, InstanceNumber=at) for at in (1, 2)]
    hostile = file(noise(), PatientName=HOSTILE[:60], PatientID="HOSTILE", StudyDescription=HOSTILE, SeriesDescription=HOSTILE, AccessionNumber="<b>x</b>")
    files += [*gone, hostile]
    store(data for data, _ in files)
    return last[1], gone[0][1], hostile[1], [ds for _, ds in pair]


assert ROOT
some, gone, bad, pair = everything()
with browser() as started:
    find(started)
    sorting(started)
    columns(started)
    many_at_once(started)
    compared(started, *pair)
    by_keys(started, gone)
    hostile(started, bad)
    endless(started)
    forced_colours(started, some)
    languages(started, some)
    study(started, some)
    administration(started)
    administration_by_keys(started)
    check_all(
        started,
        [
            ("studies", "table.studies tbody tr"),
            ("studies?order=-StudyDate", "th[aria-sort=descending]"),
            ("studies?PatientID=nobody", ".state button"),
            (f"study/{some.StudyInstanceUID}", ".card"),
            (f"tags/{some.StudyInstanceUID}/{some.SeriesInstanceUID}/{some.SOPInstanceUID}", "table.tags tbody tr"),
            ("upload", ".drop"),
            ("admin", "section table"),
        ],
    )
