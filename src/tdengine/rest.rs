//! TDengine over HTTP: statements as text, results as JSON. For DDL, probes and servers without WebSocket.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::Value as Json;

use super::dsn::{Dsn, Host};
use super::error::{Class, Code, TdengineError};
use super::rows::{ColumnMeta, Rows};
use super::schema::DataType;
use super::{ConnectOptions, Sql};
use crate::row::{Precision, Timestamp, Value};

/// What a database's name has encoded in a path: all but what stands for itself everywhere.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'~');

/// A client of `/rest/sql`. Its connections are kept and shared; it may be used concurrently.
#[derive(Debug)]
pub struct RestClient {
    http: Client,
    dsn: Dsn,
    database: Option<String>,
    read_timeout: Duration,
    /// The host that answered last.
    host: AtomicUsize,
}

/// What `/rest/sql` answers.
#[derive(Deserialize)]
struct Answer {
    code: i64,
    #[serde(default)]
    desc: String,
    #[serde(default)]
    column_meta: Vec<(String, String, i64)>,
    #[serde(default)]
    data: Vec<Vec<Json>>,
}

impl RestClient {
    /// A client of the hosts of `dsn`, for its statements in `database` if one is given. Nothing is sent yet.
    ///
    /// # Errors
    /// [`TdengineError::Settings`]: TLS that this build does not have.
    pub fn new(dsn: &Dsn, database: Option<&str>, options: &ConnectOptions) -> Result<Self, TdengineError> {
        if dsn.tls && cfg!(not(feature = "tls")) {
            let text = "this build has no TLS: build with `--features tls`, or write http:// in place of https://";
            return Err(TdengineError::Settings(text.to_owned()));
        }
        let http = Client::builder()
            .connect_timeout(options.connect_timeout)
            .timeout(options.read_timeout)
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .map_err(|error| TdengineError::Settings(format!("no HTTP client can be made: {error}")))?;
        Ok(Self {
            http,
            dsn: dsn.clone(),
            database: database.map(str::to_owned),
            read_timeout: options.read_timeout,
            host: AtomicUsize::new(0),
        })
    }

    /// Whether a host answers that it is well.
    ///
    /// # Errors
    /// The last host's, if none is.
    pub async fn ping(&self) -> Result<(), TdengineError> {
        self.each_host("a ping", |host| self.http.get(self.url(host, "/-/ping"))).await.map(drop)
    }

    /// Tries the hosts in turn, beginning with the one that answered last, while they are not there or overloaded.
    async fn each_host(
        &self,
        action: &str,
        request: impl Fn(&Host) -> RequestBuilder,
    ) -> Result<(String, Vec<u8>), TdengineError> {
        let first = self.host.load(Ordering::Relaxed);
        let mut last = None;
        for (turn, host) in self.dsn.hosts_from(first).enumerate() {
            match exchange(host, action, request(host), self.read_timeout).await {
                // A request without an answer may have been carried out: it is the caller's to repeat.
                Err(error @ (TdengineError::Connect { .. } | TdengineError::Http { .. }))
                    if error.class() == Class::Network =>
                {
                    last = Some(error);
                }
                outcome => {
                    self.host.store(first.wrapping_add(turn), Ordering::Relaxed);
                    return outcome.map(|body| (host.to_string(), body));
                }
            }
        }
        Err(last.unwrap_or_else(|| TdengineError::Settings("the TDengine URL names no host".to_owned())))
    }

    fn url(&self, host: &Host, path: &str) -> String {
        format!("{}://{host}{path}", if self.dsn.tls { "https" } else { "http" })
    }
}

impl Sql for RestClient {
    /// Runs one statement of at most 1 MiB. The whole result is held in memory.
    async fn sql(&self, sql: &str) -> Result<Rows, TdengineError> {
        const ACTION: &str = "a statement";
        let path = match &self.database {
            Some(database) => Cow::from(format!("/rest/sql/{}", utf8_percent_encode(database, IN_PATH))),
            None => Cow::from("/rest/sql"),
        };
        let request = |host: &Host| {
            let request = self.http.post(self.url(host, &path));
            request.basic_auth(&self.dsn.user, Some(&self.dsn.password)).body(sql.to_owned())
        };
        let (_, body) = self.each_host(ACTION, request).await?;
        let protocol = |reason: String| TdengineError::Protocol { action: ACTION.to_owned(), reason };
        // The server passes bytes that are not UTF-8 through into the JSON.
        let answer: Answer =
            serde_json::from_str(&String::from_utf8_lossy(&body)).map_err(|error| protocol(error.to_string()))?;
        let code = Code::new(answer.code);
        if code != Code::SUCCESS {
            return Err(TdengineError::Server { code, message: answer.desc, action: ACTION.to_owned() });
        }
        rows(answer).map_err(protocol)
    }
}

async fn exchange(
    host: &Host,
    action: &str,
    request: RequestBuilder,
    read_timeout: Duration,
) -> Result<Vec<u8>, TdengineError> {
    let (client, request) = request.build_split();
    let request = request.map_err(|error| TdengineError::Settings(reason(&error)))?;
    let failed = |error: reqwest::Error| {
        let (address, action) = (host.to_string(), action.to_owned());
        if error.is_connect() {
            TdengineError::Connect { address, reason: reason(&error) }
        } else if error.is_timeout() {
            TdengineError::Timeout { action, after: read_timeout }
        } else {
            TdengineError::Closed { address, reason: format!("{action}: {}", reason(&error)) }
        }
    };
    let response = client.execute(request).await.map_err(failed)?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(failed)?;
    if status == 200 {
        return Ok(body.into());
    }
    let said = serde_json::from_slice::<Answer>(&body).map(|answer| answer.desc);
    let body = said.unwrap_or_else(|_| String::from_utf8_lossy(&body).chars().take(200).collect());
    Err(TdengineError::Http { address: host.to_string(), status, body })
}

/// An error with its causes, without the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut text = if cause.is_some() { String::new() } else { "no connection".to_owned() };
    while let Some(error) = cause {
        text = if text.is_empty() { error.to_string() } else { format!("{text}: {error}") };
        cause = error.source();
    }
    text
}

fn rows(answer: Answer) -> Result<Rows, String> {
    // What is not a query has the one column affected_rows, which a query may have too, but not as an INT of 4 bytes alone.
    if let ([(name, kind, 4)], [row]) = (answer.column_meta.as_slice(), answer.data.as_slice())
        && (name.as_str(), kind.as_str()) == ("affected_rows", "INT")
        && let Some(affected_rows) = row.first().and_then(Json::as_u64)
    {
        return Ok(Rows { affected_rows, ..Rows::default() });
    }
    let columns: Vec<_> = answer
        .column_meta
        .into_iter()
        .map(|(name, kind, length)| ColumnMeta { name, data_type: data_type(&kind, length) })
        .collect();
    let mut precision = Precision::Milli;
    let mut rows = Vec::with_capacity(answer.data.len());
    for row in answer.data {
        let types = columns.iter().map(|column| column.data_type).chain(std::iter::repeat(None));
        let cell = |(json, data_type)| cell(json, data_type, &mut precision);
        rows.push(row.into_iter().zip(types).map(cell).collect::<Result<_, _>>()?);
    }
    Ok(Rows { columns, rows, precision, affected_rows: 0 })
}

fn data_type(kind: &str, length: i64) -> Option<DataType> {
    let length = length.clamp(0, u16::MAX.into()) as u16;
    match kind {
        "VARCHAR" | "BINARY" => Some(DataType::Varchar(length)),
        "NCHAR" => Some(DataType::NChar(length)),
        "VARBINARY" => Some(DataType::VarBinary(length)),
        "GEOMETRY" => Some(DataType::Geometry(length)),
        other => other.parse().ok(),
    }
}

fn cell(json: Json, data_type: Option<DataType>, precision: &mut Precision) -> Result<Value<'static>, String> {
    Ok(match (json, data_type) {
        (Json::Null, _) => Value::Null,
        (Json::Bool(truth), _) => Value::Bool(truth),
        (Json::String(text), Some(DataType::Timestamp)) => match text.parse::<jiff::Timestamp>() {
            Ok(moment) => {
                *precision = [*precision, digits(&text)].into_iter().max_by_key(|p| p.per_second()).unwrap_or_default();
                Value::Timestamp(timestamp(moment))
            }
            // Columns other than the key hold years that no calendar has.
            Err(_) => Value::Text(text.into()),
        },
        (Json::String(text), Some(DataType::VarBinary(_) | DataType::Geometry(_) | DataType::Blob)) => {
            Value::Bytes(bytes(&text).ok_or_else(|| format!("{text:?} is not hexadecimal"))?.into())
        }
        (Json::String(text), _) => Value::Text(text.into()),
        (Json::Number(number), Some(DataType::Float)) => Value::from(number.as_f64().unwrap_or_default() as f32),
        (Json::Number(number), Some(DataType::Double)) => Value::Float(number.as_f64().unwrap_or_default()),
        (Json::Number(number), Some(DataType::BigIntUnsigned)) => Value::UInt(number.as_u64().unwrap_or_default()),
        (Json::Number(number), _) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        // A JSON tag comes as what it is.
        (json, _) => Value::Text(json.to_string().into()),
    })
}

fn timestamp(moment: jiff::Timestamp) -> Timestamp {
    let (seconds, nanos) = (moment.as_second(), moment.subsec_nanosecond());
    // Before 1970 both parts are negative.
    match u32::try_from(nanos) {
        Ok(nanos) => Timestamp::new(seconds, nanos),
        Err(_) => Timestamp::new(seconds - 1, (nanos + 1_000_000_000) as u32),
    }
}

/// The precision that a timestamp is written with: 3, 6 or 9 digits.
fn digits(text: &str) -> Precision {
    let fraction = text.rsplit_once('.').map_or("", |(_, fraction)| fraction);
    match fraction.bytes().take_while(u8::is_ascii_digit).count() {
        0..=3 => Precision::Milli,
        4..=6 => Precision::Micro,
        _ => Precision::Nano,
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Rows {
        rows(serde_json::from_str(answer).unwrap()).unwrap()
    }

    #[test]
    fn cells_have_their_columns_types() {
        let rows = read(
            r#"{"code":0,"column_meta":[["ts","TIMESTAMP",8],["f","FLOAT",4],["u","BIGINT UNSIGNED",8],["v","VARBINARY",20],
                ["d","DECIMAL(10,2)",8],["s","VARCHAR",20]],
                "data":[["2025-12-01T00:00:00.010Z",1.1,18446744073709551615,"01ff","-0.01","x"],
                        ["1969-12-31T23:59:59.999Z",2,3,"","0.00",null]],"rows":2}"#,
        );
        let moment = |millis| Value::Timestamp(Timestamp::from_millis(millis));
        assert_eq!(
            rows.rows[0],
            [
                moment(1_764_547_200_010),
                Value::from(1.1f32),
                Value::UInt(u64::MAX),
                Value::Bytes(vec![1, 255].into()),
                Value::from("-0.01".to_owned()),
                Value::from("x".to_owned()),
            ]
        );
        assert_eq!((&rows.rows[1][0], &rows.rows[1][5]), (&moment(-1), &Value::Null));
        assert_eq!(rows.columns[4].data_type, Some(DataType::Decimal { precision: 10, scale: 2 }));
        assert_eq!(rows.precision, Precision::Milli);
    }

    #[test]
    fn an_update_has_a_count_and_no_rows() {
        let rows = read(r#"{"code":0,"column_meta":[["affected_rows","INT",4]],"data":[[3]],"rows":1}"#);
        assert_eq!((rows.affected_rows, rows.columns.len(), rows.rows.len()), (3, 0, 0));
    }

    #[test]
    fn what_is_no_value_of_its_type_is_refused() {
        let odd = r#"{"code":0,"column_meta":[["c","VARBINARY",8]],"data":[["0"]],"rows":1}"#;
        assert!(rows(serde_json::from_str(odd).unwrap()).unwrap_err().contains("hexadecimal"));
    }

    #[test]
    fn years_beyond_the_calendar_stay_text() {
        let far = "292278994-08-17T07:12:55.807Z";
        let rows = read(&format!(r#"{{"code":0,"column_meta":[["c","TIMESTAMP",8]],"data":[["{far}"]],"rows":1}}"#));
        assert_eq!(rows.rows[0], [Value::Text(far.into())]);
    }
}
