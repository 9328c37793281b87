"""What the page may cost, as counts and bytes: its first screen, a new window, memory, studies that come and go, an upload."""


import numpy as np
from page import ROOT, URL, browser, expect, file, go, noise, screen, store
from pydicom.uid import generate_uid

# Bytes of the first screen over the wire, and requests for it.
# 60 KiB of files; what is counted has the heads of the answers too, about 0.3 kB each.
FIRST_BYTES = 60 << 10
FIRST_REQUESTS = 40
SLICES = 60


def slices(count=SLICES, edge=64):
    study, series = generate_uid(), generate_uid()
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1]}
    return [file(noise(edge, edge, seed=at), StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=at + 1, ImagePositionPatient=[0, 0, at], WindowCenter=2000, WindowWidth=4000, **place) for at in range(count)]


def first_screen(started):
    with screen(started) as page:
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        sizes, own_files = [], set()
        session.on("Network.requestWillBeSent", lambda event: "/ui/" in event["request"]["url"] and own_files.add(event["requestId"]))
        session.on("Network.loadingFinished", lambda event: event["requestId"] in own_files and sizes.append(event["encodedDataLength"]))
        page.goto(f"{URL}/ui/")
        page.locator("table.studies tbody tr").first.wait_for()
        own = [url for url in page.asked if "/ui/" in url]
        assert len(own) <= FIRST_REQUESTS, own
        assert sum(sizes) <= FIRST_BYTES, sizes
        # The second time nothing but the page itself and its answers comes over the wire.
        sizes.clear()
        page.asked.clear()
        page.reload()
        page.locator("table.studies tbody tr").first.wait_for()
        # Files that are read from the disk while they are worked on may not be kept.
        assert sum(sizes) <= FIRST_BYTES / 4 or any("/ui/dev/" in url for url in own), sizes


def a_window_costs_nothing(started, ds):
    with screen(started) as page:
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.wait_for_function("(n) => document.querySelector('.viewport')?.viewport.store.held.size === n", arg=SLICES)
        page.locator(".strip img").first.wait_for()
        page.asked.clear()
        box = page.locator(".stage").bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 200)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 260, steps=8)
        page.mouse.up()
        for key in ["Home", "End", "PageUp", "PageUp", "i", "r", "h", "+", "Shift+ArrowRight"]:
            page.keyboard.press(key)
        expect(page.locator(".corner.bl div").first).to_have_text(f"{SLICES - 20} of {SLICES}")
        asked = [url for url in page.asked if "/dicom-web/" in url]
        assert not asked, asked


def memory_has_an_end(started, ds):
    """With room for a quarter of a series the rest is given up, and comes again when it is looked at."""
    with screen(started) as page:
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.wait_for_function("(n) => document.querySelector('.viewport')?.viewport.store.held.size === n", arg=SLICES)
        cap = SLICES * 64 * 64 * 2 // 4
        # The first slice is forgotten, so that it comes again into less room.
        page.evaluate("(cap) => { const { store, frames } = document.querySelector('.viewport').viewport; store.cap = cap; const key = [...store.held.keys()].find((one) => one.startsWith(frames[0].instance)); store.bytes -= store.held.get(key).bytes; store.held.delete(key); window.most = 0; const keep = store.keep.bind(store); store.keep = (key, image) => { const kept = keep(key, image); window.most = Math.max(window.most, store.bytes); return kept } }", cap)
        for key in ["Home", "End", "Home", "PageDown", "End"]:
            page.keyboard.press(key)
            page.wait_for_function("() => { const { viewport } = document.querySelector('.viewport'); return viewport.shown === viewport.frame }")
        held, most = page.evaluate("[document.querySelector('.viewport').viewport.store.bytes, window.most]")
        assert held <= cap and most <= cap, (held, most, cap)


def what_is_left_is_given_back(started, studies):
    """Studies that are opened and closed leave no elements, listeners or frames behind."""
    with screen(started) as page:
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def counted():
            session.send("HeapProfiler.collectGarbage")
            metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            return metrics["Nodes"], metrics["JSEventListeners"], metrics["JSHeapUsedSize"]

        def rounds(times):
            for _ in range(times):
                for ds in studies:
                    go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
                    page.wait_for_function("(uid) => { const v = document.querySelector('.viewport')?.viewport; return v?.drawn > 0 && v.shown?.series === uid }", arg=ds.SeriesInstanceUID)
                    go(page, "studies")
                    page.locator("table.studies tbody tr").first.wait_for()
            return counted()

        nodes, listeners, heap = rounds(2)
        more_nodes, more_listeners, more_heap = rounds(3)
        assert more_nodes <= nodes * 1.1 + 50, (nodes, more_nodes)
        assert more_listeners <= listeners * 1.1 + 20, (listeners, more_listeners)
        assert more_heap <= heap * 1.1 + 500_000, (heap, more_heap)


def an_upload_takes_few_requests(started):
    series = generate_uid()
    files = [{"name": f"{at}.dcm", "mimeType": "application/dicom", "buffer": file(noise(8, 8), StudyInstanceUID=series, InstanceNumber=at)[0]} for at in range(100)]
    with screen(started) as page:
        go(page, "upload")
        page.locator("input[type=file]").first.set_input_files(files)
        expect(page.locator(".counts")).to_contain_text("100 of 100 stored")
        sent = [url for url in page.asked if url == f"{ROOT}/studies"]
        # Twenty files a request; the first ones begin before all are looked at.
        assert len(sent) <= 100 / 20 + 4, sent


def a_series_comes_in_one_answer(started, files):
    """A series of many slices is one request beside those for what is looked at, and has the samples of its frames."""
    _, ds = files[0]
    with screen(started) as page:
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.wait_for_function("(n) => document.querySelector('.viewport')?.viewport.store.held.size === n", arg=SLICES)
        frames = [url for url in page.asked if "/frames/" in url and "rendered" not in url]
        whole = [url for url in page.asked if url.endswith("/pixeldata")]
        assert len(whole) == 1 and len(frames) == len(set(frames)) <= 16, (whole, len(frames))
        held = page.evaluate("() => Object.fromEntries([...document.querySelector('.viewport').viewport.store.held].map(([key, image]) => [key.split('/')[0], Array.from(image.data)]))")
        assert all(held[ds.SOPInstanceUID] == list(np.frombuffer(ds.PixelData, "<u2")) for _, ds in files)


def an_answer_that_breaks_off_is_gone_on_with(started, files):
    """Where the one answer fails, the frames come one by one."""
    _, ds = files[0]
    with screen(started) as page:
        page.route("**/pixeldata", lambda route: route.abort("connectionreset"))
        go(page, f"view/{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}")
        page.wait_for_function("(n) => document.querySelector('.viewport')?.viewport.store.held.size === n", arg=SLICES)
        frames = [url for url in page.asked if "/frames/" in url and "rendered" not in url]
        assert len(frames) == len(set(frames)) == SLICES, len(frames)


many = slices()
few = [slices(3) for _ in range(4)]
store(data for data, _ in many)
for some in few:
    store(data for data, _ in some)
with browser() as started:
    first_screen(started)
    a_series_comes_in_one_answer(started, many)
    an_answer_that_breaks_off_is_gone_on_with(started, many)
    a_window_costs_nothing(started, many[0][1])
    memory_has_an_end(started, many[0][1])
    what_is_left_is_given_back(started, [some[0][1] for some in few])
    an_upload_takes_few_requests(started)
