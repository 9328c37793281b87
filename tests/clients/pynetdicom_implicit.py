"""What is stored comes with the same values to a receiver that takes Implicit VR Little Endian only.

    python pynetdicom_implicit.py PORT FILE…
"""

import sys

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET

port, files = int(sys.argv[1]), sys.argv[2:]
received = {}


def stored(event):
    assert event.context.transfer_syntax == ImplicitVRLittleEndian
    received[event.request.AffectedSOPInstanceUID] = event.dataset
    return 0


def told(ds):
    # VRs of private attributes are not known without a dictionary; lengths of groups are retired, and dcmtk sends no padding.
    tags = {element.tag for element in ds if not element.tag.is_private and element.tag.element}
    return tags - {0xFFFCFFFC}


def compare(one, other, where):
    assert told(one) == told(other), (where, told(one) ^ told(other))
    for tag in told(one):
        if one[tag].VR == "SQ":
            assert len(one[tag].value) == len(other[tag].value), (where, tag)
            for a, b in zip(one[tag].value, other[tag].value):
                compare(a, b, f"{where} {tag}")
        else:
            assert one[tag].value == other[tag].value, (where, tag, one[tag], other[tag])


for path in files:
    ds = dcmread(path)
    contexts = [build_context(GET), build_context(ds.SOPClassUID, ImplicitVRLittleEndian)]
    assoc = AE(ae_title="PLAIN").associate(
        "127.0.0.1", port, contexts=contexts, ae_title="STOWAGE", evt_handlers=[(evt.EVT_C_STORE, stored)],
        ext_neg=[build_role(ds.SOPClassUID, scp_role=True)])
    assert assoc.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", ds.StudyInstanceUID
    assert list(assoc.send_c_get(asked, GET))[-1][0].Status == 0, path
    assoc.release()
    if ds.file_meta.TransferSyntaxUID.is_compressed:
        ds.decompress(generate_instance_uid=False)
    compare(ds, received[ds.SOPInstanceUID], path)
print(len(files), "the same")
