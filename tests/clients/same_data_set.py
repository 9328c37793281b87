"""Whether pydicom reads the same data set from two files, whatever their transfer syntaxes. Arguments: pairs of paths.

The file meta group is not compared, but it must name the instance. Values of other byte orders are turned first, because
pydicom leaves bytes as they are in the file.
"""

import sys

import pydicom

WIDTHS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def turned(value, vr, data_set):
    if data_set.original_encoding[1] or vr not in WIDTHS:
        return value
    width = WIDTHS[vr]
    result = bytearray(value)
    for at in range(width):
        result[at::width] = value[width - 1 - at :: width]
    return bytes(result)


def content(data_set, original):
    """Tags, VRs and values; a VR that Implicit VR does not tell is taken from the dictionary by both."""
    found = []
    for element in data_set:
        if element.tag.element == 0:
            continue
        value = element.value
        if element.VR == "SQ":
            value = [content(item, original) for item in value]
        elif isinstance(value, bytes):
            value = turned(value, element.VR, original)
        found.append((element.tag, element.VR, value))
    return found


def comparable(file):
    data_set = pydicom.dcmread(file)
    data_set.decode()
    return content(data_set, data_set), data_set


def private_unknown(pair):
    """Implicit VR does not tell the VR of a private element: either side may say UN."""
    (_, one, _), (_, other, _) = pair
    return "UN" in (one, other)


def same(one, other, names):
    assert [tag for tag, *_ in one] == [tag for tag, *_ in other], f"{names}: other tags"
    for left, right in zip(one, other):
        if private_unknown((left, right)) and left[0].is_private:
            continue
        assert left[1] == right[1], f"{names} {left[0]}: {left[1]} became {right[1]}"
        if left[1] == "SQ":
            assert len(left[2]) == len(right[2]), f"{names} {left[0]}: items"
            for items in zip(left[2], right[2]):
                same(*items, names)
        else:
            assert left[2] == right[2], f"{names} {left[0]}: {left[2]!r:.200} became {right[2]!r:.200}"


paths = sys.argv[1:]
assert paths and len(paths) % 2 == 0
for sent, got in zip(paths[::2], paths[1::2]):
    before, _ = comparable(sent)
    after, data_set = comparable(got)
    assert data_set.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1", got
    assert data_set.original_encoding == (False, True), got
    assert data_set.file_meta.MediaStorageSOPInstanceUID == data_set.SOPInstanceUID, got
    assert data_set.file_meta.MediaStorageSOPClassUID == data_set.SOPClassUID, got
    same(before, after, (sent, got))
print(len(paths) // 2, "pairs are the same")
