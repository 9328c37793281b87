"""Draws `docs/images/*.png`, the pictures of the README and of the page about the web page: `python pictures.py URL FOLDER`.

The server must be empty. Every person is made up, and every picture is drawn here.
"""

import sys

import numpy as np
from page import browser, file, go, screen, store
from PIL import Image
from pydicom.uid import generate_uid


def phantom(count=40, edge=512):
    """A chest of simple shapes: no picture of a person."""
    study, series = generate_uid(), generate_uid()
    y, x = np.mgrid[0:edge, 0:edge]
    for z in range(count):
        hu = np.full((edge, edge), -1000.0)
        body = np.hypot(x - 256, (y - 256) * 1.3) < 200
        hu[body] = (40 + 20 * np.sin(x / 9) * np.cos(y / 9 + z / 8))[body]
        for left, air in [(180, -700), (330, -750)]:
            hu[np.hypot(x - left, y - 250) < 52] = air
        hu[np.hypot(x - 256, y - 380) < 30] = 900
        place = {"ImagePositionPatient": [0, 0, 2.5 * z], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.7, 0.7], "SliceThickness": 2.5, "SliceLocation": 2.5 * z}
        about = {"PatientName": "Phantom^Paula", "PatientID": "PH-1", "StudyDescription": "Thorax", "SeriesDescription": "Axial", "Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
        yield file((hu + 1024).astype(np.uint16), StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=z + 1, **about, **place, BitsStored=12, HighBit=11, RescaleIntercept=-1024, RescaleSlope=1, WindowCenter=40, WindowWidth=400)


PEOPLE = [
    ("Phantom^Paula", "PH-1", "Thorax", "CT", "20261104"),
    ("Muster^Erika", "PH-2", "Knee left", "MR", "20261106"),
    ("Yamada^Tarou=山田^太郎", "PH-3", "Abdomen", "US", "20261109"),
    ("Dupont^Jeanne", "PH-4", "Hand, two views", "DX", "20261112"),
    ("Example^Sam", "PH-5", "Skull", "CT", "20261118"),
]


def picture(page, name, colours=48):
    target = f"{sys.argv[2]}/{name}.png"
    page.screenshot(path=target)
    Image.open(target).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)


others = []
for at, (name, number, study, modality, date) in enumerate(PEOPLE[1:]):
    y, x = np.mgrid[0:128, 0:128]
    shape = (2000 * (np.hypot(x - 64, y - 64) < 40 + 4 * at) + 500 * np.sin(x / (5 + at))).clip(0).astype(np.uint16)
    others.append(file(shape, PatientName=name, PatientID=number, StudyDescription=study, Modality=modality, StudyDate=date, AccessionNumber=f"ACC-{at + 2}", WindowCenter=1200, WindowWidth=2600)[0])
files = list(phantom())
store(others)
store(data for data, _ in files)
ds = files[0][1]
with browser() as started:
    with screen(started, width=1000, height=460) as page:
        go(page, "studies?order=-StudyDate")
        page.locator("table.studies tbody tr").nth(4).wait_for()
        picture(page, "studies", 24)
    with screen(started, width=1000, height=560) as page:
        go(page, f"study/{ds.StudyInstanceUID}")
        page.locator(".card img").first.wait_for()
        picture(page, "study", 32)
    with screen(started, width=1000, height=640) as page:
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.locator(".strip img").first.wait_for()
        page.wait_for_function("() => document.querySelector('.viewport').viewport.drawn > 0")
        picture(page, "viewer")
        page.keyboard.press("m")
        page.locator(".pane").nth(2).wait_for()
        page.wait_for_function("() => [...document.querySelectorAll('.viewport')].every((one) => one.viewport.drawn > 1 && !one.viewport.hurries)")
        picture(page, "planes")
