"""An upload of very many files while the server is killed and started again: it ends complete, and the page says what happened.

Prints `away` when the page says that the server cannot be reached: then the one who runs this starts it again.
"""

import os
import sys
import tempfile

import requests
from page import ROOT, browser, expect, file, go, noise, screen

FILES = int(sys.argv[2])
# Their ends are the numbers of the files.
PREFIX = "1.2.826.0.1.3680043.8.498.7."
BUDGET = 200


def folder(root):
    data, ds = file(noise(4, 4), SOPInstanceUID=f"{PREFIX}{10**9}", StudyInstanceUID=f"{PREFIX}1", SeriesInstanceUID=f"{PREFIX}2", PatientName="Crash^Test")
    uid = ds.SOPInstanceUID.encode()
    assert data.count(uid) == 2
    for at in range(FILES):
        with open(f"{root}/{at}.dcm", "wb") as out:
            out.write(data.replace(uid, f"{PREFIX}{10**9 + at}".encode()))
    return ds


def stored():
    answer = requests.get(f"{ROOT}/instances?limit=0", headers={"Accept": "application/dicom+json", "Prefer": "count=exact"}, timeout=60)
    return int(answer.headers["X-Total-Count"])


with tempfile.TemporaryDirectory() as root, browser() as started, screen(started) as page:
    ds = folder(root)
    go(page, "upload")
    page.evaluate("() => { window.longest = 0; new PerformanceObserver((list) => { for (const one of list.getEntries()) window.longest = Math.max(window.longest, one.duration) }).observe({ type: 'longtask' }) }")
    page.locator("input[webkitdirectory]").set_input_files(root)
    expect(page.locator(".notice")).to_contain_text("does not answer")
    print("away", flush=True)
    # Other screens may be looked at meanwhile.
    page.locator("nav").get_by_role("link", name="Studies").click()
    page.locator("nav").get_by_role("link", name="Upload").click()
    expect(page.locator(".counts")).to_have_text(f"{FILES:,} of {FILES:,} stored · 0 failed · 0 left out (not DICOM)", timeout=540_000)
    expect(page.locator(".notice")).to_contain_text("sent again")
    assert stored() == FILES
    assert os.path.exists(root)
    print(f"longest task {page.evaluate('window.longest'):.0f} ms", flush=True)
