"""C-STORE and C-GET of many CT instances: Stowage beside Orthanc and dcmtk's storescp, in one run.

    python tests/bench/dimse.py target/release/stowage [INSTANCES]

Needs dcmtk, Orthanc (both are Debian packages), and the tests' Python with pydicom and pynetdicom. Prints seconds and instances a second; believe ratios,
not single numbers, and run it twice.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET

binary = os.path.abspath(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 400
work = pathlib.Path(tempfile.mkdtemp(prefix="dimse-bench."))
files = work / "files"
files.mkdir()


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
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(files / f"{number:05}.dcm", enforce_file_format=True)


def store(name, title, port):
    begun = time.monotonic()
    subprocess.run(["storescu", "-aec", title, "+sd", "127.0.0.1", str(port), str(files)], check=True,
                   stdout=subprocess.DEVNULL)
    took = time.monotonic() - begun
    print(f"C-STORE  {name:10} {took:8.2f} s {count / took:8.1f} instances/s", flush=True)


def get(name, title, port):
    arrived = 0

    def stored(event):
        nonlocal arrived
        arrived += 1
        return 0

    ae = AE(ae_title="BENCH")
    context = build_context(CTImageStorage, ExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port, contexts=[build_context(GET), context], ae_title=title,
                         ext_neg=[build_role(CTImageStorage, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, stored)])
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", study
    begun = time.monotonic()
    for _ in assoc.send_c_get(asked, GET):
        pass
    took = time.monotonic() - begun
    assoc.release()
    print(f"C-GET    {name:10} {took:8.2f} s {arrived / took:8.1f} instances/s", flush=True)


running = []
try:
    port, http = free(), free()
    env = dict(os.environ, STOWAGE_LISTEN=f"127.0.0.1:{http}", STOWAGE_DATA_DIR=str(work / "stowage"),
               STOWAGE_DIMSE_LISTEN=f"127.0.0.1:{port}", STOWAGE_DIMSE_PEERS="any", STOWAGE_LOG="warn")
    running.append(subprocess.Popen([binary], env=env))
    wait(port)
    store("Stowage", "STOWAGE", port)
    get("Stowage", "STOWAGE", port)
    url = f"http://127.0.0.1:{http}/dicom-web/studies"
    begun = time.monotonic()
    for path in sorted(files.iterdir()):
        # Stored already: sent under new UIDs it would measure pydicom too.
        request = urllib.request.Request(url, path.read_bytes(), {"Content-Type": "application/dicom", "Accept": "application/dicom+json"})
        urllib.request.urlopen(request).read()
    took = time.monotonic() - begun
    print(f"STOW     {'Stowage':10} {took:8.2f} s {count / took:8.1f} instances/s, one by one, again", flush=True)

    if shutil.which("storescp"):
        port = free()
        (work / "storescp").mkdir()
        running.append(subprocess.Popen(["storescp", "-od", str(work / "storescp"), str(port)], stdout=subprocess.DEVNULL))
        wait(port)
        store("storescp", "ANY-SCP", port)

    orthanc = shutil.which("Orthanc")
    if orthanc:
        port = free()
        settings = {"StorageDirectory": str(work / "orthanc"), "IndexDirectory": str(work / "orthanc"), "DicomPort": port,
                    "HttpPort": free(), "DicomAet": "ORTHANC", "DicomAlwaysAllowGet": True, "DicomAlwaysAllowStore": True,
                    "RemoteAccessAllowed": False, "Plugins": []}
        (work / "orthanc.json").write_text(json.dumps(settings))
        running.append(subprocess.Popen([orthanc, str(work / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait(port)
        store("Orthanc", "ORTHANC", port)
        get("Orthanc", "ORTHANC", port)
finally:
    for process in running:
        process.terminate()
    for process in running:
        process.wait()
    shutil.rmtree(work, ignore_errors=True)
