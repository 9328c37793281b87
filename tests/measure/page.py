#!/usr/bin/env python3
"""What the web page takes, beside floors of the same run (docs/performance.md, "The web page").

    cargo build --release && target/tmp/python/bin/python tests/measure/page.py target/release/stowage [FOLDER_OF_OHIF]

A fresh server holds one CT series of 500 slices of 512 x 512. The floors are curl, which throws away what it reads or sends the
same bytes, and OHIF's published build (`dist` of the npm package @ohif/app), served by the same server. Chromium draws in software.
Times are medians of five, in ms. Needs the Python packages that `tests/run` installs.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

BINARY = os.path.abspath(sys.argv[1])
OHIF = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
SLICES, EDGE, TIMES = 500, 512, 5

FOLDER = tempfile.mkdtemp(prefix="stowage-page")
SETTINGS = {"STOWAGE_DATA_DIR": f"{FOLDER}/data", "STOWAGE_LISTEN": "127.0.0.1:0", "STOWAGE_ADDRESS_FILE": f"{FOLDER}/address"}
if OHIF:
    SETTINGS["STOWAGE_VIEWER_DIR"] = OHIF
SERVER = subprocess.Popen([BINARY], env={**os.environ, **SETTINGS}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while not os.path.exists(f"{FOLDER}/address"):
    time.sleep(0.05)
URL = "http://" + open(f"{FOLDER}/address").read().strip()

# The stories' tools take the server from their arguments.
sys.argv = [sys.argv[0], URL]
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "ui"))
from page import browser, file, go, noise, screen  # noqa: E402
from pydicom.uid import generate_uid  # noqa: E402

median = statistics.median
X, Y = np.meshgrid(np.arange(EDGE), np.arange(EDGE))


def say(name, value, unit="ms", goal=""):
    print(f"{name}: {value:.0f} {unit}{'  (goal: ' + goal + ')' if goal else ''}", flush=True)


def curl(*arguments):
    """Seconds of one request, as curl counts them."""
    made = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{time_total}", *arguments], capture_output=True, text=True, check=True)
    status, seconds = made.stdout.split()
    assert status == "200", made
    return float(seconds)


def slices():
    study, series = generate_uid(), generate_uid()
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.7, 0.7], "SliceThickness": 1, "FrameOfReferenceUID": generate_uid()}
    value = {"RescaleIntercept": -1024, "RescaleSlope": 1, "WindowCenter": 1000, "WindowWidth": 4000, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}
    made = []
    for at in range(SLICES):
        # Round things with a little noise, as CT has: pure noise makes previews ten times as large.
        pixels = (1000 + 800 * np.sin(X / 40 + at / 50) * np.cos(Y / 60) + noise(EDGE, EDGE, np.int64, -20, 20, at)).astype(np.uint16)
        made.append(file(pixels, StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=at + 1, ImagePositionPatient=[0, 0, at], PatientName="Page^Measured", **place, **value))
    return made[0][1], [data for data, _ in made]


def multipart(files, path):
    with open(path, "wb") as out:
        for one in files:
            out.write(b"--part\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n")
        out.write(b"--part--\r\n")


IMAGE = "() => performance.getEntriesByName('stowage.image').at(-1)?.startTime"
WHOLE = "(n) => document.querySelector('.viewport')?.viewport.store.held.size === n && performance.now()"


def viewing(started, ds, **link):
    """Times since the navigation began: the first image, the whole series; and the requests for images before the first one."""
    with screen(started, height=1000) as page:
        if link:
            session = page.context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.emulateNetworkConditions", {"offline": False, **link})
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        first = page.wait_for_function(IMAGE, timeout=300_000).json_value()
        before = page.evaluate("(end) => performance.getEntriesByType('resource').filter((one) => one.startTime < end && one.name.includes('/dicom-web/')).map((one) => one.name)", first)
        if link:
            return (first,)
        whole = page.wait_for_function(WHOLE, arg=SLICES, timeout=300_000).json_value()
        return first, whole, before


def from_the_list(started, ds, **link):
    """Milliseconds from a click on a series to its first image, and whether that is a preview."""
    with screen(started, height=1000) as page:
        go(page, f"study/{ds.StudyInstanceUID}")
        page.locator(".card a.view").first.wait_for()
        page.wait_for_function("() => [...document.querySelectorAll('.card img')].every((one) => one.complete)")
        if link:
            session = page.context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.emulateNetworkConditions", {"offline": False, **link})
        begun = page.evaluate("() => { const { href } = document.querySelector('.card a.view'); const begun = performance.now(); location.href = href; return begun }")
        first = page.wait_for_function(IMAGE).json_value()
        preview = page.evaluate("() => document.querySelector('.stage').classList.contains('preview')")
        return first - begun, preview


def scrolling(started, ds):
    """Slices a second and the worst gap between two of them, over three seconds of held key."""
    with screen(started, width=1100, height=1000) as page:
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.wait_for_function(WHOLE, arg=SLICES, timeout=300_000)
        return page.evaluate(
            """() => new Promise((done) => {
                const { viewport } = document.querySelector('.viewport')
                const begun = performance.now()
                let [drawn, last, worst, down] = [viewport.drawn, begun, 0, true]
                const first = drawn
                const step = (now) => {
                    if (viewport.drawn !== drawn) {
                        worst = Math.max(worst, now - last)
                        last = now
                        drawn = viewport.drawn
                    }
                    if (now - begun > 3000) return done([(drawn - first) / 3, worst, viewport.canvas.width])
                    if (viewport.index === viewport.frames.length - 1) down = false
                    if (viewport.index === 0) down = true
                    viewport.goTo(viewport.index + (down ? 1 : -1))
                    requestAnimationFrame(step)
                }
                requestAnimationFrame(step)
            })"""
        )


def renderers():
    """Resident memory of the processes that hold a page, in MiB: all, and what is their own."""
    said = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    held = []
    for line in said.splitlines():
        if "--type=renderer" in line:
            lines = dict(field.split(":", 1) for field in open(f"/proc/{line.split()[0]}/status") if field.startswith("Rss") or field.startswith("VmRSS"))
            held.append([int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")])
    return max(held)


def memory(started, ds):
    with screen(started) as page:
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.wait_for_function(WHOLE, arg=SLICES, timeout=300_000)
        page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        return renderers()


def rows(started):
    with screen(started) as page:
        go(page, "studies")
        return page.wait_for_function("() => document.querySelector('table.studies tbody tr') && performance.now()").json_value()


def uploading(started, ds, folder):
    """Milliseconds of an upload of all slices by the page; they are there already, as for curl."""
    with screen(started) as page:
        go(page, "upload")
        page.locator("input[webkitdirectory]").wait_for(state="attached")
        begun = time.perf_counter()
        page.locator("input[webkitdirectory]").set_input_files(folder)
        page.wait_for_function("(n) => document.querySelector('.counts')?.textContent.includes(`${n} of ${n} stored`) && performance.now()", arg=SLICES, timeout=600_000, polling=100)
        return 1000 * (time.perf_counter() - begun)


def ohif(started, ds):
    with screen(started, height=1000, allowed=("https://", "http://")) as page:
        page.add_init_script("addEventListener('CORNERSTONE_IMAGE_RENDERED', () => { window.first ??= performance.now() }, true)")
        page.goto(f"{URL}/viewer/viewer?StudyInstanceUIDs={ds.StudyInstanceUID}")
        first = page.wait_for_function("() => window.first", timeout=300_000).json_value()
        page.wrong.clear()
        return first


def main():
    ds, files = slices()
    multipart(files, f"{FOLDER}/all")
    os.mkdir(f"{FOLDER}/slices")
    for at, data in enumerate(files):
        with open(f"{FOLDER}/slices/{at}.dcm", "wb") as out:
            out.write(data)
    store = ["-X", "POST", "-H", 'Content-Type: multipart/related; type="application/dicom"; boundary=part', "-H", "Accept: application/dicom+json", "--data-binary", f"@{FOLDER}/all", f"{URL}/dicom-web/studies"]
    curl(*store)
    floor = f"{URL}/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/pixeldata"
    with browser() as started:
        say("rows of the study list", median(rows(started) for _ in range(TIMES)), goal="500")
        seen, floors = [], []
        for _ in range(TIMES):
            floors.append(1000 * curl("-H", 'Accept: multipart/related; type="application/octet-stream"', floor))
            seen.append(viewing(started, ds))
        first, rest, base = median(one[0] for one in seen), median(one[1] - one[0] for one in seen), median(floors)
        say("first image, cold", first, goal="1000")
        say("first image, from the study", median(from_the_list(started, ds)[0] for _ in range(TIMES)), goal="350")
        say("requests for data before it", max(len(one[2]) for one in seen), "", "a search, metadata, a frame")
        print(*{url.split("?")[0].rsplit("/", 1)[1] for one in seen for url in one[2]})
        say("whole series, from the first image on", rest, goal="2500")
        say("the same bytes by curl", base)
        print(f"ratio {rest / base:.1f} (goal: 8)", flush=True)
        drawn = [scrolling(started, ds) for _ in range(3)]
        say("slices a second", median(one[0] for one in drawn), f"at {drawn[0][2]} columns", "25")
        say("worst gap", median(one[1] for one in drawn), goal="150")
        everything, own = memory(started, ds)
        say("memory of the renderer", everything, "MiB", f"{SLICES * EDGE * EDGE * 2 / 2**20 + 200:.0f}")
        say("of it not of Chromium's files", own, "MiB")
        link = {"latency": 80, "downloadThroughput": 1_250_000, "uploadThroughput": 1_250_000}
        slow = [from_the_list(started, ds, **link) for _ in range(3)]
        say("first image at 10 Mbit/s and 80 ms, from the study", median(one[0] for one in slow), goal="600")
        print("a preview:", *{one[1] for one in slow})
        say("the same with the page itself, cold", median(viewing(started, ds, **link)[0] for _ in range(3)))
        sent = [1000 * curl(*store) for _ in range(3)]
        page = [uploading(started, ds, f"{FOLDER}/slices") for _ in range(3)]
        print(f"upload: curl {median(sent):.0f} ms, the page {median(page):.0f} ms: {median(sent) / median(page):.2f} of it (goal: 0.5)", flush=True)
        if OHIF:
            theirs = [ohif(started, ds) for _ in range(3)]
            print(f"first image of OHIF: {median(theirs):.0f} ms; ours is {first / median(theirs):.2f} of it (goal: 0.25)", flush=True)


try:
    main()
finally:
    SERVER.terminate()
    SERVER.wait(60)
    shutil.rmtree(FOLDER)
