use super::*;

/// Roles there are.
const ROLES: [&str; 3] = ["globalReader", "reader", "writer"];

/// The keys of a file, each of whom stands for its entry.
fn open(path: &Path) -> ApiKeys<KeyEntry> {
    ApiKeys::open(path, KeyEntry::clone).unwrap()
}

fn limits(roles: &[&str]) -> KeyLimits {
    KeyLimits {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..KeyLimits::default()
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    (folder, path)
}

#[test]
fn a_key_stands_for_its_name_and_for_what_it_is_limited_to() {
    let (_folder, path) = place();
    let limited = KeyLimits {
        patients: vec!["P-1".to_owned()],
        seconds: Some(60),
        ..limits(&["writer"])
    };
    let key = add_key(&path, &ROLES, "ct-1", &limited).unwrap();
    let other = add_key(&path, &ROLES, "backup", &limits(&["globalReader"])).unwrap();
    let keys = open(&path);
    let entry = keys.admit(&key).unwrap();
    assert_eq!(
        (entry.name.as_str(), &entry.roles),
        ("ct-1", &vec!["writer".to_owned()])
    );
    assert_eq!(entry.patients, Some(vec!["P-1".to_owned()]));
    assert_eq!(keys.admit(&other).unwrap().patients, None);
}

#[test]
fn a_key_that_is_not_known_is_refused_like_one_with_another_secret() {
    let (_folder, path) = place();
    let key = add_key(&path, &ROLES, "a", &limits(&["reader"])).unwrap();
    let keys = open(&path);
    let (id, secret) = parts(&key).unwrap();
    let last = if secret.ends_with('A') { 'B' } else { 'A' };
    let changed = format!("{PREFIX}{id}_{}{last}", &secret[..secret.len() - 1]);
    for wrong in [
        changed.as_str(),
        &format!("{PREFIX}000000000000_{secret}"),
        &format!("{PREFIX}{id}_"),
        &format!("{PREFIX}{id}"),
        PREFIX,
        &key.to_uppercase(),
        &format!("{key} "),
        &format!("{key}{}", "x".repeat(100_000)),
    ] {
        assert_eq!(keys.admit(wrong), Err(KeyRefusal::Unknown), "{wrong}");
    }
    assert!(keys.admit(&key).is_ok());
}

#[test]
fn expired_and_revoked_keys_are_refused_and_their_names_are_free_again() {
    let (_folder, path) = place();
    let ended = KeyLimits {
        seconds: Some(0),
        ..limits(&["reader"])
    };
    let expired = add_key(&path, &ROLES, "expired", &ended).unwrap();
    let revoked = add_key(&path, &ROLES, "revoked", &limits(&["reader"])).unwrap();
    let taken = add_key(&path, &ROLES, "revoked", &limits(&["reader"]));
    assert!(matches!(taken, Err(KeyFileError::Taken(_))));
    revoke_key(&path, "revoked").unwrap();
    for gone in ["revoked", "nobody"] {
        assert!(matches!(
            revoke_key(&path, gone),
            Err(KeyFileError::Unknown(_))
        ));
    }
    let keys = open(&path);
    assert_eq!(keys.admit(&expired), Err(KeyRefusal::Expired));
    assert_eq!(keys.admit(&revoked), Err(KeyRefusal::Revoked));
    let states: Vec<KeyState> = list_keys(&path)
        .unwrap()
        .iter()
        .map(KeyEntry::state)
        .collect();
    assert_eq!(states, [KeyState::Expired, KeyState::Revoked]);
    let again = add_key(&path, &ROLES, "revoked", &limits(&["reader"])).unwrap();
    assert!(keys.look().unwrap());
    assert_eq!(keys.admit(&revoked), Err(KeyRefusal::Unknown));
    assert!(keys.admit(&again).is_ok());
}

#[test]
fn the_file_holds_no_key_is_for_its_owner_and_keeps_the_rights_it_was_given() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = place();
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let key = add_key(&path, &ROLES, "a", &limits(&["reader"])).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, secret) = parts(&key).unwrap();
    assert!(!text.contains(secret) && text.contains("\"a\""), "{text}");
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    add_key(&path, &ROLES, "b", &limits(&["reader"])).unwrap();
    assert_eq!(mode(), 0o640);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_cannot_be_understood_changes_nothing_and_one_that_is_gone_ends_all_keys() {
    let (_folder, path) = place();
    let key = add_key(&path, &ROLES, "a", &limits(&["reader"])).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let keys = open(&path);
    assert!(!keys.look().unwrap());
    for broken in [
        "{",
        "[]",
        &good.replace("\"roles\"", "\"rules\""),
        &good.replace("reader", "reader\", \"x\": \""),
        &good.replace("\"sha256\": \"", "\"sha256\": \"g"),
        &good.replace("\"created\"", "\"expires\": \"soon\", \"created\""),
    ] {
        std::fs::write(&path, broken).unwrap();
        let error = keys.look().unwrap_err().to_string();
        assert!(error.contains("STOWAGE_API_KEYS_FILE"), "{error}");
        assert!(keys.admit(&key).is_ok(), "{broken}");
        assert!(!keys.look().unwrap(), "told once: {broken}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(
        !keys.look().unwrap(),
        "it may be in the course of being replaced"
    );
    assert!(keys.admit(&key).is_ok());
    assert!(keys.look().unwrap());
    assert_eq!(keys.admit(&key), Err(KeyRefusal::Unknown));
    std::fs::write(&path, good).unwrap();
    assert!(keys.look().unwrap());
    assert!(keys.admit(&key).is_ok());
}

#[test]
fn keys_that_could_open_nothing_or_too_much_are_not_made() {
    let (_folder, path) = place();
    let long = "x".repeat(65);
    for name in ["", "a b", "ä", "a/b", "a\n", long.as_str()] {
        let made = add_key(&path, &ROLES, name, &limits(&["reader"]));
        assert!(matches!(made, Err(KeyFileError::Name)), "{name}");
    }
    let made = add_key(&path, &ROLES, "a", &limits(&["raeder"])).unwrap_err();
    assert!(
        made.to_string().contains("known are globalReader"),
        "{made}"
    );
    let study = KeyLimits {
        studies: vec!["1.02.x".to_owned()],
        ..limits(&["reader"])
    };
    let made = add_key(&path, &ROLES, "a", &study);
    assert!(matches!(made, Err(KeyFileError::Study(_))));
    assert!(!path.exists());
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let (_folder, path) = place();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let path = &path;
            scope.spawn(move || {
                add_key(path, &ROLES, &format!("k{number}"), &limits(&["reader"])).unwrap()
            });
        }
    });
    assert_eq!(list_keys(&path).unwrap().len(), 16);
}
