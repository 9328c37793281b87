#!/usr/bin/env python3
"""Memory of a release server under attack, alone and by eight callers at once (docs/reliability.md, "Under attack").

    cargo build --release && tests/measure/attacks.py target/release/stowage [ATTACK…]

Each attack runs against a fresh server with STOWAGE_MEMORY_BYTES=268435456. Printed: peak resident memory, first without the
pages of files (the binary, the mapped index), then with them; the limit is idle + 256 + 64 MiB. Beside the attack one client
asks for /health/live and another one searches: longest and median time, and answers other than 200. Exit code 1 when a limit is
exceeded. Standard library only.
"""

import base64
import http.client
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

MIB = 1 << 20
BUDGET = 256 * MIB
ROOT = "1.2.826.0.1.3680043.8.498.77"
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
SECONDARY_CAPTURE, PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.30"
LONG = {"OB", "OW", "OF", "SQ", "UT"}
J2K = 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90'
XML = 'multipart/related; type="application/dicom+xml"'


# --- instances, built from the standard (PS3.5 §7, PS3.10 §7)


def element(group, number, vr, value):
    value = value.encode() if isinstance(value, str) else value
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH", group, number) + vr.encode()
    return head + (b"\0\0" + struct.pack("<I", len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


def short(group, number, value):
    return element(group, number, "US", struct.pack("<H", value))


def item(content):
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content


def uids(n, i=1):
    return f"{ROOT}.{n}", f"{ROOT}.{n}.1", f"{ROOT}.{n}.1.{i}"


def part10(n, content, i=1, syntax=EXPLICIT, sop_class=SECONDARY_CAPTURE):
    """A file; content: what comes behind the identifiers."""
    study, series, instance = uids(n, i)
    meta = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", sop_class) + element(2, 3, "UI", instance)
    meta += element(2, 0x10, "UI", syntax) + element(2, 0x12, "UI", "1.2.3.4")
    meta = element(2, 0, "UL", struct.pack("<I", len(meta))) + meta
    body = element(8, 0x16, "UI", sop_class) + element(8, 0x18, "UI", instance) + element(8, 0x60, "CS", "OT")
    body += element(0x10, 0x10, "PN", f"A^{n}") + element(0x10, 0x20, "LO", f"P{n}")
    body += element(0x20, 0xD, "UI", study) + element(0x20, 0xE, "UI", series) + content
    if syntax == DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = packer.compress(body) + packer.flush()
        body += b"\0" * (len(body) % 2)
    return b"\0" * 128 + b"DICM" + meta + body


def image(rows, columns, bits, frames=1):
    out = short(0x28, 2, 1) + element(0x28, 4, "CS", "MONOCHROME2")
    if frames != 1:
        out += element(0x28, 8, "IS", str(frames))
    out += short(0x28, 0x10, rows) + short(0x28, 0x11, columns)
    return out + short(0x28, 0x100, bits) + short(0x28, 0x101, bits) + short(0x28, 0x102, bits - 1) + short(0x28, 0x103, 0)


def pixels(data):
    return element(0x7FE0, 0x10, "OB", data)


def large_header(n, i, mib, syntax=EXPLICIT, random=False):
    """Some MiB of text in a sequence."""
    texts = (os.urandom(30000).hex() if random else f"{i:06d}" * 10000 for _ in range(mib * 17))
    return part10(n, element(0x40, 0xA730, "SQ", b"".join(item(element(0x40, 0xA160, "UT", t)) for t in texts)), i, syntax)


def wide(n=500):
    """A million empty private elements."""
    empty = (struct.pack("<HH", 0x0901 + 2 * (i // 0xE000), 0x1000 + i % 0xE000) + b"LO\0\0" for i in range(1_000_000))
    return part10(n, image(1, 1, 8) + b"".join(empty) + pixels(b"\0\0"), syntax=DEFLATED)


def path(n, i=1):
    study, series, instance = uids(n, i)
    return f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"


# --- the server


class Server:
    def __init__(self, binary):
        self.folder = tempfile.mkdtemp(prefix="stowage-attack-")
        settings = dict(
            os.environ,
            STOWAGE_DATA_DIR=f"{self.folder}/data",
            STOWAGE_LISTEN="127.0.0.1:0",
            STOWAGE_ADDRESS_FILE=f"{self.folder}/address",
            STOWAGE_MEMORY_BYTES=str(BUDGET),
        )
        log = open(f"{self.folder}/log", "wb")
        self.process = subprocess.Popen([binary], env=settings, stdout=log, stderr=log)
        while not os.path.exists(f"{self.folder}/address"):
            if self.process.poll() is not None:
                sys.exit(open(f"{self.folder}/log").read())
            time.sleep(0.05)
        self.address = open(f"{self.folder}/address").read().strip()
        self.store(part10(1, b""))
        self.get("/dicom-web/studies")
        time.sleep(0.5)
        self.idle, self.idle_all = self.memory("VmRSS")

    def memory(self, field):
        """Resident memory in MiB: without the pages of files, and with them."""
        rows = (line.split() for line in open(f"/proc/{self.process.pid}/status"))
        kib = {row[0].rstrip(":"): int(row[1]) for row in rows if row[0] in ("VmRSS:", "VmHWM:", "RssFile:")}
        return (kib[field] - kib["RssFile"]) / 1024, kib[field] / 1024

    def forget_peak(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as refs:
            refs.write("5")

    def send(self, method, where, body=None, headers=None, timeout=300):
        client = http.client.HTTPConnection(self.address, timeout=timeout)
        client.request(method, where, body, headers or {})
        answer = client.getresponse()
        length = 0
        while chunk := answer.read(MIB):
            length += len(chunk)
        client.close()
        return answer.status, length

    def get(self, where, accept="*/*"):
        return self.send("GET", where, headers={"Accept": accept})

    def store(self, *files, media="application/dicom"):
        body = b"".join(b"--BB\r\nContent-Type: " + media.encode() + b"\r\n\r\n" + f + b"\r\n" for f in files) + b"--BB--\r\n"
        kind = {"Content-Type": f'multipart/related; type="{media}"; boundary=BB', "Accept": "application/dicom+json"}
        return self.send("POST", "/dicom-web/studies", body, kind)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.folder)


def at_once(calls):
    results = [None] * len(calls)

    def run(at, call):
        try:
            results[at] = call()
        except Exception as error:  # what a client sees of a server that broke off
            results[at] = repr(error)[:60]

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return results


class Probes:
    """A client that asks for /health/live, and one that searches, until they are ended."""

    def __init__(self, server):
        self.ended = False
        self.seen = {"live": [], "search": []}
        routes = {"live": "/health/live", "search": "/dicom-web/studies?PatientID=P1"}
        self.threads = [threading.Thread(target=self.run, args=(server, name, where)) for name, where in routes.items()]
        [thread.start() for thread in self.threads]

    def run(self, server, name, where):
        while not self.ended:
            begun = time.perf_counter()
            try:
                status = server.send("GET", where, timeout=60)[0]
            except OSError as error:
                status = repr(error)
            self.seen[name].append((time.perf_counter() - begun, status))
            time.sleep(0.02)

    def end(self):
        self.ended = True
        [thread.join() for thread in self.threads]
        said = []
        for name, seen in self.seen.items():
            times = sorted(1000 * taken for taken, _ in seen)
            bad = sum(status != 200 for _, status in seen)
            said.append(f"{name} max {times[-1]:.0f} median {times[len(times) // 2]:.0f} ms, {bad} of {len(seen)} bad")
        return "; ".join(said)


# --- the attacks: each prepares what is stored, and returns calls that are made at once, by `k` callers


def deflated_parts(server, k):
    files = [large_header(100, i, 40, DEFLATED) for i in range(30)]
    return [lambda: server.store(*files)] * k


def large_headers(server, k):
    files = [large_header(110, i, 2) for i in range(120)]
    return [lambda: server.store(*files)] * min(k, 3)


def uploads(server, k):
    files = [part10(300 + i, element(0x42, 0x11, "OB", os.urandom(15 * MIB))) for i in range(16)]
    headers = {"Content-Type": "application/dicom"}
    return [lambda f=f: server.send("POST", "/dicom-web/studies", f, headers) for f in files[: 16 if k > 1 else 4]]


def outcomes(server, k):
    many = b"[" + b",".join([b"{}"] * 300_000) + b"]"
    calls = [
        lambda: server.store(many, media="application/dicom+json"),
        lambda: server.store(*[b""] * 200_000),
        lambda: server.store(*[b"x"] * 9_999),
    ]
    return calls * max(1, k // 3)


def scans(server, k):
    for i in range(60):
        server.store(large_header(120 + i, 1, 2, random=True))
    calls = [
        lambda: server.get("/dicom-web/instances?ImageComments=x*"),
        lambda: server.get("/dicom-web/instances?ReferencedFileID=x&includefield=all"),
        lambda: server.get("/dicom-web/instances?includefield=all&limit=50"),
        lambda: server.get(f"/dicom-web/studies/{uids(125)[0]}/metadata", XML),
    ]
    return calls * max(1, k // 2)


def float_frame(server, k):
    side = 13_000
    pixel = short(0x28, 2, 1) + element(0x28, 4, "CS", "MONOCHROME2") + short(0x28, 0x10, side) + short(0x28, 0x11, side)
    pixel += short(0x28, 0x100, 32) + element(0x7FE0, 8, "OF", b"\0" * (side * side * 4))
    server.store(part10(200, pixel, syntax=DEFLATED, sop_class=PARAMETRIC_MAP))
    return [lambda i=i: server.get(f"{path(200)}/rendered?viewport={100 + i},100") for i in range(k)]


def frame_count(server, k):
    bits = 2**31 - 8
    file = part10(400, image(1, 1, 1, bits) + pixels(b"\0" * (bits // 8)), syntax=DEFLATED)
    return [lambda: server.store(file)] + [lambda: server.get(path(400) + "/rendered")] * k


def lookup_tables(server, k):
    table = element(0x28, 0x3002, "US", struct.pack("<HHH", 0, 0, 16)) + element(0x28, 0x3006, "OW", b"\0\1" * (4 * MIB))
    file = image(8, 8, 8) + element(0x28, 0x3010, "SQ", item(table) * 30) + pixels(b"\0" * 64)
    server.store(part10(650, file, syntax=DEFLATED))
    return [lambda i=i: server.get(f"{path(650)}/rendered?viewport={20 + i},20") for i in range(max(k, 2))]


def reads_of(server, n, k):
    study = uids(n)[0]
    routes = [
        (f"/dicom-web/instances?StudyInstanceUID={study}&includefield=all", "*/*"),
        ("/dicom-web/instances?ImageComments=xx", "*/*"),
        ("/dicom-web/instances?0040A730.0040A160=zz*", "*/*"),
        (path(n) + "/metadata", "*/*"),
        (path(n) + "/metadata", XML),
        (path(n) + "/rendered", "*/*"),
        (path(n) + "/thumbnail", "*/*"),
        (path(n) + "/bulkdata", "*/*"),
        (path(n) + "/frames/1", "*/*"),
        ("/v2/changefeed?limit=5", "*/*"),
        (path(n), "*/*"),
    ]
    for where, accept in routes:
        yield [lambda w=where, a=accept: server.get(w, a)] * k


def wide_instance(server, k):
    server.store(wide())
    return reads_of(server, 500, k)


def many_items(server, k):
    file = image(1, 1, 8) + element(0x40, 0x275, "SQ", item(b"") * 500_000) + pixels(b"\0\0")
    server.store(part10(520, file, syntax=DEFLATED))
    return reads_of(server, 520, k)


def bulk_values(server, k):
    items = b"".join(item(element(0x42, 0x11, "OB", b"\0" * 1200)) for _ in range(60_000))
    server.store(part10(660, element(0x40, 0xA730, "SQ", items), syntax=DEFLATED))
    return reads_of(server, 660, k)


def zipped(length, level=9):
    """So many zeros as gzip, a thousandth of them."""
    packer, out = zlib.compressobj(level, zlib.DEFLATED, 31), []
    for _ in range(length // MIB):
        out.append(packer.compress(bytes(MIB)))
    return b"".join(out) + packer.flush()


def zstd_zeros(length, window_log):
    """So many zeros as one zstd frame of that window (RFC 8878): blocks of one byte, repeated."""
    blocks = [struct.pack("<I", (128 * 1024 << 3) | 2 | (i == length // (128 * 1024) - 1))[:3] + b"\0" for i in range(length // (128 * 1024))]
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3]) + b"".join(blocks)


def compressed_bodies(server, k):
    """Requests that inflate to gibibytes, as files, as a multipart, as JSON; and windows that a decoder would have to hold."""
    many = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=BB', "Accept": "application/dicom+json"}
    one = {"Content-Type": "application/dicom", "Accept": "application/dicom+json"}
    task = {"Content-Type": "application/dicom+json", "Accept": "application/dicom+json"}
    long = zipped(2048 * MIB)
    calls = []
    for kind, where in ((many, "/dicom-web/studies"), (one, "/dicom-web/studies"), (task, "/dicom-web/workitems")):
        calls.append(lambda h=kind, w=where: server.send("POST", w, long, {**h, "Content-Encoding": "gzip"}))
        for window in (20, 27, 31):
            zeros = zstd_zeros(512 * MIB, window)
            calls.append(lambda h=kind, w=where, z=zeros: server.send("POST", w, z, {**h, "Content-Encoding": "zstd"}))
    return calls * max(1, k // 4)


def described(server, n, media, picture):
    study, series, instance = uids(n)
    uid = lambda value: {"vr": "UI", "Value": [value]}
    said = {"00080016": uid(SECONDARY_CAPTURE), "00080018": uid(instance), "0020000D": uid(study), "0020000E": uid(series)}
    said["7FE00010"] = {"vr": "OW", "BulkDataURI": "pixels"}
    head = b"--BB\r\nContent-Type: application/dicom+json\r\n\r\n" + json.dumps([said]).encode() + b"\r\n"
    body = head + b"--BB\r\nContent-Type: " + media.encode() + b"\r\nContent-Location: pixels\r\n\r\n" + picture + b"\r\n--BB--\r\n"
    kind = {"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=BB', "Accept": "application/dicom+json"}
    return server.send("POST", "/dicom-web/studies", body, kind)


def png(side, depth, color):
    """A black square: a few MiB for gigabytes."""
    channels = {0: 1, 2: 3, 6: 4}[color]
    row = 1 + side * depth * channels // 8
    packer, data = zlib.compressobj(9), []
    for _ in range(side):
        data.append(packer.compress(bytes(row)))
    data = b"".join(data) + packer.flush()
    chunk = lambda kind, content: struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, 0)) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(*tags, data=b""):
    """One directory behind the data; values that do not fit are offsets."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8 + len(data))


def pictures(server, k):
    """Small pictures that say they are large, or are when they are inflated."""
    huge = 65_535
    square = [(256, 3, 1, huge), (257, 3, 1, huge), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, huge)]
    flat = zlib.compress(bytes(64 * MIB), 9)
    sent = [
        ("image/png", png(30_000, 8, 0)),
        ("image/png", png(12_000, 16, 6)),
        ("image/gif", b"GIF89a" + struct.pack("<HHBBB", huge, huge, 0x80, 0, 0) + bytes(6) + b"," + struct.pack("<HHHHB", 0, 0, huge, huge, 0) + b"\2\2L\1\0;"),
        ("image/bmp", b"BM" + struct.pack("<IIIIiiHHIIIIII", 1000, 0, 54, 40, huge, huge, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(900)),
        ("image/tiff", tiff(*square, (273, 4, 1, 8), (279, 4, 1, len(flat)), data=flat)),
        ("image/tiff", tiff(*square, (273, 4, 2**30, 8), (279, 4, 2**30, 8), data=bytes(4096))),
    ]
    calls = [lambda n=n, m=media, p=picture: described(server, 700 + n, m, p) for n, (media, picture) in enumerate(sent)]
    return calls * max(1, k // 3)


def workitem(i, kib):
    """A procedure step with text without a column, and the attributes that it must have."""
    value = lambda vr, *values: {"vr": vr, "Value": list(values)}
    code = value("SQ", {"00080100": value("SH", "C"), "00080102": value("SH", "99X"), "00080104": value("LO", "c")})
    text = base64.b64encode(os.urandom(7_000)).decode()
    step = {
        "00404041": value("CS", "READY"),
        "00741000": value("CS", "SCHEDULED"),
        "00741200": value("CS", "MEDIUM"),
        "00741202": value("LO", "w"),
        "00741204": value("LO", "l"),
        "00404018": code,
        "00404005": value("DT", "20261129101500"),
        "00100010": value("PN", {"Alphabetic": f"A^{i}"}),
        "00100020": value("LO", f"W{i}"),
        "00380010": value("LO", "adm"),
        "00321060": value("LO", "p"),
    }
    step["0040A730"] = value("SQ", *[{"0040A160": value("UT", text)} for _ in range(kib // 10)])
    return step


def workitems(server, k):
    """Large workitems made at once, then searched and read with everything, in JSON and XML."""
    kind = {"Content-Type": "application/dicom+json", "Accept": "application/dicom+json"}
    bodies = [json.dumps([workitem(i, 900)]).encode() for i in range(100)]
    yield [lambda i=i: server.send("POST", f"/dicom-web/workitems?{uids(800, i)[2]}", bodies[i], kind) for i in range(100)]
    search = "/dicom-web/workitems?includefield=all"
    calls = [
        lambda: server.get(f"{search}&limit=100"),
        lambda: server.get(f"{search}&limit=100", XML),
        lambda: server.get("/dicom-web/workitems?0040A730.0040A160=zz*"),
        lambda: server.get(f"/dicom-web/workitems/{uids(800, 3)[2]}", XML),
        lambda: server.send("POST", "/dicom-web/workitems", b"[" + b"[" * 3 * MIB, kind),
        lambda: server.send("POST", "/dicom-web/workitems", b'[{"0040A730":{"vr":"SQ","Value":[' + b"{}," * 2 * MIB + b"{}]}}]", kind),
    ]
    yield calls * k


def everything(server, k):
    """One of each at once; by eight: two of each."""
    bulk_values(server, 1), wide_instance(server, 1)
    tables = lookup_tables(server, 1)
    side = 4096
    server.store(part10(670, image(side, side, 16) + element(0x7FE0, 0x10, "OW", b"\1\2" * side * side), syntax=DEFLATED))
    parts, heads = [large_header(100, i, 40, DEFLATED) for i in range(8)], [large_header(110, i, 2) for i in range(60)]
    calls = [
        lambda: server.store(*parts),
        lambda: server.store(*heads),
        lambda: server.get(path(500) + "/metadata"),
        lambda: server.get(path(500) + "/metadata", XML),
        lambda: server.get(path(500) + "/rendered"),
        lambda: server.get(path(660) + "/bulkdata"),
        lambda: server.get(path(660) + "/metadata"),
        lambda: server.get("/dicom-web/instances?includefield=all&limit=50"),
        lambda: server.get("/dicom-web/instances?ImageComments=x*"),
        lambda: server.get("/v2/changefeed?limit=100"),
        lambda: server.get(path(670) + "/rendered"),
        lambda: server.get(path(670) + "/frames/1", J2K),
        *tables[:1],
        *uploads(server, 1),
    ]
    return calls * (2 if k > 1 else 1)


ATTACKS = [
    deflated_parts,
    large_headers,
    uploads,
    outcomes,
    scans,
    float_frame,
    frame_count,
    lookup_tables,
    wide_instance,
    many_items,
    bulk_values,
    compressed_bodies,
    pictures,
    workitems,
    everything,
]


def measure(binary, attack, k):
    server = Server(binary)
    try:
        calls = attack(server, k)
        rounds = [calls] if isinstance(calls, list) else calls
        server.forget_peak()
        probes = Probes(server)
        counts = {}
        for calls in rounds:
            for result in at_once(calls):
                status = result[0] if isinstance(result, tuple) else result
                counts[status] = counts.get(status, 0) + 1
        beside = probes.end()
        peak, peak_all = server.memory("VmHWM")
        after = server.get("/dicom-web/studies?PatientID=P1")[0]
        held = peak <= server.idle + 320 and peak_all <= server.idle_all + 320 and after == 200
        print(
            f"{'held ' if held else 'BROKE'} {attack.__name__} by {k}: peak {peak:.0f} of {server.idle + 320:.0f} MiB "
            f"(with files {peak_all:.0f} of {server.idle_all + 320:.0f}); {beside}; answers {counts}; afterwards {after}",
            flush=True,
        )
        return held
    finally:
        server.stop()


def main():
    binary, names = sys.argv[1], sys.argv[2:]
    chosen = [attack for attack in ATTACKS if not names or attack.__name__ in names]
    held = [measure(binary, attack, k) for attack in chosen for k in (1, 8)]
    print(f"{sum(held)} of {len(held)} held")
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
