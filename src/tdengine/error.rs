//! What can go wrong between here and the server, and what that means for a writer.

use std::fmt;
use std::time::Duration;

/// What a writer does about an error. The classes are judged from the server's own retry rules and from recorded
/// answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The connection: connect again, with growing pauses, and send the batch again.
    Network,
    /// The cluster is electing, moving or starting: the whole batch again.
    Cluster,
    /// The server is overloaded: smaller batches, fewer at once, again.
    Pressure,
    /// A person must act (a full disk, an expired grant): slow retries and an alert, never the dead letters.
    Operator,
    /// The schema changed: read it again, prepare again.
    StaleSchema,
    /// One row is to blame: find it by bisection, that row to the dead letters.
    RowFault,
    /// The batch's size or form is to blame: split it. On a single row it is our own mistake.
    BatchFault,
    /// The statement is unusable: prepare anew. If that repeats on a fresh one, it is our own mistake.
    ReInit,
    /// Nothing will succeed until the cause is removed: stop and say what to do.
    Fatal,
    /// Not known: a bounded number of retries, then stop. Never the dead letters.
    Unknown,
}

impl Class {
    /// A name for it, in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Cluster => "cluster",
            Self::Pressure => "pressure",
            Self::Operator => "operator",
            Self::StaleSchema => "stale-schema",
            Self::RowFault => "row-fault",
            Self::BatchFault => "batch-fault",
            Self::ReInit => "re-init",
            Self::Fatal => "fatal",
            Self::Unknown => "unknown",
        }
    }
}

/// A server's error code: the low 16 bits of what it sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u16);

impl Code {
    /// No error.
    pub const SUCCESS: Self = Self(0);
    /// The database does not exist.
    pub const DATABASE_NOT_EXIST: Self = Self(0x0388);
    /// The super table does not exist.
    pub const STABLE_NOT_EXIST: Self = Self(0x0362);
    /// The table does not exist.
    pub const TABLE_NOT_EXIST: Self = Self(0x2603);
    /// The column is there already.
    pub const COLUMN_EXISTS: Self = Self(0x036B);
    /// The tag is there already.
    pub const TAG_EXISTS: Self = Self(0x0369);
    /// The database is there already.
    pub const DATABASE_EXISTS: Self = Self(0x0381);
    /// A column can only be made wider, and is no narrower than that.
    pub const NOT_WIDER: Self = Self(0x264B);
    /// The statement cannot be prepared.
    pub const INVALID_STATEMENT: Self = Self(0x022B);
    /// Wrong password.
    pub const AUTH_FAILURE: Self = Self(0x0357);
    /// No such user.
    pub const USER_NOT_EXIST: Self = Self(0x0351);
    /// A timestamp outside of what the database keeps.
    pub const TIMESTAMP_OUT_OF_RANGE: Self = Self(0x060B);

    /// The code in a reply: whatever stands above the low 16 bits is dropped.
    pub const fn new(code: i64) -> Self {
        Self((code & 0xFFFF) as u16)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// What a writer does about it.
    pub const fn class(self) -> Class {
        match self.0 {
            0x000B | 0x0018..=0x0019 | 0x0020..=0x0024 | 0x020B | 0x0213 | 0x0215 => Class::Network,
            0x0130..=0x0131
            | 0x032C..=0x032D
            | 0x0396
            | 0x03AE
            | 0x03D3..=0x03D5
            | 0x0408
            | 0x040A
            | 0x0503
            | 0x0520
            | 0x0522
            | 0x0528..=0x0529
            | 0x0538
            | 0x0541
            | 0x0903
            | 0x090C
            | 0x0911
            | 0x0914
            | 0x0918
            | 0x09FF
            | 0x2402
            | 0x2405..=0x2406
            | 0x2504 => Class::Cluster,
            0x0102 | 0x0125..=0x0126 | 0x012C | 0x0808 | 0x0916..=0x0917 | 0x6000 => Class::Pressure,
            0x0129 | 0x012B | 0x012E | 0x0613 | 0x2208 => Class::Operator,
            0x0362 | 0x036C | 0x03C6 | 0x0600 | 0x0618 | 0x061B | 0x2602..=0x2603 | 0x260D | 0x263F | 0x2653 => {
                Class::StaleSchema
            }
            0x0115
            | 0x013D
            | 0x0200
            | 0x020A
            | 0x0216
            | 0x021B
            | 0x0221
            | 0x0224
            | 0x060B
            | 0x0615
            | 0x061D
            | 0x2605
            | 0x2617
            | 0x263C..=0x263E
            | 0x266A
            | 0x267B..=0x267C
            | 0x3002
            | 0x3004
            | 0x3250 => Class::RowFault,
            0x002B | 0x0132 | 0x0219 | 0x022B..=0x022C | 0x0230 | 0x0236 | 0x2600..=0x2601 => Class::BatchFault,
            0x0117 | 0x022A | 0x070F => Class::ReInit,
            0x0013
            | 0x0015
            | 0x0134
            | 0x0214
            | 0x0217
            | 0x0303
            | 0x0315
            | 0x0351
            | 0x0357
            | 0x0380
            | 0x0386
            | 0x0388
            | 0x0512
            | 0x0800
            | 0x0803
            | 0x0809
            | 0x080D
            | 0x2404
            | 0x2616
            | 0x2644
            | 0x3000..=0x3001
            | 0x3003
            | 0x3006 => Class::Fatal,
            // A login that is refused before the password is looked at: trying again cannot help.
            0x0003 | 0x0207..=0x0208 => Class::Fatal,
            _ => Class::Unknown,
        }
    }

    /// What a person can do about it; empty where the server's own text has to do.
    const fn advice(self) -> &'static str {
        match self.0 {
            0x0357 | 0x0003 => "wrong password: set TDENGINE_PASSWORD, TDENGINE_PASSWORD_FILE or the one in the URL",
            0x0351 => "no such user: correct the user in the URL or TDENGINE_USER",
            0x0207 | 0x0208 => {
                "user or password is empty or too long: set them in the URL, TDENGINE_USER, TDENGINE_PASSWORD"
            }
            0x0388 | 0x0380 => {
                "create the database, or correct its name in the URL; a table name with a dot gives this too"
            }
            0x2616 => "name the table with its database: DATABASE.TABLE",
            0x0303 | 0x2644 => "grant the user the missing right",
            0x0362 | 0x2603 => "create the table, or correct its name",
            0x060B => {
                "the timestamp is older than the database keeps (KEEP), or its unit is not the database's precision"
            }
            0x0219 => "the statement is over 1 MiB: use smaller batches",
            0x0236 => "more than 32,767 rows of one table in one bind: use smaller batches",
            0x012E | 0x0129 | 0x0613 => "the server is out of disk space: free some",
            0x0134 | 0x0800 | 0x0803 | 0x0809 | 0x080D => "the server's licence does not allow it",
            0x022A | 0x0117 | 0x070F => "the statement is unusable and must be prepared anew",
            0x061B | 0x2653 | 0x260D | 0x263F | 0x2602 => {
                "the table's definition differs from what was read: read it again"
            }
            _ => "",
        }
    }
}

/// As TDengine writes codes: `0x060B`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04X}", self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({self})")
    }
}

/// An error of the TDengine client. [`Self::class`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TdengineError {
    /// The server answered with an error.
    #[error("TDengine refused {action} with {code}{}", explain(*code, message))]
    Server {
        /// The code; the only part of the answer to be trusted.
        code: Code,
        /// The server's text; of a statement that failed before it may be any.
        message: String,
        /// What it was asked for, as `stmt2_exec`.
        action: String,
    },
    /// No host could be reached.
    #[error("cannot connect to TDengine at {address}: {reason}; is taosAdapter running there (port 6041)?")]
    Connect {
        /// The host, or hosts, that were tried.
        address: String,
        /// Why.
        reason: String,
    },
    /// No answer in time: whether the request was carried out is unknown.
    #[error("no answer to {action} within {after:?}, so its outcome is unknown")]
    Timeout {
        /// The request.
        action: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection is gone: whether a request that waited was carried out is unknown.
    #[error("the connection to TDengine at {address} is closed: {reason}")]
    Closed {
        /// The host.
        address: String,
        /// Why.
        reason: String,
    },
    /// An answer that makes no sense.
    #[error("TDengine's answer to {action} is not understood: {reason}")]
    Protocol {
        /// The request.
        action: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// An HTTP status other than 200.
    #[error("TDengine at {address} answered HTTP {status}{}", http_advice(*status, body))]
    Http {
        /// The host.
        address: String,
        /// The status.
        status: u16,
        /// What came with it, shortened.
        body: String,
    },
    /// The server is too old for binary binds.
    #[error(
        "TDengine {version} has no stmt2 (3.3.5.0 and later have): write with `--write sql`, or upgrade the server"
    )]
    TooOld {
        /// Its version.
        version: String,
    },
    /// The database that a super table should be in does not exist.
    #[error(
        "database {database:?} does not exist: create it (`--create database,stable` does, and so does `produce`), or correct its name in the URL"
    )]
    NoDatabase {
        /// The database.
        database: String,
    },
    /// The super table does not exist, its database does.
    #[error(
        "super table {name} does not exist: create it (`--create stable` does for a mapping, `produce` for the demo), or correct its name"
    )]
    NoSuperTable {
        /// Its qualified name.
        name: String,
    },
    /// A super table is not as the mapping wants it.
    #[error("{name} is not as the mapping wants it: {reason}")]
    Unfit {
        /// Its qualified name.
        name: String,
        /// What is not as wanted, and what to do about it.
        reason: String,
    },
    /// A super table has changed since it was read, or is something else.
    #[error("{name}: {reason}")]
    Schema {
        /// Its qualified name.
        name: String,
        /// What is not as expected.
        reason: String,
    },
    /// The connection cannot be made as it is described.
    #[error("{0}")]
    Settings(String),
    /// A call that would harm the server was not sent: a mistake in the calling code.
    #[error("not sent to TDengine: {0}")]
    Refused(String),
}

impl TdengineError {
    /// Whether a table was written to that does not exist.
    pub fn is_missing_table(&self) -> bool {
        self.code() == Some(Code::TABLE_NOT_EXIST)
    }

    /// What a writer does about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Server { code, .. } => code.class(),
            Self::Connect { .. } | Self::Timeout { .. } | Self::Closed { .. } => Class::Network,
            Self::Http { status, .. } => match status {
                408 | 429 | 502..=504 => Class::Network,
                413 => Class::BatchFault,
                400 | 401 | 403 | 404 => Class::Fatal,
                _ => Class::Unknown,
            },
            Self::Schema { .. } => Class::StaleSchema,
            Self::NoDatabase { .. } | Self::NoSuperTable { .. } | Self::Unfit { .. } | Self::TooOld { .. } => {
                Class::Fatal
            }
            Self::Settings(_) => Class::Fatal,
            Self::Refused(_) => Class::ReInit,
            Self::Protocol { .. } => Class::Unknown,
        }
    }

    /// The server's code, if it answered with one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// The server's text and what to do. A text of `success` belongs to another call's failure and says nothing.
fn explain(code: Code, message: &str) -> String {
    let parts = [message.trim(), code.advice()];
    let said: Vec<_> = parts.into_iter().filter(|text| !text.is_empty() && *text != "success").collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) }
}

fn http_advice(status: u16, body: &str) -> String {
    let advice = match status {
        401 | 403 => "check user and password",
        404 => "is this a taosAdapter?",
        413 => "use smaller batches",
        429 | 503 => "the server is overloaded",
        _ => "",
    };
    [body.trim(), advice].into_iter().filter(|text| !text.is_empty()).map(|text| format!("; {text}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of classes, as judged; one line a class.
    const TABLE: &[(Class, &[u16])] = &[
        (Class::Network, &[0x000B, 0x0018, 0x0019, 0x0020, 0x0021, 0x0022, 0x0023, 0x0024, 0x020B, 0x0213, 0x0215]),
        (
            Class::Cluster,
            &[
                0x0130, 0x0131, 0x032C, 0x032D, 0x0396, 0x03AE, 0x03D3, 0x0408, 0x040A, 0x0503, 0x0520, 0x0522, 0x0528,
                0x0529, 0x0538, 0x0541, 0x03D4, 0x03D5, 0x0903, 0x090C, 0x0911, 0x0914, 0x0918, 0x09FF, 0x2402, 0x2405,
                0x2406, 0x2504,
            ],
        ),
        (Class::Pressure, &[0x0102, 0x0125, 0x0126, 0x6000, 0x012C, 0x0808, 0x0916, 0x0917]),
        (Class::Operator, &[0x0129, 0x0613, 0x2208, 0x012B, 0x012E]),
        (Class::StaleSchema, &[0x0362, 0x036C, 0x03C6, 0x061B, 0x0600, 0x0618, 0x2603, 0x2602, 0x260D, 0x263F, 0x2653]),
        (
            Class::RowFault,
            &[
                0x060B, 0x0216, 0x0200, 0x0115, 0x013D, 0x020A, 0x021B, 0x0221, 0x0224, 0x0615, 0x061D, 0x2605, 0x2617,
                0x263C, 0x263D, 0x263E, 0x266A, 0x267B, 0x267C, 0x3002, 0x3004, 0x3250,
            ],
        ),
        (Class::BatchFault, &[0x0219, 0x002B, 0x0132, 0x022B, 0x022C, 0x0230, 0x0236, 0x2600, 0x2601]),
        (Class::ReInit, &[0x0117, 0x022A, 0x070F]),
        (
            Class::Fatal,
            &[
                0x0013, 0x0015, 0x0134, 0x0214, 0x0303, 0x0512, 0x0217, 0x0380, 0x2616, 0x0315, 0x0351, 0x0357, 0x0386,
                0x0388, 0x0800, 0x0803, 0x0809, 0x080D, 0x2404, 0x2644, 0x3000, 0x3001, 0x3003, 0x3006, 0x0003, 0x0207,
                0x0208,
            ],
        ),
    ];

    /// Codes that a real server was seen to answer to DDL and queries, which a writer's own statements never are.
    const OF_DDL_AND_QUERIES: &[u16] = &[
        0x0100, 0x0118, 0x0122, 0x0127, 0x021F, 0x022F, 0x0231, 0x0334, 0x0350, 0x0360, 0x0369, 0x036B, 0x0374, 0x0381,
        0x0382, 0x03C2, 0x0484, 0x0603, 0x1105, 0x1106, 0x1107, 0x110A, 0x1122, 0x1124, 0x1125, 0x2604, 0x2608, 0x260A,
        0x260C, 0x260E, 0x2610, 0x2611, 0x2615, 0x2619, 0x261A, 0x2627, 0x2628, 0x262B, 0x262C, 0x2630, 0x2631, 0x2633,
        0x2638, 0x263B, 0x2640, 0x2641, 0x2642, 0x2643, 0x2649, 0x264B, 0x264F, 0x2651, 0x2652, 0x2655, 0x2658, 0x265D,
        0x265F, 0x2662, 0x2665, 0x2667, 0x2669, 0x2678, 0x2679, 0x2681, 0x2702, 0x2800, 0x2801, 0x2802, 0x2811, 0xFFFF,
    ];

    /// Every code that a real server was seen to answer.
    const RECORDED: &[u16] = &[
        0x0003, 0x0100, 0x0117, 0x0118, 0x0122, 0x0127, 0x013D, 0x0200, 0x0207, 0x0208, 0x0216, 0x0219, 0x021F, 0x0221,
        0x022A, 0x022B, 0x022F, 0x0231, 0x0236, 0x0334, 0x0350, 0x0351, 0x0357, 0x0360, 0x0362, 0x0369, 0x036B, 0x0374,
        0x0381, 0x0382, 0x0388, 0x03C2, 0x0484, 0x0603, 0x060B, 0x061B, 0x061D, 0x070F, 0x1105, 0x1106, 0x1107, 0x110A,
        0x1122, 0x1124, 0x1125, 0x2600, 0x2601, 0x2602, 0x2603, 0x2604, 0x2608, 0x260A, 0x260C, 0x260D, 0x260E, 0x2610,
        0x2611, 0x2615, 0x2616, 0x2617, 0x2619, 0x261A, 0x2627, 0x2628, 0x262B, 0x262C, 0x2630, 0x2631, 0x2633, 0x2638,
        0x263B, 0x263C, 0x263D, 0x263E, 0x263F, 0x2640, 0x2641, 0x2642, 0x2643, 0x2649, 0x264B, 0x264F, 0x2651, 0x2652,
        0x2653, 0x2655, 0x2658, 0x265D, 0x265F, 0x2662, 0x2665, 0x2667, 0x2669, 0x266A, 0x2678, 0x2679, 0x267B, 0x2681,
        0x2702, 0x2800, 0x2801, 0x2802, 0x2811, 0x3000, 0xFFFF,
    ];

    fn judged(code: u16) -> Option<Class> {
        TABLE.iter().find(|(_, codes)| codes.contains(&code)).map(|(class, _)| *class)
    }

    #[test]
    fn every_code_has_the_class_of_the_table_and_no_other() {
        for code in 0..=u16::MAX {
            let expected = judged(code).unwrap_or(Class::Unknown);
            assert_eq!(Code::new(code.into()).class(), expected, "{}", Code(code));
        }
    }

    #[test]
    fn every_recorded_code_is_judged() {
        for code in RECORDED {
            let known = usize::from(judged(*code).is_some()) + usize::from(OF_DDL_AND_QUERIES.contains(code));
            assert_eq!(known, 1, "{}", Code(*code));
        }
    }

    #[test]
    fn the_upper_half_of_a_code_is_dropped() {
        assert_eq!(Code::new(0x8000_060B), Code::TIMESTAMP_OUT_OF_RANGE);
        assert_eq!(Code::new(i64::from(0x8000_0357_u32 as i32)), Code::AUTH_FAILURE);
    }

    #[test]
    fn a_text_says_what_to_do_and_never_success() {
        let refused = |code, message: &str| TdengineError::Server {
            code: Code::new(code),
            message: message.into(),
            action: "stmt2_bind".into(),
        };
        let text = refused(0x0357, "Authentication failure").to_string();
        assert_eq!(
            text,
            "TDengine refused stmt2_bind with 0x0357: Authentication failure; wrong password: set TDENGINE_PASSWORD, \
             TDENGINE_PASSWORD_FILE or the one in the URL"
        );
        assert!(!refused(0x2653, "success").to_string().contains("success"));
        assert_eq!(refused(0x9999, "success").to_string(), "TDengine refused stmt2_bind with 0x9999");
    }

    #[test]
    fn http_states_have_classes() {
        let status = |status| TdengineError::Http { address: "h:1".into(), status, body: String::new() }.class();
        assert_eq!([401, 403].map(status), [Class::Fatal; 2]);
        assert_eq!([429, 502, 503].map(status), [Class::Network; 3]);
        assert_eq!([413, 500].map(status), [Class::BatchFault, Class::Unknown]);
    }
}
