//! Wildcard patterns in the languages of the two databases.
//!
//! Invariant: text between wildcards matches literally, whatever it holds.

/// A wildcard pattern (PS3.4 §C.2.2.2.4), its literal parts folded or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<PatternPiece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum PatternPiece {
    Text(String),
    /// `?`
    One,
    /// `*`
    Many,
}

impl Pattern {
    /// Splits a pattern at its wildcards; `fold` is applied to what lies between them.
    ///
    /// The wildcards are found first, so that nothing becomes one by folding.
    pub(super) fn parse(text: &str, fold: impl Fn(&str) -> String) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let end = rest.find(['*', '?']).unwrap_or(rest.len());
            if end > 0 {
                let (literal, behind) = rest.split_at(end);
                pieces.push(PatternPiece::Text(normalize_inside(
                    literal,
                    &fold,
                    !pieces.is_empty(),
                    !behind.is_empty(),
                )));
                rest = behind;
            } else {
                match c {
                    '?' => pieces.push(PatternPiece::One),
                    _ if pieces.last() == Some(&PatternPiece::Many) => {}
                    _ => pieces.push(PatternPiece::Many),
                }
                rest = rest.get(1..).unwrap_or("");
            }
        }
        Self(pieces)
    }

    /// Word prefixes side by side, from the start of a suffix in `study_name_word`.
    pub(super) fn words<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let mut pieces = Vec::new();
        for (mark, word) in (0_u8..=u8::MAX).zip(words) {
            let mut text = String::new();
            if mark > 0 {
                text.push(char::from(mark));
            }
            text.push_str(word);
            pieces.extend([PatternPiece::Text(text), PatternPiece::Many]);
        }
        Self(pieces)
    }

    /// The pattern matches everything, also no value.
    pub(super) fn is_anything(&self) -> bool {
        self.0.iter().all(|piece| *piece == PatternPiece::Many)
    }

    /// The text before the first wildcard.
    pub(super) fn prefix(&self) -> &str {
        match self.0.first() {
            Some(PatternPiece::Text(text)) => text,
            _ => "",
        }
    }

    /// The pattern is [`Self::prefix`] and anything behind.
    pub(super) fn is_prefix(&self) -> bool {
        matches!(
            self.0.as_slice(),
            [PatternPiece::Text(_), PatternPiece::Many]
        )
    }

    /// Characters of the longest text without a wildcard.
    pub(super) fn longest_text(&self) -> usize {
        let lengths = self.0.iter().map(|piece| match piece {
            PatternPiece::Text(text) => text.chars().count(),
            PatternPiece::One | PatternPiece::Many => 0,
        });
        lengths.max().unwrap_or(0)
    }

    /// As a pattern of `SQLite`'s `glob`.
    pub(super) fn glob(&self) -> String {
        self.write("?", "*", |c, out| match c {
            '*' | '?' | '[' => out.extend(['[', c, ']']),
            _ => out.push(c),
        })
    }

    /// As a pattern of `like … escape '\'`.
    pub(super) fn like(&self) -> String {
        self.write("_", "%", |c, out| match c {
            '%' | '_' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        })
    }

    fn write(&self, one: &str, many: &str, literal: impl Fn(char, &mut String)) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                PatternPiece::Text(text) => text.chars().for_each(|c| literal(c, &mut out)),
                PatternPiece::One => out.push_str(one),
                PatternPiece::Many => out.push_str(many),
            }
        }
        out
    }
}

/// Folds a literal part; a space next to a wildcard counts, though folding trims.
fn normalize_inside(
    literal: &str,
    fold: impl Fn(&str) -> String,
    before: bool,
    behind: bool,
) -> String {
    let mut normalized = fold(literal);
    if before && literal.starts_with(' ') && !normalized.starts_with(' ') {
        normalized.insert(0, ' ');
    }
    if behind && literal.ends_with(' ') && !normalized.ends_with(' ') {
        normalized.push(' ');
    }
    normalized
}

/// The first text behind all texts that begin with `prefix`, in code point order; none when there is no such text.
pub(super) fn behind(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            _ => u32::from(last).checked_add(1).and_then(char::from_u32),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Pattern {
        Pattern::parse(text, str::to_owned)
    }

    #[test]
    fn literal_text_stays_literal() {
        assert_eq!(plain("a[b%_\\*?").glob(), "a[[]b%_\\*?");
        assert_eq!(plain("a[b%_\\*?").like(), "a[b\\%\\_\\\\%_");
        assert_eq!(plain("***").glob(), "*");
    }

    #[test]
    fn folding_makes_no_wildcards_and_keeps_inner_spaces() {
        let pattern = Pattern::parse("ＡＢ＊* c*", |t| {
            t.trim().replace('＊', "*").to_lowercase()
        });
        assert_eq!(pattern.glob(), "ａｂ[*]* c*");
    }

    #[test]
    fn prefixes_are_seen() {
        assert!(plain("ab*").is_prefix());
        assert!(!plain("ab*c").is_prefix());
        assert!(plain("*").is_anything() && plain("").is_anything());
        assert_eq!(plain("*smith?x*").longest_text(), 5);
    }

    #[test]
    fn what_lies_behind_a_prefix_is_the_next_text() {
        assert_eq!(behind("ab").as_deref(), Some("ac"));
        assert_eq!(behind("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(behind("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(behind(""), None);
    }
}
