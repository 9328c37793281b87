"""The DICOM service's Python tutorial against a running server, with an assertion behind every step.

    python.py SERVICE_URL VERSION DICOMS      for example: python.py http://127.0.0.1:8080 v2 dcms

The code stands as the tutorial prints it; only the step that fetches a token from Azure is replaced by a fixed token.
Prints one line per step and stops with a status other than 0 at the first step that fails.
"""

import os
import sys

import requests
import pydicom
from pathlib import Path
from urllib3.filepost import encode_multipart_formdata, choose_boundary

if len(sys.argv) != 4:
    sys.exit(f"usage: {sys.argv[0]} SERVICE_URL VERSION DICOMS")
service_url, version = sys.argv[1].rstrip("/"), sys.argv[2].removeprefix("v")


def passed(step, status=None):
    """The last response has the status; says so."""
    if status is not None:
        assert response.status_code == status, (
            f"{step}: status {response.status_code} instead of {status}\n{response.headers}\n{response.text[:2000]}"
        )
    print(f"ok: {step}" + (f": {status}" if status else ""), flush=True)


def values(tag):
    """The first value of an attribute in each data set of the last response."""
    assert response.headers["Content-Type"] == "application/dicom+json", response.headers
    return sorted(item[tag]["Value"][0] for item in response.json())


def stored():
    """UIDs that the last STOW response reports as stored, and failure reasons of the others."""
    assert response.headers["Content-Type"] == "application/dicom+json", response.headers
    report = response.json()
    return (
        sorted(item["00081155"]["Value"][0] for item in report.get("00081199", {}).get("Value", [])),
        [item["00081197"]["Value"][0] for item in report.get("00081198", {}).get("Value", [])],
    )


def sample(name):
    """Bytes of one of the sample files."""
    return Path(path_to_dicoms_dir).joinpath(f"{name}.dcm").read_bytes()


# --- Configure user-defined variables

path_to_dicoms_dir = sys.argv[3]

base_url = f"{service_url}/v{version}"

study_uid = "1.2.826.0.1.3680043.8.498.13230779778012324449356534479549187420"; #StudyInstanceUID for all 3 examples
series_uid = "1.2.826.0.1.3680043.8.498.45787841905473114233124723359129632652"; #SeriesInstanceUID for green-square and red-triangle
instance_uid = "1.2.826.0.1.3680043.8.498.47359123102728459884412887463296905395"; #SOPInstanceUID for red-triangle

green_uid = "1.2.826.0.1.3680043.8.498.12714725698140337137334606354172323212"
blue_uid = "1.2.826.0.1.3680043.8.498.13273713909719068980354078852867170114"

# --- In place of Azure's credentials: a fixed token

bearer_token = "Bearer " + os.environ.get("STOWAGE_TOKEN", "tutorial-token")


# --- Create supporting methods to support multipart/related

def encode_multipart_related(fields, boundary=None):
    if boundary is None:
        boundary = choose_boundary()

    body, _ = encode_multipart_formdata(fields, boundary)
    content_type = str('multipart/related; boundary=%s' % boundary)

    return body, content_type


# --- Create a requests session

client = requests.session()
# One step is printed without the token; with access control it would be 401.
client.headers["Authorization"] = bearer_token

# --- Verify authentication is configured correctly

headers = {"Authorization":bearer_token}
url= f'{base_url}/changefeed'

response = client.get(url,headers=headers)
if (response.status_code != 200):
    print('Error! Likely not authenticated!')
passed("read the change feed", 200)
assert isinstance(response.json(), list), response.text

response = client.get(f'{base_url}/studies/{study_uid}/metadata', headers={'Accept':'application/dicom+json'})
passed("the study is not there yet", 404)

# --- Store instances using multipart/related

#upload blue-circle.dcm
filepath = Path(path_to_dicoms_dir).joinpath('blue-circle.dcm')

# Read through file and load bytes into memory
with open(filepath,'rb') as reader:
    rawfile = reader.read()
files = {'file': ('dicomfile', rawfile, 'application/dicom')}

#encode as multipart_related
body, content_type = encode_multipart_related(fields = files)

headers = {'Accept':'application/dicom+json', "Content-Type":content_type, "Authorization":bearer_token}

url = f'{base_url}/studies'
response = client.post(url, body, headers=headers, verify=False)
passed("store instances using multipart/related", 200)
assert stored() == ([blue_uid], []), response.text

# --- Store instances for a specific study

filepath_red = Path(path_to_dicoms_dir).joinpath('red-triangle.dcm')
filepath_green = Path(path_to_dicoms_dir).joinpath('green-square.dcm')

# Open up and read through file and load bytes into memory
with open(filepath_red,'rb') as reader:
    rawfile_red = reader.read()
with open(filepath_green,'rb') as reader:
    rawfile_green = reader.read()

files = {'file_red': ('dicomfile', rawfile_red, 'application/dicom'),
         'file_green': ('dicomfile', rawfile_green, 'application/dicom')}

#encode as multipart_related
body, content_type = encode_multipart_related(fields = files)

headers = {'Accept':'application/dicom+json', "Content-Type":content_type, "Authorization":bearer_token}

url = f'{base_url}/studies'
response = client.post(url, body, headers=headers, verify=False)
passed("store instances for a specific study", 200)
assert stored() == (sorted([instance_uid, green_uid]), []), response.text

# The heading says "for a specific study", the printed path does not: the same again with the study in the path.
response = client.post(f'{base_url}/studies/{study_uid}', body, headers=headers, verify=False)
passed("store the two again, with the study in the path", 409)
assert stored() == ([], [45070, 45070]), response.text

# --- Store single instance (non-standard)

#upload blue-circle.dcm
filepath = Path(path_to_dicoms_dir).joinpath('blue-circle.dcm')

# Open up and read through file and load bytes into memory
with open(filepath,'rb') as reader:
    body = reader.read()

headers = {'Accept':'application/dicom+json', 'Content-Type':'application/dicom', "Authorization":bearer_token}

url = f'{base_url}/studies'
response = client.post(url, body, headers=headers, verify=False)
response  # response should be a 409 Conflict if the file was already uploaded in the above request
passed("store single instance, uploaded already", 409)
assert stored() == ([], [45070]), response.text

# --- Retrieve all instances within a study

url = f'{base_url}/studies/{study_uid}'
headers = {'Accept':'multipart/related; type="application/dicom"; transfer-syntax=*', "Authorization":bearer_token}

response = client.get(url, headers=headers) #, verify=False)
passed("retrieve all instances within a study", 200)

# --- Use the retrieved instances

import requests_toolbelt as tb
from io import BytesIO

mpd = tb.MultipartDecoder.from_response(response)
for part in mpd.parts:
    # Note that the headers are returned as binary!
    print(part.headers[b'content-type'])

    # You can convert the binary body (of each part) into a pydicom DataSet
    #   And get direct access to the various underlying fields
    dcm = pydicom.dcmread(BytesIO(part.content))
    print(dcm.PatientName)
    print(dcm.SOPInstanceUID)

    assert part.headers[b'content-type'] == b'application/dicom; transfer-syntax=1.2.840.10008.1.2.1', part.headers
    assert dcm.PatientName == 'Anony Mous' and dcm.pixel_array.shape == (979, 985, 3)
assert sorted(part.content for part in mpd.parts) == sorted(map(sample, ["blue-circle", "red-triangle", "green-square"]))
passed("use the retrieved instances")

# --- Retrieve metadata of all instances in study

url = f'{base_url}/studies/{study_uid}/metadata'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}

response = client.get(url, headers=headers) #, verify=False)
passed("retrieve metadata of all instances in study", 200)
assert values("00080018") == sorted([instance_uid, green_uid, blue_uid])
etag = response.headers["ETag"]
response = client.get(url, headers=headers | {"If-None-Match": etag})
passed("the same metadata again, If-None-Match", 304)

# --- Retrieve all instances within a series

url = f'{base_url}/studies/{study_uid}/series/{series_uid}'
headers = {'Accept':'multipart/related; type="application/dicom"; transfer-syntax=*', "Authorization":bearer_token}

response = client.get(url, headers=headers) #, verify=False)
passed("retrieve all instances within a series", 200)
mpd = tb.MultipartDecoder.from_response(response)
assert sorted(part.content for part in mpd.parts) == sorted(map(sample, ["red-triangle", "green-square"]))

# --- Retrieve metadata of all instances in series

url = f'{base_url}/studies/{study_uid}/series/{series_uid}/metadata'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}

response = client.get(url, headers=headers) #, verify=False)
passed("retrieve metadata of all instances in series", 200)
assert values("00080018") == sorted([instance_uid, green_uid])

# --- Retrieve a single instance within a series of a study

url = f'{base_url}/studies/{study_uid}/series/{series_uid}/instances/{instance_uid}'
headers = {'Accept':'application/dicom; transfer-syntax=*', "Authorization":bearer_token}

response = client.get(url, headers=headers) #, verify=False)
passed("retrieve a single instance within a series of a study", 200)
assert response.content == sample("red-triangle")
assert pydicom.dcmread(BytesIO(response.content)).SOPInstanceUID == instance_uid

# --- Retrieve metadata of a single instance within a series of a study

url = f'{base_url}/studies/{study_uid}/series/{series_uid}/instances/{instance_uid}/metadata'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}

response = client.get(url, headers=headers) #, verify=False)
passed("retrieve metadata of a single instance within a series of a study", 200)
assert values("00080018") == [instance_uid]

# --- Retrieve one or more frames from a single instance

url = f'{base_url}/studies/{study_uid}/series/{series_uid}/instances/{instance_uid}/frames/1'
headers = {'Accept':'multipart/related; type="application/octet-stream"; transfer-syntax=*', "Authorization":bearer_token}

response = client.get(url, headers=headers) #, verify=False)
passed("retrieve one or more frames from a single instance", 200)
mpd = tb.MultipartDecoder.from_response(response)
assert [part.headers[b'content-type'] for part in mpd.parts] == [b'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1']
assert [part.content for part in mpd.parts] == [pydicom.dcmread(BytesIO(sample("red-triangle"))).pixel_array.tobytes()]
response = client.get(url.replace("frames/1", "frames/1,2,3"), headers=headers)
passed("retrieve frames 1, 2 and 3 of the one there is", 404)

# --- Search for studies

url = f'{base_url}/studies'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}
params = {'StudyInstanceUID':study_uid}

response = client.get(url, headers=headers, params=params) #, verify=False)
passed("search for studies", 200)
assert values("0020000D") == [study_uid]

# --- Search for series

url = f'{base_url}/series'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}
params = {'SeriesInstanceUID':series_uid}

response = client.get(url, headers=headers, params=params) #, verify=False)
passed("search for series", 200)
assert values("0020000E") == [series_uid]

# --- Search for series within a study

url = f'{base_url}/studies/{study_uid}/series'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}
params = {'SeriesInstanceUID':series_uid}

response = client.get(url, headers=headers, params=params) #, verify=False)
passed("search for series within a study", 200)
assert values("0020000E") == [series_uid]

# --- Search for instances

url = f'{base_url}/instances'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}
params = {'SOPInstanceUID':instance_uid}

response = client.get(url, headers=headers, params=params) #, verify=False)
passed("search for instances", 200)
assert values("00080018") == [instance_uid]

# --- Search for instances within a study

url = f'{base_url}/studies/{study_uid}/instances'
headers = {'Accept':'application/dicom+json', "Authorization":bearer_token}
params = {'SOPInstanceUID':instance_uid}

response = client.get(url, headers=headers, params=params) #, verify=False)
passed("search for instances within a study", 200)
assert values("00080018") == [instance_uid]

# --- Search for instances within a study and series

url = f'{base_url}/studies/{study_uid}/series/{series_uid}/instances'
headers = {'Accept':'application/dicom+json'}
params = {'SOPInstanceUID':instance_uid}

response = client.get(url, headers=headers, params=params) #, verify=False)
passed("search for instances within a study and series", 200)
assert values("00080018") == [instance_uid]

# --- Delete a specific instance within a study and series

headers = {"Authorization":bearer_token}
url = f'{base_url}/studies/{study_uid}/series/{series_uid}/instances/{instance_uid}'
response = client.delete(url, headers=headers)
passed("delete a specific instance within a study and series", 204)
response = client.delete(url, headers=headers)
passed("delete the instance a second time", 404)

# --- Delete a specific series within a study

headers = {"Authorization":bearer_token}
url = f'{base_url}/studies/{study_uid}/series/{series_uid}'
response = client.delete(url, headers=headers)
passed("delete a specific series within a study", 204)
response = client.delete(url, headers=headers)
passed("delete the series a second time", 404)

# --- Delete a specific study

headers = {"Authorization":bearer_token}
url = f'{base_url}/studies/{study_uid}'
response = client.delete(url, headers=headers)
passed("delete a specific study", 204)
response = client.delete(url, headers=headers)
passed("delete the study a second time", 404)

response = client.get(f'{base_url}/changefeed/latest', headers=headers)
passed("the change feed ends with the deletion", 200)
latest = response.json()
assert (latest["sopInstanceUid"], latest["action"].lower(), latest["state"].lower()) == (blue_uid, "delete", "deleted"), latest

print(f"all steps of the Python tutorial passed for v{version}")
