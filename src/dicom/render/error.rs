//! Why no picture could be made.

use super::image::ImageFormat;

/// Why no picture could be made.
///
/// Messages never hold attribute values, so they are safe for logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The frame has no rows or no columns.
    #[error("the frame has {rows} rows and {columns} columns; both must be at least 1")]
    NoPixels {
        /// Rows of the frame.
        rows: u32,
        /// Columns of the frame.
        columns: u32,
    },
    /// The frame has fewer bytes than its shape needs.
    #[error("the decoded frame has {actual} bytes where its shape needs {needed}")]
    ShortFrame {
        /// Bytes that are there.
        actual: usize,
        /// Bytes that rows, columns and samples ask for.
        needed: u64,
    },
    /// A combination of photometric interpretation and sample kind with no rule.
    #[error("frames of {what} cannot be rendered; retrieve the frame itself instead")]
    Unsupported {
        /// The combination, in words.
        what: &'static str,
    },
    /// A PALETTE COLOR frame whose lookup tables are missing or damaged.
    #[error("the palette color lookup tables are missing or damaged")]
    Palette,
    /// The region asked for holds no pixel of the image.
    #[error("the source region lies outside the image of {width} × {height} pixels")]
    EmptyRegion {
        /// Width of the image the region refers to, in pixels.
        width: u32,
        /// Height of the image the region refers to, in pixels.
        height: u32,
    },
    /// The picture would exceed a limit.
    #[error("the picture would exceed {limit}; ask for a smaller viewport or fewer frames")]
    TooLarge {
        /// The limit, in words.
        limit: &'static str,
    },
    /// An animation was asked for but there was no frame.
    #[error("an animation needs at least one frame")]
    NoFrames,
    /// The encoder of the picture format failed.
    #[error("encoding the picture as {format} failed")]
    Encode {
        /// Media type that was being written.
        format: &'static str,
        /// What the encoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The error of an encoder.
pub(super) fn failed(
    format: ImageFormat,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> RenderError {
    move |source| RenderError::Encode {
        format: format.media_type(),
        source,
    }
}
