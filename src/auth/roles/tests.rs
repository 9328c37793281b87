use serde_json::json;

use super::*;

fn grants(table: &RoleTable, claims: &Value) -> Grants {
    table.grants(claims.as_object().unwrap())
}

/// The allowed actions by first letters, `:` and the limit.
fn described(table: &RoleTable, claims: &Value) -> String {
    let grants = grants(table, claims);
    let mut reported = Vec::new();
    for action in Action::ALL {
        match grants.of(action).map(|grant| {
            assert!(grant.within.is_empty());
            grant.everywhere.clone().unwrap()
        }) {
            None => {}
            Some(Visible::All) => reported.push(action.as_str().to_owned()),
            Some(Visible::Only { patients, studies }) => {
                reported.push(format!(
                    "{}:{}/{}",
                    action.as_str(),
                    patients.join("+"),
                    studies.join("+")
                ));
            }
        }
    }
    reported.join(" ")
}

const ALL: &str =
    "read write delete restore manageExtendedQueryTags export manageWebhooks deidentify";

#[test]
fn shipped_roles_allow_what_they_say() {
    let table = RoleTable::default();
    for (claims, expected) in [
        (json!({"roles": ["globalReader"]}), "read"),
        (json!({"roles": "globalReader"}), "read"),
        (json!({"roles": ["globalAdmin"]}), ALL),
        (json!({"roles": ["writer"]}), "read write"),
        (json!({"roles": ["deleter", "writer"]}), "read write delete"),
        (json!({"roles": ["GlobalReader"]}), ""),
        (json!({"roles": ["unknown"]}), ""),
        (json!({"roles": {"globalAdmin": true}}), ""),
        (json!({"roles": [["globalAdmin"], 1, null]}), ""),
        (json!({"roles": null}), ""),
        (json!({}), ""),
    ] {
        assert_eq!(described(&table, &claims), expected, "{claims}");
    }
}

#[test]
fn roles_are_found_at_a_path() {
    let keycloak = RoleTable {
        roles_claim: "realm_access.roles".to_owned(),
        ..RoleTable::default()
    };
    assert_eq!(
        described(&keycloak, &json!({"realm_access": {"roles": ["reader"]}})),
        "read"
    );
    assert_eq!(
        described(&keycloak, &json!({"realm_access.roles": ["admin"]})),
        ALL
    );
    assert_eq!(described(&keycloak, &json!({"realm_access": "reader"})), "");
    let url = RoleTable {
        roles_claim: "https://x.example/roles".to_owned(),
        ..RoleTable::default()
    };
    assert_eq!(
        described(&url, &json!({"https://x.example/roles": ["reader"]})),
        "read"
    );
}

#[test]
fn oauth_scopes_grant_actions() {
    let table = RoleTable::default();
    for (scope, expected) in [
        ("dicom.read", "read"),
        ("openid dicom.read dicom.delete", "read delete"),
        (
            "dicom.manageExtendedQueryTags dicom.export",
            "manageExtendedQueryTags export",
        ),
        ("dicom.all", ALL),
        ("system/ImagingStudy.read", "read"),
        ("user/ImagingStudy.write", "write delete"),
        ("system/*.*", "read write delete"),
        ("system/ImagingStudy.rs", "read"),
        ("system/ImagingStudy.cruds", "read write delete"),
        ("system/ImagingStudy.d", "delete"),
        ("system/Observation.read", ""),
        ("system/ImagingStudy.rs?status=available", ""),
        ("system/ImagingStudy.rx", ""),
        ("system/ImagingStudy.", ""),
        ("patient/ImagingStudy.read", ""),
        ("dicom.READ", ""),
    ] {
        assert_eq!(
            described(&table, &json!({"scope": scope})),
            expected,
            "{scope}"
        );
    }
    assert_eq!(
        described(&table, &json!({"scp": ["dicom.read", "dicom.write"]})),
        "read write"
    );
    let launch = json!({"scope": "patient/ImagingStudy.read", "patient": "P1"});
    assert_eq!(described(&table, &launch), "read:P1/");
    let both =
        json!({"scope": "patient/ImagingStudy.cruds system/ImagingStudy.read", "patient": "P1"});
    assert_eq!(described(&table, &both), "read write:P1/ delete:P1/");
}

#[test]
fn claims_limit_every_action_and_unreadable_limits_leave_nothing() {
    let table = RoleTable::default();
    for (claims, expected) in [
        (
            json!({"roles": ["writer"], "dicom_patients": ["A", "B"]}),
            "read:A+B/ write:A+B/",
        ),
        (
            json!({"roles": ["reader"], "dicom_studies": "1.2.3"}),
            "read:/1.2.3",
        ),
        (
            json!({"roles": ["reader"], "dicom_studies": ["1.2", "../x"], "dicom_patients": "A"}),
            "read:A/1.2",
        ),
        (json!({"roles": ["reader"], "dicom_patients": []}), "read:/"),
        (json!({"roles": ["reader"], "dicom_patients": 7}), "read:/"),
        (
            json!({"roles": ["reader"], "dicom_patients": {"A": 1}}),
            "read:/",
        ),
        (json!({"roles": ["reader"], "dicom_patients": ""}), "read:/"),
        (
            json!({"roles": ["reader"], "dicom_patients": null}),
            "read:/",
        ),
        (json!({"dicom_patients": ["A"]}), ""),
        (
            json!({"scope": "patient/*.read", "patient": "A", "dicom_patients": ["B"]}),
            "read:/",
        ),
    ] {
        assert_eq!(described(&table, &claims), expected, "{claims}");
    }
}

#[test]
fn roles_of_a_file_replace_the_shipped_ones() {
    let table = RoleTable::default()
        .with_json(
            r#"{"roles": [
                {"name": "all-but-delete", "dataActions": ["*"], "notDataActions": ["delete", "export"], "scopes": ["/"]},
                {"name": "research", "dataActions": ["read"], "scopes": ["/studies/1.2.3", "/patients/A/1"]},
                {"name": "ward", "dataActions": ["read", "write"], "scopes": ["/patients/B"]}
            ], "scopes": {"pacs": ["read", "export"]}}"#,
        )
        .unwrap();
    assert_eq!(
        described(&table, &json!({"roles": ["all-but-delete"]})),
        "read write restore manageExtendedQueryTags manageWebhooks deidentify"
    );
    assert_eq!(
        described(&table, &json!({"roles": ["research"]})),
        "read:A/1/1.2.3"
    );
    assert_eq!(
        described(&table, &json!({"roles": ["research", "ward"]})),
        "read:A/1+B/1.2.3 write:B/"
    );
    assert_eq!(
        described(&table, &json!({"roles": ["research", "all-but-delete"]})),
        "read write restore manageExtendedQueryTags manageWebhooks deidentify"
    );
    assert_eq!(described(&table, &json!({"roles": ["globalAdmin"]})), "");
    assert_eq!(
        described(&table, &json!({"scope": "pacs dicom.read"})),
        "read export"
    );
    let limited =
        json!({"roles": ["research"], "dicom_studies": ["1.2.3", "9"], "dicom_patients": ["Z"]});
    assert_eq!(described(&table, &limited), "read:/1.2.3");
    for bad in [
        "",
        "[]",
        r#"{"role": []}"#,
        r#"{"roles": [{"name": "x"}]}"#,
        r#"{"roles": [{"name": "x", "dataActions": ["fly"]}]}"#,
        r#"{"roles": [{"name": "x", "dataActions": ["read"], "scopes": ["/studies/"]}]}"#,
        r#"{"roles": [{"name": "x", "dataActions": ["read"], "scopes": ["everything"]}]}"#,
        r#"{"roles": [{"name": "x", "dataActions": ["read"], "nodataactions": ["read"]}]}"#,
    ] {
        assert!(RoleTable::default().with_json(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_token_that_names_nothing_gets_the_default_role() {
    let table = RoleTable {
        default_role: Some("reader".to_owned()),
        ..RoleTable::default()
    };
    assert_eq!(described(&table, &json!({"sub": "x"})), "read");
    assert_eq!(described(&table, &json!({"roles": ["unknown"]})), "");
    assert_eq!(described(&table, &json!({"scope": "openid"})), "");
}

#[test]
fn a_limit_behind_a_path_that_cannot_be_read_leaves_nothing() {
    let table = RoleTable {
        patients_claim: "ext.patients".to_owned(),
        studies_claim: "other.deep.studies".to_owned(),
        ..RoleTable::default()
    };
    let of = |ext: Value| described(&table, &json!({"roles": ["reader"], "ext": ext}));
    assert_eq!(of(json!({"patients": ["A", "B"]})), "read:A+B/");
    assert_eq!(of(json!({"patients": "A"})), "read:A/");
    for unreadable in [
        json!(null),
        json!("A"),
        json!(["A"]),
        json!(7),
        json!({}),
        json!({"patients": null}),
        json!({"patients": {"A": true}}),
        json!({"Patients": ["A"]}),
    ] {
        assert_eq!(of(unreadable.clone()), "read:/", "{unreadable}");
    }
    let studies = json!({"roles": ["reader"], "other": {"deep": null}});
    assert_eq!(described(&table, &studies), "read:/");
    let plain = json!({"roles": ["reader"], "ext.patients": null});
    assert_eq!(described(&table, &plain), "read:/");
    assert_eq!(
        described(&table, &json!({"roles": ["reader"], "extra": 1})),
        "read"
    );
}

#[test]
fn where_limits_are_required_a_token_without_one_sees_nothing() {
    let text = r#"{"roles": [
        {"name": "reader", "dataActions": ["read"]},
        {"name": "trial", "dataActions": ["read"], "scopes": ["/patients/T"]}]}"#;
    let table = RoleTable {
        limits: TokenLimits::Required,
        ..RoleTable::default().with_json(text).unwrap()
    };
    for (claims, expected) in [
        (json!({"roles": ["reader"]}), "read:/"),
        (
            json!({"roles": ["reader"], "Dicom_Patients": ["A"]}),
            "read:/",
        ),
        (
            json!({"roles": ["reader"], "dicom_patients": ["A"]}),
            "read:A/",
        ),
        (json!({"scope": "user/*.read"}), "read:/"),
        (
            json!({"scope": "patient/*.read", "patient": "P"}),
            "read:P/",
        ),
        (json!({"roles": ["trial"]}), "read:T/"),
    ] {
        assert_eq!(described(&table, &claims), expected, "{claims}");
    }
}

#[test]
fn roles_add_up_and_the_patient_of_a_launch_limits_them() {
    let text = r#"{"roles": [
        {"name": "reader", "dataActions": ["read"]},
        {"name": "one", "dataActions": ["read"], "scopes": ["/patients/A"]},
        {"name": "two", "dataActions": ["read", "write"], "scopes": ["/patients/B"]}]}"#;
    let table = RoleTable::default().with_json(text).unwrap();
    for (claims, expected) in [
        (json!({"roles": ["one", "two"]}), "read:A+B/ write:B/"),
        (json!({"roles": ["one", "reader"]}), "read"),
        (
            json!({"roles": ["one", "two"], "dicom_patients": "B"}),
            "read:B/ write:B/",
        ),
        // An app that was launched for one patient, by somebody who may see all.
        (
            json!({"roles": ["reader"], "scope": "patient/*.read", "patient": "P"}),
            "read:P+P/",
        ),
        (
            json!({"roles": ["reader"], "scope": "openid patient/*.read"}),
            "read:/",
        ),
        (
            json!({"roles": ["reader"], "scope": "patient/*.read user/*.read", "patient": "P"}),
            "read",
        ),
        (
            json!({"roles": ["reader"], "scope": "openid profile"}),
            "read",
        ),
    ] {
        assert_eq!(described(&table, &claims), expected, "{claims}");
    }
}

/// What the claims grant for reading in a partition.
fn read_in(table: &RoleTable, claims: &Value, partition: &str) -> Option<Visible> {
    let name = PartitionName::parse(partition).unwrap();
    grants(table, claims).of(Action::Read)?.visible_in(&name)
}

fn patients(ids: &[&str]) -> Visible {
    Visible::Only {
        patients: ids.iter().map(|id| (*id).to_owned()).collect(),
        studies: Vec::new(),
    }
}

#[test]
fn a_role_may_be_for_one_partition_or_some_of_its_patients() {
    let table = RoleTable::default()
        .with_json(
            r#"{"roles": [
                {"name": "north", "dataActions": ["read"], "scopes": ["/partitions/north"]},
                {"name": "p", "dataActions": ["read"], "scopes": ["/partitions/south/patients/P/1", "/patients/Q"]}
            ]}"#,
        )
        .unwrap();
    let claims = json!({"roles": ["north", "p"]});
    assert_eq!(read_in(&table, &claims, "north"), Some(Visible::All));
    assert_eq!(
        read_in(&table, &claims, "south"),
        Some(patients(&["Q", "P/1"]))
    );
    assert_eq!(read_in(&table, &claims, "west"), Some(patients(&["Q"])));
    let one = json!({"roles": ["north"]});
    assert_eq!(read_in(&table, &one, "south"), None);
    assert_eq!(read_in(&table, &one, "Microsoft.Default"), None);
    assert_eq!(table.reading_role(), None, "it reads one partition only");
    for scope in [
        "/partitions/",
        "/partitions/a b",
        "/partitions/..",
        "/partitions/a/b",
        "/partitions/a/patients/",
    ] {
        let text = json!({"roles": [{"name": "r", "dataActions": ["*"], "scopes": [scope]}]});
        let refused = RoleTable::default().with_json(&text.to_string());
        assert!(matches!(refused, Err(RolesError::Scope { .. })), "{scope}");
    }
}

#[test]
fn a_claim_limits_to_partitions_whatever_the_roles_allow() {
    let table = RoleTable::default();
    let claims = json!({"roles": ["admin"], "dicom_partitions": ["north", "..", 7]});
    assert_eq!(read_in(&table, &claims, "north"), Some(Visible::All));
    assert_eq!(read_in(&table, &claims, "south"), None);
    let both = json!({"roles": "admin", "dicom_partitions": "north", "dicom_patients": "P"});
    assert_eq!(read_in(&table, &both, "north"), Some(patients(&["P"])));
    assert_eq!(read_in(&table, &both, "south"), None);
    for unreadable in [json!(null), json!({}), json!([]), json!("a/b")] {
        let claims = json!({"roles": "admin", "dicom_partitions": unreadable});
        assert_eq!(
            read_in(&table, &claims, "Microsoft.Default"),
            None,
            "{claims}"
        );
    }
    let required = RoleTable {
        limits: TokenLimits::Required,
        ..RoleTable::default()
    };
    let claims = json!({"roles": "admin", "dicom_partitions": "north"});
    assert_eq!(
        read_in(&required, &claims, "north"),
        Some(Visible::nothing())
    );
}
