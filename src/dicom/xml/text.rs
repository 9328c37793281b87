//! Strings of JSON as content of XML, a part at a time.

use std::ops::Range;

/// Elements of a component group of a name, in their order.
const COMPONENTS: [(&str, &str); 5] = [
    ("<FamilyName>", "</FamilyName>"),
    ("<GivenName>", "</GivenName>"),
    ("<MiddleName>", "</MiddleName>"),
    ("<NamePrefix>", "</NamePrefix>"),
    ("<NameSuffix>", "</NameSuffix>"),
];

/// The content of a string that is being written.
#[derive(Debug)]
pub(super) struct Text {
    /// What is not written yet; behind it stands the closing quote.
    rest: Range<usize>,
    /// Of a name: which component is being written, and whether its element is open.
    component: Option<(usize, bool)>,
}

impl Text {
    /// A string whose place includes its quotes.
    pub(super) fn new(place: &Range<usize>) -> Self {
        Self {
            rest: place.start.saturating_add(1)..place.end.saturating_sub(1),
            component: None,
        }
    }

    /// Likewise, a component group of a name; empty components are left out.
    pub(super) fn components(place: &Range<usize>) -> Self {
        Self {
            component: Some((0, false)),
            ..Self::new(place)
        }
    }

    /// Appends the content, until `out` is `enough` bytes long; whether something is left.
    pub(super) fn write(&mut self, json: &str, out: &mut String, enough: usize) -> bool {
        let text = json.get(self.rest.clone()).unwrap_or_default();
        let mut chars = Unescaped(text);
        while out.len() < enough {
            let Some(c) = chars.next() else {
                self.close(out);
                return false;
            };
            match &mut self.component {
                Some((at, open)) if c == '^' && *at < COMPONENTS.len().saturating_sub(1) => {
                    if std::mem::take(open) {
                        out.push_str(COMPONENTS.get(*at).map_or("", |(_, close)| close));
                    }
                    *at = at.saturating_add(1);
                    continue;
                }
                Some((at, open)) if !*open => {
                    *open = true;
                    out.push_str(COMPONENTS.get(*at).map_or("", |(open, _)| open));
                }
                _ => {}
            }
            push_escaped(out, c);
        }
        self.rest.start = self.rest.end.saturating_sub(chars.0.len());
        true
    }

    fn close(&self, out: &mut String) {
        if let Some((at, true)) = self.component {
            out.push_str(COMPONENTS.get(at).map_or("", |(_, close)| close));
        }
    }
}

/// The characters of the content of a JSON string; what is no character becomes U+FFFD.
struct Unescaped<'t>(&'t str);

impl Unescaped<'_> {
    /// The four digits of `\u`, which are stepped over.
    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(4)?;
        let unit = u32::from_str_radix(digits, 16).ok()?;
        self.0 = rest;
        Some(unit)
    }

    fn unicode(&mut self) -> Option<char> {
        let unit = self.unit()?;
        if !(0xD800..0xDC00).contains(&unit) {
            return char::from_u32(unit);
        }
        let before = self.0;
        self.0 = self.0.strip_prefix("\\u")?;
        match self.unit() {
            Some(low) if (0xDC00..0xE000).contains(&low) => {
                char::from_u32(0x1_0000 + ((unit & 0x3FF) << 10 | low & 0x3FF))
            }
            _ => {
                self.0 = before;
                None
            }
        }
    }
}

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let mut chars = self.0.chars();
        let c = chars.next()?;
        self.0 = chars.as_str();
        if c != '\\' {
            return Some(c);
        }
        let escaped = chars.next()?;
        self.0 = chars.as_str();
        Some(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{C}',
            'u' => self.unicode().unwrap_or(char::REPLACEMENT_CHARACTER),
            other => other,
        })
    }
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\t' | '\n' => out.push(c),
        // A bare carriage return would be read as a line feed.
        '\r' => out.push_str("&#13;"),
        '\u{0}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
        _ => out.push(c),
    }
}

/// A text as content of XML or of one of its attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(&mut out, c));
    out
}
