//! Geometries: WKT as a user writes them, WKB (little-endian) as they are stored.
//!
//! Points, line strings and polygons; the others are refused as the server refuses nonsense.

/// The WKB of a WKT text, or `None` if it is not one.
pub(crate) fn wkt_to_wkb(text: &str) -> Option<Vec<u8>> {
    let open = text.find('(')?;
    let body = text[open..].trim();
    let mut wkb = vec![1];
    match text[..open].trim().to_ascii_uppercase().as_str() {
        "POINT" => {
            wkb.extend(1u32.to_le_bytes());
            wkb.extend(point(inside(body)?)?);
        }
        "LINESTRING" => {
            wkb.extend(2u32.to_le_bytes());
            wkb.extend(points(body)?);
        }
        "POLYGON" => {
            let rings: Option<Vec<_>> = split_rings(inside(body)?).into_iter().map(points).collect();
            let rings = rings.filter(|rings| !rings.is_empty())?;
            wkb.extend(3u32.to_le_bytes());
            wkb.extend((rings.len() as u32).to_le_bytes());
            wkb.extend(rings.concat());
        }
        _ => return None,
    }
    Some(wkb)
}

fn inside(body: &str) -> Option<&str> {
    body.trim().strip_prefix('(')?.strip_suffix(')')
}

fn split_rings(body: &str) -> Vec<&str> {
    let (mut depth, mut start, mut rings) = (0i32, 0, Vec::new());
    for (i, byte) in body.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                rings.push(&body[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    rings.push(&body[start..]);
    rings
}

fn point(text: &str) -> Option<Vec<u8>> {
    let mut numbers = text.split_whitespace();
    let (x, y): (f64, f64) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    numbers.next().is_none().then(|| [x.to_le_bytes(), y.to_le_bytes()].concat())
}

/// A parenthesised list of at least two points, with their count before them.
fn points(text: &str) -> Option<Vec<u8>> {
    let points: Option<Vec<_>> = inside(text)?.split(',').map(point).collect();
    let points = points.filter(|points| points.len() >= 2)?;
    Some([&(points.len() as u32).to_le_bytes()[..], &points.concat()].concat())
}

/// The WKT of a WKB, six digits a number, as `st_astext` gives it; `None` if it is not one this module wrote.
pub(crate) fn wkb_to_wkt(wkb: &[u8]) -> Option<String> {
    let mut reader = Reader(wkb.strip_prefix(&[1])?);
    Some(match reader.u32()? {
        1 => format!("POINT ({})", reader.point()?),
        2 => format!("LINESTRING ({})", reader.points()?),
        3 => {
            let rings: Option<Vec<_>> = (0..reader.u32()?).map(|_| Some(format!("({})", reader.points()?))).collect();
            format!("POLYGON ({})", rings?.join(", "))
        }
        _ => return None,
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn point(&mut self) -> Option<String> {
        let (x, y) = (f64::from_le_bytes(self.take()?), f64::from_le_bytes(self.take()?));
        Some(format!("{x:.6} {y:.6}"))
    }

    fn points(&mut self) -> Option<String> {
        let points: Option<Vec<_>> = (0..self.u32()?).map(|_| self.point()).collect();
        Some(points?.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wkt_and_back() {
        for (written, shown) in [
            ("POINT(1 2)", "POINT (1.000000 2.000000)"),
            ("LINESTRING(0 0, 1 1)", "LINESTRING (0.000000 0.000000, 1.000000 1.000000)"),
            (
                "POLYGON((0 0,1 0,1 1,0 0))",
                "POLYGON ((0.000000 0.000000, 1.000000 0.000000, 1.000000 1.000000, 0.000000 0.000000))",
            ),
        ] {
            let wkb = wkt_to_wkb(written).unwrap();
            assert_eq!(wkb_to_wkt(&wkb).as_deref(), Some(shown));
        }
        for bad in ["nonsense", "", "POINT(1)", "POINT(a b)", "POLYGON()"] {
            assert_eq!(wkt_to_wkb(bad), None, "{bad}");
        }
    }
}
