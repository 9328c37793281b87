"""The requests that the DICOM service's C# tutorial makes its client send, with an assertion behind every step.

    csharp.py SERVICE_URL VERSION DICOMS      for example: csharp.py http://127.0.0.1:8080 v2 dcms

No .NET is needed: what `DicomWebClient` puts on the wire for each call of the tutorial is sent from here, header by header
(quoted transfer syntax without a space before it, boundary in quotes before the type, `%2C` between frame numbers), and
the answers are read under the rules of its multipart reader. Needs only Python's standard library. Prints one line per step and
stops with a status other than 0 at the first step that fails.
"""

import http.client
import json
import os
import sys
import uuid
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

if len(sys.argv) != 4:
    sys.exit(f"usage: {sys.argv[0]} SERVICE_URL VERSION DICOMS")
service, version, dicoms = urlsplit(sys.argv[1]), "v" + sys.argv[2].removeprefix("v"), Path(sys.argv[3])

STUDY = "1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420"
SERIES = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652"
RED = "1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395"
GREEN = "1.2.826.0.1.3680043.8.498.12714725698140337137334606354172323212"
BLUE = "1.2.826.0.1.3680043.8.498.13273713909719068980354078852867170114"

JSON = {"Accept": "application/dicom+json"}
EXPLICIT_LE = "1.2.840.10008.1.2.1"


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        assert self.headers["Content-Type"] == "application/dicom+json", self.headers.as_string()
        return json.loads(self.body)

    def values(self, tag):
        """First value of an attribute in each data set, sorted."""
        return sorted(item[tag]["Value"][0] for item in self.json())

    def stored(self):
        """UIDs reported as stored, and failure reasons of the others."""
        report = self.json()
        assert isinstance(report, dict), report
        return (
            sorted(item["00081155"]["Value"][0] for item in report.get("00081199", {}).get("Value", [])),
            [item["00081197"]["Value"][0] for item in report.get("00081198", {}).get("Value", [])],
        )

    def parts(self):
        """(Content-Type, body) of each part, read as ASP.NET's `MultipartReader` with a buffer of 100 bytes does."""
        said = Message()
        said["Content-Type"] = self.headers["Content-Type"]
        assert said.get_content_type() == "multipart/related", self.headers.as_string()
        boundary = said.get_param("boundary")
        assert boundary and len(boundary) + 8 <= 100, "the boundary does not fit the reader's buffer"
        sections = (b"\r\n" + self.body).split(b"\r\n--" + boundary.encode())
        assert sections[0] == b"" and sections[-1] in (b"--", b"--\r\n"), (sections[0][:80], sections[-1][:80])
        found = []
        for section in sections[1:-1]:
            head, separator, content = section.partition(b"\r\n\r\n")
            assert head.startswith(b"\r\n") and separator and len(head) < 16384, head[:200]
            lines = dict(line.split(": ", 1) for line in head[2:].decode("ascii").split("\r\n"))
            found.append((lines["Content-Type"], content))
        return found


def send(method, path, headers, body=None, chunked=False):
    """One request. The path begins behind the version, as the client builds it."""
    connection = http.client.HTTPConnection(service.hostname, service.port, timeout=60)
    try:
        connection.putrequest(method, f"/{version}{path}", skip_accept_encoding=True)
        connection.putheader("Authorization", "Bearer " + os.environ.get("STOWAGE_TOKEN", "tutorial-token"))
        for name, value in headers.items():
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
            body = [body[start : start + 65536] for start in range(0, len(body), 65536)]
        elif body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body, encode_chunked=chunked)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def store(names, study=""):
    """`client.StoreAsync(files, study)`: MultipartContent("related") with a type parameter added behind the boundary.

    A DicomFile does not tell its length before it is written, so the body goes in chunks.
    """
    boundary = str(uuid.uuid4())
    body = b""
    for index, name in enumerate(names):
        body += (b"\r\n" if index else b"") + b"--" + boundary.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n"
        body += sample(name)
    body += b"\r\n--" + boundary.encode() + b"--\r\n"
    kind = f'multipart/related; boundary="{boundary}"; type="application/dicom"'
    return send("POST", f"/studies/{study}" if study else "/studies", JSON | {"Content-Type": kind}, body, chunked=True)


def sample(name):
    return (dicoms / f"{name}.dcm").read_bytes()


def passed(step, answer, status):
    assert answer.status == status, (
        f"{step}: status {answer.status} instead of {status}\n{answer.headers.as_string()}\n{answer.body[:2000]!r}"
    )
    print(f"ok: {step}: {status}", flush=True)
    return answer


passed("the study is not there yet", send("GET", f"/studies/{STUDY}/metadata", JSON), 404)

# --- Store DICOM instances

report = passed("StoreAsync, one file", store(["blue-circle"]), 200)
assert report.stored() == ([BLUE], []), report.body
report = passed("StoreAsync for a specific study", store(["red-triangle"], STUDY), 200)
assert report.stored() == ([RED], []), report.body
assert report.json()["00081190"]["Value"][0].endswith(f"/{version}/studies/{STUDY}"), report.body
# "Use one of the previous methods for green-square": the one without multipart, StoreAsync(stream).
report = passed(
    "StoreAsync, one stream",
    send("POST", "/studies", JSON | {"Content-Type": "application/dicom"}, sample("green-square")),
    200,
)
assert report.stored() == ([GREEN], []), report.body
report = passed("StoreAsync again: the conflict's body is a data set", store(["blue-circle", "red-triangle"]), 409)
assert report.stored() == ([], [45070, 45070]), report.body

# --- Retrieve

MULTIPART = {"Accept": 'multipart/related; type="application/dicom";transfer-syntax="*"'}
answer = passed("RetrieveStudyAsync", send("GET", f"/studies/{STUDY}", MULTIPART), 200)
assert {kind for kind, _ in answer.parts()} == {f"application/dicom; transfer-syntax={EXPLICIT_LE}"}
assert sorted(body for _, body in answer.parts()) == sorted(map(sample, ["blue-circle", "red-triangle", "green-square"]))

answer = passed("RetrieveStudyMetadataAsync", send("GET", f"/studies/{STUDY}/metadata", JSON), 200)
assert answer.values("00080018") == sorted([BLUE, RED, GREEN])
answer = passed(
    "RetrieveStudyMetadataAsync with the ETag of before",
    send("GET", f"/studies/{STUDY}/metadata", JSON | {"If-None-Match": answer.headers["ETag"]}),
    304,
)
assert answer.body == b""

series = f"/studies/{STUDY}/series/{SERIES}"
answer = passed("RetrieveSeriesAsync", send("GET", series, MULTIPART), 200)
assert sorted(body for _, body in answer.parts()) == sorted(map(sample, ["red-triangle", "green-square"]))
answer = passed("RetrieveSeriesMetadataAsync", send("GET", f"{series}/metadata", JSON), 200)
assert answer.values("00080018") == sorted([RED, GREEN])

instance = f"{series}/instances/{RED}"
answer = passed(
    "RetrieveInstanceAsync", send("GET", instance, {"Accept": 'application/dicom;transfer-syntax="*"'}), 200
)
assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}", answer.headers.as_string()
assert answer.body == sample("red-triangle")
answer = passed("RetrieveInstanceMetadataAsync", send("GET", f"{instance}/metadata", JSON), 200)
assert answer.values("00080018") == [RED]

frame = sample("red-triangle")[-(985 * 979 * 3 + 1) : -1]
OCTETS = {"Accept": 'multipart/related; type="application/octet-stream";transfer-syntax="*"'}
answer = passed("RetrieveFramesAsync", send("GET", f"{instance}/frames/1", OCTETS), 200)
assert answer.parts() == [(f"application/octet-stream; transfer-syntax={EXPLICIT_LE}", frame)]
answer = passed("RetrieveFramesAsync, two of them", send("GET", f"{instance}/frames/1%2C1", OCTETS), 200)
assert [body for _, body in answer.parts()] == [frame, frame]

# --- Query

for step, path, tag, value in [
    ("studies", f"/studies?StudyInstanceUID={STUDY}", "0020000D", STUDY),
    ("series", f"/series?SeriesInstanceUID={SERIES}", "0020000E", SERIES),
    ("series within a study", f"/studies/{STUDY}/series?SeriesInstanceUID={SERIES}", "0020000E", SERIES),
    ("instances", f"/instances?SOPInstanceUID={RED}", "00080018", RED),
    ("instances within a study", f"/studies/{STUDY}/instances?SOPInstanceUID={RED}", "00080018", RED),
    ("instances within a study and series", f"{series}/instances?SOPInstanceUID={RED}", "00080018", RED),
]:
    answer = passed(f"QueryAsync: {step}", send("GET", path, JSON), 200)
    assert answer.values(tag) == [value], answer.body
answer = passed("QueryAsync: nothing found", send("GET", "/studies?PatientID=nobody", JSON), 204)
assert answer.body == b""

# --- Delete

for step, path in [
    ("DeleteInstanceAsync", instance),
    ("DeleteSeriesAsync", series),
    ("DeleteStudyAsync", f"/studies/{STUDY}"),
]:
    answer = passed(step, send("DELETE", path, {}), 204)
    assert answer.body == b""
    passed(f"{step} a second time", send("DELETE", path, {}), 404)

print(f"all steps of the C# tutorial passed for {version}")
