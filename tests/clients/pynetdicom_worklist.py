"""The modality worklist as pynetdicom asks for it.

    python pynetdicom_worklist.py PORT
"""

import sys

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind as WORKLIST

port = int(sys.argv[1])


def query(title="CT1", expect=0x0000, patient="", **step):
    asked = Dataset()
    asked.PatientName = ""
    asked.PatientID = patient
    asked.AccessionNumber = ""
    asked.StudyInstanceUID = ""
    asked.RequestedProcedureID = ""
    item = Dataset()
    for name in ("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepStartDate",
                 "ScheduledProcedureStepStartTime", "ScheduledProcedureStepID", "ScheduledProcedureStepStatus"):
        setattr(item, name, step.get(name, ""))
    asked.ScheduledProcedureStepSequence = [item]
    ae = AE(ae_title=title)
    ae.add_requested_context(WORKLIST)
    assoc = ae.associate("127.0.0.1", port, ae_title="STOWAGE")
    if not assoc.is_established or not assoc.accepted_contexts:
        return None
    answers = list(assoc.send_c_find(asked, WORKLIST))
    assoc.release()
    assert answers[-1][0].Status == expect, answers[-1]
    return [found for _, found in answers[:-1]]


def names(found):
    return sorted(str(one.PatientName) for one in found)


assert names(query()) == ["Adam^A", "Böhm^B"], query()
assert names(query(Modality="CT")) == ["Adam^A"]
assert names(query(ScheduledStationAETitle="MR*")) == ["Böhm^B"]
assert names(query(ScheduledProcedureStepStartDate="20260401-20260402")) == ["Adam^A"]
assert names(query(ScheduledProcedureStepStartDate="20260403-")) == ["Böhm^B"]
assert names(query(Modality="CT", ScheduledStationAETitle="MR2")) == [], "both are of one step"
assert names(query(patient="P2")) == ["Böhm^B"]
assert names(query(ScheduledProcedureStepStatus="SCHEDULED")) == ["Adam^A", "Böhm^B"]
adam = query(Modality="CT")[0]
step = adam.ScheduledProcedureStepSequence[0]
assert (adam.PatientID, adam.AccessionNumber, adam.StudyInstanceUID) == ("P1", "A1", "1.2.3.77"), adam
assert (step.ScheduledStationAETitle, step.ScheduledProcedureStepStartDate) == ("CT1", "20260401"), step
assert step.ScheduledProcedureStepStartTime == "083000" and len(step.ScheduledProcedureStepID) == 16, step
assert adam.SpecificCharacterSet == "ISO_IR 192"
# No range, and nothing else either.
query(ScheduledProcedureStepStartDate="yesterday", expect=0xA900)
# Who sees one patient sees one entry; who may only store is not answered.
assert names(query(title="LIMITED")) == ["Adam^A"]
assert query(title="WRITER") is None
print("well")
