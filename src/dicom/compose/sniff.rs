//! Streams that are known by their first bytes only: RLE and video.

use crate::dicom::codec::Coding;

/// RLE segments: a count up to fifteen and offsets that rise inside the part (PS3.5 §G.5).
pub(super) fn is_rle(head: &[u8], length: u64) -> bool {
    let (words, _) = head.get(..64).unwrap_or_default().as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    let count = words.next().unwrap_or(0);
    if !(1..=15).contains(&count) {
        return false;
    }
    let mut least = 64;
    words.enumerate().all(|(number, offset)| {
        if number >= usize::try_from(count).unwrap_or(0) {
            return offset == 0;
        }
        let fits = offset >= least && u64::from(offset) < length;
        least = offset.saturating_add(1);
        fits && (number > 0 || offset == 64)
    })
}

/// The video stream that begins with these bytes; profile and level are the narrowest that DICOM has.
pub(super) fn video(head: &[u8]) -> Option<Coding> {
    let packets = |step: usize| {
        let starts = head.iter().step_by(step).take(3);
        starts.clone().count() == 3 && starts.into_iter().all(|byte| *byte == 0x47)
    };
    match head {
        // Still pictures in the same container.
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..]
            if [&b"hei"[..], b"hev", b"mif", b"avi"]
                .iter()
                .any(|still| brand.starts_with(still)) =>
        {
            None
        }
        // MPEG-4 file: the sample entry names the codec.
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => {
            let has = |kind: &[u8]| head.windows(4).any(|four| four == kind);
            Some(if has(b"hvc1") || has(b"hev1") {
                Coding::HevcMain
            } else {
                Coding::Mpeg4High
            })
        }
        // Pack and sequence headers of MPEG-2.
        [0, 0, 1, 0xBA | 0xB3, ..] => Some(Coding::Mpeg2Main),
        // Byte streams: a parameter set of H.264, or of H.265.
        [0, 0, 0, 1, unit, ..] | [0, 0, 1, unit, ..] if unit & 0x1F == 7 => Some(Coding::Mpeg4High),
        [0, 0, 0, 1, 0x40 | 0x42, ..] | [0, 0, 1, 0x40 | 0x42, ..] => Some(Coding::HevcMain),
        _ if packets(188) => Some(Coding::Mpeg2Main),
        _ => None,
    }
}
