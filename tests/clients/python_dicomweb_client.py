"""Python's `dicomweb-client` against `/dicom-web` of a running server, every call with what it must bring back.

    python_dicomweb_client.py SERVICE_URL DICOMS [FILE…]    for example: python_dicomweb_client.py http://127.0.0.1:8080 dcms

The three samples make the whole round: store, search at every level, retrieve (instance, series, study, metadata, frames, bulk
data), delete. Each further FILE is stored, retrieved byte for byte, read frame by frame and deleted, one after the other,
so that files which share their UIDs may follow each other. The client's defaults are kept: frames and bulk data are asked for as
`type="*/*"`, and every request that is not streamed names its host without the port. Prints one line per step and stops with a
status other than 0 at the first step that fails.
"""

import sys
from io import BytesIO
from pathlib import Path

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.encaps import generate_frames
from pydicom.uid import UID

if len(sys.argv) < 3:
    sys.exit(f"usage: {sys.argv[0]} SERVICE_URL DICOMS [FILE…]")
base_url, dicoms, further = sys.argv[1].rstrip("/") + "/dicom-web", Path(sys.argv[2]), map(Path, sys.argv[3:])

STUDY = "1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420"
SERIES = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652"

client = DICOMwebClient(url=base_url, headers={"Authorization": "Bearer None"})
# A request that fails shall fail at once and not be tried for half a minute.
client.set_http_retry_params(retry=False)

samples = {name: pydicom.dcmread(dicoms / f"{name}.dcm") for name in ("green-square", "red-triangle", "blue-circle")}
uids = {name: data_set.SOPInstanceUID for name, data_set in samples.items()}


def encoded(data_set):
    """The bytes that the client sends for a data set."""
    file = BytesIO()
    pydicom.dcmwrite(file, data_set)
    return file.getvalue()


def names(data_set):
    return data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID


def values(results, tag):
    """First value of an attribute in each result, sorted."""
    return sorted(result[tag]["Value"][0] for result in results)


def passed(step):
    print(f"ok: {step}", flush=True)


def refused(status, call, *arguments, **named):
    """The call ends in this HTTP status."""
    try:
        call(*arguments, **named)
    except requests.HTTPError as error:
        assert error.response.status_code == status, f"{error.response.status_code} instead of {status}: {error}"
    else:
        raise AssertionError(f"{call.__name__} succeeded instead of {status}")


def bulk_uris(data_set):
    """Every BulkDataURI in DICOM JSON, nested ones too, with the path of tags to it."""
    found, open_items = [], [((), data_set)]
    while open_items:
        path, item = open_items.pop()
        for tag, element in item.items():
            if "BulkDataURI" in element:
                found.append((path + (tag,), element["BulkDataURI"]))
            if element["vr"] == "SQ":
                open_items += [(path + (tag, index), nested) for index, nested in enumerate(element.get("Value", []))]
    return found


def stored_value(data_set, path):
    """Bytes of the element at a path of tags and item numbers; none if it is a text."""
    for step in path[:-1]:
        data_set = data_set[step] if isinstance(step, int) else data_set[int(step, 16)].value
    value = data_set[int(path[-1], 16)].value
    return value if isinstance(value, bytes) else None


# --- Nothing there

assert client.search_for_studies() == [], "begin with an empty server"
assert client.search_for_series(STUDY) == []
refused(404, client.retrieve_study_metadata, STUDY)
passed("an empty server answers searches with nothing, and retrieval with 404")

# --- Store

report = client.store_instances([samples["green-square"], samples["red-triangle"]])
assert sorted(item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence) == sorted(
    [uids["green-square"], uids["red-triangle"]]
)
assert "FailedSOPSequence" not in report
assert all(item.RetrieveURL.startswith(f"{base_url}/studies/{STUDY}/series/") for item in report.ReferencedSOPSequence), report
passed("store two instances")
report = client.store_instances([samples["blue-circle"]], study_instance_uid=STUDY)
assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [uids["blue-circle"]]
passed("store an instance of a given study")
report = client.store_instances([samples["blue-circle"]])
assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [uids["blue-circle"]]
assert "FailedSOPSequence" not in report
passed("store the same bytes again: nothing changes, nothing fails")
other = pydicom.dcmread(dicoms / "blue-circle.dcm")
other.ImageComments = "other bytes under the same UID"
refused(409, client.store_instances, [other])
refused(409, client.store_instances, [samples["blue-circle"]], study_instance_uid="1.2.3")
passed("store other bytes under a known UID, or in another study: 409")

# --- Search

studies = client.search_for_studies()
assert values(studies, "0020000D") == [STUDY]
assert studies[0]["00100010"]["Value"] == [{"Alphabetic": "Anony Mous"}]
assert (studies[0]["00201206"]["Value"], studies[0]["00201208"]["Value"]) == ([2], [3])
assert studies[0]["00080061"]["Value"] == ["OT"] and studies[0]["00081190"]["Value"] == [f"{base_url}/studies/{STUDY}"]
passed("search for studies")
for filters in [
    {"StudyInstanceUID": STUDY},
    {"0020000D": f"1.2.3,{STUDY}"},
    {"PatientName": "anony*"},
    {"PatientName": "?nony Mous"},
    {"00100020": "ID1"},
    {"StudyDate": "20200901-20201001"},
    {"ModalitiesInStudy": "OT"},
]:
    assert values(client.search_for_studies(search_filters=filters), "0020000D") == [STUDY], filters
assert values(client.search_for_studies(fuzzymatching=True, search_filters={"PatientName": "Mou"}), "0020000D") == [STUDY]
for filters in [{"PatientName": "mous*"}, {"StudyDate": "20200923-"}, {"ModalitiesInStudy": "CT"}, {"PatientID": "ID"}]:
    assert client.search_for_studies(search_filters=filters) == [], filters
passed("search for studies with filters, wildcards, a list of UIDs, a range of dates, fuzzy")
assert client.search_for_studies(fields=["PatientAge", "ImageComments"])[0]["00101010"]["Value"] == ["024Y"]
passed("search for studies with further fields")

assert len(client.search_for_series()) == len(client.search_for_series(STUDY)) == 2
series = client.search_for_series(STUDY, search_filters={"SeriesInstanceUID": SERIES})
assert values(series, "0020000E") == [SERIES] and series[0]["00201209"]["Value"] == [2]
assert series[0]["00081190"]["Value"] == [f"{base_url}/studies/{STUDY}/series/{SERIES}"]
passed("search for series, of all studies and of one")

everything = sorted(uids.values())
assert values(client.search_for_instances(), "00080018") == everything
assert values(client.search_for_instances(STUDY), "00080018") == everything
found = client.search_for_instances(STUDY, SERIES, search_filters={"InstanceNumber": "1"})
assert values(found, "00080018") == [uids["red-triangle"]]
assert found[0]["00081190"]["Value"] == [f"{base_url}/studies/{STUDY}/series/{SERIES}/instances/{uids['red-triangle']}"]
passed("search for instances, of all studies, of one, of one series")
pages = [client.search_for_instances(limit=1, offset=offset) for offset in range(4)]
assert [len(page) for page in pages] == [1, 1, 1, 0] and values(sum(pages, []), "00080018") == everything
assert values(client.search_for_instances(limit=2, get_remaining=True), "00080018") == everything
passed("search for instances page by page")

# --- Retrieve

for name, data_set in samples.items():
    assert encoded(client.retrieve_instance(*names(data_set))) == encoded(data_set), name
passed("retrieve instances")
found = client.retrieve_series(STUDY, SERIES)
assert sorted(item.SOPInstanceUID for item in found) == sorted([uids["green-square"], uids["red-triangle"]])
assert {encoded(item) for item in found} == {encoded(samples["green-square"]), encoded(samples["red-triangle"])}
passed("retrieve a series")
assert {encoded(item) for item in client.retrieve_study(STUDY)} == set(map(encoded, samples.values()))
assert {encoded(item) for item in client.iter_study(STUDY)} == set(map(encoded, samples.values()))
passed("retrieve a study, whole and as a stream")

assert values(client.retrieve_study_metadata(STUDY), "00080018") == everything
assert values(client.retrieve_series_metadata(STUDY, SERIES), "00080018") == sorted(
    [uids["green-square"], uids["red-triangle"]]
)
red = samples["red-triangle"]
metadata = client.retrieve_instance_metadata(*names(red))
read = pydicom.Dataset.from_json(metadata, bulk_data_uri_handler=lambda _: b"")
assert [element for element in read if element.tag not in (0x7FE00010, 0x00083002)] == [element for element in red if element.tag not in (0x7FE00010, 0x00083002)]
passed("retrieve metadata of a study, a series, an instance; pydicom reads it back")

frame = red.pixel_array.tobytes()
assert client.retrieve_instance_frames(*names(red), frame_numbers=[1]) == [frame]
assert list(client.iter_instance_frames(*names(red), frame_numbers=[1])) == [frame]
assert client.retrieve_instance_frames(
    *names(red), frame_numbers=[1], media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),)
) == [frame]
refused(404, client.retrieve_instance_frames, *names(red), frame_numbers=[2])
passed('retrieve a frame, with type="*/*" and as octets, whole and as a stream')

((path, uri),) = bulk_uris(metadata)
assert path == ("7FE00010",) and uri.startswith(base_url), (path, uri)
assert client.retrieve_bulkdata(uri) == [red.PixelData]
assert list(client.iter_bulkdata(uri)) == [red.PixelData]
passed("retrieve bulk data from the URI that the metadata gives")

# --- Delete

client.delete_instance(*names(red))
refused(404, client.delete_instance, *names(red))
assert values(client.search_for_instances(STUDY, SERIES), "00080018") == [uids["green-square"]]
client.delete_series(STUDY, SERIES)
refused(404, client.delete_series, STUDY, SERIES)
client.delete_study(STUDY)
refused(404, client.delete_study, STUDY)
assert client.search_for_studies() == [] and client.search_for_instances() == []
passed("delete an instance, a series, a study, each once")

# --- Further files

for file in further:
    data_set = pydicom.dcmread(file)
    encapsulated = UID(data_set.file_meta.TransferSyntaxUID).is_encapsulated
    report = client.store_instances([data_set])
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [data_set.SOPInstanceUID], report
    assert encoded(client.retrieve_instance(*names(data_set))) == encoded(data_set)
    metadata = client.retrieve_instance_metadata(*names(data_set))
    assert metadata["00080018"]["Value"] == [data_set.SOPInstanceUID]
    for path, uri in bulk_uris(metadata):
        bulk = client.retrieve_bulkdata(uri)
        wanted = stored_value(data_set, path)
        # Encapsulated pixel data comes frame by frame; what its frames are is compared below.
        if wanted is not None and not (path == ("7FE00010",) and encapsulated):
            assert bulk == [wanted], (path, uri)
    done = "stored, retrieved"
    if "PixelData" in data_set:
        count = int(data_set.get("NumberOfFrames", 1))
        frames = client.retrieve_instance_frames(*names(data_set), frame_numbers=list(range(1, count + 1)))
        assert len(frames) == count
        if encapsulated:
            # A fragment of odd length was padded with one byte when it was encapsulated; it stays part of the stored frame.
            assert frames == list(generate_frames(data_set.PixelData, number_of_frames=count))
        elif data_set.BitsAllocated > 1:
            size = data_set.Rows * data_set.Columns * data_set.SamplesPerPixel * data_set.BitsAllocated // 8
            assert frames == [data_set.PixelData[n * size : (n + 1) * size] for n in range(count)]
        done += f", {count} frame(s)"
    client.delete_instance(*names(data_set))
    assert client.search_for_instances() == []
    passed(f"{file.name}: {done}, deleted")

print("all steps passed for dicomweb-client against /dicom-web")
