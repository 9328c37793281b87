//! Several performers at once: each workitem is claimed by one, and what each was answered fits one order of all requests.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use super::*;

use crate::support::prelude::*;

const ITEMS: u32 = 6;
const PERFORMERS: u32 = 4;

/// What a performer was told of a workitem that it has claimed.
#[derive(Debug, Default)]
struct Claim {
    performer: u32,
    updates: u32,
    ended: Option<&'static str>,
}

#[test]
fn of_several_performers_one_has_a_workitem_and_nothing_it_wrote_is_lost() {
    on_each_index(|server| {
        for number in 1..=ITEMS {
            create(server, "/dicom-web", &workitem(&uid(number), "P")).expect(201);
        }
        let claims: Mutex<BTreeMap<u32, Vec<Claim>>> = Mutex::default();
        let server = &*server;
        thread::scope(|scope| {
            for performer in 1..=PERFORMERS {
                let claims = &claims;
                scope.spawn(move || {
                    for step in 0..ITEMS {
                        // Two begin at each end.
                        let number = if performer.is_multiple_of(2) {
                            ITEMS - step
                        } else {
                            step + 1
                        };
                        let claim = perform(server, performer, number);
                        let mut claims = claims.lock().unwrap();
                        claims.entry(number).or_default().extend(claim);
                    }
                });
            }
        });
        for (number, claims) in claims.into_inner().unwrap() {
            let [claim] = claims.as_slice() else {
                panic!("workitem {number} was claimed by {claims:?}");
            };
            let item = read(server, &uid(number));
            let reported = item["00741204"]["Value"][0].as_str().unwrap();
            assert_eq!(
                reported,
                format!("update {} of {}", claim.updates, claim.performer)
            );
            assert_eq!(state(&item), claim.ended.unwrap());
        }
    });
}

/// Tries to claim a workitem, works on it and ends it; none when another performer has it.
fn perform(server: &Deployment, performer: u32, number: u32) -> Option<Claim> {
    let uid = uid(number);
    let root = if performer.is_multiple_of(2) {
        "/v2"
    } else {
        "/dicom-web"
    };
    let transaction = format!("1.2.840.5.{performer}.{number}");
    let claimed = change_state(server, root, &uid, "IN PROGRESS", &transaction);
    let target = format!("{root}/workitems/{uid}?{transaction}");
    let label = |text: &str| json!({ "00741204": { "vr": "LO", "Value": [text] } });
    if claimed.status != 200 {
        // Who has no claim changes nothing, whatever is tried.
        let refused = if root == "/v2" { 400 } else { 409 };
        assert_eq!(claimed.status, refused, "{}", claimed.text());
        let stolen = send(server, "POST", &target, &label("stolen")).status;
        // The service's own API says so of a canceled one in another way.
        assert!([refused, 409].contains(&stolen), "{stolen}");
        let ended = change_state(server, root, &uid, "COMPLETED", &transaction);
        assert_eq!(ended.status, refused, "{}", ended.text());
        return None;
    }
    let mut claim = Claim {
        performer,
        ..Claim::default()
    };
    for update in 1..=3 {
        let text = format!("update {update} of {performer}");
        send(server, "POST", &target, &label(&text)).expect(200);
        claim.updates = update;
    }
    let (body, ended) = if number.is_multiple_of(2) {
        (performed(), "COMPLETED")
    } else {
        (given_up(), "CANCELED")
    };
    send(server, "POST", &target, &body).expect(200);
    change_state(server, root, &uid, ended, &transaction).expect(200);
    claim.ended = Some(ended);
    Some(claim)
}

#[test]
fn changes_of_one_workitem_at_the_same_time_are_all_kept() {
    on_each_index(|server| {
        let uid = uid(1);
        create(server, "/dicom-web", &workitem(&uid, "P")).expect(201);
        let target = format!("/dicom-web/workitems/{uid}");
        let tags = [
            "00400400", "00404011", "00404008", "00741204", "00404034", "00404018",
        ];
        let element = |tag: &str, turn: u32| match tag {
            "00400400" => json!({ "vr": "LT", "Value": [format!("turn {turn}")] }),
            "00404011" | "00404008" => json!({ "vr": "DT", "Value": [format!("2026050{turn}")] }),
            "00741204" => json!({ "vr": "LO", "Value": [format!("turn {turn}")] }),
            _ => sequence(&[code(&format!("TURN{turn}"))]),
        };
        let server = &*server;
        thread::scope(|scope| {
            for tag in tags {
                let target = &target;
                scope.spawn(move || {
                    for turn in 1..=5 {
                        let change = json!({ tag: element(tag, turn) });
                        send(server, "POST", target, &change).expect(200);
                    }
                });
            }
        });
        let item = read(server, &uid);
        for tag in tags {
            assert_eq!(item[tag], element(tag, 5), "{tag}");
        }
    });
}

#[test]
fn finished_workitems_go_when_their_time_is_over() {
    let settings = [
        ("STOWAGE_WORKITEM_HOURS", "0.0001"),
        ("STOWAGE_SWEEP_SECONDS", "1"),
    ];
    on_each_index_with(&settings, |server| {
        for number in 1..=3 {
            create(server, "/dicom-web", &workitem(&uid(number), "P")).expect(201);
        }
        let cancel = format!("/dicom-web/workitems/{}/cancelrequest", uid(1));
        server.request("POST", &cancel).send().expect(202);
        change_state(server, "/dicom-web", &uid(2), "IN PROGRESS", "1.2").expect(200);
        wait_until("the canceled workitem is deleted", || {
            found(server, "/dicom-web", "") == [uid(2), uid(3)]
        });
    });
}
