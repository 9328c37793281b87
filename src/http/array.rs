//! A JSON array as a body, written while its items come.
//!
//! Invariant: no more than the piece that is being sent is held, and what fails before the first piece is an error answer
//! and not a broken body.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::error::HttpError;
use super::represent::header_value;
use crate::archive::left_out::LeftOut;
use crate::archive::texts::TextPart;
use crate::archive::{Archive, ArchiveError};

/// Bytes gathered before they are sent.
const GATHER: usize = 64 * 1024;

/// A piece of the text of an array's item.
#[derive(Debug)]
pub(super) struct ItemPiece {
    /// The item begins with it.
    first: bool,
    text: Bytes,
}

/// The items of an array, each one JSON text in pieces.
pub(super) type Items = BoxStream<'static, Result<ItemPiece, HttpError>>;

/// Parts of an answer as the items of an array.
pub(super) fn items(
    archive: &Archive,
    parts: BoxStream<'static, Result<TextPart, ArchiveError>>,
) -> Items {
    let archive = archive.clone();
    let pieces = parts.map_ok(move |part| {
        let pieces = archive.pieces(part).enumerate();
        pieces.map(|(at, text)| {
            let first = at == 0;
            text.map(|text| ItemPiece { first, text })
        })
    });
    pieces.try_flatten().map_err(HttpError::from).boxed()
}

/// The body of an array; a short one is made at once, so that its length is known.
///
/// # Errors
/// What the first items met.
pub(super) async fn array_body(items: Items) -> Result<Body, HttpError> {
    let start = ArrayPieces {
        items,
        place: ArrayPosition::First,
    };
    let (first, rest) = start.next().await?;
    let Some(rest) = rest else {
        return Ok(Body::from(first));
    };
    let rest = stream::try_unfold(Some(rest), |pieces| async move {
        let Some(pieces) = pieces else {
            return Ok::<_, HttpError>(None);
        };
        let (piece, rest) = pieces.next().await?;
        Ok(Some((piece, rest)))
    });
    let rest = rest.inspect_err(|error| {
        let cause = error.cause().unwrap_or_default();
        tracing::error!(cause, "an answer broke off");
    });
    let first = stream::once(async move { Ok(first) });
    Ok(Body::from_stream(first.chain(rest)))
}

/// The answer with a warning when something was left out of it, as far as that is known when it begins.
///
/// # Errors
/// Never, in practice: the warning is ASCII.
pub(super) fn reported(
    mut response: Response,
    left_out: &LeftOut,
    what: &str,
) -> Result<Response, HttpError> {
    let count = left_out.count();
    if count > 0 {
        let warning = format!(
            "299 stowage: \"The {what} of {count} instances cannot be read and was left out; the log names them\""
        );
        let warning = header_value(&warning)?;
        response.headers_mut().append(header::WARNING, warning);
    }
    Ok(response)
}

/// An array that is partly written.
struct ArrayPieces {
    items: Items,
    place: ArrayPosition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ArrayPosition {
    First,
    Further,
}

impl ArrayPieces {
    /// The next piece, and what follows unless it is the last one.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), HttpError> {
        let mut piece = Vec::new();
        if self.place == ArrayPosition::First {
            piece.push(b'[');
        }
        while piece.len() < GATHER {
            let Some(item) = self.items.next().await.transpose()? else {
                piece.push(b']');
                return Ok((Bytes::from(piece), None));
            };
            if item.first && self.place == ArrayPosition::Further {
                piece.push(b',');
            }
            self.place = ArrayPosition::Further;
            piece.extend_from_slice(&item.text);
        }
        Ok((Bytes::from(piece), Some(self)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn whole(text: &str) -> ItemPiece {
        ItemPiece {
            first: true,
            text: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    fn items(texts: &[&str]) -> Items {
        let texts: Vec<_> = texts.iter().map(|text| Ok(whole(text))).collect();
        stream::iter(texts).boxed()
    }

    async fn read(texts: &[&str]) -> String {
        let body = array_body(items(texts)).await.unwrap();
        let bytes = body.collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn commas_stand_between_the_items() {
        assert_eq!(read(&[]).await, "[]");
        assert_eq!(read(&["1"]).await, "[1]");
        assert_eq!(read(&["1", "{}", "[]"]).await, "[1,{},[]]");
        let long = "7".repeat(GATHER);
        let wanted = format!("[{long},{long},1]");
        assert_eq!(read(&[&long, &long, "1"]).await, wanted);
    }

    #[tokio::test]
    async fn pieces_of_an_item_stand_side_by_side() {
        let mut behind = whole("}");
        behind.first = false;
        let pieces = stream::iter([Ok(whole("{")), Ok(behind), Ok(whole("2"))]);
        let body = array_body(pieces.boxed()).await.unwrap();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes, "[{},2]");
    }

    #[tokio::test]
    async fn an_error_before_the_first_piece_is_no_broken_body() {
        let broken = stream::iter([Ok(whole("1")), Err(HttpError::broken("x"))]).boxed();
        assert!(array_body(broken).await.is_err());
        let long = Ok(whole(&"7".repeat(GATHER)));
        let late = stream::iter([long, Err(HttpError::broken("x"))]).boxed();
        let body = array_body(late).await.unwrap();
        assert!(body.collect().await.is_err());
    }
}
