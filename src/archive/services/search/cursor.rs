//! Cursors: places in the order of results, as texts.

use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Order, Query, SortKey};
use crate::index::Position;

/// Longest key of a cursor in bytes: the longest text that is searched, of characters of four bytes.
const MAX_KEY: usize = 1600;

/// A place in the order of results, as a text that clients hand back and do not look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor {
    level: QueryLevel,
    order: Option<Order>,
    position: Position,
}

impl PageCursor {
    /// Reads what its `Display` wrote; none when it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (place, sorted) = match text.split_once('.') {
            Some((place, sorted)) => (place, Some(sorted)),
            None => (text, None),
        };
        let mut chars = place.chars();
        let level = match chars.next()? {
            's' => QueryLevel::Study,
            'e' => QueryLevel::Series,
            'i' => QueryLevel::Instance,
            _ => return None,
        };
        let digits = chars.as_str();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let id = i64::from_str_radix(digits, 16).ok()?;
        let (order, key) = match sorted {
            Some(sorted) => {
                let (order, key) = sorted.split_at_checked(2)?;
                (Some(order_of(order)?), Some(unhexed(key)?))
            }
            None => (None, None),
        };
        Some(Self {
            level,
            order,
            position: Position { id, key },
        })
    }

    /// The position, when the cursor is one of results of this level in this order.
    #[must_use]
    pub fn position(self, level: QueryLevel, order: Option<Order>) -> Option<Position> {
        (self.level == level && self.order == order).then_some(self.position)
    }
}

impl std::fmt::Display for PageCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            QueryLevel::Study => 's',
            QueryLevel::Series => 'e',
            QueryLevel::Instance => 'i',
        };
        write!(f, "{level}{:x}", self.position.id)?;
        if let (Some(order), Some(key)) = (self.order, &self.position.key) {
            write!(f, ".{}", letter(order.by))?;
            f.write_str(if order.descending { "d" } else { "a" })?;
            for byte in key.bytes() {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

const fn letter(by: SortKey) -> char {
    match by {
        SortKey::StudyDate => 'd',
        SortKey::PatientName => 'n',
        SortKey::PatientId => 'p',
        SortKey::AccessionNumber => 'a',
    }
}

fn order_of(text: &str) -> Option<Order> {
    let mut chars = text.chars();
    let first = chars.next()?;
    let by = SortKey::ALL.into_iter().find(|by| letter(*by) == first)?;
    let descending = match chars.as_str() {
        "d" => true,
        "a" => false,
        _ => return None,
    };
    Some(Order { by, descending })
}

fn unhexed(text: &str) -> Option<String> {
    let digits = text.as_bytes();
    if digits.len() > 2 * MAX_KEY || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    String::from_utf8(bytes.filter(|_| rest.is_empty())?).ok()
}

/// The cursor behind a position.
pub(in crate::archive) const fn cursor(query: &Query, position: Position) -> PageCursor {
    PageCursor {
        level: query.level,
        order: query.order,
        position,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(level: QueryLevel, id: i64) -> PageCursor {
        PageCursor {
            level,
            order: None,
            position: Position { id, key: None },
        }
    }

    fn sorted(order: Order, key: &str) -> PageCursor {
        PageCursor {
            level: QueryLevel::Study,
            order: Some(order),
            position: Position {
                id: 4711,
                key: Some(key.to_owned()),
            },
        }
    }

    #[test]
    fn a_cursor_reads_what_it_wrote_and_nothing_else() {
        for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
            for position in [0, 1, 4711, i64::MAX] {
                let cursor = plain(level, position);
                assert_eq!(PageCursor::parse(&cursor.to_string()), Some(cursor));
            }
        }
        for by in SortKey::ALL {
            for descending in [false, true] {
                for key in ["", "20240131", "m\u{fc}ller^jos\u{e9}", "\u{5c71}\u{7530}"] {
                    let cursor = sorted(Order { by, descending }, key);
                    assert_eq!(PageCursor::parse(&cursor.to_string()), Some(cursor));
                }
            }
        }
        for text in [
            "",
            "s",
            "x1",
            "s-1",
            "s+1",
            "sg",
            "s 1",
            "s8000000000000000",
            "1",
            "s\u{e9}",
            "s1.",
            "s1.d",
            "s1.xd",
            "s1.dx",
            "s1.dd3",
            "s1.dd+3",
            "s1.ddff",
            "s1.\u{e9}\u{e9}",
        ] {
            assert_eq!(PageCursor::parse(text), None, "{text}");
        }
        let long = format!("s1.dd{}", "20".repeat(MAX_KEY + 1));
        assert_eq!(PageCursor::parse(&long), None);
    }

    #[test]
    fn a_cursor_belongs_to_one_level_and_one_order() {
        let cursor = plain(QueryLevel::Series, 7);
        let place = cursor.clone().position(QueryLevel::Series, None);
        assert_eq!(place.map(|place| place.id), Some(7));
        assert_eq!(cursor.position(QueryLevel::Study, None), None);
        let order = |descending| Order {
            by: SortKey::StudyDate,
            descending,
        };
        let cursor = sorted(order(true), "2024");
        let place = |order| cursor.clone().position(QueryLevel::Study, order);
        assert!(place(Some(order(true))).is_some());
        assert_eq!(place(Some(order(false))), None);
        assert_eq!(place(None), None);
    }
}
