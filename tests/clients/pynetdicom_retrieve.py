"""What pynetdicom stores comes back by C-GET in its own transfer syntax, byte for byte, and is found relationally.

    python pynetdicom_retrieve.py PORT FILE…
"""

import sys
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, HTJ2KLossless, HTJ2KLosslessRPCL
from pynetdicom import ALL_TRANSFER_SYNTAXES, AE, _config, build_context, build_role, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as FIND,
    StudyRootQueryRetrieveInformationModelGet as GET,
    Verification,
)

# Files go as they are.
_config.STORE_SEND_CHUNKED_DATASET = True

port, files = int(sys.argv[1]), sys.argv[2:]


def data_set(path):
    raw = open(path, "rb").read()
    return raw[144 + int.from_bytes(raw[140:144], "little"):]


headers = {path: dcmread(path, stop_before_pixels=True) for path in files}
pairs = sorted({(h.SOPClassUID, h.file_meta.TransferSyntaxUID) for h in headers.values()})

# Every transfer syntax is taken, also by itself; video in real time (SMPTE ST 2110) is no data set.
encodings = [syntax for syntax in ALL_TRANSFER_SYNTAXES if not syntax.startswith("1.2.840.10008.1.2.7.")]
ae = AE(ae_title="PYNETDICOM")
alone = [build_context(pairs[0][0], syntax) for syntax in encodings]
assoc = ae.associate("127.0.0.1", port, contexts=alone, ae_title="STOWAGE")
assert assoc.is_established and not assoc.rejected_contexts, assoc.rejected_contexts
assert {context.transfer_syntax[0] for context in assoc.accepted_contexts} == set(encodings)
assoc.release()

# Stored, each in a context of its own.
contexts = [build_context(*pair) for pair in pairs]
assoc = ae.associate("127.0.0.1", port, contexts=contexts + [build_context(Verification)], ae_title="STOWAGE")
assert assoc.is_established and not assoc.rejected_contexts, assoc.rejected_contexts
assert assoc.send_c_echo().Status == 0
for path in files:
    status = assoc.send_c_store(path)
    assert status.Status == 0, (path, status)
assoc.release()

# Sent back, with the roles exchanged.
got = {}


def stored(event):
    got[event.request.AffectedSOPInstanceUID] = event.request.DataSet.getvalue()
    return 0


roles = [build_role(cls, scp_role=True) for cls in {cls for cls, _ in pairs}]
assoc = ae.associate("127.0.0.1", port, contexts=[build_context(GET)] + contexts, ext_neg=roles,
                     evt_handlers=[(evt.EVT_C_STORE, stored)], ae_title="STOWAGE")
assert assoc.is_established
for path, header in headers.items():
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID = header.StudyInstanceUID
    asked.SeriesInstanceUID = header.SeriesInstanceUID
    asked.SOPInstanceUID = header.SOPInstanceUID
    answers = list(assoc.send_c_get(asked, GET))
    status = answers[-1][0]
    assert status.Status == 0 and status.NumberOfCompletedSuboperations == 1, (path, status)
    wanted = data_set(path)
    # On the line a deflated data set of odd length has its padding (PS3.5 A.5).
    assert got[header.SOPInstanceUID] == wanted + b"\0" * (len(wanted) % 2), path
assoc.release()

# Encoded for a peer that takes nothing but HTJ2K, and the same picture to it.
path, header = next((path, h) for path, h in headers.items() if h.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian and "Rows" in h)
for syntax in (HTJ2KLossless, HTJ2KLosslessRPCL):
    got.clear()
    assoc = ae.associate("127.0.0.1", port, contexts=[build_context(GET), build_context(header.SOPClassUID, syntax)],
                         ext_neg=[build_role(header.SOPClassUID, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, stored)], ae_title="STOWAGE")
    assert assoc.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID, asked.SeriesInstanceUID = header.StudyInstanceUID, header.SeriesInstanceUID
    asked.SOPInstanceUID = header.SOPInstanceUID
    status = list(assoc.send_c_get(asked, GET))[-1][0]
    assert status.Status == 0 and status.NumberOfCompletedSuboperations == 1, status
    assoc.release()
    made = dcmread(BytesIO(got[header.SOPInstanceUID]), force=True)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    assert (pixel_array(made, raw=True) == pixel_array(path, raw=True)).all(), syntax

# Relational queries when they are negotiated, and only then.
asked = Dataset()
asked.QueryRetrieveLevel = "IMAGE"
asked.SOPInstanceUID = headers[files[0]].SOPInstanceUID
for relational in (True, False):
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = FIND
    item.service_class_application_information = bytes([1 if relational else 0])
    assoc = ae.associate("127.0.0.1", port, contexts=[build_context(FIND)], ext_neg=[item], ae_title="STOWAGE")
    assert assoc.is_established
    answers = [status.Status for status, _ in assoc.send_c_find(asked, FIND)]
    assert answers == ([0xFF00, 0] if relational else [0xA900]), answers
    assoc.release()

print("well")
