//! The requests to a schema registry, one after another.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use super::Fetched;
use crate::config::Secret;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer of more bytes is refused.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A schema that refers to more, directly or by others, is refused.
const MAX_REFERENCES: usize = 100;

/// Where a registry is, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    url: Url,
    user: Option<(String, Secret)>,
}

impl RegistrySettings {
    /// A registry at `url`, by HTTP basic authentication if there is a user.
    ///
    /// # Errors
    /// The URL is none, or this build cannot speak its protocol.
    pub fn new(url: &str, user: Option<(String, Secret)>) -> Result<Self, String> {
        let wrong = |reason: &str| format!("registry {reason}: write it as http://HOST:8081");
        let mut url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("registry has a user or password in it, where others see them: write registry_user and \
                        registry_password_file"
                .to_owned());
        }
        match url.scheme() {
            "http" => {}
            "https" if cfg!(feature = "tls") => {}
            "https" => {
                return Err("registry is https, and this build has no TLS: build with `--features tls`".to_owned());
            }
            _ => return Err(wrong("is no HTTP URL")),
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self { url, user })
    }
}

/// Why there is no schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    /// The registry does not have it, or it is of no use here.
    Unusable(String),
    /// It is not known what the registry has.
    Unanswered(String),
}

pub(super) struct Client {
    settings: RegistrySettings,
    http: reqwest::Client,
    runtime: Runtime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    #[serde(default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    message: String,
}

impl Client {
    pub(super) fn new(settings: RegistrySettings) -> Result<Self, String> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
        let http = http.map_err(|error| format!("registry cannot be asked: {error}"))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("registry cannot be asked: {error}"))?;
        Ok(Self { settings, http, runtime })
    }

    /// The schema of this number, and all that it refers to.
    pub(super) fn fetch(&self, number: u32) -> Result<Fetched, Asked> {
        self.runtime.block_on(async {
            let answer = self.get(&format!("schemas/ids/{number}")).await?;
            let mut references = Vec::new();
            self.follow(answer.references, &mut HashSet::new(), &mut references).await?;
            let kind = answer.schema_type.unwrap_or_else(|| "AVRO".to_owned());
            Ok(Fetched { kind, schema: answer.schema, references })
        })
    }

    async fn follow(
        &self,
        wanted: Vec<Reference>,
        seen: &mut HashSet<String>,
        found: &mut Vec<(String, String)>,
    ) -> Result<(), Asked> {
        let mut wanted: std::collections::VecDeque<_> = wanted.into();
        while let Some(Reference { name, subject, version }) = wanted.pop_front() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if seen.len() > MAX_REFERENCES {
                return Err(Asked::Unusable(format!("a schema that refers to more than {MAX_REFERENCES} others")));
            }
            let subject = utf8_percent_encode(&subject, NON_ALPHANUMERIC);
            let answer = self.get(&format!("subjects/{subject}/versions/{version}")).await?;
            found.push((name, answer.schema));
            wanted.extend(answer.references);
        }
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Answer, Asked> {
        let unanswered = |reason: &dyn fmt::Display| {
            Asked::Unanswered(format!("the schema registry at {} does not answer: {reason}", self.settings.url))
        };
        let url = self.settings.url.join(path).map_err(|error| unanswered(&error))?;
        let mut request =
            self.http.get(url).header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some((user, password)) = &self.settings.user {
            request = request.basic_auth(user, Some(password.expose()));
        }
        let mut response = request.send().await.map_err(|error| unanswered(&cause(&error)))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| unanswered(&cause(&error)))? {
            if body.len() + part.len() > MAX_ANSWER_BYTES {
                return Err(unanswered(&format_args!("more than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&part);
        }
        let refusal = || serde_json::from_slice::<Refusal>(&body).unwrap_or_default().message;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| unanswered(&error)),
            StatusCode::NOT_FOUND => {
                Err(Asked::Unusable(format!("the schema registry does not have {path}: {}", refusal())))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(unanswered(&format_args!("{status}; check registry_user and registry_password_file")))
            }
            _ => Err(unanswered(&format_args!("{status} {}", refusal()))),
        }
    }
}

/// The last of an error's causes; without the URL, which the message has.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
