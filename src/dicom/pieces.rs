//! Texts that are written piece by piece, so that no more than a piece of an answer is in memory.

use super::members::Malformed;

/// A text that is made while it is sent.
pub trait Pieces: Send {
    /// The next piece, of about `least` bytes or more unless it is the last one; none behind the last one.
    ///
    /// # Errors
    /// [`Malformed`] when the stored text the pieces are made of is no DICOM JSON; what was written ends there.
    fn next(&mut self, least: usize) -> Result<Option<Vec<u8>>, Malformed>;
}

/// A text that is there already.
impl Pieces for Option<Vec<u8>> {
    fn next(&mut self, _: usize) -> Result<Option<Vec<u8>>, Malformed> {
        Ok(self.take())
    }
}

/// A text with something before it and behind it.
pub struct Framed {
    before: Option<Vec<u8>>,
    inner: Option<Box<dyn Pieces>>,
    behind: &'static str,
}

impl Framed {
    /// Puts a text between two others, which are short.
    #[must_use]
    pub fn new(before: Vec<u8>, inner: Box<dyn Pieces>, behind: &'static str) -> Self {
        Self {
            before: Some(before),
            inner: Some(inner),
            behind,
        }
    }
}

impl Pieces for Framed {
    fn next(&mut self, least: usize) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(inner) = &mut self.inner else {
            return Ok(None);
        };
        let mut out = self.before.take().unwrap_or_default();
        while out.len() < least {
            let missing = least.saturating_sub(out.len());
            match inner.next(missing)? {
                Some(piece) => out.extend(piece),
                None => {
                    out.extend(self.behind.bytes());
                    self.inner = None;
                    break;
                }
            }
        }
        Ok(Some(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_stands_around_its_text() {
        for least in [1, 3, 100] {
            let inner: Box<dyn Pieces> = Box::new(Some(b"inside".to_vec()));
            let mut framed = Framed::new(b"<".to_vec(), inner, ">");
            let pieces = std::iter::from_fn(|| framed.next(least).unwrap());
            assert_eq!(pieces.flatten().collect::<Vec<u8>>(), b"<inside>");
        }
    }
}
