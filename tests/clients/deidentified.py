"""Compares de-identified files with what two other tools make of the same originals.

    deidentified.py make FOLDER SAMPLE…         writes originals: samples, and one with every attribute of Table E.1-1
    deidentified.py check FOLDER MADE KEY       compares the originals of a folder with the files made of them

The rule: what `dicom-anonymizer` (edition 2026c) or `dicognito` changes or removes is changed or removed here, too; and what
they leave stays, but for what no table lists: private, unknown and encrypted attributes, curves and overlays.
"""

import copy
import hashlib
import hmac
import pathlib
import sys
import uuid
import warnings

import pydicom
from dicognito.anonymizer import Anonymizer
from dicomanonymizer import simpledicomanonymizer as tool
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, generate_uid

warnings.simplefilter("ignore")
EDITION = "dicomfields_2026c"
WELL_KNOWN = ("1.2.840.10008.",)
# Names a coding scheme, which is no row of the table.
CODING_SCHEME = 0x0008010C
# What says how an instance was de-identified.
RECORD = {0x00120062, 0x00120063, 0x00120064, 0x00280303}
SAMPLE_TEXT = {
    "DA": "20240229", "TM": "101112", "DT": "20240229101112", "AS": "042Y", "UR": "http://example.org/doe",
    "DS": "42.5", "IS": "42", "PN": "Doe^Jane", "AE": "CT_DOE", "CS": "DOE",
}


def value(vr):
    """Something that names somebody, in a VR."""
    if vr in ("US", "SS", "UL", "SL", "SV", "UV"):
        return 42
    if vr in ("FL", "FD"):
        return 42.5
    if vr in ("OB", "OW", "UN"):
        return b"Jane Doe"
    if vr == "UI":
        return generate_uid()
    if vr == "SQ":
        item = Dataset()
        item.PatientName = "Doe^Jane"
        item.ReferencedSOPInstanceUID = generate_uid()
        return Sequence([item])
    return SAMPLE_TEXT.get(vr, "Jane Doe")


def fill(data_set, keep):
    for tag in dicom_anonymization_database_selector(EDITION)["ALL_TAGS"]:
        tag = Tag(tag[0], tag[1])
        if tag.group <= 4 or tag in keep or not dictionary_has_tag(tag) or tag.group & 0xFF00 in (0x5000, 0x6000):
            continue
        vr = dictionary_VR(tag).split(" ")[0]
        data_set.add_new(tag, vr, value(vr))


def make(folder, samples):
    folder.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        data_set = pydicom.dcmread(sample)
        data_set.save_as(folder / pathlib.Path(sample).name)
    full = pydicom.dcmread(next(s for s in samples if s.endswith("CT_small.dcm")))
    kept = {Tag(0x00080018), Tag(0x0020000D), Tag(0x0020000E), Tag(0x00100020)}
    full.SOPInstanceUID = full.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    fill(full, kept)
    group = Dataset()
    fill(group, set())
    full.PerFrameFunctionalGroupsSequence = Sequence([group])
    block = full.private_block(0x0009, "DOE", create=True)
    block.add_new(0x01, "LO", "Jane Doe")
    full.add_new(0x60003000, "OW", b"Jane Doe")
    full.add_new(0x60004000, "LT", "Jane Doe")
    full.add_new(0x50003000, "OW", b"Jane Doe")
    full.save_as(folder / "full.dcm")
    full.SOPInstanceUID = full.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    full.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    full.save_as(folder / "implicit.dcm", implicit_vr=True, little_endian=True)


def leaves(data_set, path=()):
    """Every element that is no sequence, by its path."""
    for element in data_set:
        here = path + (int(element.tag),)
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from leaves(item, here + (number,))
        else:
            yield here, element


def code(key, kind, text):
    return hmac.new(key, kind.encode() + b"\0" + text.encode(), hashlib.sha256).digest()[:16]


def new_uid(key, old):
    number = int.from_bytes(code(key, "uid", old), "big")
    number &= ~((0xF << 76) | (0b11 << 62))
    number |= (0x8 << 76) | (0b10 << 62)
    assert uuid.UUID(int=number).version == 8
    return f"2.25.{number}"


def names_it(element):
    """Whether an element has a value at all."""
    return element.value not in (None, "", b"") and str(element.value) not in ("", "[]")


def unlisted(path):
    """What is in no table, and goes here all the same."""
    for tag in (Tag(step) for step in path[::2]):
        if tag.is_private or tag.group & 0xFF00 in (0x5000, 0x6000) or tag in RECORD:
            return True
        if not dictionary_has_tag(tag) or 0x04000500 <= tag <= 0x04000520 or tag == 0xFFFCFFFC:
            return True
    return False


def changed_by(original, made):
    after = {path: element for path, element in leaves(made)}
    changed = set()
    for path, element in leaves(original):
        there = after.get(path)
        if names_it(element) and (there is None or there.value != element.value):
            changed.add(path)
    return changed


def check_one(original, ours, key):
    where = original.filename
    assert ours.SOPInstanceUID == new_uid(key, original.SOPInstanceUID), where
    assert ours.StudyInstanceUID == new_uid(key, original.StudyInstanceUID), where
    assert ours.SeriesInstanceUID == new_uid(key, original.SeriesInstanceUID), where
    assert ours.file_meta.MediaStorageSOPInstanceUID == ours.SOPInstanceUID, where
    assert ours.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID, where
    assert ours.get("PixelData") == original.get("PixelData"), f"{where}: the pixels"
    if original.get("PatientID"):
        assert ours.PatientID == code(key, "patient", original.PatientID)[:8].hex().upper(), where
    assert ours.PatientIdentityRemoved == "YES" and ours.LongitudinalTemporalInformationModified == "REMOVED", where
    codes = [item.CodeValue for item in ours.DeidentificationMethodCodeSequence]
    assert codes == ["113100"], codes

    changed = changed_by(original, ours)
    first = copy.deepcopy(original)
    tool.anonymize_dataset(first, base_rules_gen=lambda: tool.initialize_actions(EDITION))
    second = copy.deepcopy(original)
    Anonymizer(seed="seed").anonymize(second)
    before = dict(leaves(original))
    theirs = set()
    for name, made in (("dicom-anonymizer", first), ("dicognito", second)):
        by_tool = changed_by(original, made)
        theirs |= by_tool
        missing = [
            path for path in by_tool - changed
            # UIDs that the standard gives a meaning name nobody.
            if not str(before[path].value).startswith(WELL_KNOWN) and path[0] not in RECORD and path[-1] != CODING_SCHEME
        ]
        assert not missing, f"{where}: {name} changes {[[hex(s) for s in p] for p in missing]}"
    # The first tool looks at what is outside of sequences only.
    more = [path for path in changed - theirs if len(path) == 1 and not unlisted(path)]
    assert not more, f"{where}: nobody else changes {[[hex(s) for s in p] for p in more]}"
    return len(changed), len(theirs)


def check(folder, made, key):
    by_uid = {}
    for path in made.rglob("*.dcm"):
        data_set = pydicom.dcmread(path)
        by_uid[data_set.SOPInstanceUID] = data_set
        parts = (data_set.StudyInstanceUID, data_set.SeriesInstanceUID, f"{data_set.SOPInstanceUID}.dcm")
        assert path.relative_to(made).parts == parts, path
    compared = 0
    for path in sorted(folder.iterdir()):
        original = pydicom.dcmread(path)
        ours = by_uid.pop(new_uid(key, original.SOPInstanceUID), None)
        if ours is None:
            print(path.name, "refused")
            continue
        original.decode()
        ours.decode()
        here, there = check_one(original, ours, key)
        compared += 1
        print(path.name, f"{here} changed here, {there} by the others")
    assert not by_uid, by_uid.keys()
    print(compared, "compared")


what, folder = sys.argv[1], pathlib.Path(sys.argv[2])
if what == "make":
    make(folder, sys.argv[3:])
else:
    check(folder, pathlib.Path(sys.argv[3]), sys.argv[4].encode())
