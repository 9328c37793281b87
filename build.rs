//! Rebuilds the crate when a migration is added: `sqlx::migrate!` notices only changes of files it has already seen.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
