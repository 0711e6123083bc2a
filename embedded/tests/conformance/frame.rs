//! The binary frames of the cases: bind frames from their description, replies to a fetch into JSON.

use serde_json::{Value, json};

pub const ACTION_SQL: u64 = 6;
pub const ACTION_FETCH: u64 = 7;
pub const ACTION_BIND: u64 = 9;

/// A request whose payload is a text: actions 6 and 10.
pub fn sql(req_id: u64, action: u64, sql: &[u8]) -> Vec<u8> {
    let mut frame = header(req_id, 0, action);
    frame.extend(1u16.to_le_bytes());
    frame.extend((sql.len() as u32).to_le_bytes());
    frame.extend(sql);
    frame
}

/// A request for the next block of a result.
pub fn fetch(req_id: u64, result_id: u64) -> Vec<u8> {
    let mut frame = header(req_id, result_id, ACTION_FETCH);
    frame.extend(1u16.to_le_bytes());
    frame
}

fn header(req_id: u64, id: u64, action: u64) -> Vec<u8> {
    [req_id, id, action].iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The bytes that a hexadecimal text stands for.
pub fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8).ok_or_else(|| format!("not a hex digit: {c}"));
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return Err("an odd number of hex digits".to_owned());
    }
    bytes.chunks_exact(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Lower-case hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bind frame that a `bind` or `bind_rule` describes. `stmt_id` is 0 where it is not given.
pub fn encode_bind(bind: &Value) -> Result<Vec<u8>, String> {
    let number = |key: &str, default: u64| bind[key].as_u64().unwrap_or(default);
    let tables = tables(&bind["tables"])?;
    let widest = |key: &str| tables.iter().map(|table| blocks(table, key).len()).max().unwrap_or(0) as u64;
    let (tags, columns) = (widest("tags"), widest("cols"));
    let mut sections = Vec::new();
    let mut offsets = [0u64; 3];
    if tables.iter().any(|table| !table["name"].is_null()) {
        offsets[0] = 28;
        let names = tables.iter().map(|table| {
            let mut name = if table["name"].is_null() { Vec::new() } else { bytes(&table["name"])? };
            if bind["no_nul"] != json!(true) {
                name.push(0);
            }
            Ok(name)
        });
        let names = names.collect::<Result<Vec<_>, String>>()?;
        sections.extend(names.iter().flat_map(|name| (name.len() as u16).to_le_bytes()));
        sections.extend(names.concat());
    }
    for (i, (key, count)) in [("tags", tags), ("cols", columns)].into_iter().enumerate() {
        if count == 0 {
            continue;
        }
        offsets[i + 1] = 28 + sections.len() as u64;
        let parts = tables.iter().map(|table| {
            let blocks = blocks(table, key).iter().map(encode_block).collect::<Result<Vec<_>, String>>()?;
            Ok(blocks.concat())
        });
        let parts = parts.collect::<Result<Vec<_>, String>>()?;
        sections.extend(parts.iter().flat_map(|part| (part.len() as u32).to_le_bytes()));
        sections.extend(parts.concat());
    }
    let mut frame = header(number("req_id", 0), number("stmt_id", 0), number("action", ACTION_BIND));
    frame.extend((number("version", 1) as u16).to_le_bytes());
    frame.extend((bind["col_idx"].as_i64().unwrap_or(-1) as i32).to_le_bytes());
    for field in [
        number("total", 28 + sections.len() as u64),
        number("count", tables.len() as u64),
        number("tag_count", tags),
        number("col_count", columns),
        number("name_off", offsets[0]),
        number("tags_off", offsets[1]),
        number("cols_off", offsets[2]),
    ] {
        frame.extend((field as u32).to_le_bytes());
    }
    frame.extend(sections);
    Ok(frame)
}

fn tables(tables: &Value) -> Result<Vec<Value>, String> {
    if let Some(list) = tables.as_array() {
        return Ok(list.clone());
    }
    let repeat = &tables["repeat"];
    let count = repeat["count"].as_u64().ok_or("tables are neither a list nor repeated")?;
    let numbered = (0..count).map(|i| {
        let mut table = repeat["table"].clone();
        table["name"] = json!(table["name"].as_str().unwrap_or_default().replace("{i}", &i.to_string()));
        table
    });
    Ok(numbered.collect())
}

fn blocks<'a>(table: &'a Value, key: &str) -> &'a [Value] {
    table[key].as_array().map_or(&[], Vec::as_slice)
}

fn encode_block(block: &Value) -> Result<Vec<u8>, String> {
    let kind = block["type"].as_i64().ok_or("a block without type")?;
    let values = values(&block["vals"])?;
    let is_null: Vec<u8> = match block["is_null"].as_array() {
        Some(flags) => flags.iter().map(|flag| flag.as_u64().unwrap_or(0) as u8).collect(),
        None => values.iter().map(|value| value.is_null() as u8).collect(),
    };
    let mut lengths = Vec::new();
    let mut buffer = Vec::new();
    match width(kind) {
        Some(width) if block["as_var"] != json!(true) => {
            if !values.iter().all(Value::is_null) || values.is_empty() || block["keep_null_buf"] == json!(true) {
                for value in &values {
                    buffer.extend(fixed(kind, width, value)?);
                }
            }
        }
        _ => {
            for value in &values {
                let value = if value.is_null() { Vec::new() } else { bytes(value)? };
                lengths.extend((value.len() as i32).to_le_bytes());
                buffer.extend(value);
            }
        }
    }
    let have_length = width(kind).is_none() || block["as_var"] == json!(true);
    let total = 17 + is_null.len() + lengths.len() + buffer.len();
    let mut out = Vec::with_capacity(total);
    out.extend(((total as i64 + block["total_add"].as_i64().unwrap_or(0)) as u32).to_le_bytes());
    out.extend((kind as i32).to_le_bytes());
    out.extend((block["num"].as_u64().unwrap_or(values.len() as u64) as u32).to_le_bytes());
    out.extend(is_null);
    out.push(have_length as u8);
    out.extend(lengths);
    out.extend((buffer.len() as i32).to_le_bytes());
    out.extend(buffer);
    Ok(out)
}

fn values(rule: &Value) -> Result<Vec<Value>, String> {
    if let Some(list) = rule.as_array() {
        return Ok(list.clone());
    }
    if let Some(rep) = rule.get("rep") {
        return Ok(vec![rep["value"].clone(); rep["count"].as_u64().unwrap_or(0) as usize]);
    }
    let seq = rule.get("seq").ok_or_else(|| format!("values by an unknown rule: {rule}"))?;
    let number = |key: &str| seq[key].as_i64().unwrap_or(0);
    Ok((0..number("count")).map(|i| json!(number("start") + i * number("step"))).collect())
}

/// Bytes of a value of a fixed-width type; none for types of variable length.
fn width(kind: i64) -> Option<usize> {
    Some(match kind {
        1 | 2 | 11 => 1,
        3 | 12 => 2,
        4 | 6 | 13 => 4,
        5 | 7 | 9 | 14 | 21 => 8,
        17 => 16,
        _ => return None,
    })
}

fn fixed(kind: i64, width: usize, value: &Value) -> Result<Vec<u8>, String> {
    if value.is_null() {
        return Ok(vec![0; width]);
    }
    if value.is_object() {
        return bytes(value);
    }
    if kind == 6 || kind == 7 {
        let number = value.as_f64().ok_or_else(|| format!("not a number: {value}"))?;
        return Ok(if kind == 6 { (number as f32).to_le_bytes().to_vec() } else { number.to_le_bytes().to_vec() });
    }
    let number = match value {
        Value::Bool(flag) => Some(i128::from(*flag)),
        Value::Number(number) => number.as_i128(),
        _ => None,
    };
    Ok(number.ok_or_else(|| format!("not an integer: {value}"))?.to_le_bytes()[..width].to_vec())
}

/// Text, or the bytes of `{"hex": ..}`.
fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    match (value.as_str(), value["hex"].as_str()) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (_, Some(hex)) => from_hex(hex),
        _ => Err(format!("neither text nor hex: {value}")),
    }
}

/// A reply to action 7 as the corpus writes it; `None` if the frame is no such reply or is cut short.
pub fn decode_fetch(frame: &[u8]) -> Option<Value> {
    let mut at = Reader(frame);
    let (marker, action, version) = (at.u64()?, at.u64()?, at.u16()?);
    if marker != u64::MAX || action != ACTION_FETCH {
        return None;
    }
    at.u64()?;
    let (req_id, code, length) = (at.u64()?, at.u32()?, at.u32()?);
    let message = String::from_utf8_lossy(at.take(length as usize)?).into_owned();
    let (result_id, finished) = (at.u64()?, at.u8()? != 0);
    let mut reply = json!({
        "marker": marker, "action": action, "version": version, "req_id": req_id, "code": code, "message": message,
        "result_id": result_id, "finished": finished,
    });
    if !finished {
        let length = at.u32()? as usize;
        let block = at.take(length)?;
        reply["block"] = json!(to_hex(block));
        let decoded = decode_block(block)?;
        reply["rows"] = json!(decoded.rows.len());
        reply["cols"] = json!(decoded.columns);
        reply["data"] = json!(decoded.rows);
    }
    Some(reply)
}

/// A raw block as the corpus writes it.
pub struct Block {
    /// Type and bytes of each column.
    pub columns: Vec<(u8, i32)>,
    pub rows: Vec<Vec<Value>>,
    /// The block's bytes with the values of NULL slots zeroed.
    pub masked: Vec<u8>,
}

/// Decodes a raw block; `None` if it is cut short.
pub fn decode_block(block: &[u8]) -> Option<Block> {
    let mut at = Reader(block);
    at.take(8)?;
    let (rows, count) = (at.u32()? as usize, at.u32()? as usize);
    at.take(12)?;
    let columns = (0..count).map(|_| Some((at.u8()?, at.u32()? as i32))).collect::<Option<Vec<_>>>()?;
    let lengths = (0..count).map(|_| at.u32()).collect::<Option<Vec<_>>>()?;
    let mut data = vec![vec![Value::Null; count]; rows];
    let mut masked = block.to_vec();
    for (c, (kind, _)) in columns.iter().enumerate() {
        if let Some(width) = width(i64::from(*kind)) {
            let bitmap = at.take(rows.div_ceil(8))?;
            for (r, row) in data.iter_mut().enumerate() {
                let start = block.len() - at.0.len();
                let value = at.take(width)?;
                if bitmap[r / 8] & (0x80 >> (r % 8)) == 0 {
                    row[c] = fixed_value(*kind, value);
                } else {
                    masked[start..start + width].fill(0);
                }
            }
        } else {
            let offsets = (0..rows).map(|_| Some(at.u32()? as i32)).collect::<Option<Vec<_>>>()?;
            let values = at.take(lengths[c] as usize)?;
            for (r, offset) in offsets.into_iter().enumerate().filter(|(_, offset)| *offset >= 0) {
                let mut at = Reader(values.get(offset as usize..)?);
                let length = if matches!(kind, 18 | 19) { at.u32()? as usize } else { at.u16()? as usize };
                data[r][c] = variable_value(*kind, at.take(length)?);
            }
        }
    }
    Some(Block { columns, rows: data, masked })
}

fn fixed_value(kind: u8, bytes: &[u8]) -> Value {
    let mut wide = [0u8; 8];
    wide[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
    let unsigned = u64::from_le_bytes(wide);
    let shift = 64 - 8 * bytes.len().min(8) as u32;
    match kind {
        1 => json!(bytes[0] != 0),
        2..=5 | 9 => json!((unsigned << shift) as i64 >> shift),
        6 => float(f64::from(f32::from_bits(unsigned as u32))),
        7 => float(f64::from_bits(unsigned)),
        11..=14 => json!(unsigned),
        _ => json!({ "hex": to_hex(bytes) }),
    }
}

fn float(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

fn variable_value(kind: u8, bytes: &[u8]) -> Value {
    if kind == 10 {
        let points = bytes.chunks_exact(4).map(|p| char::from_u32(u32::from_le_bytes([p[0], p[1], p[2], p[3]])));
        let text: Option<String> = points.collect();
        return text
            .filter(|_| bytes.len().is_multiple_of(4))
            .map_or_else(|| json!({ "ucs4hex": to_hex(bytes) }), Value::from);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !matches!(kind, 16 | 18 | 19 | 20) => json!(text),
        _ => json!({ "hex": to_hex(bytes) }),
    }
}

/// A block (as hex) with NULL slots zeroed; `None` if it is not a block.
pub fn mask_nulls(block: &Value) -> Option<Vec<u8>> {
    decode_block(&from_hex(block.as_str()?).ok()?).map(|block| block.masked)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
}
