//! Where TDengine is and who asks: the connection URL.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The port of taosAdapter.
pub const DEFAULT_PORT: u16 = 6041;

/// By which protocol the URL asks to be spoken to. Both are served on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `ws://`, `wss://`: binary binds and SQL.
    WebSocket,
    /// `http://`, `https://`: SQL only.
    Rest,
}

/// `ws://USER[:PASSWORD]@HOST:PORT[,HOST:PORT..]/DATABASE`, taken apart. What it prints has `***` for the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    /// The protocol.
    pub transport: Transport,
    /// Whether it runs over TLS.
    pub tls: bool,
    /// The user; `root` where the URL has none.
    pub user: String,
    /// The password; the server's own default where the URL has none.
    pub password: String,
    /// The hosts with their ports, at least one; those of one cluster.
    pub hosts: Vec<Host>,
    /// The database, if the URL names one.
    pub database: Option<String>,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name or address; an IPv6 address with its brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

/// Why a URL is none; says what to write instead and never shows the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DsnError {
    /// Something before `://` that is not served.
    #[error(
        "TDengine URL: {0:?} is none of ws, wss, http, https, taos+ws, taosws; write ws://USER:PASSWORD@HOST:6041/DATABASE"
    )]
    Scheme(String),
    /// No `://`.
    #[error("TDengine URL: there is no protocol; write ws://USER:PASSWORD@HOST:6041/DATABASE")]
    NoScheme,
    /// A host that is none.
    #[error("TDengine URL: {0:?} is not HOST or HOST:PORT; write ws://USER:PASSWORD@HOST:6041/DATABASE")]
    Host(String),
    /// A `/` within user or password.
    #[error("TDengine URL: there is a '/' before the last '@'; in a user or password write it as %2F")]
    Slash,
    /// Something after the database.
    #[error("TDengine URL: {0:?} after the database is not taken; put settings into the configuration file or flags")]
    Extra(String),
    /// A `%` that encodes nothing, or bytes that are not UTF-8.
    #[error("TDengine URL: the {0} is badly percent-encoded; write % itself as %25")]
    Encoding(&'static str),
}

impl FromStr for Dsn {
    type Err = DsnError;

    fn from_str(text: &str) -> Result<Self, DsnError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(DsnError::NoScheme)?;
        let (transport, tls) = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "taosws" | "taos+ws" => (Transport::WebSocket, false),
            "wss" | "taoswss" | "taos+wss" => (Transport::WebSocket, true),
            "http" | "taos+http" => (Transport::Rest, false),
            "https" | "taos+https" => (Transport::Rest, true),
            other => return Err(DsnError::Scheme(other.to_owned())),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            // What looks like a path may be the rest of a password: nothing of it is shown.
            None if path.contains('@') => return Err(DsnError::Slash),
            None => (None, authority),
        };
        if let Some(at) = path.find(['/', '?', '#']) {
            return Err(DsnError::Extra(path[at..].to_owned()));
        }
        let (user, password) = credentials.unwrap_or("").split_once(':').unwrap_or((credentials.unwrap_or(""), ""));
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let database = decode(path, "database")?;
        Ok(Self {
            transport,
            tls,
            user: or(decode(user, "user")?, "root"),
            password: or(decode(password, "password")?, "taosdata"),
            hosts: hosts.split(',').map(parse_host).collect::<Result<_, _>>()?,
            database: (!database.is_empty()).then_some(database),
        })
    }
}

impl Dsn {
    /// The same with another user, where one is given.
    pub fn with_user(mut self, user: Option<&str>) -> Self {
        if let Some(user) = user {
            user.clone_into(&mut self.user);
        }
        self
    }

    /// The same with another password, where one is given.
    pub fn with_password(mut self, password: Option<&str>) -> Self {
        if let Some(password) = password {
            password.clone_into(&mut self.password);
        }
        self
    }

    /// The hosts, beginning with the number `first` (counted around), so that several connections share the load.
    pub fn hosts_from(&self, first: usize) -> impl Iterator<Item = &Host> {
        let count = self.hosts.len();
        self.hosts.iter().cycle().skip(first.checked_rem(count).unwrap_or(0)).take(count)
    }
}

fn parse_host(text: &str) -> Result<Host, DsnError> {
    let refused = || DsnError::Host(text.to_owned());
    // The colons inside the brackets of an IPv6 address separate no port.
    let after_address = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let (name, port) = match text[after_address..].find(':') {
        Some(colon) => {
            let (name, port) = text.split_at(after_address + colon);
            (name, port[1..].parse().map_err(|_| refused())?)
        }
        None => (text, DEFAULT_PORT),
    };
    let well_formed = match name.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if well_formed && port != 0 { Ok(Host { name: name.to_owned(), port }) } else { Err(refused()) }
}

fn decode(text: &str, part: &'static str) -> Result<String, DsnError> {
    let hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    if text.bytes().enumerate().any(|(i, byte)| byte == b'%' && !(hex(i + 1) && hex(i + 2))) {
        return Err(DsnError::Encoding(part));
    }
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| DsnError::Encoding(part))
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.transport, self.tls) {
            (Transport::WebSocket, false) => "ws",
            (Transport::WebSocket, true) => "wss",
            (Transport::Rest, false) => "http",
            (Transport::Rest, true) => "https",
        };
        write!(f, "{scheme}://{}:***@", self.user)?;
        for (i, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if i > 0 { "," } else { "" })?;
        }
        write!(f, "/{}", self.database.as_deref().unwrap_or(""))
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Dsn {
        text.parse().unwrap()
    }

    #[test]
    fn a_whole_url_is_taken_apart() {
        let dsn = parse("wss://me:p%40ss%2Fw:x@db1:6042,db2,[::1]:7000/power");
        assert_eq!((dsn.transport, dsn.tls), (Transport::WebSocket, true));
        assert_eq!((dsn.user.as_str(), dsn.password.as_str()), ("me", "p@ss/w:x"));
        let hosts: Vec<_> = dsn.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["db1:6042", "db2:6041", "[::1]:7000"]);
        assert_eq!(dsn.database.as_deref(), Some("power"));
    }

    #[test]
    fn what_is_missing_has_defaults() {
        let dsn = parse("taos+ws://localhost");
        assert_eq!((dsn.user.as_str(), dsn.hosts[0].port, dsn.database), ("root", 6041, None));
        assert_eq!(parse("http://me@h/").user, "me");
        assert_eq!(parse("taosws://h/db").with_user(Some("u")).with_password(None).user, "u");
    }

    #[test]
    fn an_at_sign_left_in_the_password_still_finds_the_hosts() {
        assert_eq!(parse("ws://root:a@b@h:1/d").password, "a@b");
    }

    #[test]
    fn nothing_printed_shows_the_password() {
        let dsn = parse("ws://root:secret@h/d");
        assert_eq!(dsn.to_string(), "ws://root:***@h:6041/d");
        assert!(!format!("{dsn:?}").contains("secret"));
        assert_eq!(parse("ws://h").to_string(), "ws://root:***@h:6041/");
    }

    #[test]
    fn errors_say_what_to_write() {
        let error = |text: &str| text.parse::<Dsn>().unwrap_err().to_string();
        assert!(error("taos://h:6030/d").contains("write ws://"));
        assert!(error("h:6041").contains("write ws://"));
        assert!(error("ws://h:port/d").contains("h:port"));
        assert!(error("ws://h/d?x=1").contains("\"?x=1\""));
        assert!(error("ws://root:100%@h/d").contains("%25"));
        assert!(error("ws://root:se/cret@h/d").contains("%2F"));
    }

    #[test]
    fn hosts_are_tried_in_turn() {
        let dsn = parse("ws://a,b,c/");
        let names = |first| dsn.hosts_from(first).map(|host| host.name.as_str()).collect::<String>();
        assert_eq!((names(0), names(4)), ("abc".to_owned(), "bca".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_error_of_a_whole_url_shows_its_password(text in "\\PC*", password in "[a-z]{12}") {
            let _ = text.parse::<Dsn>();
            for url in [format!("ws://u:{password}@h:{text}/d"), format!("ws://u:{password}@h/{text}")] {
                if let Err(error) = url.parse::<Dsn>() {
                    prop_assert!(!error.to_string().contains(&password), "{error}");
                }
            }
        }
    }
}
