//! Against a registry that answers as Confluent's does, and one that does not answer.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};

use serde_json::{Value as Tree, json};

use super::*;
use crate::config::Secret;
use crate::format::collect::{collect, plan_of, records, value};
use crate::format::{AvroDecoder, Decoder, Found, ProtobufDecoder, avro, protobuf};

const SCHEMA: &str = include_str!("../../../tests/fixtures/formats/reading.avsc");
/// Of schema 1042.
const CONFLUENT: &[u8] = include_bytes!("../../../tests/fixtures/formats/reading-confluent-avro.bin");

type Requests = Arc<Mutex<Vec<String>>>;

/// Answers by path; each request is kept, with its authorization. The thread ends with the test's process.
fn serve(listener: TcpListener, answers: HashMap<String, (u16, Tree)>) -> Requests {
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let path = lines.next().unwrap().unwrap().split(' ').nth(1).unwrap().to_owned();
            let headers: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let authorization = headers.iter().find(|header| header.to_lowercase().starts_with("authorization:"));
            kept.lock().unwrap().push(format!("{path} {}", authorization.map_or("", String::as_str)));
            let unknown = (404, json!({"error_code": 40403, "message": "Schema not found"}));
            let (status, body) = answers.get(&path).unwrap_or(&unknown);
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all([head, body].concat().as_bytes()).unwrap();
        }
    });
    requests
}

fn here() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn registry(address: SocketAddr, user: Option<(String, Secret)>) -> Arc<Registry<avro::AvroSchema>> {
    let settings = RegistrySettings::new(&format!("http://{address}"), user).unwrap();
    Arc::new(Registry::new(settings, avro::FORMAT, avro::compile).unwrap())
}

fn decoder(registry: &Arc<Registry<avro::AvroSchema>>) -> AvroDecoder {
    AvroDecoder::of(Source::registry(Arc::clone(registry)))
}

/// Reads as a worker does: again, for as long as it is no one's fault.
fn read(decoder: &mut dyn Decoder, payload: &[u8], path: &str) -> Result<Found<'static>, FormatError> {
    loop {
        match collect(decoder, payload, &plan_of(&[path])) {
            Ok(_) => return Ok(records(decoder, payload, &plan_of(&[path])).remove(0).remove(0)),
            Err(error) if error.is_transient => {}
            Err(error) => return Err(error),
        }
    }
}

/// A record of one of the schemas that `serve` has.
fn framed(number: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &number.to_be_bytes()[..], body].concat()
}

#[test]
fn a_schema_is_asked_for_once_with_user_and_password() {
    let (listener, address) = here();
    let requests = serve(listener, HashMap::from([("/schemas/ids/1042".to_owned(), (200, json!({"schema": SCHEMA})))]));
    let registry = registry(address, Some(("reader".to_owned(), Secret::new("secret"))));
    for _ in 0..2 {
        let mut decoder = decoder(&registry);
        for _ in 0..2 {
            assert_eq!(read(&mut decoder, CONFLUENT, "/site/name"), Ok(value("Zürich")));
        }
    }
    let asked = requests.lock().unwrap().join("\n").to_lowercase();
    assert_eq!(asked, "/schemas/ids/1042 authorization: basic cmvhzgvyonnly3jlda==");
}

#[test]
fn a_schema_comes_with_what_it_refers_to() {
    let (listener, address) = here();
    let reference = |name: &str, subject: &str| json!({"name": name, "subject": subject, "version": 3});
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "plant.Site"}]}"#;
    let site = r#"{"type": "record", "name": "plant.Site", "fields": [{"name": "state", "type": "plant.State"}]}"#;
    let state = r#"{"type": "enum", "name": "plant.State", "symbols": ["OFF", "ON"]}"#;
    let answers = [
        ("/schemas/ids/7", json!({"schema": schema, "references": [reference("plant.Site", "sites/a")]})),
        ("/subjects/sites%2Fa/versions/3", json!({"schema": site, "references": [reference("plant.State", "state")]})),
        ("/subjects/state/versions/3", json!({"schema": state, "references": [reference("plant.Site", "sites/a")]})),
    ];
    serve(listener, answers.into_iter().map(|(path, body)| (path.to_owned(), (200, body))).collect());
    let mut decoder = decoder(&registry(address, None));
    assert_eq!(read(&mut decoder, &framed(7, &[2]), "/a/state"), Ok(value("ON")));
}

/// The registry has text, or what confluent-kafka for Python posts: descriptors in base64.
#[test]
fn a_protobuf_schema_comes_with_its_imports_in_either_form() {
    use base64::Engine as _;
    let pool: &[u8] = include_bytes!("../../../tests/fixtures/formats/reading.desc");
    let pool = prost_reflect::DescriptorPool::decode(pool).unwrap();
    let in_base64 = |name: &str| {
        let file = pool.get_file_by_name(name).unwrap();
        base64::engine::general_purpose::STANDARD.encode(file.encode_to_vec())
    };
    let reading = include_str!("../../../tests/fixtures/formats/reading.proto").to_owned();
    let site = include_str!("../../../tests/fixtures/formats/site.proto").to_owned();
    let whole = include_bytes!("../../../tests/fixtures/formats/reading-confluent-protobuf.bin");
    let within = include_bytes!("../../../tests/fixtures/formats/sample-confluent-protobuf.bin");
    for (reading, site) in [(reading, site), (in_base64("reading.proto"), in_base64("site.proto"))] {
        let (listener, address) = here();
        let references = json!([{"name": "site.proto", "subject": "site.proto", "version": 1}]);
        let reading = json!({"schema": reading, "schemaType": "PROTOBUF", "references": references});
        let answers = [
            ("/schemas/ids/1043", reading),
            ("/subjects/site%2Eproto/versions/1", json!({"schema": site, "schemaType": "PROTOBUF"})),
        ];
        serve(listener, answers.into_iter().map(|(path, body)| (path.to_owned(), (200, body))).collect());
        let settings = RegistrySettings::new(&format!("http://{address}/"), None).unwrap();
        let registry = Arc::new(Registry::new(settings, protobuf::FORMAT, protobuf::compile).unwrap());
        let mut any = ProtobufDecoder::of(Source::registry(Arc::clone(&registry)), None);
        assert_eq!(read(&mut any, whole, "/site/name"), Ok(value("Zürich")));
        assert_eq!(read(&mut any, within, "q"), Ok(value(7_i64)));
        let mut one = ProtobufDecoder::of(Source::registry(registry), Some("plant.Reading".to_owned()));
        assert_eq!(read(&mut one, whole, "device"), Ok(value("d1001")));
        let error = read(&mut one, within, "q").unwrap_err().to_string();
        assert_eq!(error, "not Protobuf: it is a plant.Reading.Sample, and the configuration says plant.Reading");
        let strange = [&whole[..5], &[2, 40]].concat();
        let error = read(&mut any, &strange, "q").unwrap_err().to_string();
        assert_eq!(error, "not Protobuf at byte 5: it names a message that its schema does not have");
    }
}

#[test]
fn what_the_registry_does_not_have_is_the_payloads_fault() {
    let (listener, address) = here();
    let answers = [
        ("/schemas/ids/2", json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"})),
        ("/schemas/ids/3", json!({"schema": "{\"type\": \"nothing\"}"})),
    ];
    serve(listener, answers.into_iter().map(|(path, body)| (path.to_owned(), (200, body))).collect());
    let mut decoder = decoder(&registry(address, None));
    let mut error = |payload: &[u8]| read(&mut decoder, payload, "a").unwrap_err().to_string();
    assert_eq!(error(&framed(1, &[])), "not Avro: the schema registry does not have schemas/ids/1: Schema not found");
    assert_eq!(error(&framed(2, &[])), "not Avro: schema 2 is of the type PROTOBUF, and the format is avro");
    assert!(error(&framed(3, &[])).starts_with("not Avro: schema 3 is no Avro schema"));
    assert!(error(b"{\"a\":1}").starts_with("not Avro at byte 0: it does not begin with a zero"));
    assert!(error(&[0, 0, 0]).starts_with("not Avro at byte 0: it does not begin with a zero"));
}

#[test]
fn a_registry_that_does_not_answer_is_no_ones_fault_and_is_asked_again() {
    let (listener, address) = here();
    let answers = |status, body| HashMap::from([("/schemas/ids/1042".to_owned(), (status, body))]);
    drop(listener);
    let registry = registry(address, None);
    let mut decoder = decoder(&registry);
    let mut error = loop {
        let error = collect(&mut decoder, CONFLUENT, &plan_of(&["device"])).unwrap_err();
        assert!(error.is_transient, "{error}");
        if !error.reason.contains("not answered yet") {
            break error;
        }
    };
    let told = format!("not yet known as Avro: the schema registry at http://{address}/ does not answer: ");
    assert!(error.to_string().starts_with(&told), "{error}");
    // It is back, and refuses.
    let listener = TcpListener::bind(address).unwrap();
    serve(listener.try_clone().unwrap(), answers(401, json!({"message": "Unauthorized"})));
    while !error.reason.contains("check registry_user") {
        error = collect(&mut decoder, CONFLUENT, &plan_of(&["device"])).unwrap_err();
        assert!(error.is_transient, "{error}");
    }
}
