//! Scopes of SMART App Launch, such as `patient/ImagingStudy.read`.

use super::action::Action;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SmartContext {
    Everybody,
    Patient,
}

/// `system/ImagingStudy.read` and its relatives, of both SMART App Launch generations.
///
/// A scope with a constraint (`?…`) is not understood, so it grants nothing.
pub(super) fn smart_scope(scope: &str) -> Option<(SmartContext, Vec<Action>)> {
    let (context, rest) = scope.split_once('/')?;
    let context = match context {
        "system" | "user" => SmartContext::Everybody,
        "patient" => SmartContext::Patient,
        _ => return None,
    };
    let (resource, access) = rest.split_once('.')?;
    if !matches!(resource, "ImagingStudy" | "*") {
        return None;
    }
    let actions = match access {
        "read" => vec![Action::Read],
        "write" => vec![Action::Write, Action::Delete],
        "*" => vec![Action::Read, Action::Write, Action::Delete],
        letters => {
            let known =
                !letters.is_empty() && letters.bytes().all(|letter| b"cruds".contains(&letter));
            if !known {
                return None;
            }
            let mut actions = Vec::new();
            let has = |any: [char; 2]| letters.contains(any);
            actions.extend(has(['r', 's']).then_some(Action::Read));
            actions.extend(has(['c', 'u']).then_some(Action::Write));
            actions.extend(letters.contains('d').then_some(Action::Delete));
            actions
        }
    };
    Some((context, actions))
}
