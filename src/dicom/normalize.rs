//! Text as search sees it: case, accents and width gone, blanks collapsed (PS3.4 §C.2.2.2.1 leaves this to the server).
//!
//! Invariant: [`text`] is idempotent and gives the same for composed and decomposed input; what it returns holds no
//! control character, no blank at either end and no two blanks in a row.

use unicode_normalization::UnicodeNormalization;

/// Most component groups of a person name: alphabetic, ideographic, phonetic (PS3.5 §6.2.1.2).
const MAX_GROUPS: usize = 3;

/// Folds a text for search.
///
/// Compatibility forms (width, ligatures, superscripts) become plain ones. Marks of Latin, Greek, Cyrillic, Arabic and
/// Hebrew letters go; a dakuten stays, because か and が are different letters. Letters with a stroke or joined become
/// plain (`ø` o, `ł` l, `æ` ae, `ß` ss, `ı` i). Syllables of Hangul stay whole. Blanks and control characters
/// become single blanks, none at the ends; characters without a width (joiners, direction marks) go.
#[must_use]
pub fn text(value: &str) -> String {
    if value.is_ascii() {
        return collapse(value.chars().map(|c| c.to_ascii_lowercase()));
    }
    let mut normalized = String::with_capacity(value.len());
    for c in value.nfkd().filter(|c| !is_mark(*c) && !is_invisible(*c)) {
        for lower in c.to_lowercase() {
            push_plain(&mut normalized, lower);
        }
    }
    // Lower-casing may compose anew what was taken apart; only letters whose marks were kept are composed again.
    let normalized: String = normalized.nfkd().filter(|c| !is_mark(*c)).collect();
    collapse(normalized.nfc())
}

/// Folds the component groups of a person name, at most three; groups without content are left out.
///
/// Components keep their `^` and lose blanks around them and empty components at the end.
#[must_use]
pub fn name(value: &str) -> Vec<String> {
    let groups = groups(value).into_iter();
    groups.filter(|group| !group.is_empty()).collect()
}

/// Folds the component groups of a person name, each in its place: alphabetic, ideographic, phonetic; empty where there
/// is none.
#[must_use]
pub fn groups(value: &str) -> [String; MAX_GROUPS] {
    let mut groups: [String; MAX_GROUPS] = Default::default();
    for (slot, group) in groups.iter_mut().zip(value.split('=')) {
        let components: Vec<String> = group.split('^').map(text).collect();
        components.join("^").trim_end_matches('^').clone_into(slot);
    }
    groups
}

/// The words of a folded text or group: `^`, `=`, blank and comma separate.
#[must_use]
pub fn words(normalized: &str) -> Vec<String> {
    normalized
        .split(['^', '=', ' ', ','])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn collapse(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    let mut blank = false;
    for c in chars {
        if c.is_whitespace() || c.is_control() {
            blank = !out.is_empty();
        } else {
            if blank {
                out.push(' ');
                blank = false;
            }
            out.push(c);
        }
    }
    out
}

/// Pushes the plain form of a lower-case character that has no decomposition.
fn push_plain(out: &mut String, c: char) {
    let plain = match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' | 'ƚ' => "l",
        'đ' | 'ð' | 'ɖ' => "d",
        'þ' => "th",
        'ħ' => "h",
        'ŧ' => "t",
        'ŋ' => "n",
        'ı' | 'ɨ' => "i",
        'ȷ' => "j",
        'ƀ' | 'ɓ' => "b",
        'ɗ' => "d",
        'ƙ' => "k",
        'ƴ' => "y",
        'ɲ' => "n",
        'ə' | 'ǝ' | 'ɛ' => "e",
        'ɔ' => "o",
        'ς' => "σ",
        // Letters that keyboards of one language put where another has its own.
        'ٱ' => "ا",
        'ی' | 'ى' => "ي",
        'ک' => "ك",
        'ة' => "ه",
        // Punctuation that word processors replace.
        '\u{2018}' | '\u{2019}' | '\u{201B}' | '\u{02BC}' | '\u{02B9}' => "'",
        '\u{201C}' | '\u{201D}' | '\u{201E}' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        _ => {
            out.push(c);
            return;
        }
    };
    out.push_str(plain);
}

/// Marks of Latin, Greek, Cyrillic, Hebrew and Arabic letters, and those for any script that are no letters.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}'
        | '\u{0483}'..='\u{0489}'
        | '\u{0591}'..='\u{05BD}' | '\u{05BF}' | '\u{05C1}' | '\u{05C2}' | '\u{05C4}' | '\u{05C5}' | '\u{05C7}'
        | '\u{0610}'..='\u{061A}' | '\u{064B}'..='\u{065F}' | '\u{0670}'
        | '\u{06D6}'..='\u{06DC}' | '\u{06DF}'..='\u{06E4}' | '\u{06E7}' | '\u{06E8}' | '\u{06EA}'..='\u{06ED}'
        | '\u{08CA}'..='\u{08E1}' | '\u{08E3}'..='\u{08FF}'
        | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}'
        | '\u{2DE0}'..='\u{2DFF}' | '\u{A66F}'..='\u{A672}' | '\u{A674}'..='\u{A67D}' | '\u{A69E}' | '\u{A69F}')
}

/// Characters that are not seen: joiners, direction marks, soft hyphen, kashida, variation selectors, byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{0640}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{E0100}'..='\u{E01EF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_folded() {
        for (value, expected) in [
            ("  Müller\t  Jürgen \0", "muller jurgen"),
            ("MÜLLER", "muller"),
            ("Mu\u{308}ller", "muller"),
            ("Straße", "strasse"),
            ("STRASSE", "strasse"),
            ("STRAẞE", "strasse"),
            (
                "Łukasz Øster Đorđe Æsir Œuvre Þór",
                "lukasz oster dorde aesir oeuvre thor",
            ),
            ("İSTANBUL ıstanbul ISTANBUL", "istanbul istanbul istanbul"),
            ("ΟΔΥΣΣΕΎΣ", "οδυσσευσ"),
            ("Οδυσσεύς", "οδυσσευσ"),
            ("Ёлкин Йогурт", "елкин иогурт"),
            ("ﬁﬀ ² ½ ™ ㍿", "fiff 2 1⁄2 tm 株式会社"),
            ("ＡＢＣ　１２３", "abc 123"),
            ("ﾔﾏﾀﾞ", "ヤマダ"),
            ("ヤマダ", "ヤマダ"),
            ("山田\u{E0100}", "山田"),
            ("홍길동", "홍길동"),
            ("\u{1112}\u{1169}\u{11BC}", "홍"),
            ("שָׁלוֹם", "שלום"),
            ("مُحَمَّد أحمد إسلام آدم ﷴ", "محمد احمد اسلام ادم محمد"),
            ("محـــمد", "محمد"),
            ("O’Neil–Smith", "o'neil-smith"),
            ("Nguyễn Thị Ánh", "nguyen thi anh"),
            ("a\u{200D}b\u{FEFF}", "ab"),
            ("สมชาย น้ำ", "สมชาย น\u{e49}\u{e4d}า"),
            ("", ""),
            (" \0\u{3000}", ""),
        ] {
            assert_eq!(text(value), expected, "{value}");
        }
        assert_ne!(text("か"), text("が"));
        assert_eq!(text("か\u{3099}"), text("が"));
        assert_ne!(text("は"), text("ぱ"));
    }

    #[test]
    fn every_character_folds_to_itself_afterwards() {
        for c in '\0'..'\u{20000}' {
            let once = text(&c.to_string());
            assert_eq!(text(&once), once, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn names_are_folded_by_group() {
        assert_eq!(
            name("Yamada^Tarou=山田^太郎=やまだ^たろう"),
            ["yamada^tarou", "山田^太郎", "やまだ^たろう"]
        );
        assert_eq!(name("Müller ^ Jürgen^^^ "), ["muller^jurgen"]);
        assert_eq!(name("=山田"), ["山田"]);
        assert_eq!(name("a=b=c=d"), ["a", "b", "c"]);
        assert_eq!(name("^John"), ["^john"]);
        assert!(name("^^==^ ").is_empty());
        assert!(name("").is_empty());
    }

    #[test]
    fn words_are_separated_by_delimiters() {
        assert_eq!(
            words("van der berg^anna-maria, dr"),
            ["van", "der", "berg", "anna-maria", "dr"]
        );
        assert_eq!(words("山田^太郎=やまだ"), ["山田", "太郎", "やまだ"]);
        assert!(words("^ =,").is_empty());
    }

    proptest! {
        #[test]
        fn folding_is_idempotent_and_clean(value in "\\PC{0,40}|[ -~\u{300}-\u{3ff}\u{3040}-\u{30ff}\u{1100}-\u{11ff}]{0,20}|.{0,20}") {
            let once = text(&value);
            prop_assert_eq!(text(&once), once.clone());
            prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert!(name(&value).len() <= 3);
        }

        #[test]
        fn composition_does_not_matter(value in "[\u{20}-\u{24f}\u{370}-\u{6ff}\u{1e00}-\u{1fff}\u{3040}-\u{30ff}\u{ac00}-\u{ad00}]{0,24}") {
            let composed: String = value.nfc().collect();
            let decomposed: String = value.nfd().collect();
            prop_assert_eq!(text(&composed), text(&decomposed));
            prop_assert_eq!(text(&composed), text(&value));
        }
    }
}
