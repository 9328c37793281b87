"""Draws `docs/images/viewer.png`, the picture of the README, against a running server: `python pictures.py URL FOLDER`."""

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


files = list(phantom())
store(data for data, _ in files)
ds = files[0][1]
with browser() as started, screen(started, width=1000, height=640) as page:
    go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
    page.locator(".strip img").first.wait_for()
    page.wait_for_function("() => document.querySelector('.viewport').viewport.drawn > 0")
    target = f"{sys.argv[2]}/viewer.png"
    page.screenshot(path=target)
Image.open(target).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(target, optimize=True)
