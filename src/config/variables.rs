//! Settings given as pairs of names and values, as the environment would give them.

use std::ffi::OsStr;

use clap::error::ErrorKind;
use clap::{CommandFactory, Error, FromArgMatches};

use super::{Cli, Config};

impl Config {
    /// Reads `STOWAGE_…` names and values by the parser of the command line; the environment of the process has no say.
    ///
    /// # Errors
    /// When a name is no setting, or a value is wrong.
    pub fn of_variables<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut program = Cli::command();
        let mut words = vec!["stowage".to_owned()];
        for (name, value) in variables {
            let known = program.get_arguments();
            let flag = known
                .filter(|argument| argument.get_env() == Some(OsStr::new(name)))
                .find_map(clap::Arg::get_long)
                .map(str::to_owned);
            let Some(flag) = flag else {
                let message = format!("{name} is no setting");
                return Err(program.error(ErrorKind::UnknownArgument, message));
            };
            words.push(format!("--{flag}={value}"));
        }
        let matches = program
            .mut_args(|argument| argument.env(None::<&'static str>))
            .try_get_matches_from(words)?;
        Ok(Cli::from_arg_matches(&matches)?.config)
    }
}
