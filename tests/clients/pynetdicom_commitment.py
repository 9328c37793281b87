"""Storage commitment: on the association it is asked on, and on one to the requestor when that is gone.

    python pynetdicom_commitment.py PORT LISTEN FILE            all of it
    python pynetdicom_commitment.py PORT LISTEN FILE ask        stores, asks, and is gone; prints the transaction
    python pynetdicom_commitment.py PORT LISTEN FILE hear UID   waits for the report of a transaction
"""

import queue
import sys

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH

port, listen, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
mode = sys.argv[4] if len(sys.argv) > 4 else "all"
header = dcmread(path, stop_before_pixels=True)
reports = queue.Queue()


def reported(event):
    reports.put((event.event_type, event.event_information))
    return 0, None


def ask(assoc, *pairs):
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    asked.ReferencedSOPSequence = []
    for cls, instance in pairs:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = cls, instance
        asked.ReferencedSOPSequence.append(item)
    status, _ = assoc.send_n_action(asked, 1, PUSH, "1.2.840.10008.1.20.1.1")
    assert status.Status == 0, status
    return asked.TransactionUID


handlers = [(evt.EVT_N_EVENT_REPORT, reported)]


def serve():
    server = AE(ae_title="MODALITY")
    server.add_supported_context(PUSH, scu_role=False, scp_role=True)
    return server.start_server(("127.0.0.1", listen), block=False, evt_handlers=handlers)


if mode == "hear":
    scp = serve()
    kind, told = reports.get(timeout=180)
    assert told.TransactionUID == sys.argv[5], told
    reasons = [f"{item.FailureReason:04X}" for item in told.get("FailedSOPSequence", [])]
    scp.shutdown()
    print(kind, *reasons)
    sys.exit()

ae = AE(ae_title="MODALITY")
contexts = [build_context(PUSH), build_context(header.SOPClassUID, header.file_meta.TransferSyntaxUID)]
assoc = ae.associate("127.0.0.1", port, contexts=contexts, evt_handlers=handlers, ae_title="STOWAGE")
assert assoc.is_established
assert assoc.send_c_store(path).Status == 0
stored = (header.SOPClassUID, header.SOPInstanceUID)
if mode == "ask":
    print(ask(assoc, stored))
    assoc.abort()
    sys.exit()
transaction = ask(assoc, stored)
kind, told = reports.get(timeout=60)
assert kind == 1 and told.TransactionUID == transaction
assert told.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == header.SOPInstanceUID
# What is not there, and what has another class.
transaction = ask(assoc, stored, (header.SOPClassUID, "1.2.3.4"), ("1.2.840.10008.5.1.4.1.1.7", header.SOPInstanceUID))
kind, told = reports.get(timeout=60)
assert kind == 2 and told.TransactionUID == transaction
assert len(told.ReferencedSOPSequence) == 1
assert [item.FailureReason for item in told.FailedSOPSequence] == [0x0112, 0x0119]
# An action there is not.
other = Dataset()
other.TransactionUID = generate_uid()
status, _ = assoc.send_n_action(other, 7, PUSH, "1.2.840.10008.1.20.1.1")
assert status.Status in (0x0123, 0x0115, 0xA900), status
assoc.release()

# The requestor releases at once, and listens.
scp = serve()
assoc = ae.associate("127.0.0.1", port, contexts=[build_context(PUSH)], ae_title="STOWAGE")
assert assoc.is_established
transaction = ask(assoc, stored)
assoc.abort()
kind, told = reports.get(timeout=120)
assert kind == 1 and told.TransactionUID == transaction
scp.shutdown()
print("well")
