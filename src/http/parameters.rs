//! Scanner for `text; name=value; name="quoted, value"` as it stands in Accept, Content-Type and part headers.
//!
//! Lenient by design: values may be bare with slashes, quoted with escapes, spaced or not; nothing here fails.
//! Invariant: every step consumes input, so the work is linear in the length of the text.

/// Most parameters kept of one item; later ones are dropped.
const MAX_PARAMETERS: usize = 16;

/// An item taken apart: the text before the first `;`, and the parameters in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterItem {
    /// What stands before the first semicolon, trimmed.
    pub(crate) head: String,
    /// Name in lower case, value without quotes; a name without `=` has an empty value.
    pub(crate) parameters: Vec<(String, String)>,
}

impl ParameterItem {
    /// The first value of a parameter.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The last value of a parameter.
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Splits a list at the commas outside quoted strings; blank items are left out.
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = end_of(rest, b",");
            let (item, after) = rest.split_at(end);
            rest = after.strip_prefix(',').unwrap_or(after);
            if !item.trim().is_empty() {
                return Some(item.trim());
            }
        }
        None
    })
}

/// Takes one item apart; commas are ordinary characters here.
pub(crate) fn parse_item(text: &str) -> ParameterItem {
    let mut sections = Sections { rest: text };
    let head = sections.next().unwrap_or_default().trim().to_owned();
    let parameters = sections
        .filter_map(parse_parameter)
        .take(MAX_PARAMETERS)
        .collect();
    ParameterItem { head, parameters }
}

/// The texts between semicolons that stand outside quoted strings.
struct Sections<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Sections<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let end = end_of(self.rest, b";");
        let (section, after) = self.rest.split_at(end);
        self.rest = after.strip_prefix(';').unwrap_or(after);
        Some(section)
    }
}

/// Offset of the first of `stops` outside a quoted string, or the length of the text.
///
/// A quote opens a string only after `=`: a stray one elsewhere must not swallow the rest of the header.
fn end_of(text: &str, stops: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    let mut after_equals = false;
    for (offset, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if byte == b'"' && after_equals {
            quoted = true;
            after_equals = false;
        } else if stops.contains(&byte) {
            return offset;
        } else if byte != b' ' && byte != b'\t' {
            after_equals = byte == b'=';
        }
    }
    text.len()
}

fn parse_parameter(section: &str) -> Option<(String, String)> {
    let (name, value) = section.split_once('=').unwrap_or((section, ""));
    let name = name.trim().to_ascii_lowercase();
    (!name.is_empty()).then(|| (name, unquote(value.trim())))
}

/// The content of a quoted string (a missing end quote is forgiven), or the bare value as it is.
fn unquote(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let mut content = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => content.extend(characters.next()),
            other => content.push(other),
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_item(text).parameters
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn values_are_read_quoted_bare_and_spaced() {
        let expected = vec![pair("type", "application/dicom"), pair("x", "1")];
        for text in [
            "multipart/related; type=\"application/dicom\"; x=1",
            "multipart/related;type=application/dicom;x=1",
            "multipart/related ; Type = application/dicom ;; X = \"1\" ;",
        ] {
            assert_eq!(pairs(text), expected, "{text}");
            assert_eq!(parse_item(text).head, "multipart/related");
        }
    }

    #[test]
    fn quoted_strings_hold_separators_and_escapes() {
        assert_eq!(
            pairs(r#"a/b; c="x;y,z\"\\";d"#),
            [pair("c", "x;y,z\"\\"), pair("d", "")]
        );
        let list: Vec<_> = split_list(r#"a/b;c="1,2", ,d/e"#).collect();
        assert_eq!(list, [r#"a/b;c="1,2""#, "d/e"]);
    }

    #[test]
    fn stray_and_open_quotes_do_not_swallow_the_list() {
        let list: Vec<_> = split_list(r#"image/png", image/jpeg"#).collect();
        assert_eq!(list, ["image/png\"", "image/jpeg"]);
        assert_eq!(
            pairs(r#"a/b; type="application/dicom"#),
            [pair("type", "application/dicom")]
        );
    }

    #[test]
    fn the_number_of_parameters_is_bounded() {
        assert_eq!(pairs(&"a=1;".repeat(1000)).len(), MAX_PARAMETERS);
        assert_eq!(parse_item("").parameters.len(), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_apart(text in ".{0,200}") {
            for item in split_list(&text) {
                let parsed = parse_item(item);
                proptest::prop_assert!(parsed.parameters.len() <= MAX_PARAMETERS);
            }
        }
    }
}
