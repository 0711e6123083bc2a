//! Shapes: WKT as people write them, WKB (little-endian) as the server keeps them.

use std::borrow::Cow;
use std::str::FromStr as _;

use wkb::Endianness;
use wkb::reader::Wkb;
use wkb::writer::{WriteOptions, write_geometry};
use wkt::Wkt;
use wkt::types::LineString;

use super::{BinaryText, bytes_of};
use crate::block::CellError;

const NO_SHAPE: CellError = CellError::WrongType("text that is no shape, as POINT(1 2) is");
const NO_WKB: CellError = CellError::WrongType("bytes that are no shape (WKB)");

/// Shapes may hold shapes so deep, and no deeper.
const MAX_DEPTH: usize = 16;

/// The WKB of WKT, or of WKB as hexadecimal digits.
pub(super) fn from_text(text: &str) -> Result<Vec<u8>, CellError> {
    let text = text.trim_ascii();
    if text.starts_with(['0', '1']) {
        return bytes_of(text, BinaryText::Hex).and_then(|wkb| from_wkb(&wkb).map(Cow::into_owned));
    }
    if !is_bracketed(text) {
        return Err(NO_SHAPE);
    }
    let shape = Wkt::<f64>::from_str(text).map_err(|_| NO_SHAPE)?;
    check(&shape)?;
    little_endian(|wkb, options| write_geometry(wkb, &shape, options)).ok_or(NO_SHAPE)
}

/// `bytes`, if they are one shape and nothing else, in the server's byte order.
pub(super) fn from_wkb(bytes: &[u8]) -> Result<Cow<'_, [u8]>, CellError> {
    let shape = Wkb::try_new(bytes).map_err(|_| NO_WKB)?;
    match bytes.first() {
        _ if shape.buf().len() != bytes.len() => Err(NO_WKB),
        Some(1) => Ok(Cow::Borrowed(bytes)),
        _ => little_endian(|wkb, options| write_geometry(wkb, &shape, options)).map(Cow::Owned).ok_or(NO_WKB),
    }
}

/// The WKT of WKB, with all digits: what SQL takes.
pub(crate) fn to_wkt(wkb: &[u8]) -> Option<String> {
    let mut text = String::new();
    wkt::to_wkt::write_geometry(&mut text, &Wkb::try_new(wkb).ok()?).ok()?;
    Some(text)
}

fn little_endian<E>(write: impl FnOnce(&mut Vec<u8>, &WriteOptions) -> Result<(), E>) -> Option<Vec<u8>> {
    let mut wkb = Vec::new();
    write(&mut wkb, &WriteOptions { endianness: Endianness::LittleEndian }).ok()?;
    Some(wkb)
}

/// Whether the brackets of `text` pair, not too deep, and nothing follows the outermost pair. The reader would go down
/// as deep as they go, and pass over what follows.
fn is_bracketed(text: &str) -> bool {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 1 && at + 1 < text.len() => return false,
            b')' if depth == 0 => return false,
            b')' => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    depth == 0
}

/// What the server's own reader refuses, and with it the whole batch: a line of one point, a ring that is not closed.
fn check(shape: &Wkt<f64>) -> Result<(), CellError> {
    let line = |line: &LineString<f64>| match line.coords().len() {
        1 => Err(CellError::WrongType("a line of one point")),
        _ => Ok(()),
    };
    let ring = |ring: &LineString<f64>| match ring.coords() {
        [] => Ok(()),
        [first, .., last] if ring.coords().len() >= 4 && first.x == last.x && first.y == last.y => Ok(()),
        _ => Err(CellError::WrongType("a polygon with a ring that is not closed")),
    };
    match shape {
        Wkt::Point(_) | Wkt::MultiPoint(_) => Ok(()),
        Wkt::LineString(one) => line(one),
        Wkt::MultiLineString(lines) => lines.line_strings().iter().try_for_each(line),
        Wkt::Polygon(polygon) => polygon.rings().iter().try_for_each(ring),
        Wkt::MultiPolygon(polygons) => {
            polygons.polygons().iter().flat_map(|polygon| polygon.rings()).try_for_each(ring)
        }
        Wkt::GeometryCollection(shapes) => shapes.geometries().iter().try_for_each(check),
    }
}
