"""Every representation of real files, against pydicom and independent decoders.

usage: representations.py SERVICE_URL FILE...

Stores each file, then compares: frames in Explicit VR Little Endian with pydicom's decoding, the instance in every transfer
syntax the server says it can make, pictures, thumbnails, ZIP, XML and WADO-URI. One line a step; exit code 1 on the first
difference.
"""
import io
import re
import struct
import sys
import zipfile
from xml.etree import ElementTree

import numpy as np
import pydicom
import requests
from pydicom.pixels import pixel_array
from requests_toolbelt import MultipartDecoder

LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91",
         "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"}
# No decoder of the test environment reads these.
UNREADABLE = {"1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.8.1"}
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
base = sys.argv[1] + "/dicom-web"
http = requests.Session()


def get(url, accept, status=200, **more):
    response = http.get(url, headers={"Accept": accept, **more.pop("headers", {})}, **more)
    assert response.status_code == status, (url, accept, response.status_code, response.text[:300])
    return response


def parts(response):
    return MultipartDecoder.from_response(response).parts


def pixels(data):
    """Samples as pydicom sees them, without color conversion."""
    return pixel_array(data, raw=True)


def as_received(content, original):
    """The file itself; one whose meta information is missing or wrong has another one before the same data set."""
    if content == original:
        return True
    named = pydicom.dcmread(io.BytesIO(original), force=True, stop_before_pixels=True)
    meta = named.file_meta
    good = original[128:132] == b"DICM" and meta.get("TransferSyntaxUID") and meta.get("MediaStorageSOPInstanceUID") == named.SOPInstanceUID
    made = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    return not good and made.file_meta.MediaStorageSOPInstanceUID == named.SOPInstanceUID and content.endswith(original[-512:])


studies = []
for path in sys.argv[2:]:
    # Several sample files share their UIDs.
    while studies:
        assert http.delete(studies.pop()).status_code == 204
    original = open(path, "rb").read()
    dataset = pydicom.dcmread(path, force=True)
    response = http.post(base + "/studies", data=original, headers={"Content-Type": "application/dicom"})
    assert response.status_code == 200, (path, response.status_code, response.text)
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    study = url.split("/series/")[0]
    studies.append(study)

    assert as_received(get(url, "application/dicom; transfer-syntax=*").content, original), path
    metadata = get(url + "/metadata", "application/dicom+json").json()[0]
    available = metadata["00083002"]["Value"]
    assert available[0] == syntax, (available, syntax)

    xml = parts(get(url + "/metadata", 'multipart/related; type="application/dicom+xml"'))[0].content
    root = ElementTree.fromstring(xml)
    tags = {node.get("tag") for node in root}
    assert tags == set(metadata) - {"00083002"}, (tags ^ set(metadata))

    found = parts(get(base + "/instances", 'multipart/related; type="application/dicom+xml"', params={"SOPInstanceUID": str(dataset.SOPInstanceUID)}))
    assert len(found) == 1 and b'keyword="SOPInstanceUID"' in found[0].content

    archive = zipfile.ZipFile(io.BytesIO(get(study, "application/zip").content))
    assert archive.testzip() is None
    assert any(as_received(archive.read(name), original) for name in archive.namelist())

    wado = get(base, "*/*", params={"requestType": "WADO", "studyUID": "", "seriesUID": "", "objectUID": dataset.SOPInstanceUID,
                                    "contentType": "application/dicom", "transferSyntax": "*"})
    assert as_received(wado.content, original)

    for level in (url, url.split("/instances/")[0], study):
        thumbnail = get(level + "/thumbnail?accept=image%2Fjpeg", 'multipart/related; type="application/octet-stream"')
        assert thumbnail.headers["Content-Type"] == "image/jpeg" and thumbnail.content[:2] == b"\xff\xd8"

    if "PixelData" not in dataset:
        html = get(url + "/rendered", "text/html")
        assert html.headers["Content-Type"].startswith("text/html") and "<" in html.text
        get(url + "/frames/1", 'multipart/related; type="*/*"', 404)
        print("ok:", path.rsplit("/", 1)[-1], "has no pixels")
        continue

    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    stored = parts(get(url + "/frames/1", 'multipart/related; type="*/*"'))[0]
    assert f"transfer-syntax=".encode() in stored.headers[b"Content-Type"]
    reference = pixels(dataset)
    native = get(url, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1").content
    converted = pydicom.dcmread(io.BytesIO(native))
    assert converted.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    ours = pixels(converted)
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    difference = int(np.abs(ours.astype(np.int64) - reference.astype(np.int64)).max())
    recolored = converted.PhotometricInterpretation != dataset.PhotometricInterpretation
    if syntax not in LOSSY:
        assert difference == 0, (path, difference)
    elif not recolored:
        assert difference <= 2, (path, difference)
    frame = parts(get(url + "/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'))[0].content
    data = converted.PixelData[: len(converted.PixelData) // frames] if dataset.BitsAllocated > 1 else None
    assert data is None or frame == data[: len(frame)], path

    for wanted in available[1:]:
        made = get(url, f"application/dicom; transfer-syntax={wanted}").content
        again = pydicom.dcmread(io.BytesIO(made))
        assert again.file_meta.TransferSyntaxUID == wanted
        if wanted in UNREADABLE:
            continue
        result = pixels(again)
        difference = np.abs(result.astype(np.int64) - ours.astype(np.int64))
        if wanted in LOSSY:
            assert again.LossyImageCompression == "01"
            if again.PhotometricInterpretation == converted.PhotometricInterpretation:
                assert difference.mean() < 0.06 * 2 ** int(again.BitsStored), (path, wanted, difference.mean())
        elif again.PhotometricInterpretation == converted.PhotometricInterpretation:
            assert difference.max() == 0, (path, wanted, difference.max())

    png = get(url + "/rendered", "image/png").content
    width, height = struct.unpack(">II", png[16:24])
    assert (width, height) == (dataset.Columns, dataset.Rows)
    get(url + "/rendered?quality=0", "image/jpeg", 400)
    small = get(url + "/rendered?viewport=50,50&quality=50", "image/jpeg").content
    assert small[:2] == b"\xff\xd8"
    gif = get(url + "/rendered", "image/gif").content
    assert gif[:4] == b"GIF8"
    for level in (url + "/frames/1", url.split("/instances/")[0], study):
        assert get(level + "/rendered", "*/*").headers["Content-Type"] == "image/jpeg"
    several = parts(get(study + "/rendered", 'multipart/related; type="image/png"'))
    assert len(several) == frames and several[0].content == png
    assert get(url + "/frames/1/thumbnail?viewport=32,32", "image/png").content[:4] == b"\x89PNG"
    picture = get(base, "*/*", params={"requestType": "WADO", "studyUID": dataset.StudyInstanceUID, "seriesUID": dataset.SeriesInstanceUID,
                                       "objectUID": dataset.SOPInstanceUID, "contentType": "image/png", "rows": "20"})
    assert struct.unpack(">II", picture.content[16:24])[1] == 20
    for bad in ({"anonymize": "yes"}, {"windowCenter": "1"}, {"presentationUID": "1.2"}, {"rows": "x"}):
        wrong = {"requestType": "WADO", "objectUID": dataset.SOPInstanceUID, **bad}
        get(base, "*/*", 400, params=wrong)

    described = get(study + "/metadata", "application/dicom+json").text
    named = set(re.findall(r'"BulkDataURI":"([^"]+)"', described))
    for level in (url, url.split("/instances/")[0], study):
        values = parts(get(level + "/bulkdata", 'multipart/related; type="*/*"'))
        located = {value.headers[b"Content-Location"].decode() for value in values}
        # What stands in the metadata has a path as well.
        assert named <= located and len(located - named) == described.count('"InlineBinary"'), (named, located)
        assert len(parts(get(level + "/pixeldata", 'multipart/related; type="*/*"'))) == (1 if syntax in UNCOMPRESSED else frames)
    for uri in named:
        # Octets of compressed pixel data are samples.
        if uri == metadata["7FE00010"].get("BulkDataURI") and syntax not in UNCOMPRESSED:
            continue
        assert parts(get(uri, 'multipart/related; type="*/*"'))[0].content == get(uri, "application/octet-stream").content

    bulk = metadata["7FE00010"]["BulkDataURI"]
    whole = get(bulk, "application/octet-stream").content
    part = get(bulk, "application/octet-stream", 206, headers={"Range": "bytes=10-19"}).content
    assert part == whole[10:20]
    get(bulk, "application/octet-stream", 416, headers={"Range": f"bytes={len(whole)}-"})
    print("ok:", path.rsplit("/", 1)[-1], syntax, "in", len(available), "transfer syntaxes")
print("all representations agree")
