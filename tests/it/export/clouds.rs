//! Buckets and containers as destinations.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::support::containers::Containers;
use crate::support::proxy::free_port;
use crate::support::s3::{BUCKET, Effect, Fault, KEY, S3, SECRET};
use crate::support::signer::rsa_key;

/// A file of credentials; it stays as long as the folder.
fn credentials(folder: &TempDir, name: &str, text: &str) -> String {
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn s3_credentials(folder: &TempDir, secret: &str) -> String {
    let text = format!("aws_access_key_id = {KEY}\naws_secret_access_key = {secret}\n");
    credentials(folder, secret, &text)
}

#[test]
fn a_bucket_gets_what_is_stored_large_files_in_parts() {
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3::start());
    let file = s3_credentials(&folder, SECRET);
    let wrong = s3_credentials(&folder, "wrong");
    let endpoint = s3.endpoint();
    let url = |bucket: &str, file: &str| {
        format!("s3://{bucket}/out?endpoint={endpoint}&credentials={file}")
    };
    let setting = format!(
        "research={},wrong={}",
        url(BUCKET, &file),
        url(BUCKET, &wrong)
    );
    let server = Server::with(&[
        ("STOWAGE_EXPORT_DESTINATIONS", setting.as_str()),
        ("STOWAGE_BLOB_RETRY_SECONDS", "1"),
    ]);
    let names: Vec<Name> = (1..=3).map(|i| Name::new(1, 1, i)).collect();
    let files = [
        names[0].small(),
        names[1].with_bulk(17 << 20),
        names[2].small(),
    ];
    server.store("/dicom-web", &files).expect(200);
    // A request that fails is tried again, by the client or by the operation.
    for times in [1, 40] {
        s3.fail(Fault {
            method: "PUT",
            at: "results",
            times,
            effect: Effect::Status(503),
        });
        let answer = post(&server, "/v2/export", &to("research", None)).expect(202);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        if times > 1 {
            wait_until("it failed some times", || s3.faults_left() < 36);
            s3.heal();
        }
        let done = finished(&server, &id);
        assert_eq!(
            done["results"],
            json!({ "errorHref": format!("s3://{BUCKET}/out/{id}/errors.log"), "exported": 3, "skipped": 0 })
        );
        for (name, bytes) in expected(&id, names.iter().zip(&files)) {
            assert!(fs::read(s3.file(&format!("out/{name}"))).unwrap() == bytes);
        }
        assert_eq!(
            fs::read(s3.file(&format!("out/{id}/errors.log"))).unwrap(),
            b""
        );
    }
    let before = s3.objects();
    let answer = post(&server, "/v2/export", &to("wrong", None)).expect(202);
    let done = finished(&server, answer.json()["id"].as_str().unwrap());
    assert_eq!(done["status"], "failed");
    let errors = done["results"]["errors"].to_string();
    assert!(
        errors.contains("may not be written with these credentials"),
        "{errors}"
    );
    assert!(!server.log().contains(SECRET));
    assert_eq!(s3.objects(), before);
}

#[test]
fn a_destination_that_never_answers_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = s3_credentials(&folder, SECRET);
    let port = free_port();
    let setting =
        format!("away=s3://pacs/out?endpoint=http%3A%2F%2F127.0.0.1:{port}&credentials={file}");
    let server = Server::with(&[
        ("STOWAGE_EXPORT_DESTINATIONS", setting.as_str()),
        ("STOWAGE_EXPORT_GIVE_UP_SECONDS", "1"),
        ("STOWAGE_BLOB_RETRY_SECONDS", "1"),
    ]);
    let answer = post(&server, "/v2/export", &to("away", None)).expect(202);
    let done = finished(&server, answer.json()["id"].as_str().unwrap());
    assert_eq!(done["status"], "failed");
    let errors = done["results"]["errors"].to_string();
    assert!(errors.contains("for too long"), "{errors}");
}

#[test]
fn the_form_of_the_azure_dicom_service_chooses_a_container_of_the_configuration() {
    let (folder, azure) = (tempfile::tempdir().unwrap(), Containers::start());
    let account = "azure_storage_account_name = acme\n";
    let key = credentials(
        &folder,
        "key",
        &format!("{account}azure_storage_account_key = a2V5\n"),
    );
    let sas = credentials(
        &folder,
        "sas",
        &format!("{account}azure_storage_sas_token = sv=2024-11-04&sig=signed\n"),
    );
    let endpoint = format!("{}/acme", azure.url());
    let setting = format!(
        "keyed=az://box/in?endpoint={endpoint}&credentials={key},signed=az://other?endpoint={endpoint}&credentials={sas},away=az://gone?endpoint={endpoint}&credentials={key}"
    );
    let server = Server::with(&[("STOWAGE_EXPORT_DESTINATIONS", &setting)]);
    let names = [Name::new(1, 1, 1), Name::new(1, 1, 2)];
    let files = [names[0].small(), names[1].with_bulk(17 << 20)];
    server.store("/dicom-web", &files).expect(200);
    for (settings, folder, container, writer) in [
        (
            json!({ "blobContainerUri": format!("{endpoint}/box?sig=of-the-client"), "useManagedIdentity": true }),
            "in/",
            "box",
            "SharedKey acme:",
        ),
        (
            json!({ "blobContainerName": "other",
                "connectionString": format!("BlobEndpoint={endpoint};SharedAccessSignature=sig=of-the-client") }),
            "",
            "other",
            "signed",
        ),
    ] {
        let body = json!({
            "source": { "type": "identifiers", "settings": { "values": [names[0].study] } },
            "destination": { "type": "azureblob", "settings": settings },
        });
        let (id, results) = export(&server, &body);
        let base = format!("{endpoint}/{container}/{folder}{id}");
        assert_eq!(
            results,
            json!({ "errorHref": format!("{base}/errors.log"), "exported": 2, "skipped": 0 })
        );
        let objects = azure.objects();
        for (name, bytes) in expected(&id, names.iter().zip(&files)) {
            let path = format!("/acme/{container}/{folder}{name}");
            assert!(objects.get(&path) == Some(&bytes), "{path}");
        }
        assert!(azure.writer().starts_with(writer), "{}", azure.writer());
    }
    assert!(!server.log().contains("of-the-client"));
    let answer = post(&server, "/v2/export", &to("away", None)).expect(202);
    let done = finished(&server, answer.json()["id"].as_str().unwrap());
    assert_eq!(done["status"], "failed");
    let errors = done["results"]["errors"].to_string();
    assert!(errors.contains("does not exist"), "{errors}");
}

/// The file of a service account, as Google makes it.
fn service_account(folder: &TempDir) -> String {
    let (pem, _) = rsa_key();
    let account = json!({
        "type": "service_account",
        "project_id": "acme",
        "private_key_id": "k1",
        "private_key": pem,
        "client_email": "pacs@acme.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    credentials(folder, "account.json", &account.to_string())
}

#[test]
fn a_bucket_of_google_gets_what_is_stored_with_the_account_of_its_destination() {
    let (folder, google) = (tempfile::tempdir().unwrap(), Containers::start());
    let account = service_account(&folder);
    let url = |bucket: &str| {
        format!(
            "gs://{bucket}/in?endpoint={}&credentials={account}",
            google.url()
        )
    };
    let setting = format!("cloud={},away={}", url("pacs"), url("gone"));
    let server = Server::with(&[("STOWAGE_EXPORT_DESTINATIONS", &setting)]);
    let names = [Name::new(1, 1, 1), Name::new(1, 1, 2)];
    // The second one goes in parts.
    let files = [names[0].small(), names[1].with_bulk(17 << 20)];
    server.store("/dicom-web", &files).expect(200);
    let answer = post(&server, "/v2/export", &to("cloud", None)).expect(202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let done = finished(&server, &id);
    assert_eq!(
        done["results"],
        json!({ "errorHref": format!("gs://pacs/in/{id}/errors.log"), "exported": 2, "skipped": 0 })
    );
    let objects = google.objects();
    for (name, bytes) in expected(&id, names.iter().zip(&files)) {
        let path = format!("/pacs/in/{name}");
        assert!(objects.get(&path) == Some(&bytes), "{path}");
    }
    let writer = google.writer();
    let token = writer.strip_prefix("Bearer ").expect("a token");
    let claims = token.split('.').nth(1).expect("claims");
    let claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["iss"], "pacs@acme.iam.gserviceaccount.com");
    let answer = post(&server, "/v2/export", &to("away", None)).expect(202);
    let done = finished(&server, answer.json()["id"].as_str().unwrap());
    assert_eq!(done["status"], "failed");
    let errors = done["results"]["errors"].to_string();
    assert!(errors.contains("does not exist"), "{errors}");
    assert!(!server.log().contains("PRIVATE KEY"));
}
