"""Bits that are no sample bits, single bits, and headers that contradict their codestream, against independent codecs.

usage: bits_beside.py SERVICE_URL

Native samples of every layout (bits allocated, bits stored, high bit, sign; unused bits clear or set) are asked for in each
lossless syntax: the C libraries must read the value, the stored bits under High Bit extended by their sign, and the header must say
Bits Stored and High Bit as they are now. Single-bit segmentations come as JPEG 2000 and RLE and go the same way. A codestream
of another size or width than its header is decoded as it is, with a Warning, and the header of the transcoded instance tells it.
"""

import imagecodecs
import numpy as np
from openjpeg.utils import encode_array

from codec_pictures import *

LAYOUTS = [(8, 6, 5), (8, 6, 7), (8, 8, 7), (16, 12, 11), (16, 12, 12), (16, 12, 15), (16, 10, 9), (16, 8, 15), (16, 16, 15)]
MEDIA = {NATIVE: "application/octet-stream", RLE: "image/dicom-rle", LOSSLESS: "image/jpeg", FIRST: "image/jpeg", JLS: "image/jls",
         J2K: "image/jp2", HT: "image/jphc", HT_RPCL: "image/jphc", JXL: "image/jxl", FRAME: "application/x-deflate"}
WIDTH = {LOSSLESS: 2, FIRST: 2, JLS: 2, J2K: 1, JXL: 1}


def cells(values, kind, high, beside):
    low = high + 1 - kind.stored
    mask = (2**kind.stored - 1) << low
    cell = (values.astype(np.int64) << low) & mask
    rest = (2**kind.allocated - 1) & ~mask if beside else 0
    return (cell | rest).astype(f"u{kind.allocated // 8}")


def read(syntax, data, kind, shape):
    """What a reader gets that knows the codestream and Pixel Representation."""
    if syntax in (NATIVE, RLE, FRAME):
        if syntax == NATIVE:
            return np.frombuffer(data, kind.type)[: shape[0] * shape[1]].reshape(shape).astype(np.int64)
        return DECODERS[syntax.removeprefix("1.2.840.10008.1.2.")](data, kind, shape).reshape(shape).astype(np.int64)
    raw = np.asarray(DECODERS[syntax.removeprefix("1.2.840.10008.1.2.")](data, kind, shape)).reshape(shape)
    if syntax in (J2K, HT, HT_RPCL):
        return raw.astype(np.int64)
    assert raw.astype(np.int64).max() < 2 ** kind.stored, (syntax, "bits above Bits Stored")
    return kind.signed_again(raw)


def layouts():
    count = 0
    for allocated, stored, high in LAYOUTS:
        for signed in (False, True):
            kind = Kind(f"{allocated}/{stored}/{high}", allocated, stored, signed)
            values = kind.picture(17, 19, 1)
            for beside in (False, True):
                dataset = new_dataset(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", NumberOfFrames=1, Rows=17, Columns=19,
                                      BitsAllocated=allocated, BitsStored=stored, HighBit=high, PixelRepresentation=int(signed))
                data = cells(values, kind, high, beside).tobytes()
                dataset.PixelData = data + bytes(len(data) % 2)
                dataset["PixelData"].VR = "OW"
                url = send(dataset)
                for syntax, media in MEDIA.items():
                    where = (kind.name, signed, beside, syntax)
                    made = instance(url, syntax)
                    if syntax != NATIVE:
                        assert (made.BitsAllocated, made.BitsStored, made.HighBit) == (allocated, stored, stored - 1), where
                        ours = read(syntax, frames_of(url, 1, media, syntax)[0], kind, values.shape[1:])
                        assert (ours == values[0]).all(), where
                        count += 1
                    else:
                        assert made.PixelData == dataset.PixelData, where
                # The same cells, coded byte by byte by somebody else, decoded here.
                frame = np.frombuffer(data, f"u{allocated // 8}").reshape(values.shape[1:])
                dataset.SOPInstanceUID = generate_uid()
                for syntax, encode in [(RLE, rle), (FRAME, deflate)]:
                    dataset.SOPInstanceUID = generate_uid()
                    dataset.PixelData = encapsulate([encode(frame, kind)])
                    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
                    stored_url = send(dataset, syntax, known=False)
                    made = instance(stored_url, NATIVE)
                    assert (made.BitsStored, made.HighBit) == (stored, stored - 1)
                    ours = np.frombuffer(made.PixelData, kind.type)[: frame.size].reshape(frame.shape)
                    assert (ours == values[0]).all(), (kind.name, signed, beside, syntax, "decoded")
                    count += 1
    return count


def single_bits():
    rng = np.random.default_rng(7)
    count = 0
    for rows, columns in [(32, 40), (33, 35)]:
        pictures = rng.integers(0, 2, (3, rows, columns)).astype(np.uint8)
        packed = np.packbits(pictures.ravel(), bitorder="little").tobytes()
        packed += bytes(len(packed) % 2)
        attributes = dict(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", NumberOfFrames=3, Rows=rows, Columns=columns,
                          BitsAllocated=1, BitsStored=1, HighBit=0, PixelRepresentation=0)
        coded = {
            J2K: [encode_array(p.astype(bool), bits_stored=1, photometric_interpretation=2, use_mct=False) for p in pictures],
            RLE: [rle(p, U8) for p in pictures],
        }
        for syntax, frames in coded.items():
            dataset = new_dataset("1.2.840.10008.5.1.4.1.1.66.4", **attributes)
            dataset.PixelData = encapsulate(frames)
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            url = send(dataset, syntax, known=False)
            assert instance(url, NATIVE).PixelData == packed, (syntax, rows)
            for frame, wanted in zip(frames_of(url, 3, MEDIA[NATIVE], NATIVE), pictures):
                bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[: rows * columns]
                assert (bits.reshape(wanted.shape) == wanted).all(), (syntax, rows)
            get(url + "/rendered", "image/png")
            count += 3
        dataset = new_dataset("1.2.840.10008.5.1.4.1.1.66.4", **attributes)
        dataset.PixelData = packed
        dataset["PixelData"].VR = "OB"
        url = send(dataset)
        for frame, wanted in zip(frames_of(url, 3, MEDIA[J2K], J2K), pictures):
            assert (imagecodecs.jpeg2k_decode(frame) == wanted).all()
        for syntax in (HT, HT_RPCL):
            for frame, wanted in zip(frames_of(url, 3, MEDIA[syntax], syntax), pictures):
                assert (imagecodecs.htj2k_decode(frame) == wanted).all()
        for frame, wanted in zip(frames_of(url, 3, MEDIA[RLE], RLE), pictures):
            assert (rle_decoded(frame, U8, wanted.shape).reshape(wanted.shape) == wanted).all()
        count += 12
    return count


def contradictions():
    picture = U12.picture(20, 24, 1)
    count = 0
    for syntax, encode in [(JLS, charls()), (J2K, openjpeg()), (FIRST, jpeg_lossless(1)), (JXL, libjxl(lossless=True, effort=1))]:
        for header in [dict(Rows=21), dict(Columns=20), dict(BitsStored=16, HighBit=15), dict(BitsStored=10, HighBit=9),
                       dict(BitsAllocated=8, BitsStored=8, HighBit=7)]:
            dataset = new_dataset(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", NumberOfFrames=1, Rows=20, Columns=24,
                                  BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0)
            for keyword, value in header.items():
                setattr(dataset, keyword, value)
            dataset.PixelData = encapsulate([encode(picture[0], U12)])
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            url = send(dataset, syntax, known=False)
            where = (syntax, header)
            for target, accept in [("/frames/1", f"application/octet-stream; transfer-syntax={NATIVE}"), ("/rendered", "image/png"),
                                   ("", f"application/dicom; transfer-syntax={NATIVE}")]:
                response = get(url + target, accept)
                warning = response.headers.get("Warning", "")
                assert "the codestream decides" in warning and list(header)[-2 if len(header) > 1 else 0].replace("Bits", "Bits ") in warning, \
                    (where, warning)
                if target == "/frames/1":
                    assert response.content == picture.tobytes(), where
            made = instance(url, NATIVE)
            assert (made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit) == (20, 24, 16, 12, 11), where
            assert made.PixelData == picture.tobytes(), where
            count += 1
    return count


print(layouts(), "frames of every layout,", single_bits(), "of single bits,", contradictions(), "contradictions")
