"""What the stories of the web page share: Chromium, stored studies, and what must hold on every screen.

A story is a script: `python STORY.py URL …`. It fails with a traceback, and prints nothing else that matters.
"""

import contextlib
import io
import shutil
import sys

import numpy as np
import pydicom
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

# Everything is on this machine; what waits longer than this waits for ever. Generous, for loaded machines.
PATIENCE = 180_000
URL = sys.argv[1]
ROOT = f"{URL}/dicom-web"

expect.set_options(timeout=PATIENCE)


def file(pixels=None, frames=1, **attributes):
    """A Part 10 file of a secondary capture or what the attributes make of it."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = attributes.pop("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7")
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.PatientName = "Doe^Jane"
    ds.PatientID = "P1"
    ds.StudyDate = "20260102"
    ds.StudyTime = "101500"
    ds.StudyID = "1"
    ds.AccessionNumber = "A1"
    ds.Modality = "OT"
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    if pixels is not None:
        shape = pixels.shape[1:] if frames > 1 else pixels.shape
        ds.Rows, ds.Columns = shape[0], shape[1]
        ds.SamplesPerPixel = 3 if len(shape) == 3 else 1
        ds.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
        if len(shape) == 3:
            ds.PlanarConfiguration = 0
        ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = 1 if pixels.dtype.kind == "i" else 0
        if frames > 1:
            ds.NumberOfFrames = frames
        data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        ds.PixelData = data + b"\0" * (len(data) % 2)
    for name, value in attributes.items():
        setattr(ds, name, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue(), ds


def store(files, headers=None):
    """Stores files in one request."""
    parts = b"".join(b"--part\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in files)
    kind = 'multipart/related; type="application/dicom"; boundary=part'
    answer = requests.post(f"{ROOT}/studies", data=parts + b"--part--\r\n", headers={"Content-Type": kind, "Accept": "application/dicom+json", **(headers or {})}, timeout=120)
    assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def browser(*arguments):
    """Chromium of the distribution; WebGL in software, for there may be no graphics card."""
    path = shutil.which("chromium")
    assert path, "chromium is missing; tests/run installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--enable-unsafe-swiftshader", *arguments])
        try:
            yield started
        finally:
            started.close()


@contextlib.contextmanager
def screen(started, width=1280, height=800, theme="light", allowed=(), language="en-US", **options):
    """A page whose every error and violation of its policy fails the story; so does a request elsewhere than allowed."""
    context = started.new_context(viewport={"width": width, "height": height}, color_scheme=theme, locale=language, accept_downloads=True, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.wrong = []
    page.asked = []
    page.on("pageerror", lambda error: page.wrong.append(f"error: {error}"))
    page.on("console", lambda said: said.type == "error" and "Failed to load resource" not in said.text and page.wrong.append(f"console: {said.text}"))
    page.on("request", lambda request: page.asked.append(request.url))
    page.add_init_script("addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective, e.blockedURI))")
    yield page
    assert not page.wrong, page.wrong
    strange = [url for url in page.asked if not url.startswith((URL, "blob:", "data:", *allowed))]
    assert not strange, strange
    context.close()


def go(page, route):
    """Opens a screen of the page."""
    page.goto(f"{URL}/ui/#/{route}")


def press(page, control, key="Enter"):
    """Goes to a control by the tabulator, as somebody without a pointer must, and presses a key on it."""
    expect(control).to_be_visible()
    for _ in range(100):
        page.keyboard.press("Tab")
        if control.evaluate("it => it === document.activeElement"):
            return page.keyboard.press(key)
    raise AssertionError(f"not reached by keys: {control}")


AXE = Axe()


def check(page, name):
    """No violation of WCAG 2.2 A and AA that axe can find, and nothing to scroll sideways, as it stands, in both themes and on a narrow screen."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    before = page.viewport_size
    for theme, width in [("dark", 320), ("light", 320), ("dark", before["width"]), ("light", before["width"])]:
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({**before, "width": width})
        # Colours that fade from the other theme are neither of the two.
        page.evaluate("() => Promise.allSettled(document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity).map((one) => one.finished))")
        found = AXE.run(page, options={"runOnly": {"type": "tag", "values": tags}}).response["violations"]
        told = [(one["id"], one["help"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found]
        assert not told, (name, theme, width, told)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways at {width}"


def check_all(started, routes):
    """As `check`; `routes` are names of screens with what they wait for."""
    with screen(started) as page:
        for route, ready in routes:
            go(page, route)
            page.locator(ready).first.wait_for(state="attached")
            check(page, route)


def noise(rows=64, columns=64, dtype=np.uint16, low=0, high=4096, seed=1):
    """Samples by chance, always the same."""
    return np.random.default_rng(seed).integers(low, high, size=(rows, columns), dtype=dtype)
