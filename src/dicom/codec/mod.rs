//! Frames in, frames out: every transfer syntax behind one trait, a file per codec.
//!
//! [`decode`] turns one frame of any syntax into canonical samples, [`encode`] turns canonical samples
//! into one frame. Both check sizes against the header and the limits before anything is allocated
//! from the codestream, and no panic of a codec library leaves this module.
//!
//! A codec cannot be interrupted, and its working memory is a small multiple of the frame, so callers
//! bound the number of frames in work, not only their size.

mod color;
mod deflate;
mod error;
mod frame_codec;
mod htj2k;
mod jpeg;
mod jpeg2000;
mod jpeg2000_header;
mod jpeg2000_stream;
mod jpeg_header;
mod jpeg_ls;
mod jpeg_xl;
pub mod jpegls;
mod native;
mod recognize;
mod rle;
mod samples;
mod shape;
#[cfg(test)]
mod tests;
pub mod transfer_syntax;

pub use color::ybr_to_rgb;
pub use error::{CodecError, LibraryError};
pub use frame_codec::{EncodeOptions, Encoded, JpegColor};
pub use native::{
    ByteOrder, expand_bits, native_frame, native_frame_span, native_to_canonical, unpack_bits,
};
pub use recognize::{RecognizedCodestream, codestream_in_boxes, recognize};
pub use shape::{DecodedFrame, FrameLimits, FrameShape, Photometric};
pub use transfer_syntax::Coding;

use frame_codec::{FrameCodec, guarded};

/// The codec of a coding; nothing for native, video and multi-component syntaxes.
fn codec(coding: Coding) -> Option<&'static dyn FrameCodec> {
    use jpeg::Jpeg;
    use jpeg_ls::JpegLs;
    use jpeg_xl::JpegXl;
    use jpeg2000::Jpeg2000;
    let codec: &'static dyn FrameCodec = match coding {
        Coding::DeflatedFrame => &deflate::Deflate,
        Coding::Rle => &rle::Rle,
        Coding::JpegBaseline => &Jpeg(Coding::JpegBaseline),
        Coding::JpegExtended => &Jpeg(Coding::JpegExtended),
        Coding::JpegProgressive => &Jpeg(Coding::JpegProgressive),
        Coding::JpegLossless => &Jpeg(Coding::JpegLossless),
        Coding::JpegLosslessFirstOrder => &Jpeg(Coding::JpegLosslessFirstOrder),
        Coding::JpegLsLossless => &JpegLs(Coding::JpegLsLossless),
        Coding::JpegLsNearLossless => &JpegLs(Coding::JpegLsNearLossless),
        Coding::Jpeg2000Lossless => &Jpeg2000(Coding::Jpeg2000Lossless),
        Coding::Jpeg2000 => &Jpeg2000(Coding::Jpeg2000),
        Coding::Htj2kLossless => &Jpeg2000(Coding::Htj2kLossless),
        Coding::Htj2kLosslessRpcl => &Jpeg2000(Coding::Htj2kLosslessRpcl),
        Coding::Htj2k => &Jpeg2000(Coding::Htj2k),
        Coding::JpegXlLossless => &JpegXl(Coding::JpegXlLossless),
        Coding::JpegXlRecompression => &JpegXl(Coding::JpegXlRecompression),
        Coding::JpegXl => &JpegXl(Coding::JpegXl),
        _ => return None,
    };
    Some(codec)
}

fn known(transfer_syntax: &str) -> Result<Coding, CodecError> {
    Coding::from_uid(transfer_syntax).ok_or_else(|| CodecError::UnknownTransferSyntax {
        uid: transfer_syntax.to_owned(),
    })
}

/// Why no codec exists for a coding.
fn no_codec(coding: Coding) -> &'static str {
    if coding.is_video() {
        "video is passed through as stored"
    } else {
        "no codec for this transfer syntax is built in"
    }
}

fn check_decodable(coding: Coding, shape: &FrameShape) -> Result<(), CodecError> {
    shape.check()?;
    if coding.is_native() {
        return Ok(());
    }
    let reason = match codec(coding) {
        None => Err(no_codec(coding)),
        Some(codec) => codec.decodable(shape),
    };
    reason.map_err(|reason| CodecError::CannotDecode { coding, reason })
}

fn check_encodable(coding: Coding, shape: &FrameShape) -> Result<(), CodecError> {
    shape.check_canonical()?;
    let reason = match codec(coding) {
        _ if coding.is_native() => Err("native frames are written as they are"),
        None => Err(no_codec(coding)),
        Some(codec) => codec.encodable(shape),
    };
    reason.map_err(|reason| CodecError::CannotEncode { coding, reason })
}

/// Whether frames of this shape can be decoded from a transfer syntax.
pub fn can_decode(transfer_syntax: &str, shape: &FrameShape) -> bool {
    known(transfer_syntax).is_ok_and(|coding| check_decodable(coding, shape).is_ok())
}

/// Whether canonical frames of this shape can be encoded in a transfer syntax.
///
/// The shape is that of decoded samples: for a stored frame ask [`decoded_shape`] first.
/// False for native syntaxes: their frames are written, not encoded. A yes can still end in an error
/// for a frame an encoder refuses (JPEG XL), never in a wrong picture.
pub fn can_encode(transfer_syntax: &str, shape: &FrameShape) -> bool {
    known(transfer_syntax).is_ok_and(|coding| check_encodable(coding, shape).is_ok())
}

/// The shape [`decode`] would return, without decoding; nothing when it cannot decode.
///
/// With it a plan (stored syntax to wanted syntax) is made from the header alone.
pub fn decoded_shape(transfer_syntax: &str, shape: &FrameShape) -> Option<FrameShape> {
    let coding = known(transfer_syntax).ok()?;
    check_decodable(coding, shape).ok()?;
    Some(match codec(coding) {
        Some(codec) => codec.decoded_shape(shape),
        None => native::canonical_shape(shape),
    })
}

/// The shape [`decode`] will return, as far as the codestream says before it is decoded.
///
/// What it says of rows, columns, components and bits counts before the header (PS3.5 §8.2). Bits Stored can still
/// grow up to Bits Allocated, and single bits can turn out to be bytes; a caller that sets memory aside
/// takes the larger.
///
/// # Errors
/// As [`decode`], for what stands in the headers of the stream.
pub fn codestream_shape(
    transfer_syntax: &str,
    codestream: &[u8],
    shape: &FrameShape,
) -> Result<FrameShape, CodecError> {
    let coding = known(transfer_syntax)?;
    check_decodable(coding, shape)?;
    let Some(codec) = codec(coding) else {
        return Ok(native::canonical_shape(shape));
    };
    guarded(coding, || {
        Ok(codec.decoded_shape(&codec.declared(codestream, shape)?))
    })
}

/// Whether a codestream itself says that it lost information.
///
/// Nothing when it does not say or cannot be read: a reversible JPEG 2000 stream may have been cut, and
/// JPEG XL does not tell. Streams that contradict their transfer syntax are decoded all the same, so
/// who presents a decoded frame as lossless asks here first.
pub fn stream_is_lossy(transfer_syntax: &str, codestream: &[u8]) -> Option<bool> {
    let coding = Coding::from_uid(transfer_syntax)?;
    if coding.is_native() {
        return Some(false);
    }
    let codec = codec(coding)?;
    guarded(coding, || Ok(codec.is_lossy(codestream))).ok()?
}

/// Decodes one frame; `codestream` is exactly the bytes of its fragments.
///
/// Gives samples in canonical form (see [`DecodedFrame`]) and the shape that describes them. Where codestream and header
/// disagree on rows, columns, components or bits the codestream decides (PS3.5 §8.2), so the shape of the frame may differ
/// from [`decoded_shape`]; of the sign the header decides, for not every stream has one. `YBR_RCT` and
/// `YBR_ICT` become RGB, so does every three-sample frame of a lossy JPEG or JPEG XL syntax;
/// `YBR_FULL` of lossless syntaxes stays, because turning it into RGB would lose bits. JPEG components are taken raw and
/// their color is decided, in this order, by component ids `RGB`, the Adobe marker, the JFIF marker
/// and the Photometric Interpretation. Native frames are accepted too; those of big endian with
/// VR OW and 8 bits or less go through [`native_frame`] instead.
///
/// # Errors
/// [`CodecError`]: the syntax or shape cannot be decoded, the frame is above the limit, or the codestream is damaged.
pub fn decode(
    transfer_syntax: &str,
    codestream: &[u8],
    shape: &FrameShape,
    limits: &FrameLimits,
) -> Result<DecodedFrame, CodecError> {
    let coding = known(transfer_syntax)?;
    check_decodable(coding, shape)?;
    shape.checked_len(limits)?;
    let Some(codec) = codec(coding) else {
        let order = match coding {
            Coding::ExplicitBigEndian => ByteOrder::Big,
            _ => ByteOrder::Little,
        };
        return native_to_canonical(codestream, shape, order);
    };
    guarded(coding, || codec.decode(codestream, shape, limits))
}

/// Encodes one canonical frame.
///
/// The result carries the attributes that the header must take over and, for lossy syntaxes, the
/// compression ratio. The precision of the codestream is Bits Stored, as long as the format has it.
///
/// # Errors
/// [`CodecError`]: the syntax cannot hold the frame, or the encoder refused it.
pub fn encode(
    transfer_syntax: &str,
    frame: &DecodedFrame,
    options: &EncodeOptions,
) -> Result<Encoded, CodecError> {
    let coding = known(transfer_syntax)?;
    check_encodable(coding, &frame.shape)?;
    frame.check()?;
    let Some(codec) = codec(coding) else {
        let reason = no_codec(coding);
        return Err(CodecError::CannotEncode { coding, reason });
    };
    guarded(coding, || codec.encode(frame, options))
}
