//! What the client wants back: the Accept header and the `accept` query parameter as a ranked list of wishes.
//!
//! Nothing a client writes is an error: items that cannot be read are skipped, sizes are capped.
//! Invariant: the list holds no wish with q=0; what such an item refuses is left out of the wildcards instead.

use http::HeaderMap;
use http::header::ACCEPT;

use super::parameters::{Item, parse_item, split_list};

/// Most bytes of all Accept headers that are looked at.
const MAX_TEXT: usize = 16 * 1024;
/// Most items that are looked at.
const MAX_ITEMS: usize = 100;
/// The `q` of an item that states none.
const FULL_QUALITY: u16 = 1000;

/// One acceptable form of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Multipart or a bare body, and of which media types.
    pub kind: WishKind,
    /// The `transfer-syntax` parameter; the first when it is given twice (PS3.18 §8.7.3.5.2).
    pub transfer_syntax: Option<TransferSyntaxWish>,
    /// The `charset` parameter, in lower case.
    pub charset: Option<String>,
    /// Quality in thousandths, 1 to 1000.
    pub q: u16,
}

/// How the answer is wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WishKind {
    /// `multipart/related` with parts of this type; `*/*` when no `type` is given.
    Multipart {
        /// Media type of the parts.
        inner: MediaRange,
    },
    /// A body of this type; `*/*` leaves the choice, wrapping included, to the server.
    Single(MediaRange),
}

/// The transfer syntax wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferSyntaxWish {
    /// `*`: as stored.
    Any,
    /// One transfer syntax; text of digits and dots, at most 64 characters.
    Uid(String),
}

/// A media type in which either half may be a wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRange {
    /// First half in lower case, `*` for any.
    pub type_name: String,
    /// Second half in lower case, `*` for any.
    pub subtype: String,
    /// Parameters other than those a [`Wish`] names; names in lower case.
    pub params: Vec<(String, String)>,
    /// Types refused with `q=0` although the wildcard covers them.
    pub except: Vec<(String, String)>,
}

impl MediaRange {
    /// A range without parameters.
    #[must_use]
    pub fn new(type_name: &str, subtype: &str) -> Self {
        Self {
            type_name: type_name.to_owned(),
            subtype: subtype.to_owned(),
            params: Vec::new(),
            except: Vec::new(),
        }
    }

    /// Reads `type/subtype`, `type/*`, `type/` (meaning `type/*`), `*/*` and the bare `*`.
    ///
    /// In a query value a `+` may have been decoded to a space; it is put back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::new("*", "*"));
        }
        let (type_name, subtype) = text.split_once('/')?;
        let type_name = type_name.trim().to_ascii_lowercase();
        let mut subtype = subtype.trim().replace(' ', "+").to_ascii_lowercase();
        if subtype.is_empty() {
            "*".clone_into(&mut subtype);
        }
        let sound = is_token(&type_name) && is_token(&subtype);
        let backwards = type_name == "*" && subtype != "*";
        (sound && !backwards).then(|| Self::new(&type_name, &subtype))
    }

    /// Whether a concrete type (lower case) falls into the range.
    #[must_use]
    pub fn covers(&self, type_name: &str, subtype: &str) -> bool {
        let refused = |(t, s): &(String, String)| t == type_name && (s == subtype || s == "*");
        (self.type_name == "*" || self.type_name == type_name)
            && (self.subtype == "*" || self.subtype == subtype)
            && !self.except.iter().any(refused)
    }

    /// Whether a concrete media type such as `image/jpeg` falls into the range.
    #[must_use]
    pub fn covers_type(&self, media_type: &str) -> bool {
        media_type
            .split_once('/')
            .is_some_and(|(type_name, subtype)| self.covers(type_name, subtype))
    }

    /// Whether both halves are wildcards.
    #[must_use]
    pub fn is_anything(&self) -> bool {
        self.type_name == "*"
    }

    /// Whether either half is a wildcard.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.type_name == "*" || self.subtype == "*"
    }

    /// 0 for `*/*`, 1 for `type/*`, 2 for one type.
    fn specificity(&self) -> u8 {
        u8::from(self.type_name != "*") + u8::from(self.subtype != "*")
    }
}

impl std::fmt::Display for MediaRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.type_name, self.subtype)
    }
}

impl Wish {
    /// The wish of a client that says nothing: anything.
    #[must_use]
    pub fn anything() -> Self {
        Self {
            kind: WishKind::Single(MediaRange::new("*", "*")),
            transfer_syntax: None,
            charset: None,
            q: FULL_QUALITY,
        }
    }

    /// The range of a bare body, when one is wanted.
    #[must_use]
    pub fn single(&self) -> Option<&MediaRange> {
        match &self.kind {
            WishKind::Single(range) => Some(range),
            WishKind::Multipart { .. } => None,
        }
    }

    /// The range of the parts, when a multipart body is wanted.
    #[must_use]
    pub fn multipart(&self) -> Option<&MediaRange> {
        match &self.kind {
            WishKind::Multipart { inner } => Some(inner),
            WishKind::Single(_) => None,
        }
    }

    /// The range, whatever the wrapping.
    #[must_use]
    pub fn range(&self) -> &MediaRange {
        match &self.kind {
            WishKind::Single(range) | WishKind::Multipart { inner: range } => range,
        }
    }

    fn range_mut(&mut self) -> &mut MediaRange {
        match &mut self.kind {
            WishKind::Single(range) | WishKind::Multipart { inner: range } => range,
        }
    }
}

/// What the client accepts, best first (PS3.18 §8.7.8): all of the query parameter, then all of the header.
///
/// `query` holds the decoded values of `accept`, none when the parameter is absent. Neither parameter nor header gives
/// [`Wish::anything`]; an empty list means that nothing the client listed can be read or everything was refused.
#[must_use]
pub fn wishes(query: &[&str], headers: &HeaderMap) -> Vec<Wish> {
    let header: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let stated = |text: &&str| !text.trim().is_empty();
    let query: Vec<&str> = query.iter().copied().filter(stated).collect();
    let header: Vec<&str> = header.iter().map(AsRef::as_ref).filter(stated).collect();
    if query.is_empty() && header.is_empty() {
        return vec![Wish::anything()];
    }
    let mut all = rank(&query.join(","));
    all.extend(rank(&header.join(",")));
    all
}

/// The readable wishes of one Accept value, best first: by q, then the more specific, then in order.
#[must_use]
pub fn rank(text: &str) -> Vec<Wish> {
    let (mut accepted, refused): (Vec<Wish>, Vec<Wish>) = split_list(capped(text))
        .take(MAX_ITEMS)
        .filter_map(|item| read_wish(&parse_item(item)))
        .partition(|wish| wish.q > 0);
    for wish in &mut accepted {
        let same_wrapping = |no: &&Wish| {
            no.single().is_some() == wish.single().is_some()
                && no.transfer_syntax.is_none()
                && no.range().specificity() > wish.range().specificity()
        };
        let except = refused.iter().filter(same_wrapping);
        let except = except
            .map(|no| (no.range().type_name.clone(), no.range().subtype.clone()))
            .collect();
        wish.range_mut().except = except;
    }
    // The sort is stable, so equals stay in the order of the text.
    accepted.sort_by_key(|wish| {
        let wrapped = matches!(&wish.kind, WishKind::Multipart { .. });
        let specificity = wish.range().specificity().max(u8::from(wrapped));
        std::cmp::Reverse((wish.q, specificity))
    });
    accepted
}

/// Whether DICOM JSON can be sent: `application/json` covers `application/dicom+json` by its suffix.
#[must_use]
pub fn covers_json(wishes: &[Wish]) -> bool {
    wishes.iter().filter_map(Wish::single).any(|range| {
        range.covers("application", "dicom+json")
            || (range.type_name == "application" && range.subtype == "json")
    })
}

/// The text cut to the cap; the last item may be lost, which is skipped like any unreadable one.
fn capped(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn read_wish(item: &Item) -> Option<Wish> {
    let outer = MediaRange::parse(&item.head)?;
    let quality = item.first("q").map_or(FULL_QUALITY, read_quality);
    let mut transfer_syntax = item.first("transfer-syntax").map(str::to_owned);
    let mut charset = item.first("charset").map(str::to_owned);
    let multipart =
        outer.type_name == "multipart" && matches!(outer.subtype.as_str(), "related" | "*");
    let kind = if multipart {
        let inner = parse_item(item.first("type").unwrap_or("*/*"));
        // `type="application/dicom; transfer-syntax=*"`: what belongs outside is found inside the quotes.
        transfer_syntax =
            transfer_syntax.or_else(|| inner.first("transfer-syntax").map(str::to_owned));
        charset = charset.or_else(|| inner.first("charset").map(str::to_owned));
        let mut range = MediaRange::parse(&inner.head)?;
        range.params = other_parameters(item)
            .chain(other_parameters(&inner))
            .collect();
        WishKind::Multipart { inner: range }
    } else {
        let mut range = outer;
        range.params = other_parameters(item).collect();
        WishKind::Single(range)
    };
    let transfer_syntax = match transfer_syntax {
        Some(text) => Some(read_transfer_syntax(&text)?),
        None => None,
    };
    Some(Wish {
        kind,
        transfer_syntax,
        charset: charset.map(|name| name.to_ascii_lowercase()),
        q: quality,
    })
}

fn other_parameters(item: &Item) -> impl Iterator<Item = (String, String)> {
    const NAMED: [&str; 5] = ["q", "type", "transfer-syntax", "charset", "boundary"];
    let others = item
        .parameters
        .iter()
        .filter(|(name, _)| !NAMED.contains(&name.as_str()));
    others.cloned()
}

/// An unreadable transfer syntax makes the item unreadable: answering in another one would be wrong.
fn read_transfer_syntax(text: &str) -> Option<TransferSyntaxWish> {
    let text = text.trim().trim_matches('"');
    if text == "*" {
        return Some(TransferSyntaxWish::Any);
    }
    let uid = crate::dicom::uid::check_uid(text).ok()?;
    Some(TransferSyntaxWish::Uid(uid.to_owned()))
}

/// Thousandths; more digits are cut, below zero is 0, above one and unreadable is 1.
fn read_quality(text: &str) -> u16 {
    let text = text.trim();
    if text.starts_with('-') {
        return 0;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let readable = digits(whole) && digits(fraction) && whole.len() + fraction.len() > 0;
    if !readable || whole.bytes().any(|byte| byte != b'0') {
        return FULL_QUALITY;
    }
    let mut thousandths = 0;
    for position in 0..3 {
        let digit = fraction
            .as_bytes()
            .get(position)
            .map_or(0, |byte| byte - b'0');
        thousandths = thousandths * 10 + u16::from(digit);
    }
    thousandths
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 127 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
