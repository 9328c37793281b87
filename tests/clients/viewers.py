"""What viewers ask for, against `/dicom-web` of a running server: OHIF's default requests, and dicomweb-client's methods for rendered
images, frames and bulk data; pictures are compared with a reference computed here.

usage: viewers.py SERVICE_URL

Prints one line a step; stops with a status other than 0 on the first that fails.
"""

import io

import numpy as np
import pydicom
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array
from pydicom.sequence import Sequence
from requests_toolbelt import MultipartDecoder

from codec_pictures import *


def passed(step):
    print(f"ok: {step}", flush=True)


def fetch(url, accept=None, status=200, **headers):
    """A request as a browser's script makes it: an Accept header, or none of its own."""
    response = http().get(url, headers={"Accept": accept or "*/*", **headers})
    assert response.status_code == status, (url, accept, response.status_code, response.text[:300])
    return response


def parts(response):
    return MultipartDecoder.from_response(response).parts


def psnr(ours, reference):
    square = ((np.asarray(ours, float) - np.asarray(reference, float)) ** 2).mean()
    return np.inf if square == 0 else 10 * np.log10(255**2 / square)


# --- What is stored: one study with an image, and objects of every nature a viewer meets.

STUDY = generate_uid()
S = {"StudyInstanceUID": STUDY, "PatientName": "Viewer^Test", "PatientBirthDate": "19700102", "StudyDate": "20240203",
     "StudyTime": "101112", "AccessionNumber": "A1", "StudyDescription": "Head", "SeriesDescription": "Axial", "SeriesNumber": 3}
WINDOW = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 900, "WindowWidth": 3000, "Modality": "CT"}
ct = S12.picture(61, 47, 3)
url = store(S12, ct, JLS, [charls()(frame, S12) for frame in ct], **S, **WINDOW)
series, study = url.split("/instances/")[0], url.split("/series/")[0]
study_uid, series_uid, instance_uid = url.split("/")[5::2]

# --- OHIF: the study list, opening a study, its series

LIST = "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030"
for filters in ("", "&PatientName=*viewer*", "&00100020=*odec*", "&AccessionNumber=*A*", "&StudyDescription=*Hea*",
                "&ModalitiesInStudy=CT", "&ModalitiesInStudy=MR%2CCT", "&ModalitiesInStudy=MR%5CCT",
                "&StudyDate=19700102-20991231", f"&StudyInstanceUID={study_uid}", f"&StudyInstanceUID=1.2.3%5C{study_uid}", "&00100020=codecs"):
    found = fetch(f"{base}/studies?{LIST}{filters}", "application/dicom+json").json()
    assert [item["0020000D"]["Value"] for item in found] == [[study_uid]], filters
    item = found[0]
    assert item["00100010"]["Value"][0]["Alphabetic"] == "Viewer^Test" and item["00201208"]["Value"] == [1]
    for tag in ("00080020", "00080030", "00080050", "00080061", "00080090", "00081030", "00100020", "00100030"):
        assert tag in item, (tag, filters)
assert fetch(f"{base}/studies?{LIST}&PatientName=*nobody*", "application/dicom+json").json() == []
found = fetch(f"{study}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011&SeriesInstanceUID={series_uid}", "application/dicom+json").json()
assert found[0]["0020000E"]["Value"] == [series_uid] and found[0]["00201209"]["Value"] == [1] and found[0]["0008103E"]["Value"] == ["Axial"]
passed("OHIF lists studies with every filter, opens one, lists its series")

for level in (study, series, url):
    metadata = fetch(level + "/metadata", "application/dicom+json").json()[0]
    assert metadata["00280004"]["Value"] == ["MONOCHROME2"] and metadata["00280101"]["Value"] == [12]
    assert metadata["7FE00010"]["vr"] and metadata["7FE00010"]["BulkDataURI"].startswith("http")
    assert not any(tag.startswith("0002") for tag in metadata)
passed("OHIF reads metadata of a study, a series, an instance")

# --- OHIF: frames in every spelling

stored = charls()(ct[1], S12)
octets = "application/octet-stream"
for accept in (f'multipart/related; type="{octets}"; transfer-syntax="*"', f"multipart/related; type={octets}; transfer-syntax=*",
               f'multipart/related;type="{octets}";transfer-syntax=*', f'multipart/related; transfer-syntax="*"; type={octets}',
               'multipart/related; type="image/jls"; transfer-syntax="1.2.840.10008.1.2.4.80"',
               f'multipart/related; type=image/jls; transfer-syntax={JLS}; transfer-syntax=*',
               'multipart/related; type="*/*"', 'multipart/related; type="image/*"', 'multipart/related; type="image/x-jls"',
               'multipart/related; type=image/jls;q=0.5, multipart/related; type="*/*";q=0.1',
               f'multipart/related; type="image/jpeg"; transfer-syntax={JLS}, multipart/related; type="{octets}"; transfer-syntax=*', "*/*"):
    answer = fetch(url + "/frames/2", accept)
    (part,) = parts(answer)
    # A codestream of odd length lies padded in its fragment.
    assert part.content.rstrip(b"\0") == stored.rstrip(b"\0"), accept
    kind, parameter = part.headers[b"Content-Type"].decode().split("; ")
    assert parameter == f"transfer-syntax={JLS}" and kind in ("image/jls", octets), (accept, kind)
    assert b"Content-Type: " in answer.content[:1000]
single = fetch(url + "/frames/2", f"{octets}; transfer-syntax=*")
assert single.content.rstrip(b"\0") == stored.rstrip(b"\0") and single.headers["Content-Type"].endswith(f"transfer-syntax={JLS}")
cut = fetch(url + "/frames/2", f"{octets}; transfer-syntax=*", 206, Range="bytes=0-99")
assert cut.content == single.content[:100] and cut.headers["Content-Range"] == f"bytes 0-99/{len(single.content)}"
(native,) = parts(fetch(url + "/frames/2", f'multipart/related; type="{octets}"'))
assert native.content == ct[1].tobytes() and native.headers[b"Content-Type"].decode() == f"{octets}; transfer-syntax={NATIVE}"
refused = fetch(url + "/frames/2", 'multipart/related; type="video/mp4"', 406)
assert JLS in refused.text and "image/jls" in refused.text, refused.text
passed("OHIF reads frames with every spelling of its Accept header, ranges of one, and is told what can be had")

# --- OHIF: thumbnails, rendered images

for level in (study, series, url, url + "/frames/3"):
    for path, accept in (("?accept=image%2Fjpeg", f'multipart/related; type="{octets}"'), ("?accept=image%2Fjpeg", "*/*"),
                         ("?viewport=256%2C256", "image/jpeg"), ("?accept=image/jpeg", "image/avif,image/webp,image/apng,*/*;q=0.8")):
        answer = fetch(f"{level}/thumbnail{path}", accept)
        assert answer.headers["Content-Type"] == "image/jpeg", (level, path, answer.headers)
        assert max(Image.open(io.BytesIO(answer.content)).size) <= 256
    answer = fetch(level + "/rendered", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8")
    assert answer.headers["Content-Type"] == "image/jpeg" and int(answer.headers["Content-Length"]) == len(answer.content)
passed("OHIF shows thumbnails of four levels with any Accept header")


def window(samples, center, width, function="linear"):
    values = samples.astype(float) * 2 - 100
    if function == "linear":
        scaled = (values - (center - 0.5)) / (width - 1) + 0.5
    elif function == "linear-exact":
        scaled = (values - center) / width + 0.5
    else:
        scaled = 1 / (1 + np.exp(-4 * (values - center) / width))
    return np.clip(scaled, 0, 1) * 255


for number in (1, 3):
    for query, reference in (("", window(ct[number - 1], 900, 3000)), ("?window=200,900,linear", window(ct[number - 1], 200, 900)),
                             ("?window=200,900,linear-exact", window(ct[number - 1], 200, 900, "linear-exact")),
                             ("?window=200,900,sigmoid", window(ct[number - 1], 200, 900, "sigmoid")),
                             ("?viewport=20,30,5,7,20,30", window(ct[number - 1], 900, 3000)[7:37, 5:25])):
        image = np.asarray(Image.open(io.BytesIO(fetch(f"{url}/frames/{number}/rendered{query}", "image/png").content)))
        assert image.shape == reference.shape and image.ndim == 2, (query, image.shape)
        assert psnr(image, reference) >= 45, (query, psnr(image, reference))
passed("rendered PNG of gray agrees with the formulas: PSNR of at least 45 dB")

inverted = store(U8, U8.picture(33, 35, 1), NATIVE, photometric="MONOCHROME1")
image = np.asarray(Image.open(io.BytesIO(fetch(inverted + "/rendered", "image/png").content)))
assert psnr(image, 255 - U8.picture(33, 35, 1)[0].astype(float)) >= 45
color = RGB.picture(33, 34, 1)
for syntax, frames, photometric, least in ((NATIVE, None, "RGB", 100), (JLS, [charls()(color[0], RGB)], "RGB", 100), (RLE, [rle(color[0], RGB)], "RGB", 100),
                                           (J2K, [openjpeg()(color[0], RGB)], "YBR_RCT", 100), (BASELINE, [jpeg("444")(color[0], RGB)], "YBR_FULL", 30),
                                           (BASELINE, [imagecodecs.jpeg8_encode(color[0], level=95, colorspace="RGB", outcolorspace="RGB")], "RGB", 30)):
    place = store(RGB, color, syntax, frames, photometric)
    image = np.asarray(Image.open(io.BytesIO(fetch(place + "/rendered", "image/png").content)).convert("RGB"))
    assert psnr(image, color[0]) >= least, (syntax, photometric, psnr(image, color[0]))
    image = np.asarray(Image.open(io.BytesIO(fetch(place + "/rendered?quality=95", "image/jpeg").content)).convert("RGB"))
    assert psnr(image, color[0]) >= 27, (syntax, photometric, psnr(image, color[0]))
passed("rendered colors are those that were encoded, whatever they were stored in")

# --- A presentation state shows its image as parameters would; palettes, floats


def item(**attributes):
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


image = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.7.4", ReferencedSOPInstanceUID=instance_uid)
state = new_dataset(
    "1.2.840.10008.5.1.4.1.1.11.1", StudyInstanceUID=study_uid, Modality="PR",
    ReferencedSeriesSequence=Sequence([item(SeriesInstanceUID=series_uid, ReferencedImageSequence=Sequence([image]))]),
    SoftcopyVOILUTSequence=Sequence([item(WindowCenter=200, WindowWidth=900)]), PresentationLUTShape="IDENTITY",
    RescaleSlope=2, RescaleIntercept=-100, RescaleType="US", ImageRotation=90, ImageHorizontalFlip="N",
    DisplayedAreaSelectionSequence=Sequence([item(DisplayedAreaTopLeftHandCorner=[1, 1], DisplayedAreaBottomRightHandCorner=[47, 61],
                                                  PresentationSizeMode="SCALE TO FIT", PresentationPixelSpacing=[1, 1])]))
shown = np.asarray(Image.open(io.BytesIO(fetch(send(state) + "/rendered", "image/png").content)).convert("L"))
turned = np.rot90(window(ct[0], 200, 900), -1)
assert shown.shape == turned.shape and psnr(shown, turned) >= 45, (shown.shape, turned.shape)

colors = np.random.default_rng(4).integers(0, 256, (256, 3), dtype=np.uint8)
lut = {f"{name}PaletteColorLookupTable{part}": value for at, name in enumerate(("Red", "Green", "Blue"))
       for part, value in (("Descriptor", [256, 0, 16]), ("Data", (colors[:, at].astype("<u2") * 257).tobytes()))}
place = store(U8, U8.picture(21, 23, 1), RLE, [rle(U8.picture(21, 23, 1)[0], U8)], photometric="PALETTE COLOR", **lut)
shown = np.asarray(Image.open(io.BytesIO(fetch(place + "/rendered", "image/png").content)).convert("RGB"))
assert (shown == colors[U8.picture(21, 23, 1)[0]]).all()
fetch(place, f"application/dicom; transfer-syntax={BASELINE}", 406)

numbers = np.linspace(-3, 5, 15 * 16, dtype="<f4").reshape(15, 16)
floats = new_dataset("1.2.840.10008.5.1.4.1.1.30", SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=15, Columns=16, BitsAllocated=32,
                     NumberOfFrames=1, WindowCenter=1, WindowWidth=8, VOILUTFunction="LINEAR_EXACT", FloatPixelData=numbers.tobytes())
shown = np.asarray(Image.open(io.BytesIO(fetch(send(floats) + "/rendered", "image/png").content)))
assert psnr(shown, np.clip((numbers - 1) / 8 + 0.5, 0, 1) * 255) >= 45
passed("a presentation state, a palette and floats are drawn as they say")

# --- Pixel data as it should not be, but is (ecosystem of stored files)

planes = new_dataset(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=1, Rows=33, Columns=34, BitsAllocated=8,
                     BitsStored=8, HighBit=7, PixelRepresentation=0, NumberOfFrames=1)
planes.PixelData = color[0].transpose(2, 0, 1).tobytes()
planes["PixelData"].VR = "OB"
place = send(planes)
image = np.asarray(Image.open(io.BytesIO(fetch(place + "/rendered", "image/png").content)))
assert (image == color[0]).all(), "planar color"
made = pydicom.dcmread(io.BytesIO(fetch(place, f"application/dicom; transfer-syntax={JLS}").content))
assert made.PlanarConfiguration == 0 and (imagecodecs.jpegls_decode(next(pydicom.encaps.generate_frames(made.PixelData, number_of_frames=1))) == color[0]).all()

odd = U8.picture(5, 7, 3)
place = store(U8, odd, NATIVE)
assert [part.content for part in parts(fetch(place + "/frames/1,2,3", 'multipart/related; type="*/*"'))] == [frame.tobytes() for frame in odd]
made = pydicom.dcmread(io.BytesIO(fetch(place, f"application/dicom; transfer-syntax={RLE}").content))
assert (made.pixel_array == odd).all() and len(made.PixelData) % 2 == 0

bits = np.random.default_rng(5).integers(0, 2, (5, 7, 9), dtype=np.uint8)
mask = new_dataset("1.2.840.10008.5.1.4.1.1.66.4", SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", Rows=7, Columns=9, BitsAllocated=1,
                   BitsStored=1, HighBit=0, PixelRepresentation=0, NumberOfFrames=5, Modality="SEG")
packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
mask.PixelData = packed + bytes(len(packed) % 2)
mask["PixelData"].VR = "OB"
place = send(mask)
for number, part in enumerate(parts(fetch(place + "/frames/1,2,3,4,5", f'multipart/related; type="{octets}"; transfer-syntax=*'))):
    assert part.content == np.packbits(bits[number].reshape(-1), bitorder="little").tobytes(), number
    image = np.asarray(Image.open(io.BytesIO(fetch(f"{place}/frames/{number + 1}/rendered", "image/png").content)))
    assert (image == bits[number] * 255).all(), number
whole = parts(fetch(place, 'multipart/related; type="application/dicom"'))[0]
assert (pydicom.dcmread(io.BytesIO(whole.content)).pixel_array == bits).all()

half = color[0].copy()
half[:, 1::2] = half[:, 0::2]
matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
ybr = np.clip(np.rint(half @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)
subsampled = new_dataset(SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0, Rows=33, Columns=34, BitsAllocated=8,
                         BitsStored=8, HighBit=7, PixelRepresentation=0, NumberOfFrames=1)
subsampled.PixelData = np.concatenate([ybr[:, 0::2, :1], ybr[:, 1::2, :1], ybr[:, 0::2, 1:]], axis=2).tobytes()
subsampled["PixelData"].VR = "OB"
place = send(subsampled)
image = np.asarray(Image.open(io.BytesIO(fetch(place + "/rendered", "image/png").content)))
assert psnr(image, half) >= 45, psnr(image, half)
again = pydicom.dcmread(io.BytesIO(fetch(place, f"application/dicom; transfer-syntax={RLE}").content))
assert again.PhotometricInterpretation == "YBR_FULL" and (pixel_array(again, raw=True) == ybr).all()

for count in ("7", "0", ""):
    place = store(U8, odd, JLS, [charls()(frame, U8) for frame in odd], PatientComments=count)
    wrong = pydicom.dcmread(io.BytesIO(fetch(place, "application/dicom; transfer-syntax=*").content))
    wrong.SOPInstanceUID = generate_uid()
    wrong.NumberOfFrames = count or None
    place = send(wrong, JLS, known=False)
    got = parts(fetch(place + "/frames/1,2,3", f'multipart/related; type="{octets}"'))
    assert [part.content for part in got] == [frame.tobytes() for frame in odd], count
    fetch(place + "/frames/4", 'multipart/related; type="*/*"', 404)
passed("planar color, odd lengths, single bits, subsampled color and wrong numbers of frames")

# --- Objects that are no images

pdf = b"%PDF-1.4\n" + b"% a line of a document\n" * 400 + b"%%EOF\n"
pdf += b"\0" if len(pdf) % 2 else b"\n\0"
document = new_dataset("1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=pdf, MIMETypeOfEncapsulatedDocument="application/pdf",
                       EncapsulatedDocumentLength=len(pdf) - 1, DocumentTitle="A document", Modality="DOC")
place = send(document)
answer = fetch(place + "/rendered", "application/pdf")
assert answer.content == pdf[:-1] and answer.headers["Content-Type"] == "application/pdf"
assert "attachment" not in answer.headers.get("Content-Disposition", "")
assert fetch(place + "/rendered").headers["Content-Type"] == "application/pdf"
named = fetch(place + "/metadata", "application/dicom+json").json()[0]["00420011"]
for uri in (named["BulkDataURI"], place + "/bulkdata"):
    answer = fetch(uri, f'multipart/related; type="application/pdf", multipart/related; type="{octets}"')
    assert parts(answer)[0].content.startswith(b"%PDF") and parts(answer)[0].headers[b"Content-Type"] == b"application/pdf"

clip = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40
video = new_dataset("1.2.840.10008.5.1.4.1.1.77.1.4.1", SamplesPerPixel=3, PhotometricInterpretation="YBR_PARTIAL_420", PlanarConfiguration=0,
                    Rows=64, Columns=64, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, NumberOfFrames=25, Modality="ES")
video.PixelData = encapsulate([clip])
video["PixelData"].VR = "OB"
video["PixelData"].is_undefined_length = True
place = send(video, "1.2.840.10008.1.2.4.102", known=False)
answer = fetch(place + "/rendered", "*/*", 206, Range="bytes=0-")
assert answer.headers["Content-Type"] == "video/mp4" and answer.content == clip, answer.headers
answer = fetch(place + "/rendered?accept=video/mp4", "*/*", 206, Range="bytes=10-19")
assert answer.content == clip[10:20] and answer.headers["Content-Range"] == f"bytes 10-19/{len(clip)}"
assert fetch(place + "/thumbnail?accept=image%2Fjpeg", f'multipart/related; type="{octets}"').headers["Content-Type"] == "image/jpeg"
fetch(place, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1", 406)

leads = np.arange(12 * 1000, dtype="<i2").tobytes()
waveform = Dataset()
waveform.WaveformOriginality, waveform.NumberOfWaveformChannels, waveform.NumberOfWaveformSamples = "ORIGINAL", 12, 1000
waveform.WaveformBitsAllocated, waveform.WaveformSampleInterpretation, waveform.WaveformData = 16, "SS", leads
waveform["WaveformData"].VR = "OW"
place = send(new_dataset("1.2.840.10008.5.1.4.1.1.9.1.1", WaveformSequence=Sequence([waveform]), Modality="ECG"))
nested = fetch(place + "/metadata", "application/dicom+json").json()[0]["54000100"]["Value"][0]["54001010"]
assert fetch(nested["BulkDataURI"], octets).content == leads
assert parts(fetch(nested["BulkDataURI"], f'multipart/related; type="{octets}"'))[0].content == leads
assert fetch(place + "/thumbnail?accept=image%2Fjpeg", "*/*").headers["Content-Type"] == "image/jpeg"
passed("OHIF opens a document, a video by ranges, an ECG")

# --- All bulk data and all pixel data: what is accepted is what comes

for path in ("/pixeldata", "/bulkdata"):
    for accept, kind, count in (('multipart/related; type="*/*"', "image/jls", 3), (f'multipart/related; type="{octets}"', octets, 1),
                                ('multipart/related; type="image/jp2"', "image/jp2", 3)):
        for level in (url, series, study):
            values = parts(fetch(level + path, accept))
            assert len(values) == count and all(value.headers[b"Content-Type"].decode().startswith(kind + "; ") for value in values), (path, accept)
    assert "image/jls" in fetch(url + path, 'multipart/related; type="image/png"', 406).text
passed("bulk data and pixel data come as what is accepted, a part for each frame")

# --- What cannot be made does not spoil the rest

both = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
good = store(U8, odd[:1], NATIVE, **both)
bad = store(U8, odd[:1], "1.2.840.10008.1.2.4.92", [b"\xff\x4f not known to anybody"], **both)
for accept in (f'multipart/related; type="application/dicom"; transfer-syntax={RLE}', f"application/zip; transfer-syntax={RLE}"):
    answer = fetch(good.split("/instances/")[0], accept, 206)
    assert "left out" in answer.headers["Warning"] and answer.content.count(b"DICM") == 1, accept
assert len(parts(fetch(good.split("/series/")[0], 'multipart/related; type="application/dicom"'))) == 2
assert "transfer-syntax=*" in fetch(bad + "/rendered", "image/png", 406).text
passed("an instance that cannot be made is left out, and said to be")

# --- A lossy step behind another is told as such

lossy = store(U8, odd, BASELINE, [jpeg()(frame, U8) for frame in odd], LossyImageCompression="01", LossyImageCompressionRatio=4,
              LossyImageCompressionMethod="ISO_10918_1")
assert pydicom.dcmread(io.BytesIO(fetch(lossy, "application/dicom").content)).file_meta.TransferSyntaxUID == BASELINE
again = pydicom.dcmread(io.BytesIO(fetch(lossy, f"application/dicom; transfer-syntax={J2K_LOSSY}").content))
assert list(again.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"], again.LossyImageCompressionMethod
assert again.LossyImageCompression == "01" and len(again.LossyImageCompressionRatio) == 2 and again.LossyImageCompressionRatio[0] == 4
again = pydicom.dcmread(io.BytesIO(fetch(lossy, f"application/dicom; transfer-syntax={JLS}").content))
assert (again.LossyImageCompression, again.LossyImageCompressionMethod, again.LossyImageCompressionRatio) == ("01", "ISO_10918_1", 4)
passed("what was lossy is never called lossless")

# --- OHIF: whole instances, WADO-URI

(part,) = parts(fetch(url, 'multipart/related; type="application/dicom"'))
assert pydicom.dcmread(io.BytesIO(part.content)).PixelData == ct.tobytes()
for service in (base, base + "/wado", base.removesuffix("/dicom-web") + "/wado"):
    query = f"requestType=WADO&studyUID={study_uid}&seriesUID={series_uid}&objectUID={instance_uid}&contentType=application/dicom&transferSyntax=*"
    answer = fetch(f"{service}?{query}", f'multipart/related; type="{octets}"; transfer-syntax="*"')
    assert answer.headers["Content-Type"].startswith("application/dicom") and answer.content[128:132] == b"DICM"
passed("OHIF reads whole instances, and through WADO-URI")

# --- dicomweb-client: rendered, frames, bulk data

client = DICOMwebClient(url=base)
client.set_http_retry_params(retry=False)
names = (study_uid, series_uid, instance_uid)
for kind, magic in (("image/jpeg", b"\xff\xd8"), ("image/png", b"\x89PNG"), ("image/gif", b"GIF8")):
    for call, arguments in ((client.retrieve_instance_rendered, names), (client.retrieve_series_rendered, names[:2])):
        assert call(*arguments, media_types=(kind,)).startswith(magic), (call.__name__, kind)
    assert client.retrieve_instance_frames_rendered(*names, frame_numbers=[2], media_types=(kind,)).startswith(magic)
for call, arguments in ((client.retrieve_instance_rendered, names), (client.retrieve_series_rendered, names[:2])):
    assert call(*arguments).startswith(b"\xff\xd8"), call.__name__
assert client.retrieve_instance_frames_rendered(*names, frame_numbers=[1]).startswith(b"\xff\xd8")
small = client.retrieve_instance_rendered(*names, media_types=("image/png",), params={"viewport": "20,30", "window": "200,900,linear"})
assert max(Image.open(io.BytesIO(small)).size) <= 30
passed("dicomweb-client renders an instance, a series, a frame")
held = [frame.rstrip(b"\0") for frame in client.retrieve_instance_frames(*names, frame_numbers=[3, 1, 1])]
assert held == [charls()(ct[at], S12).rstrip(b"\0") for at in (2, 0, 0)]
for media in ("image/jls", "image/x-jls"):
    got = client.retrieve_instance_frames(*names, frame_numbers=[1], media_types=((media, JLS),))
    assert got[0].rstrip(b"\0") == held[1], media
for media, syntax, read in (("image/dicom-rle", RLE, None), ("image/x-dicom-rle", RLE, None), ("image/jp2", J2K, imagecodecs.jpeg2k_decode),
                            ("image/jpeg", FIRST, imagecodecs.jpeg8_decode)):
    (got,) = client.retrieve_instance_frames(*names, frame_numbers=[1], media_types=((media, syntax),))
    assert read is None or (S12.signed_again(read(got)) == ct[0]).all(), media
assert list(client.iter_instance_frames(*names, frame_numbers=[1, 2], media_types=((octets, NATIVE),))) == [ct[0].tobytes(), ct[1].tobytes()]
uri = client.retrieve_instance_metadata(*names)["7FE00010"]["BulkDataURI"]
for media_types in (None, (("image/jls", JLS),), ("image/*",)):
    assert [frame.rstrip(b"\0") for frame in client.retrieve_bulkdata(uri, media_types=media_types)] == [held[1], stored.rstrip(b"\0"), held[0]], media_types
assert client.retrieve_bulkdata(uri, media_types=((octets, NATIVE),)) == [ct.tobytes()]
assert [S12.signed_again(imagecodecs.jpeg2k_decode(frame)).tolist() for frame in client.retrieve_bulkdata(uri, media_types=(("image/jp2", J2K),))] == ct.tolist()
waves = nested["BulkDataURI"]
assert client.retrieve_bulkdata(waves) == [leads] and client.retrieve_bulkdata(waves, media_types=(octets,)) == [leads]
# A range counts the bytes of a single-part answer; this client asks for multipart, which comes whole.
assert client.retrieve_bulkdata(waves, byte_range=(10, 19)) == [leads]
assert fetch(waves, octets, 206, Range="bytes=10-19").content == leads[10:20]
assert b"".join(client.iter_bulkdata(waves)) == leads
passed("dicomweb-client retrieves frames and bulk data as every media type, in ranges and as a stream")
print("all requests of viewers are answered")
