//! What can be wrong with a value of Specific Character Set (0008,0005).

/// What is wrong with a value of (0008,0005) that could be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CharsetProblem {
    /// Not a defined term, but it is clear what is meant.
    #[error("Specific Character Set holds a term that is not spelled as defined")]
    Spelling,
    /// Nobody knows the term; the text is taken as UTF-8 where it is valid UTF-8, else as Latin-1.
    #[error("Specific Character Set holds an unknown term; text is read as UTF-8 or Latin-1")]
    Unknown,
    /// UTF-8, GB18030 and GBK stand alone (PS3.3 §C.12.1.1.2); what cannot be combined was left out.
    #[error("Specific Character Set combines terms that cannot be combined")]
    Combination,
}
