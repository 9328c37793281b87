"""Pictures of every kind, encoders and decoders of the C libraries, and a server to store and fetch them: for the scripts beside it."""

import io
import sys
import threading
import zlib

import imagecodecs
import jpeg_ls
import numpy as np
import pydicom
import requests
import rle as pylibjpeg_rle
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.pixels.decoders.rle import _rle_decode_frame
from pydicom.uid import UID, generate_uid
from requests_toolbelt import MultipartDecoder

base = sys.argv[1] + "/dicom-web"
local = threading.local()
NATIVE, IMPLICIT, BIG, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
BASELINE, EXTENDED, LOSSLESS, FIRST = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
JLS, NEAR, J2K, J2K_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (80, 81, 90, 91))
HT, HT_RPCL, HT_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
JXL, JXL_JPEG, JXL_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112))
RLE, FRAME = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"


class Kind:
    """A kind of picture: bits allocated and stored, sign, samples per pixel."""

    def __init__(self, name, allocated, stored, signed=False, samples=1):
        self.name, self.allocated, self.stored, self.signed, self.samples = name, allocated, stored, signed, samples
        self.type = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
        self.photometric = "MONOCHROME2" if samples == 1 else "RGB"

    def picture(self, rows, columns, frames):
        """A ramp with noise over the whole range, lowest and highest value among it."""
        rng = np.random.default_rng(rows + self.stored + self.samples)
        shape = (frames, rows, columns) + ((3,) if self.samples == 3 else ())
        top = 2**self.stored - 1
        y, x = np.mgrid[0:rows, 0:columns] / max(rows, columns)
        ramp = (y + x + 0.3 * np.sin(9 * x) + 0.5) / 4
        ramp = ramp[..., None] * (1, 0.8, 0.6) if self.samples == 3 else ramp
        noise = rng.integers(-(2 ** (self.stored - 6)), 2 ** (self.stored - 6), shape)
        values = np.clip((ramp * top + noise).astype(np.int64), 0, top)
        values[:, 0, 0], values[:, -1, -1] = top, 0
        return (values - (2 ** (self.stored - 1) if self.signed else 0)).astype(self.type)

    def patterns(self, frame):
        """Samples as unsigned numbers of Bits Stored, as codecs without a sign are given them."""
        return (frame.astype(np.int64) & (2**self.stored - 1)).astype(f"u{self.allocated // 8}")

    def signed_again(self, values):
        values = values.astype(np.int64) & (2**self.stored - 1)
        half = 2 ** (self.stored - 1)
        return np.where(values >= half, values - 2 * half, values) if self.signed else values


U8, S8 = Kind("8", 8, 8), Kind("8 signed", 8, 8, True)
U12, S12 = Kind("12", 16, 12), Kind("12 signed", 16, 12, True)
U16, S16 = Kind("16", 16, 16), Kind("16 signed", 16, 16, True)
U32, RGB, RGB16 = Kind("32", 32, 32), Kind("RGB", 8, 8, samples=3), Kind("RGB 16", 16, 16, samples=3)
GRAY, COLOR = [U8, S8, U12, S12, U16, S16], [RGB, RGB16]
ALL = GRAY + COLOR


# --- Independent encoders: a frame and its kind in, a codestream out.


def rle(frame, kind):
    return pylibjpeg_rle.encode_pixel_data(frame.tobytes(), byteorder="<", rows=frame.shape[0], columns=frame.shape[1],
                                           samples_per_pixel=kind.samples, bits_allocated=kind.allocated)


def jpeg(subsampling=None):
    return lambda frame, kind: imagecodecs.jpeg8_encode(frame, level=92, subsampling=subsampling, bitspersample=kind.stored)


def jpeg_lossless(predictor):
    def encode(frame, kind):
        colors = {"colorspace": "RGB", "outcolorspace": "RGB"} if kind.samples == 3 else {}
        return imagecodecs.jpeg8_encode(kind.patterns(frame), lossless=True, predictor=predictor, bitspersample=kind.stored, **colors)
    return encode


def charls(near=0, interleave=2):
    def encode(frame, kind):
        planes = kind.patterns(frame)
        if len(frame) < 4:
            # pyjpegls lays out too little room for the smallest pictures; this one codes all bits allocated.
            return imagecodecs.jpegls_encode(frame.view(planes.dtype), level=near)
        if kind.samples == 3 and interleave == 0:
            planes = planes.transpose(2, 0, 1)
        return bytes(jpeg_ls.encode_buffer(planes.tobytes(), *frame.shape[:2], kind.samples, kind.stored, lossy_error=near,
                                           interleave_mode=interleave if kind.samples == 3 else 0))
    return encode


def openjpeg(level=0, transform=True):
    return lambda frame, kind: imagecodecs.jpeg2k_encode(
        frame, level=level, codecformat="j2k", reversible=level == 0, bitspersample=kind.stored, mct=transform)


def openjph(reversible=True, **options):
    return lambda frame, kind: imagecodecs.htj2k_encode(
        frame, level=None if reversible else 0.0005, reversible=reversible, rgb=kind.samples == 3 or None, **options)


def libjxl(**options):
    return lambda frame, kind: imagecodecs.jpegxl_encode(kind.patterns(frame), bitspersample=kind.stored, **options)


def recompressed(frame, kind):
    return imagecodecs.jpegxl_encode_jpeg(jpeg("444")(frame, kind), usecontainer=False)


def deflate(frame, kind):
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(frame.tobytes()) + coder.flush()


# --- Independent decoders: a codestream and its kind in, samples out.

DECODERS = {
    "5": lambda data, kind, shape: rle_decoded(data, kind, shape),
    "8.1": lambda data, kind, shape: np.frombuffer(zlib.decompress(data, wbits=-15)[: int(np.prod(shape)) * kind.allocated // 8], kind.type),
    "4.50": lambda data, kind, shape: imagecodecs.jpeg8_decode(data, outcolorspace="RGB" if kind.samples == 3 else None),
    "4.51": lambda data, kind, shape: imagecodecs.jpeg8_decode(data),
    "4.57": lambda data, kind, shape: imagecodecs.jpeg8_decode(data),
    "4.70": lambda data, kind, shape: imagecodecs.jpeg8_decode(data),
    "4.80": lambda data, kind, shape: imagecodecs.jpegls_decode(data),
    "4.81": lambda data, kind, shape: imagecodecs.jpegls_decode(data),
    "4.90": lambda data, kind, shape: imagecodecs.jpeg2k_decode(data),
    "4.91": lambda data, kind, shape: imagecodecs.jpeg2k_decode(data),
    "4.201": lambda data, kind, shape: imagecodecs.htj2k_decode(data),
    "4.202": lambda data, kind, shape: imagecodecs.htj2k_decode(data),
    "4.203": lambda data, kind, shape: imagecodecs.htj2k_decode(data),
    "4.110": lambda data, kind, shape: imagecodecs.jpegxl_decode(data),
    "4.111": lambda data, kind, shape: imagecodecs.jpegxl_decode(data),
    "4.112": lambda data, kind, shape: imagecodecs.jpegxl_decode(data),
}


def rle_decoded(data, kind, shape):
    planes = _rle_decode_frame(data, shape[0], shape[1], kind.samples, kind.allocated)
    return np.frombuffer(bytes(planes), kind.type).reshape((kind.samples,) + shape[:2]).transpose(1, 2, 0)


def decoded(syntax, data, kind, shape):
    samples = DECODERS[syntax.removeprefix("1.2.840.10008.1.2.")](data, kind, shape)
    return kind.signed_again(np.asarray(samples).reshape(shape))


def stored_color(syntax, kind):
    """Photometric Interpretation that a stored object of this syntax carries."""
    if kind.samples == 1:
        return kind.photometric
    colors = {BASELINE: "YBR_FULL_422", J2K: "YBR_RCT", J2K_LOSSY: "YBR_ICT", HT: "YBR_RCT", HT_RPCL: "YBR_RCT", HT_LOSSY: "YBR_ICT"}
    return colors.get(syntax, "RGB")


# --- The server


def http():
    if not hasattr(local, "session"):
        local.session = requests.Session()
    return local.session


def get(url, accept, status=200):
    response = http().get(url, headers={"Accept": accept})
    assert response.status_code == status, (url, accept, response.status_code, response.text[:400])
    return response


def new_dataset(sop_class="1.2.840.10008.5.1.4.1.1.7.4", **attributes):
    """A data set with identifiers of its own."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.Modality = "codecs", "OT"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def send(dataset, syntax=NATIVE, known=True):
    """Stores a data set as it is; returns the URL of the instance."""
    meta = dataset.file_meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    file = DicomBytesIO()
    if known:
        dataset.save_as(file, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=True)
    else:
        # pydicom does not save transfer syntaxes that it does not know.
        file.is_little_endian, file.is_implicit_VR = True, False
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta)
        write_dataset(file, dataset)
    response = http().post(base + "/studies", data=file.getvalue(), headers={"Content-Type": "application/dicom"})
    assert response.status_code == 200, (dataset.get("PatientID"), syntax, response.status_code, response.text[:400])
    return f"{base}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"


def store(kind, pictures, syntax, frames=None, photometric=None, **attributes):
    """Stores pictures; `frames` are their codestreams. Returns the URL of the instance."""
    dataset = new_dataset(**attributes)
    dataset.SamplesPerPixel = kind.samples
    dataset.PhotometricInterpretation = photometric or kind.photometric
    if kind.samples == 3:
        dataset.PlanarConfiguration = 0
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pictures.shape[:3]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = kind.allocated, kind.stored, kind.stored - 1
    dataset.PixelRepresentation = int(kind.signed)
    if frames is None:
        data = pictures.astype(kind.type.newbyteorder(">")).tobytes() if syntax == BIG else pictures.tobytes()
        dataset.PixelData = data + bytes(len(data) % 2)
        dataset["PixelData"].VR = "OW" if kind.allocated > 8 else "OB"
    else:
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    return send(dataset, syntax, known=frames is None)


def frames_of(url, count, media, syntax):
    """The frames of an instance in one request, checked to be what was asked for."""
    numbers = ",".join(str(number) for number in range(1, count + 1))
    response = get(f"{url}/frames/{numbers}", f'multipart/related; type="{media}"; transfer-syntax={syntax}')
    parts = MultipartDecoder.from_response(response).parts
    assert len(parts) == count
    for part in parts:
        assert part.headers[b"Content-Type"].decode() == f"{media}; transfer-syntax={syntax}", part.headers
    return [part.content for part in parts]


def instance(url, syntax):
    return pydicom.dcmread(io.BytesIO(get(url, f"application/dicom; transfer-syntax={syntax}").content))
