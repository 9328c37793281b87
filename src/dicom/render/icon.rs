//! Neutral pictures for what has no pixels: reports, documents, video, waveforms.

use super::error::RenderError;
use super::image::{Image, ImageFormat};
use super::request::{DEFAULT_QUALITY, MAX_VIEWPORT};
use super::{annotate, encode};

/// What an icon stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IconKind {
    /// Structured report, presentation state, key object: lines of text.
    Report,
    /// Encapsulated document: a page with its letters.
    Document,
    /// Video.
    Video,
    /// Waveform: ECG, audio.
    Waveform,
    /// Segmentation, registration, radiotherapy structure and other derived objects.
    Contour,
    /// Image whose pixels cannot be drawn.
    Image,
    /// Anything else.
    Unknown,
}

/// SOP classes by the beginning of their UID, most particular first.
const KINDS: [(&str, IconKind); 12] = [
    ("1.2.840.10008.5.1.4.1.1.88", IconKind::Report),
    ("1.2.840.10008.5.1.4.1.1.11", IconKind::Report),
    ("1.2.840.10008.5.1.4.1.1.104", IconKind::Document),
    ("1.2.840.10008.5.1.4.1.1.9", IconKind::Waveform),
    ("1.2.840.10008.5.1.4.1.1.77.1.1.1", IconKind::Video),
    ("1.2.840.10008.5.1.4.1.1.77.1.2.1", IconKind::Video),
    ("1.2.840.10008.5.1.4.1.1.77.1.4.1", IconKind::Video),
    ("1.2.840.10008.5.1.4.1.1.66", IconKind::Contour),
    ("1.2.840.10008.5.1.4.1.1.67", IconKind::Contour),
    ("1.2.840.10008.5.1.4.1.1.481", IconKind::Contour),
    ("1.2.840.10008.5.1.4.1.1.68", IconKind::Contour),
    ("1.2.840.10008.5.1.4.1.1", IconKind::Image),
];

impl IconKind {
    /// The icon for a SOP class.
    pub fn from_sop_class(uid: &str) -> Self {
        let begins = |prefix: &str| {
            uid.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        KINDS
            .iter()
            .find(|(prefix, _)| begins(prefix))
            .map_or(Self::Unknown, |&(_, kind)| kind)
    }
}

const BACKGROUND: u8 = 48;
const LIGHT: u8 = 208;
const DIM: u8 = 128;
/// Side of the grid icons are drawn on.
const GRID: f64 = 32.0;

/// Draws an icon, square, as large as fits the viewport (128 × 128 by default).
///
/// # Errors
/// Only when the encoder fails.
pub fn icon(
    kind: IconKind,
    viewport: Option<(u32, u32)>,
    format: ImageFormat,
) -> Result<Vec<u8>, RenderError> {
    let (width, height) = viewport.unwrap_or((
        super::request::DEFAULT_THUMBNAIL,
        super::request::DEFAULT_THUMBNAIL,
    ));
    let side = width.min(height).clamp(1, MAX_VIEWPORT);
    let data = vec![BACKGROUND; side as usize * side as usize];
    let mut canvas = Canvas {
        image: Image {
            width: side,
            height: side,
            channels: 1,
            data,
        },
    };
    match kind {
        IconKind::Report => {
            canvas.page();
            for (row, length) in [
                (8.0, 12.0),
                (11.0, 9.0),
                (14.0, 12.0),
                (17.0, 7.0),
                (20.0, 11.0),
            ] {
                canvas.rectangle(10.0, row, length, 1.2, BACKGROUND);
            }
        }
        IconKind::Document => {
            canvas.page();
            canvas.letters("DOC", 10.0, 13.0);
        }
        IconKind::Video => {
            for row in 0..24 {
                let row = f64::from(row);
                let width = if row < 12.0 { row } else { 24.0 - row };
                canvas.rectangle(10.0, 4.0 + row, 1.0 + width * 1.3, 1.0, LIGHT);
            }
        }
        IconKind::Waveform => canvas.lines(&[
            (3.0, 18.0),
            (9.0, 18.0),
            (11.0, 15.0),
            (13.0, 18.0),
            (14.5, 21.0),
            (16.5, 6.0),
            (18.5, 25.0),
            (20.0, 18.0),
            (23.0, 18.0),
            (25.0, 14.0),
            (27.0, 18.0),
            (30.0, 18.0),
        ]),
        IconKind::Contour => {
            canvas.rectangle(5.0, 8.0, 14.0, 14.0, DIM);
            canvas.lines(&[
                (12.0, 26.0),
                (10.0, 19.0),
                (13.0, 12.0),
                (20.0, 9.0),
                (26.0, 13.0),
                (27.0, 20.0),
                (22.0, 26.0),
                (12.0, 26.0),
            ]);
        }
        IconKind::Image => {
            canvas.rectangle(5.0, 7.0, 22.0, 18.0, DIM);
            canvas.lines(&[
                (5.0, 22.0),
                (11.0, 15.0),
                (15.0, 20.0),
                (20.0, 13.0),
                (26.0, 22.0),
            ]);
        }
        IconKind::Unknown => {
            canvas.page();
            canvas.letters("?", 14.0, 13.0);
        }
    }
    encode::encode(&canvas.image, format, DEFAULT_QUALITY, None)
}

/// A square picture addressed on a grid of 32 × 32.
struct Canvas {
    image: Image,
}

impl Canvas {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most the side of the picture"
    )]
    fn at(&self, value: f64) -> i64 {
        (value / GRID * f64::from(self.image.width)).round() as i64
    }

    fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, level: u8) {
        let (left, top) = (self.at(x), self.at(y));
        let size = (
            (self.at(x + width) - left).max(1),
            (self.at(y + height) - top).max(1),
        );
        annotate::fill(&mut self.image, (left, top), size, level);
    }

    fn page(&mut self) {
        self.rectangle(7.0, 4.0, 18.0, 24.0, LIGHT);
        self.rectangle(21.0, 4.0, 4.0, 4.0, DIM);
    }

    fn letters(&mut self, text: &str, x: f64, y: f64) {
        let scale = (self.at(4.0) / 8).max(1);
        let at = (self.at(x), self.at(y));
        annotate::draw_letters(&mut self.image, text, at, scale, BACKGROUND);
    }

    fn lines(&mut self, points: &[(f64, f64)]) {
        let unit = f64::from(self.image.width) / GRID;
        let thick = self.at(1.5).max(1);
        for (&from, &to) in points.iter().zip(points.iter().skip(1)) {
            let scale = |(x, y): (f64, f64)| (x * unit, y * unit);
            annotate::draw_line(&mut self.image, scale(from), scale(to), thick, LIGHT);
        }
    }
}
