//! Wildcard matching (PS3.4 §C.2.2.2.4): `*` any characters, `?` one character.
//!
//! Invariant: time is bounded by pattern times text, whatever the pattern; there is no recursion.

/// Whether a text holds a wildcard character.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a pattern asks for nothing: one or more `*` and no other character.
#[must_use]
pub fn is_anything(pattern: &str) -> bool {
    !pattern.is_empty() && pattern.bytes().all(|b| b == b'*')
}

/// Whether the whole text matches the pattern, character by character.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    let mut text = text.chars();
    // Behind the last star, and where the text stood when it was met: only the last star ever needs to take more.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before = text.clone();
        let wanted = pattern.next();
        if wanted == Some('*') {
            retry = Some((pattern.clone(), before));
            continue;
        }
        let found = text.next();
        match (wanted, found) {
            (None, None) => return true,
            (Some('?'), Some(_)) => continue,
            (Some(wanted), Some(found)) if wanted == found => continue,
            // The text has ended: a star that takes even more cannot help.
            (Some(_), None) => return false,
            _ => {}
        }
        let Some((behind, from)) = &mut retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        pattern = behind.clone();
        text = from.clone();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "abc", true),
            ("?", "", false),
            ("?", "é", true),
            ("??", "é", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*c", "ac", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("*ab", "aab", true),
            ("*aab*", "aaab", true),
            ("山*", "山田", true),
            ("?田", "山田", true),
            ("ABC", "abc", false),
            ("a\\*", "a\\b", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert!(is_pattern("a?") && !is_pattern("a"));
        assert!(is_anything("**") && !is_anything("") && !is_anything("*?"));
    }

    #[test]
    fn a_hostile_pattern_is_cheap() {
        let pattern = "a*".repeat(100) + "b";
        let text = "a".repeat(20_000);
        assert!(!matches(&pattern, &text));
        let pattern = format!("*{}b", "a".repeat(200));
        assert!(!matches(&pattern, &text));
    }

    /// The definition, exponential.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            Some((p, rest)) => text
                .split_first()
                .is_some_and(|(t, after)| (*p == '?' || p == t) && naive(rest, after)),
        }
    }

    proptest! {
        #[test]
        fn equals_the_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
            let p: Vec<char> = pattern.chars().collect();
            let t: Vec<char> = text.chars().collect();
            prop_assert_eq!(matches(&pattern, &text), naive(&p, &t));
        }

        #[test]
        fn any_text_matches_itself_and_a_star(text in "[^*?]{0,40}") {
            prop_assert!(matches(&text, &text));
            prop_assert!(matches("*", &text));
            let inside = format!("*{text}*");
            prop_assert!(matches(&inside, &text));
        }
    }
}
