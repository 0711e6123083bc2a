//! The WebSocket client where things go wrong: silence, broken connections, errors that stick, messages out of turn.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "replay/fake.rs"]
mod fake;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fake::{Answer, Asked, Fake};
use kafka_taos::block::Block;
use kafka_taos::encode::stmt2::bind_frame;
use kafka_taos::row::{Precision, Value};
use kafka_taos::tdengine::schema::{DataType, Field, SuperTable};
use kafka_taos::tdengine::{BindMode, Class, Code, ConnectOptions, Connection, Dsn, Sql, TdengineError};
use serde_json::json;

const SQL: &str = "insert into `d`.`s` (tbname,`ts`,`note`,`site`) values (?,?,?,?)";

async fn connect(url: &str, options: &ConnectOptions) -> Result<Connection, TdengineError> {
    Connection::connect(&url.parse::<Dsn>().unwrap(), None, 0, options).await
}

async fn connected(fake: &Fake) -> Connection {
    connect(&fake.url(), &ConnectOptions::default()).await.unwrap()
}

fn impatient() -> ConnectOptions {
    ConnectOptions { read_timeout: Duration::from_millis(50), ..ConnectOptions::default() }
}

fn stable() -> SuperTable {
    SuperTable {
        database: "d".into(),
        name: "s".into(),
        precision: Precision::Milli,
        columns: vec![Field::new("ts", DataType::Timestamp), Field::new("note", DataType::Varchar(8))],
        composite_key: false,
        tags: vec![Field::new("site", DataType::Int)],
    }
}

fn frame(rows: u32, with_tags: bool) -> Bytes {
    let mut block = Block::new(Arc::new(stable()));
    for at in 0..rows {
        let mut row = block.row("d1", at).unwrap();
        row.set(0, &Value::Int(at.into())).unwrap();
        row.set(1, &Value::from("note")).unwrap();
        row.finish().unwrap();
    }
    let mut frame = Vec::new();
    bind_frame(&mut frame, &block, &(0..rows).collect::<Vec<_>>(), with_tags);
    frame.into()
}

/// The rule that gives `answer` to the first request of `action`, and is content with all others.
fn first(action: &'static str, answer: impl Fn() -> Answer + Send + Sync) -> impl Fn(&Asked) -> Answer + Send + Sync {
    nth(action, 0, answer)
}

fn nth(
    action: &'static str,
    n: usize,
    answer: impl Fn() -> Answer + Send + Sync,
) -> impl Fn(&Asked) -> Answer + Send + Sync {
    let seen = AtomicUsize::new(0);
    move |asked| {
        if asked.action == action && seen.fetch_add(1, Ordering::SeqCst) == n { answer() } else { Answer::Usual }
    }
}

fn error(code: u16) -> impl Fn() -> Answer + Send + Sync {
    move || Answer::With(json!({ "code": code, "message": "it failed" }))
}

#[tokio::test]
async fn a_frame_arrives_with_its_numbers_however_large_it_is() {
    let fake = Fake::start(|_| Answer::Usual).await;
    let connection = connected(&fake).await;
    let mut statement = connection.prepare_insert(&stable(), true, BindMode::Many).await.unwrap();
    for rows in [1, 30_000] {
        let sent = frame(rows, true);
        assert_eq!(statement.insert(sent.clone()).await.unwrap(), 1);
        let binds: Vec<_> = fake.asked().into_iter().filter(|asked| asked.action == "bind").collect();
        let got = &binds.last().unwrap().bytes;
        assert_eq!(got[16..], sent[16..]);
        assert_ne!(got[..8], [0; 8]);
        let init = fake.asked().iter().find(|asked| asked.action == "stmt2_init").unwrap().args["req_id"].as_u64();
        assert_eq!(Some(u64::from_le_bytes(got[8..16].try_into().unwrap())), init);
    }
    let init = fake.asked().into_iter().find(|asked| asked.action == "stmt2_init").unwrap();
    assert_eq!((&init.args["single_stb_insert"], &init.args["single_table_bind_once"]), (&json!(true), &json!(false)));
    let prepare = fake.asked().into_iter().find(|asked| asked.action == "stmt2_prepare").unwrap();
    assert_eq!(prepare.args["sql"], json!(SQL));
}

#[tokio::test]
async fn after_an_error_a_statement_is_made_anew_before_its_next_use() {
    let fake = Fake::start(nth("bind", 1, error(0x2653))).await;
    let connection = connected(&fake).await;
    let mut statement = connection.prepare(SQL, BindMode::Once).await.unwrap();
    statement.bind(frame(1, true)).await.unwrap();
    let failed = statement.bind(frame(1, true)).await.unwrap_err();
    assert_eq!((failed.code(), failed.class()), (Some(Code::new(0x2653)), Class::StaleSchema));
    // What was bound before the error went with it: an exec now would be one without a bind.
    assert!(matches!(statement.exec().await, Err(TdengineError::Refused(_))));
    statement.insert(frame(2, true)).await.unwrap();
    let expected = [
        ["version", "conn"].as_slice(),
        &["stmt2_init", "stmt2_prepare", "bind", "bind", "stmt2_close"],
        &["stmt2_init", "stmt2_prepare", "bind", "stmt2_exec"],
    ]
    .concat();
    assert_eq!(fake.actions(), expected);
}

#[tokio::test]
async fn what_could_crash_a_server_is_not_sent() {
    let fake = Fake::start(|_| Answer::Usual).await;
    let connection = connected(&fake).await;
    let mut statement = connection.prepare(SQL, BindMode::Many).await.unwrap();
    let refused = |result: Result<(), TdengineError>| assert!(matches!(result, Err(TdengineError::Refused(_))));
    refused(statement.exec().await.map(drop));
    refused(statement.bind(frame(0, true)).await);
    refused(statement.bind(frame(1, false)).await);
    refused(statement.bind(Bytes::new()).await);
    refused(statement.bind(frame(1, true).slice(..100)).await);
    refused(statement.exec().await.map(drop));
    assert_eq!(fake.actions(), ["version", "conn", "stmt2_init", "stmt2_prepare"]);
    statement.insert(frame(1, true)).await.unwrap();
    refused(statement.exec().await.map(drop));
}

#[tokio::test]
async fn two_statements_of_a_connection_do_not_wait_for_each_other() {
    // The first exec is answered only when the other statement's bind has come.
    let (release, released) = (Arc::new(tokio::sync::Semaphore::new(0)), AtomicUsize::new(0));
    let held = release.clone();
    let fake = Fake::start(move |asked| match (asked.action.as_str(), released.load(Ordering::SeqCst)) {
        ("stmt2_exec", 0) => {
            released.store(asked.args["req_id"].as_u64().unwrap() as usize, Ordering::SeqCst);
            held.add_permits(1);
            Answer::Silence
        }
        ("bind", held) if held > 0 => {
            let good = |req: &str| format!(r#"{{"code":0,"action":"x","req_id":{req},"affected":7}}"#);
            Answer::Texts(vec![good(&held.to_string()), good("$REQ")])
        }
        _ => Answer::Usual,
    })
    .await;
    let connection = connected(&fake).await;
    let mut one = connection.prepare(SQL, BindMode::Many).await.unwrap();
    let mut other = connection.prepare(SQL, BindMode::Many).await.unwrap();
    one.bind(frame(1, true)).await.unwrap();
    let late_bind = async {
        release.acquire().await.unwrap().forget();
        other.bind(frame(1, true)).await
    };
    let (executed, bound) = tokio::join!(one.exec(), late_bind);
    assert_eq!((executed.unwrap(), bound.unwrap()), (7, ()));
}

#[tokio::test]
async fn a_broken_connection_fails_all_that_wait() {
    let fake = Fake::start(|asked| match asked.action.as_str() {
        "sql" if asked.bytes.ends_with(b"select 1") => Answer::Silence,
        "sql" => Answer::Abort,
        _ => Answer::Usual,
    })
    .await;
    let connection = connected(&fake).await;
    let breaks = async {
        fake.until("sql", 1).await;
        connection.query("select 2").await
    };
    let (waits, breaks) = tokio::join!(connection.query("select 1"), breaks);
    for error in [waits.unwrap_err(), breaks.unwrap_err(), connection.query("select 3").await.unwrap_err()] {
        assert!(matches!(error, TdengineError::Closed { .. }), "{error}");
        assert_eq!(error.class(), Class::Network);
    }
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_query_that_runs_out_of_time_leaves_the_connection_whole_and_its_late_reply_unread() {
    let late = AtomicUsize::new(0);
    let fake = Fake::start(move |asked| match asked.action.as_str() {
        "sql" if late.load(Ordering::SeqCst) == 0 => {
            late.store(asked.args["req_id"].as_u64().unwrap() as usize, Ordering::SeqCst);
            Answer::Silence
        }
        "sql" => {
            let reply = |req: &str, rows: u8| {
                format!(r#"{{"code":0,"action":"binary_query","req_id":{req},"id":1,"is_update":true,"affected_rows":{rows}}}"#)
            };
            Answer::Texts(vec![reply(&late.load(Ordering::SeqCst).to_string(), 1), reply("$REQ", 2)])
        }
        _ => Answer::Usual,
    })
    .await;
    let connection = connect(&fake.url(), &impatient()).await.unwrap();
    let error = connection.query("delete from t").await.unwrap_err();
    assert!(matches!(error, TdengineError::Timeout { .. }), "{error}");
    assert_eq!(connection.sql("delete from t").await.unwrap().affected_rows, 2);
}

#[tokio::test]
async fn a_statement_that_runs_out_of_time_takes_its_connection_along() {
    let fake = Fake::start(first("stmt2_exec", || Answer::Silence)).await;
    let connection = connect(&fake.url(), &impatient()).await.unwrap();
    let mut statement = connection.prepare(SQL, BindMode::Many).await.unwrap();
    statement.bind(frame(1, true)).await.unwrap();
    let error = statement.exec().await.unwrap_err();
    assert!(matches!(error, TdengineError::Timeout { .. }), "{error}");
    // Another message must not overtake what the server may still be at.
    assert!(connection.is_closed());
    assert!(matches!(statement.bind(frame(1, true)).await, Err(TdengineError::Closed { .. })));
    assert_eq!(fake.actions().last().unwrap(), "stmt2_exec");
}

#[tokio::test]
async fn a_bind_that_is_given_up_takes_its_connection_along_with_the_statement() {
    let fake = Fake::start(first("bind", || Answer::Silence)).await;
    let connection = connected(&fake).await;
    let mut statement = connection.prepare(SQL, BindMode::Many).await.unwrap();
    tokio::select! {
        _ = statement.bind(frame(1, true)) => panic!("it was never answered"),
        () = fake.until("bind", 1) => {}
    }
    drop(statement);
    assert!(connection.is_closed());
}

/// The reply to a query, whose result has a column `1` and the number 77.
const RESULT: &str = r#"{"code":0,"action":"binary_query","req_id":$REQ,"id":77,"is_update":false,"fields_names":["1"],
    "fields_types":[5],"fields_lengths":[8]}"#;

#[tokio::test]
async fn a_server_that_gives_no_sign_of_life_is_given_up() {
    let fake = Fake::start(|asked| match asked.action.as_str() {
        "sql" => Answer::Texts(vec![RESULT.to_owned()]),
        "free_result" => Answer::Freeze,
        _ => Answer::Usual,
    })
    .await;
    let options = ConnectOptions { keep_alive: Duration::from_millis(100), ..ConnectOptions::default() };
    let connection = connect(&fake.url(), &options).await.unwrap();
    drop(connection.query("select 1").await.unwrap());
    while !connection.is_closed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fake.actions().last().unwrap(), "free_result");
    let error = connection.query("select 1").await.unwrap_err().to_string();
    assert!(error.contains("no sign of life"), "{error}");
}

#[tokio::test]
async fn a_result_dropped_before_its_end_is_forgotten_by_the_server() {
    let fake = Fake::start(first("sql", || Answer::Texts(vec![RESULT.to_owned()]))).await;
    let connection = connected(&fake).await;
    drop(connection.query("select 1").await.unwrap());
    fake.until("free_result", 1).await;
    assert_eq!(fake.asked().last().unwrap().args["id"], json!(77));
}

#[tokio::test]
async fn a_result_that_comes_after_its_query_was_given_up_is_forgotten_too() {
    // The second query's request brings the first one's reply.
    let late = AtomicUsize::new(0);
    let fake = Fake::start(move |asked| match asked.action.as_str() {
        "sql" => match late.swap(asked.args["req_id"].as_u64().unwrap() as usize, Ordering::SeqCst) {
            0 => Answer::Silence,
            first => Answer::Texts(vec![RESULT.replace("$REQ", &first.to_string())]),
        },
        _ => Answer::Usual,
    })
    .await;
    let connection = connect(&fake.url(), &impatient()).await.unwrap();
    for _ in 0..2 {
        assert!(connection.query("select 1").await.is_err());
    }
    fake.until("free_result", 1).await;
    assert_eq!(fake.asked().last().unwrap().args["id"], json!(77));
}

#[tokio::test]
async fn hosts_are_tried_in_turn_but_a_refused_login_ends_it() {
    let good = Fake::start(|_| Answer::Usual).await;
    let refusing = Fake::start(first("conn", error(0x0357))).await;
    let busy = Fake::start(|asked| if asked.action == "conn" { error(0x000B)() } else { Answer::Usual }).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (good_at, refusing_at, busy_at) = (good.address, refusing.address, busy.address);
    let url = |hosts: [std::net::SocketAddr; 3]| format!("ws://root:taosdata@{},{},{}/", hosts[0], hosts[1], hosts[2]);
    let connection = connect(&url([closed, busy_at, good_at]), &ConnectOptions::default()).await.unwrap();
    assert_eq!(connection.address(), good_at.to_string());
    let error = connect(&url([closed, refusing_at, good_at]), &ConnectOptions::default()).await.unwrap_err();
    assert_eq!((error.code(), error.class()), (Some(Code::AUTH_FAILURE), Class::Fatal));
    let dsn: Dsn = url([closed, refusing_at, good_at]).parse().unwrap();
    let connection = Connection::connect(&dsn, None, 5, &ConnectOptions::default()).await.unwrap();
    assert_eq!(connection.address(), good_at.to_string());
    let error = connect(&format!("ws://{closed}/"), &ConnectOptions::default()).await.unwrap_err();
    assert!(
        matches!(error, TdengineError::Connect { .. }) && error.to_string().contains(&closed.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_that_never_answers_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = Fake::start(first("conn", || Answer::Silence)).await;
    let options = ConnectOptions { connect_timeout: Duration::from_millis(50), ..ConnectOptions::default() };
    for address in [silent.local_addr().unwrap(), mute.address] {
        let error = connect(&format!("ws://{address}/"), &options).await.unwrap_err();
        assert!(matches!(error, TdengineError::Connect { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_server_without_stmt2_is_named_with_the_way_out() {
    let fake = Fake::start(first("version", || Answer::With(json!({ "version": "3.3.4.8" })))).await;
    let connection = connected(&fake).await;
    let error = connection.prepare(SQL, BindMode::Many).await.unwrap_err();
    assert!(error.to_string().contains("--write sql") && error.to_string().contains("3.3.4.8"), "{error}");
    assert_eq!(error.class(), Class::Fatal);
    assert_eq!(connection.sql("delete from t").await.unwrap().affected_rows, 3);
}

#[tokio::test]
async fn a_super_table_that_has_changed_is_noticed_when_it_is_prepared() {
    let fake = Fake::start(|_| Answer::Usual).await;
    let connection = connected(&fake).await;
    let mut wider = stable();
    wider.columns[1].data_type = DataType::Varchar(9);
    let error = connection.prepare_insert(&wider, true, BindMode::Many).await.unwrap_err();
    assert_eq!(error.class(), Class::StaleSchema);
    fake.until("stmt2_close", 1).await;
}

#[tokio::test]
async fn answers_that_make_no_sense_end_the_connection_with_a_reason() {
    for text in ["nonsense", r#"{"code":"x","req_id":$REQ}"#] {
        let fake = Fake::start(first("sql", move || Answer::Texts(vec![text.to_owned()]))).await;
        let connection = connected(&fake).await;
        let error = connection.query("select 1").await.unwrap_err();
        assert!(error.to_string().contains("not understood"), "{error}");
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn tls_that_is_not_built_in_is_said_so() {
    let error = connect("wss://localhost:1/", &ConnectOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("--features tls"), "{error}");
}
