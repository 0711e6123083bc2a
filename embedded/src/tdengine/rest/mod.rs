//! REST: `POST /rest/sql[/db]`, the login that gives a token, and the health probe.

mod json;

use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State as Shared};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use jiff::tz::TimeZone;

use super::engine::{Outcome, Session, TdError};
use super::faults::Operation;
use super::login::{self, Credentials};
use super::server::DropConnection;
use super::{State, time};

/// Bodies of rows up to about this size are sent as a whole, larger ones in such parts as they are read from the store.
const PART_BYTES: usize = 1 << 20;

pub(super) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/rest/sql", post(sql_without_database))
        .route("/rest/sql/", post(sql_without_database))
        .route("/rest/sql/{database}", post(sql))
        .route("/rest/login/{user}/{password}", get(login))
        .route("/rest/sql/{database}/vgid", any(unsupported))
        .route("/rest/upload", any(unsupported))
        .route("/influxdb/v1/write", any(unsupported))
        .route("/opentsdb/v1/put/{*rest}", any(unsupported))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

/// `/-/ping`, unknown paths and wrong methods are all answered with nothing at all; only an upgrade is refused.
async fn unknown(headers: HeaderMap) -> Response {
    if headers.contains_key(UPGRADE) { StatusCode::NOT_FOUND } else { StatusCode::OK }.into_response()
}

/// Paths that take data on a real server must not be answered like unknown ones, which looks like success.
async fn unsupported(uri: Uri) -> Response {
    let TdError { code, message } = TdError::unsupported(uri.path());
    with_json(StatusCode::NOT_IMPLEMENTED, Body::from(json::error(code, &message, 0)))
}

async fn sql_without_database(
    Shared(state): Shared<Arc<State>>,
    query: Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(state, None, query, headers, body).await
}

async fn sql(
    Shared(state): Shared<Arc<State>>,
    Path(database): Path<String>,
    query: Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(state, Some(database), query, headers, body).await
}

async fn answer(
    state: Arc<State>,
    database: Option<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let started = Instant::now();
    match run(state, database, &query, &headers, body, started).await {
        Ok(response) => response,
        Err(Refusal::Answer { status, code, text }) => {
            with_json(status, Body::from(json::error(code, &text, nanoseconds_since(started))))
        }
        Err(Refusal::Drop) => dropped(),
        Err(Refusal::Status(status)) => status.into_response(),
    }
}

/// Why a request is not answered with a result.
enum Refusal {
    Answer {
        status: StatusCode,
        code: u16,
        text: String,
    },
    /// Only the status tells what is wrong.
    Status(StatusCode),
    /// Lose the connection.
    Drop,
}

impl From<TdError> for Refusal {
    fn from(error: TdError) -> Self {
        Self::Answer { status: StatusCode::OK, code: error.code, text: error.message }
    }
}

fn bad_request(code: u16, text: impl Into<String>) -> Refusal {
    Refusal::Answer { status: StatusCode::BAD_REQUEST, code, text: text.into() }
}

async fn run(
    state: Arc<State>,
    database: Option<String>,
    query: &[(String, String)],
    headers: &HeaderMap,
    body: Body,
    started: Instant,
) -> Result<Response, Refusal> {
    let parameters = Parameters::read_ids(query)?;
    let credentials = credentials(headers)?;
    let parameters = parameters.read_rest(query)?;
    let sql = statement(&state, headers, body).await?;
    let login = state.faults.before(Operation::Login).await;
    if login.drop_before || login.drop_after {
        return Err(Refusal::Drop);
    }
    if let Some(error) = login.answer {
        return Err(error.into());
    }
    let verdict = state.faults.before(Operation::Statement).await;
    if verdict.drop_before {
        return Err(Refusal::Drop);
    }
    let execution = move || {
        credentials.check(&state.engine)?;
        if let Some(error) = verdict.answer {
            return Err(error);
        }
        execute(&state, credentials, database, &sql, parameters, started)
    };
    let reply = tokio::task::spawn_blocking(execution).await.map_err(|_| internal())??;
    if verdict.drop_after {
        return Err(Refusal::Drop);
    }
    Ok(with_json(StatusCode::OK, reply.into_body()))
}

fn credentials(headers: &HeaderMap) -> Result<Credentials, Refusal> {
    login::authorization(headers.get(AUTHORIZATION).map(|value| value.as_bytes())).map_err(|bad| {
        let (code, text) = bad.answer();
        Refusal::Answer { status: StatusCode::UNAUTHORIZED, code, text: text.to_owned() }
    })
}

/// What the query of the URL asks for; parameters that mean nothing here (`app`, `ip`, `token`, unknown ones) are ignored.
#[derive(Debug, Clone)]
struct Parameters {
    timing: bool,
    /// The zone in which timestamps are printed.
    zone: TimeZone,
    /// The zone of the connection, in which timestamps without a zone are read.
    connection_zone: TimeZone,
    row_with_meta: bool,
}

impl Parameters {
    /// Reads what is checked before the credentials.
    fn read_ids(query: &[(String, String)]) -> Result<Self, Refusal> {
        if let Some(id) = parameter(query, "req_id").filter(|id| !id.is_empty())
            && let Err(error) = id.parse::<i64>()
        {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let out_of_range = matches!(error.kind(), PosOverflow | NegOverflow);
            let problem = if out_of_range { "value out of range" } else { "invalid syntax" };
            let text = format!("illegal param, req_id must be numeric strconv.ParseInt: parsing {id:?}: {problem}");
            return Err(bad_request(0xffff, text));
        }
        Ok(Self {
            timing: parameter(query, "timing") == Some("true"),
            zone: TimeZone::UTC,
            connection_zone: TimeZone::UTC,
            row_with_meta: false,
        })
    }

    /// Reads what is checked after the credentials.
    fn read_rest(mut self, query: &[(String, String)]) -> Result<Self, Refusal> {
        let zone = |name: &str| time::zone(name).ok_or_else(|| bad_request(0xffff, no_zone(name)));
        if let Some(name) = parameter(query, "conn_tz") {
            self.zone = zone(name)?;
            self.connection_zone = self.zone.clone();
        } else if let Some(name) = parameter(query, "tz") {
            self.zone = zone(name)?;
        }
        self.row_with_meta = match parameter(query, "row_with_meta") {
            None | Some("" | "0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some(other) => {
                let text = format!(
                    "illegal param, row_with_meta must be boolean strconv.ParseBool: parsing {other:?}: invalid syntax"
                );
                return Err(bad_request(0xffff, text));
            }
        };
        Ok(self)
    }
}

/// What Go says to a name of a zone that it cannot load.
fn no_zone(name: &str) -> String {
    if name.contains("..") || name.starts_with(['/', '\\']) {
        "time: invalid location name".to_owned()
    } else {
        format!("unknown time zone {name}")
    }
}

fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The statement in a request's body, blanks around it removed.
async fn statement(state: &State, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let limit = state.max_frame_bytes;
    let too_large = |_| Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE);
    let mut body = axum::body::to_bytes(body, limit).await.map_err(too_large)?;
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip") && !body.is_empty() {
        let unpacked = tokio::task::spawn_blocking(move || gunzip(&body, limit));
        body = unpacked.await.map_err(|_| internal())??;
    }
    if body.is_empty() {
        return Err(bad_request(0x1106, "request is empty"));
    }
    let (start, end) = trimmed(&body);
    if start == end {
        return Err(bad_request(0x1107, "no sql input"));
    }
    Ok(body.slice(start..end))
}

fn gunzip(packed: &[u8], limit: usize) -> Result<Bytes, Refusal> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(packed).take(limit as u64 + 1);
    reader.read_to_end(&mut unpacked).map_err(|_| Refusal::Status(StatusCode::BAD_REQUEST))?;
    if unpacked.len() > limit {
        return Err(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Ok(unpacked.into())
}

/// Where a text starts and ends without the blanks around it, by Unicode where it is UTF-8.
fn trimmed(text: &[u8]) -> (usize, usize) {
    match std::str::from_utf8(text) {
        Ok(text) => {
            let start = text.len() - text.trim_start().len();
            (start, start + text.trim().len())
        }
        Err(_) => {
            let start = text.len() - text.trim_ascii_start().len();
            (start, start + text.trim_ascii().len())
        }
    }
}

fn execute(
    state: &State,
    credentials: Credentials,
    database: Option<String>,
    sql: &[u8],
    parameters: Parameters,
    started: Instant,
) -> Result<Reply, TdError> {
    let mut session = Session::new(credentials.user);
    session.time_zone = parameters.connection_zone;
    if let Some(database) = database {
        // One that does not exist is no error: the statement may be about to create it.
        let _ = state.engine.use_database(&mut session, &format!("`{database}`"));
    }
    let row_with_meta = parameters.row_with_meta;
    match state.engine.execute(&mut session, sql)? {
        Outcome::Update { affected } => {
            let timing = parameters.timing.then(|| nanoseconds_since(started));
            Ok(Reply { written: json::update(affected, row_with_meta, timing), rest: None })
        }
        Outcome::Rows(result) => {
            let mut written = Vec::new();
            let timed_from = parameters.timing.then_some(started);
            let rows = json::Rows::start(result, parameters.zone, row_with_meta, timed_from, &mut written);
            // A result that cannot be written is answered as taosAdapter does it: HTTP 200 with nothing in it.
            Ok(Reply { written, rest: Some(rows) }.fill().unwrap_or_default())
        }
    }
}

/// A body of which perhaps only the first part is written yet.
#[derive(Default)]
struct Reply {
    written: Vec<u8>,
    rest: Option<json::Rows>,
}

impl Reply {
    /// Writes on until there is a good part to send or all is written.
    fn fill(mut self) -> Result<Self, json::RowsError> {
        while let Some(rows) = &mut self.rest
            && self.written.len() < PART_BYTES
        {
            if !rows.write_block(&mut self.written)? {
                self.rest = None;
            }
        }
        Ok(self)
    }

    /// The whole body if it is written, else a stream that writes the next part when the client has taken the last.
    fn into_body(self) -> Body {
        if self.rest.is_none() {
            return Body::from(self.written);
        }
        Body::from_stream(futures_util::stream::unfold(Some(self), |reply| async move {
            let mut reply = reply?;
            let part = Bytes::from(std::mem::take(&mut reply.written));
            if reply.rest.is_none() {
                return Some((Ok(part), None));
            }
            match tokio::task::spawn_blocking(move || reply.fill()).await {
                Ok(Ok(reply)) => Some((Ok(part), Some(reply))),
                Ok(Err(error)) => Some((Err(error.to_string()), None)),
                Err(error) => Some((Err(error.to_string()), None)),
            }
        }))
    }
}

async fn login(Shared(state): Shared<Arc<State>>, Path((user, password)): Path<(String, String)>) -> Response {
    let started = Instant::now();
    let error = |status, code, text| with_json(status, Body::from(json::error(code, text, nanoseconds_since(started))));
    let credentials = Credentials { user, password };
    let Some(token) = login::token(&credentials) else {
        return error(StatusCode::BAD_REQUEST, 0x110A, "generate taosd token error");
    };
    let verdict = state.faults.before(Operation::Login).await;
    if verdict.drop_before || verdict.drop_after {
        return dropped();
    }
    let checked = tokio::task::spawn_blocking(move || credentials.check(&state.engine)).await;
    if verdict.answer.is_some() || !matches!(checked, Ok(Ok(()))) {
        return error(StatusCode::UNAUTHORIZED, 0x0003, "Authentication failure");
    }
    with_json(StatusCode::OK, Body::from(format!(r#"{{"code":0,"desc":"{token}"}}"#)))
}

fn with_json(status: StatusCode, body: Body) -> Response {
    (status, [(CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

fn dropped() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(DropConnection);
    response
}

fn internal() -> Refusal {
    Refusal::Status(StatusCode::INTERNAL_SERVER_ERROR)
}

fn nanoseconds_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
