//! Scalar functions.

mod time;

pub(super) use self::time::offset_ticks;
use self::time::{fixed_zone, iso8601, time_of, to_char, zone_text};
use super::eval::{Context, Node, Typed};
use super::value::{self, is_numeric, is_text};
use crate::tdengine::engine::sql::literal::midnight;
use crate::tdengine::engine::{Cell, DataType, SERVER_VERSION, TdError, geometry, time as literals};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// A number to a number of the same type.
    Abs,
    Ceil,
    Floor,
    Round,
    /// A number to DOUBLE.
    Sqrt,
    Exp,
    Ln,
    Log,
    Pow,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sign,
    Degrees,
    Radians,
    Mod,
    Pi,
    Length,
    CharLength,
    Lower,
    Upper,
    Concat,
    ConcatWs,
    Ltrim,
    Rtrim,
    Trim,
    Substr,
    Replace,
    Ascii,
    Now,
    Today,
    Timezone,
    ToIso8601,
    ToChar,
    ToTimestamp,
    ToUnixTimestamp,
    TimeTruncate,
    TimeDiff,
    Database,
    ServerVersion,
    ClientVersion,
    ServerStatus,
    CurrentUser,
    StAsText,
    StGeomFromText,
}

/// Name, function, and how many arguments it takes.
const FUNCTIONS: &[(&str, Function, usize, usize)] = &[
    ("abs", Function::Abs, 1, 1),
    ("ceil", Function::Ceil, 1, 1),
    ("floor", Function::Floor, 1, 1),
    ("round", Function::Round, 1, 2),
    ("sqrt", Function::Sqrt, 1, 1),
    ("exp", Function::Exp, 1, 1),
    ("ln", Function::Ln, 1, 1),
    ("log", Function::Log, 1, 2),
    ("pow", Function::Pow, 2, 2),
    ("sin", Function::Sin, 1, 1),
    ("cos", Function::Cos, 1, 1),
    ("tan", Function::Tan, 1, 1),
    ("asin", Function::Asin, 1, 1),
    ("acos", Function::Acos, 1, 1),
    ("atan", Function::Atan, 1, 1),
    ("sign", Function::Sign, 1, 1),
    ("degrees", Function::Degrees, 1, 1),
    ("radians", Function::Radians, 1, 1),
    ("mod", Function::Mod, 2, 2),
    ("pi", Function::Pi, 0, 0),
    ("length", Function::Length, 1, 1),
    ("char_length", Function::CharLength, 1, 1),
    ("lower", Function::Lower, 1, 1),
    ("upper", Function::Upper, 1, 1),
    ("concat", Function::Concat, 2, 8),
    ("concat_ws", Function::ConcatWs, 3, 9),
    ("ltrim", Function::Ltrim, 1, 1),
    ("rtrim", Function::Rtrim, 1, 1),
    ("trim", Function::Trim, 1, 1),
    ("substr", Function::Substr, 2, 3),
    ("substring", Function::Substr, 2, 3),
    ("replace", Function::Replace, 3, 3),
    ("ascii", Function::Ascii, 1, 1),
    ("now", Function::Now, 0, 0),
    ("today", Function::Today, 0, 0),
    ("timezone", Function::Timezone, 0, 0),
    ("to_iso8601", Function::ToIso8601, 1, 2),
    ("to_char", Function::ToChar, 2, 2),
    ("to_timestamp", Function::ToTimestamp, 2, 2),
    ("to_unixtimestamp", Function::ToUnixTimestamp, 1, 2),
    ("timetruncate", Function::TimeTruncate, 2, 3),
    ("timediff", Function::TimeDiff, 2, 3),
    ("database", Function::Database, 0, 0),
    ("server_version", Function::ServerVersion, 0, 0),
    ("client_version", Function::ClientVersion, 0, 0),
    ("server_status", Function::ServerStatus, 0, 0),
    ("current_user", Function::CurrentUser, 0, 0),
    ("user", Function::CurrentUser, 0, 0),
    ("st_astext", Function::StAsText, 1, 1),
    ("st_geomfromtext", Function::StGeomFromText, 1, 1),
];

/// Functions of the server that the endpoint does not have.
const OTHERS: &[&str] = &[
    "char",
    "corr",
    "crc32",
    "date",
    "dayofweek",
    "forecast",
    "from_base64",
    "greatest",
    "group_concat",
    "histogram",
    "imputation",
    "interp",
    "irate",
    "leastsquares",
    "least",
    "mask_full",
    "mask_none",
    "mask_partial",
    "md5",
    "position",
    "rand",
    "repeat",
    "sample",
    "sha1",
    "sha2",
    "st_area",
    "st_contains",
    "st_containsproperly",
    "st_covers",
    "st_equals",
    "st_intersects",
    "st_makepoint",
    "st_touches",
    "statecount",
    "stateduration",
    "substring_index",
    "to_base64",
    "to_json",
    "trunc",
    "truncate",
    "twa",
    "week",
    "weekday",
    "weekofyear",
    "cols",
    "statecount",
];

/// The function of a name; an unknown one is an error.
pub(super) fn find(name: &str, args: usize) -> Result<Function, TdError> {
    let Some(&(_, function, min, max)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        if OTHERS.contains(&name) {
            return Err(TdError::unsupported(format!("the function {name}")));
        }
        return Err(TdError::new(0x0374, "Func not exists"));
    };
    if (min..=max).contains(&args) { Ok(function) } else { Err(wrong_count(name)) }
}

pub(super) fn wrong_count(name: &str) -> TdError {
    TdError::new(0x2801, format!("Invalid number of parameters : {name}"))
}

pub(super) fn wrong_type(name: &str) -> TdError {
    TdError::new(0x2802, format!("Invalid parameter data type : {name}"))
}

impl Function {
    /// The type of the result, or an error if the arguments' types do not fit.
    pub(super) fn data_type(self, name: &str, args: &[Typed], context: &Context) -> Result<DataType, TdError> {
        use Function::*;
        let first = args.first().map(|arg| arg.data_type);
        let is_null = |data_type| data_type == DataType::VarChar(0) || data_type == DataType::Null;
        let need = |fits: bool| if fits { Ok(()) } else { Err(wrong_type(name)) };
        let all_numeric = args.iter().all(|arg| is_numeric(arg.data_type) || is_null(arg.data_type));
        let text_or_null = |data_type: DataType| is_text(data_type) || is_null(data_type);
        let time = |data_type: DataType| {
            data_type == DataType::Timestamp || value::is_integer(data_type) || is_text(data_type)
        };
        Ok(match self {
            Abs | Ceil | Floor | Round | Sign => {
                need(all_numeric)?;
                first.filter(|data_type| is_numeric(*data_type)).unwrap_or(DataType::Double)
            }
            Sqrt | Exp | Ln | Log | Pow | Sin | Cos | Tan | Asin | Acos | Atan | Degrees | Radians | Mod => {
                need(all_numeric)?;
                DataType::Double
            }
            Pi => DataType::Double,
            Length | CharLength | Ascii => {
                let binary = matches!(first, Some(DataType::VarBinary(_) | DataType::Geometry(_) | DataType::Blob));
                need(first.is_some_and(text_or_null) || (binary && self == Length))?;
                DataType::BigInt
            }
            Lower | Upper | Ltrim | Rtrim | Trim | Substr | Replace => {
                need(first.is_some_and(text_or_null))?;
                first.unwrap_or(DataType::VarChar(0))
            }
            Concat | ConcatWs => {
                need(args.iter().all(|arg| text_or_null(arg.data_type)))?;
                if args.iter().any(|arg| matches!(arg.data_type, DataType::NChar(_))) {
                    DataType::NChar(args.iter().map(|arg| arg.data_type.length()).sum())
                } else {
                    let bytes: u32 = args.iter().map(|arg| arg.data_type.bytes()).sum();
                    DataType::VarChar(bytes - 2)
                }
            }
            Now | Today => DataType::Timestamp,
            Timezone => DataType::VarChar(64),
            ToIso8601 => {
                need(first.is_some_and(|data_type| data_type == DataType::Timestamp || value::is_integer(data_type)))?;
                if let Some(Node::Const(Cell::Bytes(zone))) = args.get(1).map(|arg| &arg.node) {
                    fixed_zone(zone)?;
                }
                DataType::VarChar(62)
            }
            ToChar => {
                need(first == Some(DataType::Timestamp))?;
                DataType::VarChar(4094)
            }
            ToTimestamp => {
                need(first.is_some_and(text_or_null))?;
                DataType::Timestamp
            }
            ToUnixTimestamp => {
                need(first.is_some_and(text_or_null))?;
                DataType::BigInt
            }
            TimeTruncate => {
                need(first.is_some_and(time))?;
                DataType::Timestamp
            }
            TimeDiff => {
                need(args.iter().take(2).all(|arg| time(arg.data_type)))?;
                DataType::BigInt
            }
            Database => DataType::VarChar(context.database.as_ref().map_or(63, |name| name.len() as u32)),
            ServerVersion | ClientVersion => DataType::VarChar(SERVER_VERSION.len() as u32),
            ServerStatus => DataType::Int,
            CurrentUser => DataType::VarChar(24),
            StAsText => match first {
                Some(DataType::Geometry(length)) => DataType::VarChar(length),
                _ => return Err(wrong_type(name)),
            },
            StGeomFromText => {
                need(first.is_some_and(text_or_null))?;
                DataType::Geometry(first.map_or(0, DataType::length))
            }
        })
    }

    pub(super) fn eval(
        self,
        args: &[Typed],
        row: &[Cell],
        result: DataType,
        context: &Context,
    ) -> Result<Cell, TdError> {
        use Function::*;
        let mut cells = Vec::with_capacity(args.len());
        for arg in args {
            cells.push(arg.eval(row)?);
        }
        if cells.contains(&Cell::Null) {
            return Ok(Cell::Null);
        }
        let data_type = |i: usize| args.get(i).map_or(DataType::Null, |arg| arg.data_type);
        let double = |i: usize| {
            cells.get(i).and_then(|cell| value::number(cell, data_type(i))).map_or(0.0, value::Number::as_f64)
        };
        let integer = |i: usize| double(i) as i64;
        let text = |i: usize| cells.get(i).map_or_else(Vec::new, |cell| value::text(cell, data_type(i)));
        let bytes = |text: Vec<u8>| Cell::Bytes(text.into());
        let ticks = |i: usize| time_of(&cells[i], context);
        let same =
            |value: f64| value::cast(&Cell::Double(value), DataType::Double, result, context.precision, &context.zone);
        let number = |value: f64| if value.is_finite() { Cell::Double(value) } else { Cell::Null };
        Ok(match self {
            Abs => match &cells[0] {
                Cell::Int(value) => Cell::Int(value.saturating_abs()),
                Cell::UInt(value) => Cell::UInt(*value),
                _ => same(double(0).abs()),
            },
            Ceil | Floor | Round | Sign if value::is_integer(result) && self != Sign => cells[0].clone(),
            Ceil => same(double(0).ceil()),
            Floor => same(double(0).floor()),
            Round if cells.len() == 2 => {
                let factor = 10f64.powi(integer(1).clamp(-300, 300) as i32);
                same((double(0) * factor).round() / factor)
            }
            Round => same(double(0).round()),
            Sign => same(if double(0) == 0.0 { 0.0 } else { double(0).signum() }),
            Sqrt => number(double(0).sqrt()),
            Exp => number(double(0).exp()),
            Ln => number(double(0).ln()),
            Log if cells.len() == 2 => number(double(0).ln() / double(1).ln()),
            Log => number(double(0).ln()),
            Pow => number(double(0).powf(double(1))),
            Sin => number(double(0).sin()),
            Cos => number(double(0).cos()),
            Tan => number(double(0).tan()),
            Asin => number(double(0).asin()),
            Acos => number(double(0).acos()),
            Atan => number(double(0).atan()),
            Degrees => number(double(0).to_degrees()),
            Radians => number(double(0).to_radians()),
            Mod => number(double(0) % double(1)),
            Pi => Cell::Double(std::f64::consts::PI),
            Length => {
                let text = text(0);
                let nchar = matches!(data_type(0), DataType::NChar(_));
                let length = if nchar { String::from_utf8_lossy(&text).chars().count() * 4 } else { text.len() };
                Cell::Int(length as i64)
            }
            // The server counts steps from character to character, however broken the text is.
            CharLength => Cell::Int(char_length(&text(0))),
            Lower => bytes(text(0).to_ascii_lowercase()),
            Upper => bytes(text(0).to_ascii_uppercase()),
            Concat => bytes((0..cells.len()).flat_map(&text).collect()),
            ConcatWs => bytes((1..cells.len()).map(&text).collect::<Vec<_>>().join(&text(0)[..])),
            Ltrim => bytes(text(0).trim_ascii_start().to_vec()),
            Rtrim => bytes(text(0).trim_ascii_end().to_vec()),
            Trim => bytes(text(0).trim_ascii().to_vec()),
            Substr => bytes(substr(&text(0), integer(1), (cells.len() == 3).then(|| integer(2)))),
            Replace => {
                let text = |i| String::from_utf8_lossy(&text(i)).into_owned();
                let from = text(1);
                bytes(if from.is_empty() { text(0) } else { text(0).replace(&from, &text(2)) }.into_bytes())
            }
            Ascii => Cell::Int(text(0).first().copied().unwrap_or(0).into()),
            Now => Cell::Timestamp(literals::ticks(context.now, context.precision)),
            Today => Cell::Timestamp(literals::ticks(midnight(context.now, &context.zone), context.precision)),
            Timezone => bytes(zone_text(context).into_bytes()),
            ToIso8601 => {
                let zone = if cells.len() == 2 { fixed_zone(&text(1))? } else { context.zone.clone() };
                iso8601(ticks(0), context.precision, &zone).map_or(Cell::Null, |text| bytes(text.into_bytes()))
            }
            ToChar => to_char(ticks(0), &String::from_utf8_lossy(&text(1)), context)
                .map_or(Cell::Null, |text| bytes(text.into_bytes())),
            ToTimestamp => return Err(TdError::unsupported("to_timestamp")),
            ToUnixTimestamp => literals::parse_timestamp(&text(0), context.precision, &context.zone)
                .map_or(Cell::Null, if integer(1) == 1 { Cell::Timestamp } else { Cell::Int }),
            TimeTruncate => {
                let unit = integer(1).max(1);
                // Days and weeks begin at the session's midnight unless the third argument is 0.
                let local = unit >= 86_400 * context.precision.per_second() && !(cells.len() == 3 && integer(2) == 0);
                let shift = if local { offset_ticks(ticks(0), context) } else { 0 };
                Cell::Timestamp((ticks(0) + shift).div_euclid(unit) * unit - shift)
            }
            TimeDiff => {
                let unit = if cells.len() == 3 { integer(2).max(1) } else { 1 };
                Cell::Int(ticks(0).saturating_sub(ticks(1)) / unit)
            }
            Database => context.database.as_ref().map_or(Cell::Null, |name| bytes(name.clone().into_bytes())),
            ServerVersion | ClientVersion => bytes(SERVER_VERSION.into()),
            ServerStatus => Cell::Int(1),
            CurrentUser => bytes(format!("{}@127.0.0.1", context.user).into_bytes()),
            StAsText => geometry::wkb_to_wkt(&text(0)).map_or(Cell::Null, |text| bytes(text.into_bytes())),
            StGeomFromText => std::str::from_utf8(&text(0))
                .ok()
                .and_then(geometry::wkt_to_wkb)
                .map(bytes)
                .ok_or_else(|| TdError::new(0x2803, "Invalid function para value"))?,
        })
    }
}

fn char_length(text: &[u8]) -> i64 {
    match std::str::from_utf8(text) {
        Ok(text) => text.chars().count() as i64,
        Err(_) => {
            let (mut at, mut count) = (0, 0);
            while at < text.len() {
                at += match text[at] {
                    0xf0.. => 4,
                    0xe0..=0xef => 3,
                    0xc0..=0xdf => 2,
                    _ => 1,
                };
                count += 1;
            }
            count
        }
    }
}

/// From position `start` (1 is the first, -1 the last character), at most `length` characters.
fn substr(text: &[u8], start: i64, length: Option<i64>) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let chars: Vec<char> = text.chars().collect();
    let skip = match start {
        0 => return Vec::new(),
        1.. => start as usize - 1,
        _ => match chars.len().checked_sub(start.unsigned_abs() as usize) {
            Some(skip) => skip,
            None => return Vec::new(),
        },
    };
    let length = length.map_or(usize::MAX, |length| length.max(0) as usize);
    chars.into_iter().skip(skip).take(length).collect::<String>().into_bytes()
}
