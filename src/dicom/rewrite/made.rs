//! What tests need of planned files: the bytes they are made of, and the bytes they become.

use super::segment::FrameWriter;
use super::{FileSegment, write};
use crate::dicom::inflate::inflate;
use crate::dicom::instance::FileLayout;
use crate::dicom::source::Source;
use crate::dicom::testing::deflate;

/// What a file is planned of: the file, or its inflated data set.
pub(crate) fn source<'a>(bytes: &'a &'a [u8], layout: &FileLayout) -> Box<dyn Source + 'a> {
    if layout.deflated {
        Box::new(inflate(bytes, layout.dataset_offset, 1 << 30, None).unwrap())
    } else {
        Box::new(*bytes)
    }
}

/// The new file, and its data set before it is deflated; `frames` writes those that are made.
pub(crate) fn made(
    source: &dyn Source,
    layout: &FileLayout,
    segments: &[FileSegment],
    frames: FrameWriter<'_>,
) -> (Vec<u8>, Vec<u8>) {
    let (meta, rest) = segments.split_first().unwrap();
    let (mut out, mut data) = (Vec::new(), Vec::new());
    write(source, std::slice::from_ref(meta), frames, &mut out).unwrap();
    write(source, rest, frames, &mut data).unwrap();
    match layout.deflated {
        true => out.extend(deflate(&data)),
        false => out.extend(&data),
    }
    (out, data)
}
