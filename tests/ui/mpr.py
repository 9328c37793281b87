"""Three planes of a volume: right samples, right places, one cross and one window, slabs; by pointer and by keys alone."""

import numpy as np
from page import browser, check, expect, file, go, screen, store
from pydicom.uid import generate_uid

COUNT, ROWS, COLUMNS = 20, 24, 32
STEP = 2.5
CT = "1.2.840.10008.5.1.4.1.1.2"


def volume(steps=None, **attributes):
    """A volume of samples by chance whose slices are stored in no order."""
    study, series, reference = generate_uid(), generate_uid(), generate_uid()
    samples = np.random.default_rng(7).integers(-1000, 2000, size=(COUNT, ROWS, COLUMNS), dtype=np.int16)
    files = []
    for z in np.random.default_rng(8).permutation(COUNT):
        along = float(z * STEP if steps is None else steps[z])
        place = {"ImagePositionPatient": [-10, -20, along], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.5, 0.75], "FrameOfReferenceUID": reference}
        files.append(file(samples[z], StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=int(z), SOPClassUID=CT, Modality="CT", WindowCenter=500, WindowWidth=3000, RescaleSlope=1, RescaleIntercept=0, **place, **attributes))
    store(data for data, _ in files)
    return samples, files[0][1]


def opened(page, ds):
    go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
    page.wait_for_function("(uid) => { const v = document.querySelector('.viewport')?.viewport; return v?.drawn > 0 && v.shown?.series === uid }", arg=ds.SeriesInstanceUID)


def image(page, pane):
    """Samples, index and attributes of what a pane shows, once it is drawn."""
    page.wait_for_function("(pane) => { const v = document.querySelectorAll('.viewport')[pane]?.viewport; return v?.shown && v.shown === v.frame && v.drawn > 0 }", arg=pane)
    rows, columns, index, spacing, data = page.evaluate("(pane) => { const { viewport: v } = document.querySelectorAll('.viewport')[pane]; return [v.image.rows, v.image.columns, v.index, v.shown.attributes['00280030'].Value, Array.from(v.image.data)] }", pane)
    return np.array(data).reshape(rows, columns), index, spacing


def planes_are_right(started, samples, ds):
    with screen(started) as page:
        opened(page, ds)
        page.keyboard.press("m")
        expect(page.locator(".pane")).to_have_count(3)
        axial, k, spacing = image(page, 0)
        assert (axial == samples[k]).all() and spacing == [0.5, 0.75]
        # Heads are up: the last slice is the first row.
        coronal, j, spacing = image(page, 1)
        assert (coronal == samples[::-1, j, :]).all() and spacing == [STEP, 0.75], spacing
        sagittal, i, spacing = image(page, 2)
        assert (sagittal == samples[::-1, :, i]).all() and spacing == [STEP, 0.5], spacing
        # Where a pixel of one plane lies in the others.
        places = page.evaluate("() => [...document.querySelectorAll('.viewport')].map(({ viewport: v }) => v.shown.attributes['00200032'].Value)")
        assert places[1] == [-10, -20 + j * 0.5, (COUNT - 1) * STEP] and places[2] == [-10 + i * 0.75, -20, (COUNT - 1) * STEP], places
        # By keys: a plane goes on, and the cross in the others with it.
        page.keyboard.press("Home")
        page.wait_for_function("() => document.querySelectorAll('.viewport')[1].viewport.cross().y === 19.5")
        page.locator(".viewport").nth(1).focus()
        page.keyboard.press("ArrowDown")
        moved, index, _ = image(page, 1)
        assert index == j + 1 and (moved == samples[::-1, j + 1, :]).all()
        assert page.evaluate("document.querySelectorAll('.viewport')[0].viewport.cross().y") == j + 1.5
        # By pointer: the cross goes where it is put.
        x, y = page.evaluate("() => { const { viewport: v } = document.querySelectorAll('.viewport')[0]; const box = v.stage.getBoundingClientRect(); const { x, y } = v.toCanvas({ x: 5.5, y: 7.5 }); const scale = box.width / v.canvas.width; return [box.left + x * scale, box.top + y * scale] }")
        page.mouse.click(x, y)
        page.wait_for_function("() => document.querySelectorAll('.viewport')[1].viewport.index === 7 && document.querySelectorAll('.viewport')[2].viewport.index === 5")
        # One window for all.
        page.locator(".viewport").first.focus()
        page.keyboard.press("Shift+ArrowRight")
        page.wait_for_function("() => { const all = [...document.querySelectorAll('.viewport')].map((one) => one.viewport.window.width); return all[0] > 3000 && all.every((one) => one === all[0]) }")
        # A slab of 10 mm: the highest of the cuts on both sides.
        page.get_by_label("Slab").select_option("10")
        highest, index, _ = image(page, 0)
        assert (highest == samples[max(0, index - 2) : index + 3].max(axis=0)).all()
        highest, index, _ = image(page, 1)
        assert (highest == samples[::-1, max(0, index - 10) : index + 11, :].max(axis=1)).all()
        check(page, "three planes")
        # A value is that of the volume.
        value = page.evaluate("() => document.querySelectorAll('.viewport')[0].viewport.valueAt({ x: 3.5, y: 4.5 })")
        assert value["unit"] == "HU", value
        page.keyboard.press("m")
        expect(page.locator(".pane")).to_have_count(1)
        expect(page.locator(".corner.bl div").first).to_contain_text(f"of {COUNT}")
        # The middle of the series is one of its slices again.
        assert page.evaluate("document.querySelector('.viewport').viewport.shown.instance").count(".") > 3


def what_is_no_volume_says_so(started):
    steps = np.arange(COUNT) * STEP
    steps[7:] += 1
    _, ds = volume(steps)
    with screen(started) as page:
        opened(page, ds)
        page.get_by_role("button", name="Three planes").click()
        expect(page.get_by_text("This series is no volume")).to_be_visible()
        expect(page.locator(".pane")).to_have_count(1)


samples, ds = volume()
with browser() as started:
    planes_are_right(started, samples, ds)
    what_is_no_volume_says_so(started)
with browser("--disable-3d-apis") as started:
    planes_are_right(started, samples, ds)
