//! A JSON array as a body, written while its items come.
//!
//! Invariant: no more than the piece that is being sent is held, and what fails before the first piece is an error answer
//! and not a broken body.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::error::HttpError;

/// Bytes gathered before they are sent.
const GATHER: usize = 64 * 1024;

/// The items of an array, each one JSON text.
pub(super) type Items = BoxStream<'static, Result<Vec<u8>, HttpError>>;

/// The body of an array; a short one is made at once, so that its length is known.
///
/// # Errors
/// What the first items met.
pub(super) async fn array_body(items: Items) -> Result<Body, HttpError> {
    let start = Pieces {
        items,
        place: Place::First,
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

/// An array that is partly written.
struct Pieces {
    items: Items,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Further,
}

impl Pieces {
    /// The next piece, and what follows unless it is the last one.
    async fn next(mut self) -> Result<(Bytes, Option<Self>), HttpError> {
        let mut piece = Vec::new();
        if self.place == Place::First {
            piece.push(b'[');
        }
        while piece.len() < GATHER {
            let Some(item) = self.items.next().await.transpose()? else {
                piece.push(b']');
                return Ok((Bytes::from(piece), None));
            };
            if self.place == Place::Further {
                piece.push(b',');
            }
            self.place = Place::Further;
            piece.extend(item);
        }
        Ok((Bytes::from(piece), Some(self)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn items(texts: &[&str]) -> Items {
        let texts: Vec<_> = texts.iter().map(|t| Ok(t.as_bytes().to_vec())).collect();
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
    async fn an_error_before_the_first_piece_is_no_broken_body() {
        let broken = stream::iter([Ok(b"1".to_vec()), Err(HttpError::broken("x"))]).boxed();
        assert!(array_body(broken).await.is_err());
        let long = Ok(vec![b'7'; GATHER]);
        let late = stream::iter([long, Err(HttpError::broken("x"))]).boxed();
        let body = array_body(late).await.unwrap();
        assert!(body.collect().await.is_err());
    }
}
