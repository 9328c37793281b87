//! Places in JSON text: where a value ends, what an object holds; for readers that go on later where they stopped.
//!
//! Invariant: there is no recursion and no memory, whatever the text holds; a text that is no JSON gives `None` sooner or
//! later, never a panic.

use std::ops::Range;

/// Behind blanks.
fn past_blanks(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at = at.saturating_add(1);
    }
    at
}

/// Where the string ends whose opening quote stands at `at`: behind its closing quote.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut from = at.checked_add(1)?;
    loop {
        let found = memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
        let found = from.checked_add(found)?;
        match text.get(found) {
            Some(b'"') => return found.checked_add(1),
            // What is escaped is stepped over.
            _ => from = found.checked_add(2)?,
        }
    }
}

/// Where the value that begins at `at` ends.
pub(crate) fn value_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut from = at;
            loop {
                let byte = *bytes.get(from)?;
                match byte {
                    b'"' => {
                        from = string_end(bytes, from)?;
                        continue;
                    }
                    b'{' | b'[' => depth = depth.checked_add(1)?,
                    b'}' | b']' => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                from = from.checked_add(1)?;
                if depth == 0 {
                    return Some(from);
                }
            }
        }
        _ => {
            let rest = bytes.get(at..)?;
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            let length = rest.iter().position(ends).unwrap_or(rest.len());
            at.checked_add(length).filter(|_| length > 0)
        }
    }
}

/// The next entry of an array whose rest begins at `at`, behind its bracket or an entry: none at its end.
pub(crate) fn next_entry(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = past_blanks(bytes, at);
    if bytes.get(at) == Some(&b',') {
        at = past_blanks(bytes, at.saturating_add(1));
    }
    match bytes.get(at)? {
        b']' | b'}' => None,
        _ => Some(at..value_end(text, at)?),
    }
}

/// The next member of an object whose rest begins at `at`: name without quotes, and value.
pub(crate) fn next_member(text: &str, at: usize) -> Option<(Range<usize>, Range<usize>)> {
    let name = next_entry(text, at)?;
    let bytes = text.as_bytes();
    if bytes.get(name.start) != Some(&b'"') {
        return None;
    }
    let colon = past_blanks(bytes, name.end);
    if bytes.get(colon) != Some(&b':') {
        return None;
    }
    let value = past_blanks(bytes, colon.saturating_add(1));
    let value = value..value_end(text, value)?;
    let name = name.start.saturating_add(1)..name.end.saturating_sub(1);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_end_where_they_end() {
        for (text, length) in [
            (r#""a\"\\"x"#, Some(7)),
            (r#"{"a":{"b":"]}"},"c":[1,"["]}]"#, Some(28)),
            ("-1.5e3,", Some(6)),
            ("null}", Some(4)),
            ("{}", Some(2)),
            ("[[]", None),
            ("\"\\\"", None),
            ("", None),
            (",", None),
        ] {
            assert_eq!(value_end(text, 0), length, "{text}");
        }
        let deep = "[".repeat(1 << 20) + &"]".repeat(1 << 20);
        assert_eq!(value_end(&deep, 0), Some(deep.len()));
    }

    #[test]
    fn members_and_entries_come_one_by_one() {
        let text = r#"{"a":1, "b" : [2 ,"x"]}"#;
        let (name, value) = next_member(text, 1).unwrap();
        assert_eq!((&text[name], &text[value.clone()]), ("a", "1"));
        let (name, value) = next_member(text, value.end).unwrap();
        assert_eq!((&text[name], &text[value.clone()]), ("b", r#"[2 ,"x"]"#));
        assert_eq!(next_member(text, value.end), None);
        let first = next_entry(text, value.start + 1).unwrap();
        assert_eq!(&text[first.clone()], "2");
        let second = next_entry(text, first.end).unwrap();
        assert_eq!(&text[second.clone()], r#""x""#);
        assert_eq!(next_entry(text, second.end), None);
    }

    proptest! {
        #[test]
        fn any_text_is_skipped_or_refused(text in "[\\[\\]{}\",:\\\\a1 ]{0,40}", at in 0_usize..50) {
            if let Some(end) = value_end(&text, at) {
                prop_assert!(end > at && end <= text.len());
            }
            if let Some((name, value)) = next_member(&text, at) {
                prop_assert!(text.get(name).is_some() && text.get(value).is_some());
            }
        }
    }
}
