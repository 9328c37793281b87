//! Rebuilds the crate when a migration is added: `sqlx::migrate!` notices only changes of files it has already seen.
#![expect(clippy::print_stdout, reason = "cargo is spoken to through stdout")]

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
