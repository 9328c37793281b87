#!/usr/bin/env bash
# The DICOM service's curl tutorial against a running server, with an assertion behind every command.
#
#   curl.sh SERVICE_URL VERSION DICOMS      for example: curl.sh http://127.0.0.1:8080 v2 dcms
#
# The commands stand as the tutorial prints them; mended are only its slips (a missing quote, a missing slash, a missing
# space, a cut UID) and the line ends, and the bearer token is a fixed string. Prints one line per step and stops with a
# status other than 0 at the first step that fails. Needs bash, curl and python3.
set -euo pipefail

if [ $# -ne 3 ]; then
    echo "usage: $0 SERVICE_URL VERSION DICOMS" >&2
    exit 2
fi
url=${1%/}
version=${2#v}
dicoms=$(cd "$3" && pwd)
token=${STOWAGE_TOKEN:-tutorial-token}

study=1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420
series=1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652
red=1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395
green=1.2.826.0.1.3680043.8.498.12714725698140337137334606354172323212
blue=1.2.826.0.1.3680043.8.498.13273713909719068980354078852867170114

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Every command of the tutorial goes through this function: it keeps the answer's headers in `headers`, and its body in
# `body` unless the command has an --output of its own.
curl() {
    rm -f headers body trace.txt suppressWarnings.txt
    command curl --silent --show-error --max-time 60 --dump-header headers "$@" >body
}

fail() {
    echo "FAILED: $*" >&2
    echo "--- headers of the last answer" >&2
    cat headers >&2 || true
    echo "--- body of the last answer (first 2000 bytes)" >&2
    head -c 2000 body >&2 || true
    exit 1
}

# status WANTED STEP: the last answer's status; an earlier one in the file is 100 Continue.
status() {
    local got
    got=$(sed -n 's/^HTTP\/[0-9.]* \([0-9]*\).*/\1/p' headers | tail -n 1)
    [ "$got" = "$1" ] || fail "$2: status $got instead of $1"
    echo "ok: $2: $got"
}

# json EXPRESSION: a Python expression that must hold for the body, parsed, under the name `b`.
json() {
    python3 - "$1" <<'PYTHON' || fail "does not hold for the body: $1"
import json, sys
b = json.load(open("body", encoding="utf-8"))
sys.exit(0 if eval(sys.argv[1]) else 1)
PYTHON
}

# header PATTERN: an extended regular expression, ignoring case, that a header of the last answer must match.
header() {
    tr -d '\r' <headers | grep -qiE "$1" || fail "no header matches: $1"
}

# parts OUTPUT TYPE NAME…: the multipart body in OUTPUT has exactly these samples, in any order, byte for byte; with
# the name `frame`, the one frame of the red triangle. Every part says TYPE.
parts() {
    python3 - "$dicoms" "$@" <<'PYTHON' || fail "the parts in $1 are not: ${*:3}"
import re, sys
dicoms, output, kind, names = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
headers = open("headers", encoding="latin-1").read()
said = re.findall(r"(?im)^content-type:\s*multipart/related.*?boundary=\"?([^\";\r\n]+)", headers)[-1]
body = b"\r\n" + open(output, "rb").read()
sections = body.split(b"\r\n--" + said.encode())
assert sections[-1].startswith(b"--"), "no closing boundary"
found = []
for section in sections[1:-1]:
    head, _, content = section.partition(b"\r\n\r\n")
    assert re.search(rb"(?m)^Content-Type: " + re.escape(kind.encode()) + rb"\s*(;|\r|$)", head), head
    found.append(content)
def wanted(name):
    if name == "frame":
        # The frame is the end of the file without the byte that pads the odd length.
        return open(f"{dicoms}/red-triangle.dcm", "rb").read()[-(985 * 979 * 3 + 1):-1]
    return open(f"{dicoms}/{name}.dcm", "rb").read()
assert sorted(found) == sorted(map(wanted, names)), [len(part) for part in found]
PYTHON
}

curl --request GET "$url/v$version/studies/$study/metadata" --header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 404 "the study is not there yet"

# --- Uploading DICOM instances (STOW)

curl --location --request POST "$url/v$version/studies" \
--header "Accept: application/dicom+json" \
--header "Content-Type: multipart/related; type=\"application/dicom\"" \
--header "Authorization: Bearer $token" \
--form "file1=@$dicoms/red-triangle.dcm;type=application/dicom" \
--trace-ascii "trace.txt"
status 200 "store instances using multipart/related"
header '^content-type: application/dicom\+json$'
json "[i['00081155']['Value'] for i in b['00081199']['Value']] == [['$red']] and '00081198' not in b"
json "b['00081199']['Value'][0]['00081190']['Value'][0] == '$url/v$version/studies/$study/series/$series/instances/$red'"

curl --request POST "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420" \
--header "Accept: application/dicom+json" \
--header "Content-Type: multipart/related; type=\"application/dicom\"" \
--header "Authorization: Bearer $token" \
--form "file1=@$dicoms/blue-circle.dcm;type=application/dicom"
status 200 "store instances for a specific study"
json "[i['00081155']['Value'] for i in b['00081199']['Value']] == [['$blue']] and '00081198' not in b"
json "b['00081190']['Value'] == ['$url/v$version/studies/$study']"

curl --location --request POST "$url/v$version/studies" \
--header "Accept: application/dicom+json" \
--header "Content-Type: application/dicom" \
--header "Authorization: Bearer $token" \
--data-binary "@$dicoms/green-square.dcm"
status 200 "store single instance"
json "[i['00081155']['Value'] for i in b['00081199']['Value']] == [['$green']] and '00081198' not in b"

# The two other spellings of Content-Type that the tutorial names; the boundary is in the command then. What is sent is
# stored already, so the answer proves that it was read: 409 with reason 45070.
{
    printf -- '--ABCD1234\r\nContent-Type: application/dicom\r\n\r\n'
    cat "$dicoms/red-triangle.dcm"
    printf '\r\n--ABCD1234--\r\n'
} >upload
for spelling in 'multipart/related; type="application/dicom"; boundary=ABCD1234' 'multipart/related; boundary=ABCD1234'; do
    curl --request POST "$url/v$version/studies" \
    --header "Accept: application/dicom+json" \
    --header "Content-Type: $spelling" \
    --header "Authorization: Bearer $token" \
    --data-binary "@upload"
    status 409 "store again, Content-Type: $spelling"
    json "[i['00081197']['Value'] for i in b['00081198']['Value']] == [[45070]] and '00081199' not in b"
done
curl --request POST "$url/v$version/studies" \
--header "Accept: application/dicom+json" \
--header "Content-Type: multipart/related" \
--header "Authorization: Bearer $token" \
--form "file1=@$dicoms/red-triangle.dcm;type=application/dicom"
status 409 "store again, Content-Type: multipart/related"
json "[(i['00081155']['Value'], i['00081197']['Value']) for i in b['00081198']['Value']] == [(['$red'], [45070])]"

# --- Retrieving DICOM (WADO)

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420" \
--header "Accept: multipart/related; type=\"application/dicom\"; transfer-syntax=*" \
--header "Authorization: Bearer $token" \
--output "suppressWarnings.txt"
status 200 "retrieve all instances within a study"
parts suppressWarnings.txt application/dicom red-triangle blue-circle green-square

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/metadata" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "retrieve metadata of all instances in study"
header '^content-type: application/dicom\+json$'
json "{i['00080018']['Value'][0] for i in b} == {'$red', '$green', '$blue'} and len(b) == 3"
json "all(i['00100010']['Value'] == [{'Alphabetic': 'Anony Mous'}] and i['00280011']['Value'] == [985] for i in b)"
json "not any('InlineBinary' in i.get('7FE00010', {}) or '00020010' in i for i in b)"

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652" \
--header "Accept: multipart/related; type=\"application/dicom\"; transfer-syntax=*" \
--header "Authorization: Bearer $token" \
--output "suppressWarnings.txt"
status 200 "retrieve all instances within a series"
parts suppressWarnings.txt application/dicom red-triangle green-square

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652/metadata" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "retrieve metadata of all instances within a series"
json "{i['00080018']['Value'][0] for i in b} == {'$red', '$green'} and len(b) == 2"

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652/instances/1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395" \
--header "Accept: application/dicom; transfer-syntax=*" \
--header "Authorization: Bearer $token" \
--output "suppressWarnings.txt"
status 200 "retrieve a single instance within a series of a study"
header '^content-type: application/dicom *; *transfer-syntax="?1\.2\.840\.10008\.1\.2\.1"?$'
cmp suppressWarnings.txt "$dicoms/red-triangle.dcm" || fail "the instance's bytes are not those of the file"

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652/instances/1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395/metadata" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "retrieve metadata of a single instance within a series of a study"
json "[i['00080018']['Value'] for i in b] == [['$red']] and b[0]['00204000']['Value'] == ['Fake DICOM - Red Triangle']"

for accept in '; transfer-syntax=1.2.840.10008.1.2.1' '; transfer-syntax=*' ';'; do
    curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652/instances/1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395/frames/1" \
    --header "Accept: multipart/related; type=\"application/octet-stream\"$accept" \
    --header "Authorization: Bearer $token" \
    --output "suppressWarnings.txt"
    status 200 "retrieve one or more frames from a single instance (type=\"application/octet-stream\"$accept)"
    parts suppressWarnings.txt application/octet-stream frame
done

# --- Query DICOM (QIDO)

curl --request GET "$url/v$version/studies?StudyInstanceUID=1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "search for studies"
header '^content-type: application/dicom\+json$'
json "[i['0020000D']['Value'] for i in b] == [['$study']] and b[0]['00100020']['Value'] == ['ID1']"

curl --request GET "$url/v$version/series?SeriesInstanceUID=1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "search for series"
json "[i['0020000E']['Value'] for i in b] == [['$series']] and b[0]['00080060']['Value'] == ['OT']"

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series?SeriesInstanceUID=1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "search for series within a study"
json "[i['0020000E']['Value'] for i in b] == [['$series']]"

curl --request GET "$url/v$version/instances?SOPInstanceUID=1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "search for instances"
json "[i['00080018']['Value'] for i in b] == [['$red']]"

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/instances?SOPInstanceUID=1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "search for instances within a study"
json "[i['00080018']['Value'] for i in b] == [['$red']]"

curl --request GET "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652/instances?SOPInstanceUID=1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395" \
--header "Accept: application/dicom+json" \
--header "Authorization: Bearer $token"
status 200 "search for instances within a study and series"
json "[i['00080018']['Value'] for i in b] == [['$red']]"

# --- Delete DICOM

curl --request DELETE "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652/instances/1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395" \
--header "Authorization: Bearer $token"
status 204 "delete a specific instance within a study and series"
[ ! -s body ] || fail "an answer of 204 has a body"

curl --request DELETE "$url/v$version/studies/$study/series/$series/instances/$red" --header "Authorization: Bearer $token"
status 404 "delete the instance a second time"
curl --request GET "$url/v$version/studies/$study/series/$series/metadata" --header "Accept: application/dicom+json"
status 200 "the rest of the series is there"
json "[i['00080018']['Value'] for i in b] == [['$green']]"

curl --request DELETE "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420/series/1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652" \
--header "Authorization: Bearer $token"
status 204 "delete a specific series within a study"
curl --request DELETE "$url/v$version/studies/$study/series/$series" --header "Authorization: Bearer $token"
status 404 "delete the series a second time"

curl --request DELETE "$url/v$version/studies/1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420" \
--header "Authorization: Bearer $token"
status 204 "delete a specific study"
curl --request DELETE "$url/v$version/studies/$study" --header "Authorization: Bearer $token"
status 404 "delete the study a second time"

curl --request GET "$url/v$version/studies?StudyInstanceUID=$study" --header "Accept: application/dicom+json"
status 204 "a search finds nothing any more"
curl --request GET "$url/v$version/changefeed/latest" --header "Authorization: Bearer $token"
status 200 "the change feed ends with the deletion"
json "b['action'].lower() == 'delete' and b['sopInstanceUid'] == '$blue' and b['state'].lower() == 'deleted'"
curl --request GET "$url/v$version/changefeed?offset=0&limit=100&includeMetadata=false" --header "Authorization: Bearer $token"
status 200 "the change feed is read from its start"
json "isinstance(b, list) and [i['sequence'] for i in b] == sorted(i['sequence'] for i in b) and len(b) >= 6"

echo "all steps of the curl tutorial passed for v$version"
