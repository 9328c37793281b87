"""Damaged codestreams of every codec in a running server: a picture or a refusal, quickly, and the server goes on.

usage: damaged_codestreams.py SERVICE_URL

For each codec 200 damaged copies of good codestreams are stored as the frames of one object. Each frame is asked for as samples,
each tenth as a picture too. Allowed are 200 and an answer of the 400s that says why; then a good frame must decode. Prints one line
a codec; stops with a status other than 0 on anything else.
"""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from codec_pictures import *

COPIES = 200
# An answer that takes longer counts as a hang; a good frame of this size takes milliseconds.
PATIENCE = 20
CODECS = [
    (FRAME, "deflated frame", U16, [deflate]),
    (RLE, "RLE", U16, [rle]),
    (BASELINE, "JPEG baseline", RGB, [jpeg("420"), jpeg("444")]),
    (EXTENDED, "JPEG extended", U12, [jpeg()]),
    (LOSSLESS, "JPEG lossless", U16, [jpeg_lossless(1), jpeg_lossless(7)]),
    (FIRST, "JPEG lossless, first order", RGB, [jpeg_lossless(1)]),
    (JLS, "JPEG-LS", RGB, [charls(0, mode) for mode in range(3)]),
    (NEAR, "JPEG-LS near-lossless", U12, [charls(3)]),
    (J2K, "JPEG 2000 lossless", S16, [openjpeg()]),
    (J2K_LOSSY, "JPEG 2000", RGB, [openjpeg(38)]),
    (HT, "HTJ2K lossless", S16, [openjph()]),
    (HT_RPCL, "HTJ2K lossless RPCL", RGB, [openjph(tlm=True)]),
    (HT_LOSSY, "HTJ2K", U8, [openjph(False)]),
    (JXL, "JPEG XL lossless", U16, [libjxl(lossless=True, effort=1), libjxl(lossless=True, effort=4)]),
    (JXL_JPEG, "JPEG XL recompression", RGB, [recompressed]),
    (JXL_LOSSY, "JPEG XL", RGB, [libjxl(distance=1.0)]),
]


def damaged(whole, chance):
    """One damage: a bit, a byte of the header, a cut, an insertion, a run of one value, a part twice."""
    data = bytearray(whole)
    at, header = chance.randrange(len(data)), chance.randrange(min(len(data), 100))
    how = chance.randrange(8)
    if how == 0:
        data[at] ^= 1 << chance.randrange(8)
    elif how in (1, 2):
        data[header] = chance.randrange(256)
    elif how == 3:
        # Sizes stand in the first bytes: make them huge.
        data[header : header + 2] = b"\xff\xff"
    elif how == 4:
        del data[max(at, 1) :]
    elif how == 5:
        data.insert(at, chance.randrange(256))
    elif how == 6:
        data[at : at + 20] = bytes([chance.choice((0, 255))]) * len(data[at : at + 20])
    else:
        data[at:at] = data[at : at + chance.randrange(1, 60)]
    return bytes(data)


def one_codec(codec):
    syntax, name, kind, encoders = codec
    chance = random.Random(name)
    picture = kind.picture(48, 40, 1)[0]
    good = [encode(picture, kind) for encode in encoders]
    frames = [damaged(chance.choice(good), chance) for _ in range(COPIES)] + [good[0]]
    many = np.broadcast_to(picture, (len(frames),) + picture.shape)
    url = store(kind, many, syntax, frames, stored_color(syntax, kind))
    answers = {}
    for number in range(1, COPIES + 1):
        requests = [(f"frames/{number}", 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1')]
        if number % 10 == 0:
            requests.append((f"frames/{number}/rendered", "image/png"))
        for path, accept in requests:
            response = http().get(f"{url}/{path}", headers={"Accept": accept}, timeout=PATIENCE)
            where = (syntax, number, path, response.status_code, response.text[:200] if response.status_code != 200 else "")
            assert response.status_code == 200 or 400 <= response.status_code < 500 and response.text, where
            if response.status_code == 200 and "rendered" not in path:
                # A damaged header may tell of another picture: the codestream decides, and the answer says so.
                length = len(MultipartDecoder.from_response(response).parts[0].content)
                assert length == picture.nbytes or "Warning" in response.headers, where + (length,)
            answers[response.status_code] = answers.get(response.status_code, 0) + 1
    last = frames_of_one(url, len(frames))
    assert len(last) == picture.nbytes, syntax
    return f"ok: {name}: " + ", ".join(f"{count} times {status}" for status, count in sorted(answers.items()))


def frames_of_one(url, number):
    response = get(f"{url}/frames/{number}", f'multipart/related; type="application/octet-stream"; transfer-syntax={NATIVE}')
    return MultipartDecoder.from_response(response).parts[0].content


with ThreadPoolExecutor(4) as pool:
    for line in pool.map(one_codec, CODECS):
        print(line, flush=True)
print("all damaged codestreams are answered")
