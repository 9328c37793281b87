//! Negotiation: which representation answers a list of wishes (PS3.18 §8.7).
//!
//! Pure tables and functions: what is stored and what is wished for go in, a plan comes out.

use super::codec::transfer_syntax::{
    DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, OCTETS, frame_media, is_native,
    with_frame_media,
};
use super::instance::{FileLayout, PixelDescription};

/// Other names under which clients ask for a media type.
const ALIASES: &[(&str, &str)] = &[
    ("image/x-dicom-rle", "image/dicom-rle"),
    ("image/x-jls", "image/jls"),
    ("image/jll", "image/jpeg"),
    ("image/x-jphc", "image/jphc"),
    ("image/jph", "image/jphc"),
];

/// Part 10 files.
pub const DICOM: &str = "application/dicom";

/// What is known of stored pixels when a representation is chosen.
#[derive(Debug, Clone, Copy)]
pub struct StoredPixels<'a> {
    /// Layout of the file.
    pub layout: &'a FileLayout,
    /// Pixels, if any.
    pub pixel: Option<&'a PixelDescription>,
}

impl StoredPixels<'_> {
    fn syntax(&self) -> &str {
        &self.layout.transfer_syntax
    }
}

/// What the codecs can do; a trait so that the table can be tested without them.
pub trait Codecs {
    /// Whether frames of this transfer syntax can be decoded to samples.
    fn decodes(&self, transfer_syntax: &str, pixel: &PixelDescription) -> bool;
    /// Whether samples decoded from one syntax can be encoded in another without changing what the picture means.
    fn encodes(&self, from: &str, to: &str, pixel: &PixelDescription) -> bool;
}

/// The transfer syntax a client wishes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferSyntaxPreference<'a> {
    /// As stored, whatever that is.
    Stored,
    /// As stored, but nothing that may not go over the web (PS3.18 §8.7.3.5.2).
    StoredForTheWeb,
    /// None named: Explicit VR Little Endian, unless only lossy or undecodable data is held.
    Default,
    /// This one.
    Uid(&'a str),
}

/// How one instance or its frames are produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepresentationPlan {
    /// The stored bytes.
    Stored,
    /// The samples as they are, in Explicit VR Little Endian.
    Native,
    /// Decoded and encoded frame by frame.
    Encode(String),
}

impl RepresentationPlan {
    /// The transfer syntax that comes out.
    #[must_use]
    pub fn syntax<'a>(&'a self, layout: &'a FileLayout) -> &'a str {
        match self {
            Self::Stored => &layout.transfer_syntax,
            Self::Native => EXPLICIT_LE,
            Self::Encode(uid) => uid,
        }
    }
}

/// The plan for one instance as a Part 10 file; none when the wish cannot be met.
#[must_use]
pub fn plan_instance(
    stored: StoredPixels<'_>,
    preference: TransferSyntaxPreference<'_>,
    codecs: &dyn Codecs,
) -> Option<RepresentationPlan> {
    let held = stored.syntax();
    match preference {
        // What does not name its transfer syntax itself is not a Part 10 file anybody could read.
        TransferSyntaxPreference::Stored => Some(RepresentationPlan::Stored),
        TransferSyntaxPreference::StoredForTheWeb => match held {
            IMPLICIT_LE | EXPLICIT_BE => Some(RepresentationPlan::Native),
            _ => Some(RepresentationPlan::Stored),
        },
        // A file whose meta group is missing or wrong could not be read back as what it is said to be.
        TransferSyntaxPreference::Uid(uid)
            if uid == held && (stored.layout.part10 || !is_native(held)) =>
        {
            Some(RepresentationPlan::Stored)
        }
        TransferSyntaxPreference::Default => Some(match held {
            EXPLICIT_LE if stored.layout.part10 => RepresentationPlan::Stored,
            _ if is_native(held) => RepresentationPlan::Native,
            _ => match stored.pixel {
                Some(pixel) if !is_lossy(stored) && codecs.decodes(held, pixel) => {
                    RepresentationPlan::Native
                }
                _ => RepresentationPlan::Stored,
            },
        }),
        TransferSyntaxPreference::Uid(IMPLICIT_LE | EXPLICIT_BE) => None,
        TransferSyntaxPreference::Uid(EXPLICIT_LE) if is_native(held) => {
            Some(RepresentationPlan::Native)
        }
        TransferSyntaxPreference::Uid(uid) => {
            let Some(pixel) = stored.pixel else {
                return (uid == DEFLATED_LE && is_native(held))
                    .then(|| RepresentationPlan::Encode(uid.to_owned()));
            };
            let readable = is_native(held) || codecs.decodes(held, pixel);
            if uid == EXPLICIT_LE {
                return readable.then_some(RepresentationPlan::Native);
            }
            if uid == DEFLATED_LE {
                return is_native(held).then(|| RepresentationPlan::Encode(uid.to_owned()));
            }
            (readable && codecs.encodes(held, uid, pixel))
                .then(|| RepresentationPlan::Encode(uid.to_owned()))
        }
    }
}

/// Whether the stored pixels have lost something already.
#[must_use]
pub fn is_lossy(stored: StoredPixels<'_>) -> bool {
    const LOSSY: &[&str] = &[
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.55",
        "1.2.840.10008.1.2.4.81",
        "1.2.840.10008.1.2.4.91",
        "1.2.840.10008.1.2.4.93",
        "1.2.840.10008.1.2.4.203",
        "1.2.840.10008.1.2.4.111",
        "1.2.840.10008.1.2.4.112",
    ];
    // .91 and .203 may hold reversible data: then the header says that nothing was lost.
    LOSSY.contains(&stored.syntax())
}

/// A media range a client wishes frames or bulk data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePreference<'a> {
    /// `application/octet-stream`, `image/jls`, `image/*`, `*/*`, in lower case.
    pub range: (&'a str, &'a str),
    /// The transfer syntax.
    pub syntax: TransferSyntaxPreference<'a>,
}

/// The plan for frames with its media type; none when the wish cannot be met.
#[must_use]
pub fn plan_frames(
    stored: StoredPixels<'_>,
    preference: FramePreference<'_>,
    codecs: &dyn Codecs,
) -> Option<(RepresentationPlan, &'static str)> {
    let (plan, media) = plan_any_order(stored, preference, codecs)?;
    let plan = match (plan, stored.syntax()) {
        // Samples and values go over the web in little endian only, whatever was asked (PS3.18 §8.7.3.5.2).
        (RepresentationPlan::Stored, EXPLICIT_BE) => RepresentationPlan::Native,
        // How a data set is written says nothing of its samples: they are those of Explicit VR Little Endian.
        (RepresentationPlan::Stored, IMPLICIT_LE | DEFLATED_LE)
            if !matches!(preference.syntax, TransferSyntaxPreference::Uid(_)) =>
        {
            RepresentationPlan::Native
        }
        // A deflated data set is one stream; nothing of it can be deflated alone in this syntax.
        (RepresentationPlan::Stored, DEFLATED_LE) => return None,
        (RepresentationPlan::Encode(uid), _) if uid == DEFLATED_LE => return None,
        (plan, _) => plan,
    };
    Some((plan, media))
}

fn plan_any_order(
    stored: StoredPixels<'_>,
    preference: FramePreference<'_>,
    codecs: &dyn Codecs,
) -> Option<(RepresentationPlan, &'static str)> {
    let held = stored.syntax();
    let range = canonical(preference.range);
    let covers = |media: &str| covers(range, media);
    let stored_media = if is_native(held) {
        OCTETS
    } else {
        frame_media(held)
    };
    if range == ("application", "octet-stream") {
        let plan = plan_instance(stored, preference.syntax, codecs)?;
        // Samples carry no container: frames of any little endian syntax are the stored bytes.
        return Some((plan, OCTETS));
    }
    match preference.syntax {
        TransferSyntaxPreference::Uid(uid) => {
            let media = if is_native(uid) {
                OCTETS
            } else {
                frame_media(uid)
            };
            if !covers(media) {
                return None;
            }
            Some((plan_instance(stored, preference.syntax, codecs)?, media))
        }
        TransferSyntaxPreference::Stored
        | TransferSyntaxPreference::StoredForTheWeb
        | TransferSyntaxPreference::Default
            if covers(stored_media) =>
        {
            let preference = if preference.syntax == TransferSyntaxPreference::Stored {
                TransferSyntaxPreference::Stored
            } else {
                TransferSyntaxPreference::StoredForTheWeb
            };
            Some((plan_instance(stored, preference, codecs)?, stored_media))
        }
        TransferSyntaxPreference::Stored
        | TransferSyntaxPreference::StoredForTheWeb
        | TransferSyntaxPreference::Default => with_frame_media()
            .filter(|row| row.is_default && covers(row.media_type))
            .find_map(|row| {
                let preference = TransferSyntaxPreference::Uid(row.uid);
                Some((plan_instance(stored, preference, codecs)?, row.media_type))
            }),
    }
}

fn canonical<'a>(range: (&'a str, &'a str)) -> (&'a str, &'a str) {
    let alias = ALIASES
        .iter()
        .find(|(name, _)| name.split_once('/') == Some(range));
    alias
        .and_then(|(_, media)| media.split_once('/'))
        .unwrap_or(range)
}

fn covers(range: (&str, &str), media: &str) -> bool {
    let Some((kind, subtype)) = media.split_once('/') else {
        return false;
    };
    (range.0 == "*" || range.0 == kind) && (range.1 == "*" || range.1 == subtype)
}

/// All transfer syntaxes an instance can be had in, for 406 answers and (0008,3002).
#[must_use]
pub fn available(stored: StoredPixels<'_>, codecs: &dyn Codecs) -> Vec<String> {
    let mut list = vec![stored.syntax().to_owned()];
    let candidates = [EXPLICIT_LE, DEFLATED_LE]
        .into_iter()
        .chain(with_frame_media().map(|row| row.uid));
    for uid in candidates {
        if uid != stored.syntax()
            && plan_instance(stored, TransferSyntaxPreference::Uid(uid), codecs).is_some()
        {
            list.push(uid.to_owned());
        }
    }
    list
}
