"""Every codec in both directions through a running server, against independent encoders and decoders.

usage: codec_matrix.py SERVICE_URL

Decoding: pictures encoded here by the C libraries (libjpeg-turbo, CharLS, OpenJPEG, OpenJPH, libjxl; zlib; pylibjpeg's RLE) are
stored; their frames and the whole instance are asked for in Explicit VR Little Endian. Encoding: pictures stored uncompressed are
asked for in each syntax the server makes and decoded by those libraries. Each picture comes in three sizes and as three frames.
Lossless syntaxes must give every bit, lossy ones stay within the error that the row names. What the server cannot encode must
be 406 and missing in (0008,3002). The header must say what the frames are.

Prints one table row for each direction and syntax, as in docs/codecs.md; stops with a status other than 0 on the first difference.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
from pydicom.pixels import pixel_array

from codec_pictures import *

SIZES = [(1, 1, 1), (3, 3, 1), (511, 513, 1), (17, 19, 3)]


def check_header(dataset, kind, pictures, photometric, syntax, lossy):
    """The attributes of a produced instance."""
    where = (syntax, kind.name, pictures.shape)
    meta = dataset.file_meta
    assert meta.TransferSyntaxUID == syntax, where
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID and meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert meta.FileMetaInformationGroupLength > 0 and meta.ImplementationClassUID
    shape = (int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns)
    assert shape == pictures.shape[:3], where
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (kind.allocated, kind.stored, kind.stored - 1), where
    assert dataset.PixelRepresentation == int(kind.signed) and dataset.SamplesPerPixel == kind.samples, where
    assert dataset.PhotometricInterpretation == photometric, (where, dataset.PhotometricInterpretation)
    assert dataset.get("PlanarConfiguration") == (0 if kind.samples == 3 else None), where
    assert dataset.get("LossyImageCompression") == ("01" if lossy else None), (where, dataset.get("LossyImageCompression"))
    if lossy:
        assert dataset.LossyImageCompressionMethod == lossy, (where, dataset.LossyImageCompressionMethod)


def error(ours, reference):
    return int(np.abs(np.asarray(ours).astype(np.int64) - np.asarray(reference).astype(np.int64)).max())


# --- Decoding. Columns: syntax, name, kinds, encoders, method when lossy, largest error against the independent decoder.

DECODE = [
    (IMPLICIT, "Implicit VR Little Endian", ALL + [U32], [None], None, 0),
    (BIG, "Explicit VR Big Endian", ALL + [U32], [None], None, 0),
    (DEFLATED, "deflated data set", ALL + [U32], [None], None, 0),
    (FRAME, "deflated frame", ALL + [U32], [deflate], None, 0),
    (RLE, "RLE", ALL + [U32], [rle], None, 0),
    (BASELINE, "JPEG baseline", [U8, RGB], [jpeg(), jpeg("444"), jpeg("422"), jpeg("420")], "ISO_10918_1", 1),
    (EXTENDED, "JPEG extended", [U8, U12], [jpeg()], "ISO_10918_1", 1),
    (LOSSLESS, "JPEG lossless", ALL, [jpeg_lossless(p) for p in (4, 1, 2, 3, 5, 6, 7)], None, 0),
    (FIRST, "JPEG lossless, first order", ALL, [jpeg_lossless(1)], None, 0),
    (JLS, "JPEG-LS", ALL, [charls(0, mode) for mode in range(3)], None, 0),
    (NEAR, "JPEG-LS near-lossless", [U8, U12, U16, RGB, RGB16], [charls(3, mode) for mode in range(3)], "ISO_14495_1", 0),
    (J2K, "JPEG 2000 lossless", ALL, [openjpeg(), openjpeg(transform=False)], None, 0),
    (J2K_LOSSY, "JPEG 2000", ALL, [openjpeg(42)], "ISO_15444_1", 1),
    (HT, "HTJ2K lossless", ALL, [openjph()], None, 0),
    (HT_RPCL, "HTJ2K lossless RPCL", ALL, [openjph(tlm=True)], None, 0),
    (HT_LOSSY, "HTJ2K", [U8, U16, RGB], [openjph(False)], "ISO_15444_15", 2),
    (JXL, "JPEG XL lossless", ALL, [libjxl(lossless=True, effort=1), libjxl(lossless=True, effort=4)], None, 0),
    (JXL_JPEG, "JPEG XL recompression", [U8, RGB], [recompressed], "ISO_18181_1", 3),
    (JXL_LOSSY, "JPEG XL", [U8, RGB], [libjxl(distance=1.0)], "ISO_18181_1", 3),
]


def decode_one(row, kind, size, encode):
    syntax, _, _, _, method, limit = row
    pictures = kind.picture(*size)
    frames, photometric = None, kind.photometric
    expected = list(pictures)
    if encode is not None:
        frames = [encode(frame, kind) for frame in pictures]
        photometric = stored_color(syntax, kind)
    if method is not None:
        expected = [decoded(syntax, data, kind, frame.shape) for data, frame in zip(frames, pictures)]
    url = store(kind, pictures, syntax, frames, photometric)
    ours = [np.frombuffer(data, kind.type).reshape(frame.shape) for data, frame in
            zip(frames_of(url, len(pictures), "application/octet-stream", NATIVE), pictures)]
    for one, wanted in zip(ours, expected):
        assert error(one, wanted) <= limit, (syntax, kind.name, size, error(one, wanted))
    made = instance(url, NATIVE)
    check_header(made, kind, pictures, kind.photometric, NATIVE, method)
    whole = np.frombuffer(made.PixelData[: pictures.nbytes], kind.type).reshape(pictures.shape)
    assert (whole == np.stack(ours)).all(), (syntax, kind.name, size, "the instance and its frames differ")
    return len(pictures)


# --- Encoding. Columns: syntax, name, media type, kinds that can be encoded, method when lossy, least PSNR in dB.

NARROW = "at least 2 rows and columns"
ENCODE = [
    (NATIVE, "Explicit VR Little Endian", "application/octet-stream", ALL + [U32], None, None),
    (DEFLATED, "deflated data set", None, ALL + [U32], None, None),
    (FRAME, "deflated frame", "application/x-deflate", ALL + [U32], None, None),
    (RLE, "RLE", "image/dicom-rle", ALL + [U32], None, None),
    (BASELINE, "JPEG baseline", "image/jpeg", [U8, RGB], "ISO_10918_1", 36),
    (EXTENDED, "JPEG extended", "image/jpeg", [U12], "ISO_10918_1", 36),
    (LOSSLESS, "JPEG lossless", "image/jpeg", ALL, None, None),
    (FIRST, "JPEG lossless, first order", "image/jpeg", ALL, None, None),
    (JLS, "JPEG-LS", "image/jls", ALL, None, None),
    (NEAR, "JPEG-LS near-lossless", "image/jls", [U8, U12, U16, RGB, RGB16], "ISO_14495_1", None),
    (J2K, "JPEG 2000 lossless", "image/jp2", ALL, None, None),
    (J2K_LOSSY, "JPEG 2000", "image/jp2", ALL, "ISO_15444_1", 36),
    (HT, "HTJ2K lossless", "image/jphc", ALL, None, None),
    (HT_RPCL, "HTJ2K lossless RPCL", "image/jphc", ALL, None, None),
    (JXL, "JPEG XL lossless", "image/jxl", ALL, None, None),
]
NEVER = [HT_LOSSY, JXL_JPEG, JXL_LOSSY, BIG, IMPLICIT, "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.92"]
# Largest error of a sample that JPEG-LS is told to allow.
NEAR_ERROR = 2


def psnr(ours, reference, kind):
    difference = np.asarray(ours).astype(np.float64) - np.asarray(reference).astype(np.float64)
    square = (difference**2).mean()
    return np.inf if square == 0 else 10 * np.log10((2.0**kind.stored - 1) ** 2 / square)


def can_encode(row, kind, size):
    syntax, _, _, kinds, _, _ = row
    return kind in kinds and not (syntax == JXL and min(size[:2]) < 2)


def produced_color(syntax, kind):
    if kind.samples == 1:
        return kind.photometric
    return {BASELINE: "YBR_FULL_422", J2K: "YBR_RCT", J2K_LOSSY: "YBR_ICT", HT: "YBR_RCT", HT_RPCL: "YBR_RCT"}.get(syntax, "RGB")


def encode_all(kind, size):
    """One stored picture in every syntax; returns the number of frames compared for each."""
    pictures = kind.picture(*size)
    url = store(kind, pictures, NATIVE)
    available = get(url + "/metadata", "application/dicom+json").json()[0]["00083002"]["Value"]
    wanted = [row[0] for row in ENCODE if can_encode(row, kind, size)]
    assert sorted(available) == sorted(wanted), (kind.name, size, set(available) ^ set(wanted))
    for syntax in [row[0] for row in ENCODE if row[0] not in wanted] + NEVER:
        refused = get(url, f"application/dicom; transfer-syntax={syntax}", 406)
        assert all(known in refused.text for known in wanted), refused.text
        get(url + "/frames/1", f'multipart/related; type="*/*"; transfer-syntax={syntax}', 406)
    return {row[0]: encode_one(row, kind, pictures, url) for row in ENCODE if row[0] in wanted}


def encode_one(row, kind, pictures, url):
    syntax, _, media, _, method, least = row
    where = (syntax, kind.name, pictures.shape)
    made = instance(url, syntax)
    check_header(made, kind, pictures, produced_color(syntax, kind), syntax, method)
    if syntax in (NATIVE, DEFLATED):
        assert made.PixelData[: pictures.nbytes] == pictures.tobytes(), where
        return len(pictures)
    streams = frames_of(url, len(pictures), media, syntax)
    held = list(pydicom.encaps.generate_frames(made.PixelData, number_of_frames=len(pictures)))
    for stream, fragment, frame in zip(streams, held, pictures, strict=True):
        assert fragment[: len(stream)] == stream and len(fragment) - len(stream) < 2, (where, "the instance and its frames differ")
        ours = decoded(syntax, stream, kind, frame.shape)
        if syntax in (HT, HT_RPCL):
            # OpenJPEG reads it too, and RPCL has what PS3.5 §10.18 asks for: the order, and TLM.
            assert error(kind.signed_again(imagecodecs.jpeg2k_decode(stream).reshape(frame.shape)), frame) == 0, where
            main = stream[: stream.index(b"\xff\x90")]
            assert main[main.index(b"\xff\x52") + 5] == 2 and (b"\xff\x55" in main) == (syntax == HT_RPCL), where
        if method is None:
            assert error(ours, frame) == 0, (where, error(ours, frame))
        elif least is None:
            assert error(ours, frame) <= NEAR_ERROR, (where, error(ours, frame))
        elif frame.size > 100:
            assert psnr(ours, frame, kind) >= least, (where, psnr(ours, frame, kind))
    if method is not None:
        ratio = pictures.nbytes / sum(map(len, streams))
        assert abs(float(made.LossyImageCompressionRatio) - ratio) < 0.01 * ratio + 0.01, (where, made.LossyImageCompressionRatio, ratio)
    if syntax not in (FRAME, JXL, EXTENDED):
        # A second opinion on the whole file.
        again = pixel_array(made, raw=True).reshape(pictures.shape)
        if method is None:
            assert error(again, pictures) == 0, (where, "pydicom reads something else")
    return len(pictures)


def words(kinds):
    """The pictures of a row; `8s` is 8 bits with a sign."""
    grays = [kind.name.replace(" signed", "s") for kind in kinds if kind.samples == 1]
    colors = [kind.name for kind in kinds if kind.samples == 3]
    return "; ".join(filter(None, ["gray " + ", ".join(grays) if grays else "", ", ".join(colors)]))


def variants(row, kind, size):
    """Every encoder for small pictures and plain color, the first for the others: the matrix must stay quick."""
    return row[3] if max(size) < 10 or kind is RGB else row[3][:1]


with ThreadPoolExecutor(4) as pool:
    decoding = [(row, [pool.submit(decode_one, row, kind, size, encode) for kind in row[2] for size in SIZES
                       for encode in variants(row, kind, size)]) for row in DECODE]
    encoding = [pool.submit(encode_all, kind, size) for kind in ALL + [U32] for size in SIZES]
    try:
        for row, jobs in decoding:
            count = sum(job.result() for job in jobs)
            bound = "every bit" if row[4] is None else "equal" if row[5] == 0 else f"±{row[5]}"
            print(f"| `{row[0]}` | {row[1]} | {words(row[2])} | {count} | {bound} |", flush=True)
        counts = [job.result() for job in encoding]
        for row in ENCODE:
            count = sum(made.get(row[0], 0) for made in counts)
            bound = "every bit" if row[4] is None else f"±{NEAR_ERROR}" if row[5] is None else f"PSNR ≥ {row[5]} dB"
            print(f"| `{row[0]}` | {row[1]} | {words(row[3])} | {count} | {bound} |", flush=True)
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
print("all codecs agree")
