"""C-STORE, C-MOVE and C-GET of many CT instances: Stowage beside Orthanc and dcmtk's storescp, in one run.

    python tests/bench/dimse.py target/release/stowage [INSTANCES [LARGE]]

Needs dcmtk, Orthanc (both are Debian packages), and the tests' Python (target/tmp/python/bin/python). Prints seconds and instances a
second; believe ratios, not single numbers, and run it twice. LARGE is the size in MiB of one object whose peak memory is measured.
"""

import http.client
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import numpy
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MOVE

binary = os.path.abspath(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 400
large = int(sys.argv[3]) if len(sys.argv) > 3 else 0
work = pathlib.Path(tempfile.mkdtemp(prefix="dimse-bench.", dir=os.environ.get("BENCH_DIR")))
files = work / "files"
files.mkdir()
running = []


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nobody listens on {port}")


def tell(what, who, number, took):
    print(f"{what:22} {who:10} {took:8.2f} s {number / took:8.1f} instances/s", flush=True)


study, series = generate_uid(), generate_uid()
noise = numpy.random.default_rng(1)
for number in range(count):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.PatientID, ds.PatientName, ds.Modality = "BENCH", "Bench^Mark", "CT"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260101", "120000", "1", "1"
    ds.SeriesNumber, ds.InstanceNumber = 1, number + 1
    ds.Rows = ds.Columns = 512
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelData = noise.integers(0, 4096, 512 * 512, dtype=numpy.uint16).tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(files / f"{number:05}.dcm", enforce_file_format=True)
all_files = sorted(map(str, files.iterdir()))

sink_port = free()


class Sink:
    """An SCP that takes everything and keeps nothing, so that the sender is measured."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", sink_port))
        self.taken = 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            peer, _ = self.listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        stream = peer.makefile("rb", buffering=1 << 20)
        message = None
        while True:
            head = stream.read(6)
            if len(head) < 6:
                return
            kind, length = head[0], struct.unpack(">I", head[2:])[0]
            body = stream.read(length)
            if kind == 1:
                peer.sendall(self.accepted(body))
            elif kind == 5:
                peer.sendall(b"\x06\0\0\0\0\4\0\0\0\0")
            elif kind == 4:
                at = 0
                while at < length:
                    size, context, flags = struct.unpack(">IBB", body[at:at + 6])
                    if flags == 3:
                        message = self.fields(body[at + 6:at + 4 + size])
                    elif flags == 2:
                        self.taken += 1
                        peer.sendall(self.answer(context, message))
                    at += 4 + size
            else:
                return

    @staticmethod
    def fields(command):
        found, at = {}, 0
        while at < len(command):
            group, element, size = struct.unpack("<HHI", command[at:at + 8])
            found[element] = command[at + 8:at + 8 + size]
            at += 8 + size
        return found

    @staticmethod
    def accepted(request):
        out, at = request[:68], 68
        out += b"\x10\0" + struct.pack(">H", 21) + b"1.2.840.10008.3.1.1.1"
        while at < len(request):
            kind, size = request[at], struct.unpack(">H", request[at + 2:at + 4])[0]
            item = request[at + 4:at + 4 + size]
            if kind == 0x20:
                inner = 4
                while item[inner] != 0x40:
                    inner += 4 + struct.unpack(">H", item[inner + 2:inner + 4])[0]
                syntax = item[inner:inner + 4 + struct.unpack(">H", item[inner + 2:inner + 4])[0]]
                out += b"\x21\0" + struct.pack(">H", 4 + len(syntax)) + item[:1] + b"\0\0\0" + syntax
            at += 4 + size
        user = b"\x51\0\0\4" + struct.pack(">I", 131072) + b"\x52\0\0\5" + b"1.2.3"
        out += b"\x50\0" + struct.pack(">H", len(user)) + user
        return b"\2\0" + struct.pack(">I", len(out)) + out

    @staticmethod
    def answer(context, message):
        def element(number, value):
            return struct.pack("<HHI", 0, number, len(value)) + value

        body = element(2, message[2]) + element(0x100, b"\1\x80") + element(0x120, message[0x110])
        body += element(0x800, b"\1\1") + element(0x900, b"\0\0") + element(0x1000, message[0x1000])
        body = element(0, struct.pack("<I", len(body))) + body
        value = struct.pack(">IBB", len(body) + 2, context, 3) + body
        return b"\4\0" + struct.pack(">I", len(value)) + value


def store(name, title, port, senders=1):
    begun = time.monotonic()
    parts = [all_files[at::senders] for at in range(senders)]
    sending = [subprocess.Popen(["storescu", "-aec", title, "127.0.0.1", str(port), *part], stdout=subprocess.DEVNULL)
               for part in parts]
    for process in sending:
        assert process.wait() == 0
    tell(f"C-STORE, {senders} at once", name, count, time.monotonic() - begun)


def get(name, title, port):
    # dcmtk throws away what it receives: pynetdicom itself would be what is measured.
    begun = time.monotonic()
    subprocess.run(["getscu", "-aet", "BENCH", "-aec", title, "-S", "--ignore", "-k", "QueryRetrieveLevel=STUDY",
                    "-k", f"StudyInstanceUID={study}", "127.0.0.1", str(port)], check=True, stdout=subprocess.DEVNULL)
    tell("C-GET", name, count, time.monotonic() - begun)


def move(name, title, port):
    ae = AE(ae_title="BENCH")
    assoc = ae.associate("127.0.0.1", port, contexts=[build_context(MOVE)], ae_title=title)
    assert assoc.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", study
    before = sink.taken
    begun = time.monotonic()
    last = list(assoc.send_c_move(asked, "SINK", MOVE))[-1][0]
    took = time.monotonic() - begun
    assoc.release()
    assert sink.taken - before == count and last.Status == 0, (sink.taken - before, last)
    tell("C-MOVE", name, count, took)


def stowage(name):
    port, web = free(), free()
    peers = work / "peers.json"
    peers.write_text(json.dumps([{"aeTitle": "SINK", "host": "127.0.0.1", "port": sink_port}, {"aeTitle": "*"}]))
    env = dict(os.environ, STOWAGE_LISTEN=f"127.0.0.1:{web}", STOWAGE_DATA_DIR=str(work / name),
               STOWAGE_DIMSE_LISTEN=f"127.0.0.1:{port}", STOWAGE_DIMSE_PEERS=str(peers), STOWAGE_LOG="warn")
    process = subprocess.Popen([binary], env=env)
    running.append(process)
    wait(port)
    return process, port, web


def end(process):
    running.remove(process)
    process.terminate()
    process.wait()


def memory(process, field):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) // 1024
    raise SystemExit(f"no {field}")


def large_object():
    path = work / "large.dcm"
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = generate_uid(), generate_uid(), "LARGE"
    ds.Modality = "CT"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    size = min((large << 20), 0xFFFFFFFE)
    raw = path.read_bytes()
    process, port, web = stowage("large")
    idle = memory(process, "VmRSS")
    peer = socket.create_connection(("127.0.0.1", port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def item(kind, value):
        return struct.pack(">BBH", kind, 0, len(value)) + value

    syntax = item(0x30, CTImageStorage.encode()) + item(0x40, ExplicitVRLittleEndian.encode())
    body = b"\0\1\0\0" + b"STOWAGE".ljust(16) + b"LARGE".ljust(16) + b"\0" * 32 + item(0x10, b"1.2.840.10008.3.1.1.1")
    body += item(0x20, b"\1\0\0\0" + syntax) + item(0x50, item(0x51, struct.pack(">I", 0)) + item(0x52, b"1.2.3"))
    peer.sendall(b"\1\0" + struct.pack(">I", len(body)) + body)
    assert peer.recv(65536)[0] == 2

    def value(flags, data):
        return b"\4\0" + struct.pack(">IIBB", len(data) + 6, len(data) + 2, 1, flags) + data

    def element(number, data):
        data += b"\0" * (len(data) % 2)
        return struct.pack("<HHI", 0, number, len(data)) + data

    command = element(2, CTImageStorage.encode()) + element(0x100, b"\1\0") + element(0x110, b"\1\0") + element(0x700, b"\0\0")
    command += element(0x800, b"\1\0") + element(0x1000, ds.SOPInstanceUID.encode())
    peer.sendall(value(3, element(0, struct.pack("<I", len(command))) + command))
    peer.sendall(value(0, raw[144 + struct.unpack("<I", raw[140:144])[0]:] + b"\xe0\x7f\x10\0OW\0\0" + struct.pack("<I", size)))
    piece, left = bytes(65536), size
    begun = time.monotonic()
    while left > 0:
        peer.sendall(value(0, piece[:min(left, len(piece))]))
        left -= len(piece)
    peer.sendall(value(2, b""))
    answer = peer.recv(65536)
    assert b"\0\0\0\x09\2\0\0\0\0\0" in answer, answer
    took = time.monotonic() - begun
    print(f"an object of {size >> 20} MiB   {took:8.2f} s, idle {idle} MiB, peak {memory(process, 'VmHWM')} MiB", flush=True)
    peer.close()
    before = sink.taken
    ae = AE(ae_title="BENCH")
    assoc = ae.associate("127.0.0.1", port, contexts=[build_context(MOVE)], ae_title="STOWAGE")
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", ds.StudyInstanceUID
    begun = time.monotonic()
    assert list(assoc.send_c_move(asked, "SINK", MOVE))[-1][0].Status == 0 and sink.taken == before + 1
    took = time.monotonic() - begun
    assoc.release()
    print(f"its C-MOVE             {took:8.2f} s, peak {memory(process, 'VmHWM')} MiB", flush=True)
    end(process)


sink = Sink()
try:
    one, port, web = stowage("one")
    store("Stowage", "STOWAGE", port)
    get("Stowage", "STOWAGE", port)
    move("Stowage", "STOWAGE", port)
    end(one)

    four, port, web = stowage("four")
    store("Stowage", "STOWAGE", port, senders=4)
    end(four)

    other, port, web = stowage("stow")
    client = http.client.HTTPConnection("127.0.0.1", web)
    bodies = [pathlib.Path(path).read_bytes() for path in all_files]
    begun = time.monotonic()
    for body in bodies:
        client.request("POST", "/dicom-web/studies", body, {"Content-Type": "application/dicom", "Accept": "application/dicom+json"})
        answer = client.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    tell("STOW, one by one", "Stowage", count, time.monotonic() - begun)
    end(other)

    if large:
        large_object()

    if shutil.which("storescp"):
        port = free()
        (work / "storescp").mkdir()
        process = subprocess.Popen(["storescp", "-od", str(work / "storescp"), str(port)], stdout=subprocess.DEVNULL)
        running.append(process)
        wait(port)
        store("storescp", "ANY-SCP", port)
        end(process)

    program = next((path for path in ("/usr/sbin/Orthanc", "/usr/bin/Orthanc") if os.path.exists(path)), None)
    if program:
        port = free()
        settings = {"StorageDirectory": str(work / "orthanc"), "IndexDirectory": str(work / "orthanc"), "DicomPort": port,
                    "HttpPort": free(), "DicomAet": "ORTHANC", "DicomAlwaysAllowGet": True, "DicomAlwaysAllowStore": True,
                    "DicomAlwaysAllowMove": True, "RemoteAccessAllowed": False, "Plugins": [],
                    "DicomModalities": {"sink": ["SINK", "127.0.0.1", sink_port], "bench": ["BENCH", "127.0.0.1", 104]}}
        (work / "orthanc.json").write_text(json.dumps(settings))
        process = subprocess.Popen([program, str(work / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)
        wait(port)
        store("Orthanc", "ORTHANC", port)
        get("Orthanc", "ORTHANC", port)
        move("Orthanc", "ORTHANC", port)
finally:
    for process in running:
        process.terminate()
    for process in running:
        process.wait()
    shutil.rmtree(work, ignore_errors=True)
