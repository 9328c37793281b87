//! Files of rules that settings name, read once.

use std::path::Path;

use super::error::StartError;

/// A file of rules.
pub(super) struct RulesFile<'a> {
    /// The setting that names it.
    setting: &'static str,
    path: &'a Path,
}

impl<'a> RulesFile<'a> {
    pub(super) const fn new(setting: &'static str, path: &'a Path) -> Self {
        Self { setting, path }
    }

    /// Its rules, as `read` understands its text.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it must be.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, StartError> {
        let text = std::fs::read_to_string(self.path);
        let text = text.map_err(|error| self.wrong(&error.to_string()))?;
        read(&text).map_err(|reason| self.wrong(&reason))
    }

    /// What is wrong with it.
    pub(super) fn wrong(&self, reason: &str) -> StartError {
        let path = self.path.display();
        StartError::Config(format!("{}: {path}: {reason}", self.setting))
    }
}
