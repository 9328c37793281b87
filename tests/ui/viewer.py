"""The viewer: right pixels for every kind, few requests before the first, and everything by keys too."""

import io

import numpy as np
import requests
from page import ROOT, browser, check_all, expect, file, go, noise, screen, store
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
SLICES = 24


def ramp(rows, columns, dtype, low, high):
    return np.linspace(low, high, rows * columns).reshape(rows, columns).astype(dtype)


def kinds():
    """Every kind of samples that the page reads itself, and some that the server renders for it."""
    gray = {"WindowCenter": 500, "WindowWidth": 900}
    yield "unsigned 16", file(noise(), **gray)
    yield "signed 16", file(noise(dtype=np.int16, low=-2000, high=2000), **gray, RescaleSlope=2, RescaleIntercept=-100)
    yield "12 of 16", file(noise(high=65536), **gray, BitsStored=12, HighBit=11)
    yield "signed 12 of 16", file(noise(high=65536), BitsStored=12, HighBit=11, PixelRepresentation=1, WindowCenter=0, WindowWidth=3000)
    yield "8", file(noise(dtype=np.uint8, high=256), WindowCenter=100, WindowWidth=120)
    yield "white first", file(noise(), **gray, PhotometricInterpretation="MONOCHROME1")
    yield "exact", file(noise(), **gray, VOILUTFunction="LINEAR_EXACT")
    yield "sigmoid", file(noise(), **gray, VOILUTFunction="SIGMOID")
    yield "window of 1", file(noise(), WindowCenter=2000, WindowWidth=1)
    yield "odd width", file(noise(rows=33, columns=31, dtype=np.uint8, high=256), WindowCenter=128, WindowWidth=256)
    yield "no window", file(noise(low=100, high=900))
    yield "colour", file(np.random.default_rng(2).integers(0, 256, size=(40, 50, 3), dtype=np.uint8))
    yield "planes", file(np.random.default_rng(3).integers(0, 256, size=(3, 40, 50), dtype=np.uint8), SamplesPerPixel=3, Rows=40, Columns=50, PhotometricInterpretation="RGB", PlanarConfiguration=1)
    yield "luminance", file(np.random.default_rng(5).integers(0, 256, size=(40, 50, 3), dtype=np.uint8), PhotometricInterpretation="YBR_FULL")
    halved = np.random.default_rng(6).integers(0, 256, size=40 * 50 * 2, dtype=np.uint8).tobytes()
    yield "half the colours", file(np.zeros((40, 50, 3), dtype=np.uint8), PhotometricInterpretation="YBR_FULL_422", PixelData=halved)
    yield "unsigned 32", file(noise(dtype=np.uint32, high=10**9), WindowCenter=4 * 10**8, WindowWidth=7 * 10**8)
    yield "signed 32", file(noise(dtype=np.int32, low=-(10**9), high=10**9), WindowCenter=0, WindowWidth=10**9)
    plain = {"Rows": 40, "Columns": 50, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 32}
    floats = np.random.default_rng(4).normal(0.3, 0.2, size=(40, 50)).astype("<f4").tobytes()
    yield "float", file(**plain, FloatPixelData=floats, WindowCenter="0.3", WindowWidth="0.8")
    yield "float without a window", file(**plain, FloatPixelData=floats)
    bits = np.packbits(noise(high=2).ravel().astype(np.uint8), bitorder="little").tobytes()
    yield "one bit", file(noise(dtype=np.uint8, high=2), BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bits, WindowCenter="0.5", WindowWidth=1, VOILUTFunction="LINEAR_EXACT")
    yield "padding", file(noise(), **gray, PixelPaddingValue=100, PixelPaddingRangeLimit=600)
    yield "padding, white first", file(noise(dtype=np.int16, low=-1000, high=1000), PhotometricInterpretation="MONOCHROME1", WindowCenter=0, WindowWidth=1500, PixelPaddingValue=-500, PixelPaddingRangeLimit=-400)
    for name, entries, first, depth in [("table", 4096, 0, 12), ("table that begins later", 1000, 500, 16)]:
        item = Dataset()
        item.LUTDescriptor = [entries, first, depth]
        item.LUTExplanation = "bright"
        item.LUTData = (np.linspace(0, 1, entries) ** 0.5 * (2**depth - 1)).astype("<u2").tobytes()
        yield name, file(noise(), VOILUTSequence=Sequence([item]))
    red = bytes(np.arange(256, dtype=np.uint16).astype("<u2").tobytes())
    palette = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    yield "palette", file(noise(dtype=np.uint8, high=256), PhotometricInterpretation="PALETTE COLOR", **palette, RedPaletteColorLookupTableData=red, GreenPaletteColorLookupTableData=red[::-1], BluePaletteColorLookupTableData=red)


def open_series(page, ds):
    go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
    page.wait_for_function("(uid) => { const v = document.querySelector('.viewport')?.viewport; return v?.drawn > 0 && v.image && v.shown?.series === uid }", arg=ds.SeriesInstanceUID)


def pixels(page):
    """The image as the page shows it, a pixel for a pixel, and its window."""
    data, columns, rows, window = page.evaluate("() => { const v = document.querySelector('.viewport').viewport; return [Array.from(v.pixels()), v.image.columns, v.image.rows, v.window] }")
    return np.array(data, dtype=np.int16).reshape(rows, columns, 4)[:, :, :3], window


def rendered(ds, window, frame=1):
    place = f"{ROOT}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}/frames/{frame}/rendered"
    query = {}
    if window and window["shape"] != "LUT" and getattr(ds, "SamplesPerPixel", 1) == 1 and ds.PhotometricInterpretation != "PALETTE COLOR":
        query["window"] = f"{window['center']},{window['width']},{window['shape'].lower().replace('_', '-')}"
    answer = requests.get(place, params=query, headers={"Accept": "image/png"}, timeout=60)
    assert answer.status_code == 200, answer.text
    picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
    return np.asarray(picture).astype(np.int16)


def pixels_are_right(started, painter):
    samples = list(kinds())
    store(data for _, (data, _) in samples)
    with screen(started) as page:
        for name, (_, ds) in samples:
            open_series(page, ds)
            assert page.evaluate("document.querySelector('.viewport').viewport.painter.name") == painter
            shown, window = pixels(page)
            wanted = rendered(ds, window)
            assert shown.shape == wanted.shape, (name, shown.shape, wanted.shape)
            away = int(np.abs(shown - wanted).max())
            assert away <= 1, (painter, name, away, window)
            if name.startswith("table"):
                expect(page.locator(".corner.br")).to_contain_text("VOI LUT bright")
            kind = page.evaluate("document.querySelector('.viewport').viewport.image.kind")
            assert (kind == "picture") == (name == "palette"), (name, kind)
            assert shown.max() > shown.min(), name


def volume():
    """A CT of slices that were stored in no order."""
    study, series = generate_uid(), generate_uid()
    files = []
    for z in np.random.default_rng(4).permutation(SLICES):
        picture = noise(rows=128, columns=128, seed=int(z))
        about = {"PatientName": "Rivière^Élodie", "SeriesDescription": "Axial", "Modality": "CT", "SOPClassUID": CT}
        place = {"ImagePositionPatient": [0, 0, 2.5 * int(z)], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.5, 0.5], "FrameOfReferenceUID": study}
        files.append(file(picture, StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=int(z) + 1, **about, **place, RescaleIntercept=-1024, RescaleSlope=1, WindowCenter=40, WindowWidth=400))
    store(data for data, _ in files)
    return files[0][1]


def report(study):
    """A structured report, which has no pixels."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "TEXT"
    item.TextValue = "No finding <b>at all</b>"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121071", "DCM", "Finding"
    item.ConceptNameCodeSequence = Sequence([name])
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "126000", "DCM", "Imaging Measurement Report"
    return file(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", StudyInstanceUID=study, ValueType="CONTAINER", ContinuityOfContent="SEPARATE", ConceptNameCodeSequence=Sequence([title]), ContentSequence=Sequence([item]), CompletionFlag="COMPLETE", VerificationFlag="UNVERIFIED")


def first_image_comes_first(started, ds):
    with screen(started) as page:
        open_series(page, ds)
        at = next(index for index, url in enumerate(page.asked) if "/frames/" in url)
        before = [url for url in page.asked[: at + 1] if "/dicom-web/" in url]
        assert len(before) == 2 and before[0].endswith("/metadata"), before
        app = [url for url in page.asked[: at + 1] if "/ui/" in url]
        assert len(app) <= 40, len(app)
        page.wait_for_function("(n) => document.querySelector('.viewport').viewport.store.held.size === n", arg=SLICES)


def everything_by_keys(started, ds):
    with screen(started) as page:
        open_series(page, ds)
        port = page.locator(".viewport")
        expect(port).to_be_focused()
        position = page.locator(".corner.bl div").first
        press = page.keyboard.press
        press("Home")
        expect(position).to_have_text(f"1 of {SLICES}")
        press("ArrowDown")
        expect(position).to_have_text(f"2 of {SLICES}")
        # Stored in no order, shown along the normal.
        # A function, not an expression: that would be evaluated again by the page, which forbids it.
        page.wait_for_function("() => document.querySelector('.viewport').viewport.shown?.attributes['00200032'].Value[2] === 2.5")
        press("End")
        expect(position).to_have_text(f"{SLICES} of {SLICES}")
        state = lambda: page.evaluate("(() => { const v = document.querySelector('.viewport').viewport; return { ...v.place, ...v.window, inverted: v.inverted } })()")
        corner = page.locator(".corner.br")
        press("3")
        expect(corner).to_contain_text("W 1500 · L -600")
        press("Shift+ArrowRight")
        assert state()["width"] > 1500
        for key, name, value in [("r", "turns", 1), ("h", "flipY", True), ("v", "flipX", True), ("i", "inverted", True)]:
            press(key)
            assert state()[name] == value, key
        before = state()["zoom"]
        press("+")
        assert state()["zoom"] > before
        press("Control+ArrowLeft")
        press("0")
        assert state()["turns"] == 0 and not state()["inverted"] and state()["x"] == 0
        expect(corner).to_contain_text("W 400 · L 40")
        # A length of 40 pixels of half a millimetre, by keys alone.
        press("l")
        page.evaluate("document.querySelector('.viewport').viewport.actual()")
        press("Enter")
        for _ in range(10):
            press("ArrowRight")
        press("Enter")
        words = page.evaluate("async () => { const v = document.querySelector('.viewport').viewport; const [mark] = [...v.marks.values()].flat(); return mark.points }")
        assert words[1]["x"] - words[0]["x"] == 40, words
        press("b")
        press("Enter")
        press("Backspace")
        press("?")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Turn right")
        press("Escape")
        expect(dialog).to_have_count(0)
        press(" ")
        page.wait_for_function("() => document.querySelector('.viewport').viewport.index > 2 && document.querySelector('.viewport').viewport.index < 20")
        press(" ")


def pointer_and_layouts(started, ds, other):
    with screen(started) as page:
        open_series(page, ds)
        page.locator(".strip button").nth(1).wait_for()
        stage = page.locator(".stage").first
        box = stage.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        position = page.locator(".corner.bl div").first
        start = position.inner_text()
        page.mouse.move(x, y)
        page.mouse.wheel(0, 100)
        expect(position).not_to_have_text(start)
        page.mouse.down()
        page.mouse.move(x + 60, y + 30, steps=4)
        page.mouse.up()
        expect(page.locator(".corner.br")).not_to_contain_text("W 400 · L 40")
        page.get_by_label("Window width").fill("800")
        page.get_by_label("Window level").fill("100")
        page.keyboard.press("Tab")
        expect(page.locator(".corner.br")).to_contain_text("W 800 · L 100")
        page.get_by_role("button", name="Value of a pixel").click()
        page.mouse.click(x, y)
        unit = page.evaluate("(() => { const v = document.querySelector('.viewport').viewport; const [mark] = [...v.marks.values()].flat(); return v.valueAt(mark.points[0]).unit })()")
        assert unit == "HU", unit
        page.get_by_label("Layout").select_option("2×2")
        expect(page.locator(".pane")).to_have_count(4)
        page.locator(".pane").nth(1).click()
        page.locator(f".strip button[data-series='{other.SeriesInstanceUID}']").click()
        expect(page.locator(".pane").nth(1)).to_contain_text("No finding <b>at all</b>")
        page.get_by_label("Layout").select_option("1×1")
        expect(page.locator(".pane")).to_have_count(1)


def scrolled_together(started):
    """Two series of a study in one frame of reference: by position; without one: by as many slices. And a picture to save."""
    study, reference = generate_uid(), generate_uid()
    series = []
    for count, distance, start in [(11, 2.0, 0.0), (5, 5.0, 1.0)]:
        uid = generate_uid()
        for z in range(count):
            place = {"ImagePositionPatient": [0, 0, start + z * distance], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1], "FrameOfReferenceUID": reference}
            series.append(file(noise(seed=z), StudyInstanceUID=study, SeriesInstanceUID=uid, SeriesNumber=count, InstanceNumber=z, **place))
    store(data for data, _ in series)
    with screen(started) as page:
        open_series(page, series[0][1])
        page.get_by_label("Layout").select_option("1×2")
        page.locator(".pane").nth(1).click()
        page.locator(f".strip button[data-series='{series[-1][1].SeriesInstanceUID}']").click()
        second = page.locator(".pane").nth(1).locator(".corner.bl div").first
        expect(second).to_have_text("3 of 5")
        first = page.locator(".viewport").first
        first.focus()
        page.keyboard.press("Home")
        expect(second).to_have_text("1 of 5")
        page.keyboard.press("End")
        # 20 mm lies next to 21 mm.
        expect(second).to_have_text("5 of 5")
        page.keyboard.press("k")
        page.keyboard.press("Home")
        expect(page.locator(".pane").first.locator(".corner.bl div").first).to_have_text("1 of 11")
        expect(second).to_have_text("5 of 5")
        with page.expect_download() as download:
            page.keyboard.press("x")
        saved = np.asarray(Image.open(download.value.path()).convert("L"))
        assert saved.std() > 5 and download.value.suggested_filename.endswith("-1.png"), saved.std()


def by_touch(started, ds):
    """One finger does what the chosen tool does, two fingers zoom and move."""
    with screen(started, width=800, height=700, has_touch=True) as page:
        open_series(page, ds)
        session = page.context.new_cdp_session(page)
        box = page.locator(".stage").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

        def touch(kind, *points):
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": px, "y": py, "id": at} for at, (px, py) in enumerate(points)]})

        state = lambda: page.evaluate("(() => { const v = document.querySelector('.viewport').viewport; return { zoom: v.place.zoom, x: v.place.x, index: v.index, width: v.window.width } })()")
        before = state()
        touch("touchStart", (x - 40, y), (x + 40, y))
        for step in range(1, 6):
            touch("touchMove", (x - 40 - 10 * step, y), (x + 40 + 10 * step, y))
        touch("touchEnd")
        after = state()
        assert after["zoom"] > before["zoom"] * 1.5 and after["width"] == before["width"], (before, after)
        touch("touchStart", (x, y))
        for step in range(1, 6):
            touch("touchMove", (x + 10 * step, y))
        touch("touchEnd")
        assert state()["width"] > after["width"], (after, state())
        page.get_by_role("button", name="Scroll", exact=True).click()
        expect(page.get_by_role("button", name="Scroll", exact=True)).to_have_attribute("aria-pressed", "true")
        touch("touchStart", (x, y))
        for step in range(1, 9):
            touch("touchMove", (x, y + 20 * step))
        touch("touchEnd")
        assert state()["index"] > before["index"], (before, state())


def slow_link(started):
    """Far away a small picture comes first and says that it is one; the samples follow."""
    y, x = np.mgrid[0:1536, 0:1536]
    data, ds = file((1000 + 900 * np.sin(x / 90) * np.cos(y / 70)).astype(np.uint16), WindowCenter=1000, WindowWidth=2000)
    store([data])
    with screen(started) as page:
        # The page itself is here before the link is slow.
        go(page, "studies")
        page.locator("table.studies tbody tr").first.wait_for()
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", {"offline": False, "latency": 80, "downloadThroughput": 10_000_000 / 8, "uploadThroughput": 10_000_000 / 8})
        page.evaluate("() => { window.seen = []; setInterval(() => { const v = document.querySelector('.viewport')?.viewport; const kind = v?.image?.isPreview ? 'preview' : v?.image?.kind; if (kind && kind !== window.seen.at(-1)?.[0]) window.seen.push([kind, performance.now()]) }, 10); window.begun = performance.now() }")
        page.evaluate("(hash) => { location.hash = hash }", f"#/view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        expect(page.locator(".corner.br")).to_contain_text("preview")
        expect(page.locator(".corner.br")).to_contain_text("W 2000")
        (first, at), (second, later) = page.evaluate("window.seen.map(([kind, at]) => [kind, at - window.begun])")
        assert (first, second) == ("preview", "gray") and at * 1.5 < later, (at, later)
        session.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})


def many_frames(started):
    pictures = np.stack([noise(rows=16, columns=16, dtype=np.uint8, high=256, seed=at) for at in range(12)])
    data, ds = file(pictures, frames=12, WindowCenter=128, WindowWidth=256)
    store([data])
    with screen(started) as page:
        open_series(page, ds)
        expect(page.locator(".corner.bl")).to_contain_text("6 of 12")
        shown, window = pixels(page)
        assert np.abs(shown - rendered(ds, window, frame=6)).max() <= 1


with browser() as started:
    pixels_are_right(started, "WebGL 2")
    ds = volume()
    data, other = report(ds.StudyInstanceUID)
    store([data])
    first_image_comes_first(started, ds)
    everything_by_keys(started, ds)
    pointer_and_layouts(started, ds, other)
    many_frames(started)
    scrolled_together(started)
    by_touch(started, ds)
    slow_link(started)
    check_all(started, [(f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}", ".corner.bl div"), (f"view/{other.StudyInstanceUID}/{other.SeriesInstanceUID}", ".document pre")])
with browser("--disable-3d-apis") as started:
    pixels_are_right(started, "Canvas 2D")
