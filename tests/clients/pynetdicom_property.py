"""What is stored by C-STORE comes back the same by WADO-RS and C-GET, and is found the same by C-FIND and QIDO-RS.

    python pynetdicom_property.py PORT URL SEED INSTANCES QUERIES
"""

import random
import warnings
import sys
import zlib
from io import BytesIO

import requests
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_partial
from pydicom.filewriter import write_dataset
from pynetdicom import ALL_TRANSFER_SYNTAXES, AE, build_context, build_role, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    SecondaryCaptureImageStorage as CAPTURE,
    StudyRootQueryRetrieveInformationModelFind as FIND,
    StudyRootQueryRetrieveInformationModelGet as GET,
)

warnings.simplefilter("ignore")
port, url, seed, instances, queries = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
chance = random.Random(seed)
IMPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
# Explicit little endian, and JPIP Referenced, whose data sets are deflated.
DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
SYNTAXES = [s for s in ALL_TRANSFER_SYNTAXES if not s.startswith(("1.2.840.10008.1.2.7.", "1.2.840.10008.1.2.6."))]

NAMES = ["Adam^A", "ADAM^b", "Adams^Anna^Maria", "Zoë^Y", "Müller^Jörg", "山田^太郎", "O'Neil^Tim", "Void", "a*b^c", ""]
IDS = ["1", "01", "P-7", "p-7", "P_7", "P%7", "x y", "4711"]
DATES = ["19700101", "20240229", "20251231", "20260101", "20260615", ""]
TIMES = ["000000", "0815", "081500", "081500.5", "235959.999999", "12", ""]
TEXTS = ["Thorax", "THORAX", "Thorax ap", "Schädel", "100%", "a_b", "", "头部"]
PARTS = ["CHEST", "HEAD", ""]


def make(number):
    study = chance.randrange(max(2, instances // 4))
    of_study = random.Random(f"{seed} {study}")
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = CAPTURE, f"1.2.9.{study}.{number}.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"1.2.9.{study}", f"1.2.9.{study}.{number % 2}"
    of_series = random.Random(f"{seed} {study} {number % 2}")
    ds.PatientName, ds.PatientID = of_study.choice(NAMES), of_study.choice(IDS)
    ds.StudyDate, ds.StudyTime = of_study.choice(DATES), of_study.choice(TIMES)
    ds.AccessionNumber, ds.StudyID = of_study.choice(IDS), of_study.choice(IDS)
    ds.StudyDescription = of_study.choice(TEXTS)
    ds.ReferringPhysicianName = of_study.choice(NAMES)
    ds.PatientBirthDate, ds.PatientSex = of_study.choice(DATES), of_study.choice(["M", "F", "O", ""])
    ds.Modality, ds.SeriesNumber = of_series.choice(["OT", "CT"]), of_series.randrange(20)
    ds.SeriesDescription, ds.BodyPartExamined = of_series.choice(TEXTS), of_series.choice(PARTS)
    ds.InstanceNumber = number
    ds.ContentDate, ds.ContentTime = chance.choice(DATES), chance.choice(TIMES)
    item = Dataset()
    item.CodeValue, item.CodeMeaning = chance.choice(IDS), chance.choice(TEXTS)
    ds.ConceptNameCodeSequence = [item]
    return ds


def encoded(ds, syntax):
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
    write_dataset(out, ds)
    raw = out.getvalue()
    if syntax not in DEFLATED:
        return raw
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(raw) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


# Stored, each syntax at least once.
stored = {}
for number in range(instances):
    ds, syntax = make(number), SYNTAXES[number % len(SYNTAXES)]
    stored[ds.SOPInstanceUID] = (ds, syntax, encoded(ds, syntax))
contexts = [build_context(CAPTURE, syntax) for syntax in SYNTAXES]
ae = AE(ae_title="PROPERTY")
assoc = ae.associate("127.0.0.1", port, contexts=contexts, ae_title="STOWAGE")
assert assoc.is_established and not assoc.rejected_contexts
for message, (uid, (ds, syntax, data)) in enumerate(stored.items(), 1):
    request = C_STORE()
    request.MessageID, request.Priority = message, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CAPTURE, uid
    request.DataSet = BytesIO(data)
    context = next(c for c in assoc.accepted_contexts if c.transfer_syntax[0] == syntax)
    assoc._reactor_checkpoint.clear()
    assoc.dimse.send_msg(request, context.context_id)
    _, answer = assoc.dimse.get_msg(block=True)
    assoc._reactor_checkpoint.set()
    assert answer.Status == 0, (uid, syntax, hex(answer.Status), answer)
assoc.release()


def data_set(raw):
    return raw[144 + int.from_bytes(raw[140:144], "little"):]


# The same bytes by WADO-RS and by C-GET.
session = requests.Session()
for uid, (ds, syntax, data) in stored.items():
    path = f"{url}/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{uid}"
    answer = session.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200, (path, answer.text)
    assert data_set(answer.content) == data, (uid, syntax)
    told = read_partial(BytesIO(answer.content), stop_when=lambda *_: True).file_meta.TransferSyntaxUID
    assert told == syntax, (uid, told, syntax)
got = {}


def take(event):
    got[event.request.AffectedSOPInstanceUID] = (event.context.transfer_syntax, event.request.DataSet.getvalue())
    return 0


assoc = ae.associate("127.0.0.1", port, contexts=[build_context(GET)] + contexts, ae_title="STOWAGE",
                     ext_neg=[build_role(CAPTURE, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, take)])
assert assoc.is_established
for study in {ds.StudyInstanceUID for ds, _, _ in stored.values()}:
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", study
    assert list(assoc.send_c_get(asked, GET))[-1][0].Status == 0
assoc.release()
for uid, (_, syntax, data) in stored.items():
    assert uid in got, (uid, syntax, "does not come")
    assert got[uid] == (syntax, data), (uid, syntax, got[uid][0], len(data), len(got[uid][1]))

# Searches: random keys at each level, asked relationally and over HTTP.
KEYS = {
    "STUDY": ["PatientName", "PatientID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription",
              "ReferringPhysicianName", "PatientBirthDate", "PatientSex", "StudyInstanceUID"],
    "SERIES": ["Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "SeriesInstanceUID"],
    "IMAGE": ["InstanceNumber", "ContentDate", "ContentTime", "SOPInstanceUID", "SOPClassUID"],
}
UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
PATHS = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}


def value_of(key):
    ds = chance.choice(list(stored.values()))[0]
    value = str(ds.get(key) if ds.get(key) is not None else "")
    vr = ds[key].VR if key in ds else "LO"
    if not value:
        return chance.choice(["", "*"]) if vr not in ("DA", "TM", "UI", "IS") else ""
    kind = chance.randrange(6)
    if vr in ("DA", "TM"):
        return [value, f"-{value}", f"{value}-", value, "", value][kind]
    if vr == "UI":
        other = str(chance.choice(list(stored.values()))[0][key].value)
        return [value, f"{value}\\{other}", value, "", value, value][kind]
    if vr == "IS":
        return ["", value][kind % 2]
    return [value, value[:2] + "*", "*" + value[1:], "?" + value[1:], value.swapcase(), ""][kind]


def shown(element):
    if element is None or element.value in (None, ""):
        return ""
    return str(element.value)


item = SOPClassExtendedNegotiation()
item.sop_class_uid, item.service_class_application_information = FIND, bytes([1])
assoc = ae.associate("127.0.0.1", port, contexts=[build_context(FIND)], ext_neg=[item], ae_title="STOWAGE")
assert assoc.is_established
found_in_all = 0
for _ in range(queries):
    level = chance.choice(list(KEYS))
    levels = ["STUDY", "SERIES", "IMAGE"]
    levels = levels[: levels.index(level) + 1]
    names = [name for one in levels for name in KEYS[one]]
    chosen = {name: value_of(name) for name in chance.sample(names, chance.randrange(1, 4))}
    asked = Dataset()
    asked.SpecificCharacterSet = "ISO_IR 192"
    asked.QueryRetrieveLevel = level
    setattr(asked, UNIQUE[level], "")
    for name, value in chosen.items():
        setattr(asked, name, value.split("\\") if "\\" in value else value)
    answers = list(assoc.send_c_find(asked, FIND))
    status = answers[-1][0].Status
    parameters = [(name, value.replace("\\", ",")) for name, value in chosen.items() if value]
    parameters += [("includefield", name) for name in [*chosen, UNIQUE[level]]]
    answer = session.get(f"{url}/dicom-web/{PATHS[level]}", params=parameters, headers={"Accept": "application/dicom+json"})
    assert (status == 0) == (answer.status_code in (200, 204)), (chosen, hex(status), answer.status_code, answer.text)
    if status:
        continue
    over_http = [Dataset.from_json(row) for row in (answer.json() if answer.status_code == 200 else [])]
    told = [UNIQUE[level], *chosen]
    by_dimse = sorted([shown(one.get_item(name) and one[name]) for name in told] for _, one in answers[:-1])
    by_http = sorted([shown(one[name] if name in one else None) for name in told] for one in over_http)
    assert by_dimse == by_http, (level, chosen, by_dimse, by_http)
    found_in_all += len(by_http)
assoc.release()
assert found_in_all > queries, "the searches find something"
print("well", len(stored), found_in_all)
