//! CREATE, DROP and ALTER.

use super::{Parse, Parser, keywords, text};
use crate::tdengine::engine::catalog::{ColumnDef, MAX_COLUMN_NAME, MAX_DATABASE_NAME, NUMBER_OPTIONS};
use crate::tdengine::engine::sql::ast::{AlterTable, CreateChild, CreateTable, Statement, TableOptions};
use crate::tdengine::engine::sql::lexer::Kind;
use crate::tdengine::engine::{DataType, TdError};

/// Options of a database that are no plain number.
const OTHER_OPTIONS: &[(&str, bool)] = &[
    ("precision", false),
    ("keep", true),
    ("duration", false),
    ("cachemodel", true),
    ("retentions", false),
    ("strict", false),
    ("encrypt_algorithm", false),
    ("ss_keeplocal", true),
    ("compact_interval", true),
    ("compact_time_range", true),
    ("compact_time_offset", true),
    ("wal_roll_period", false),
    ("wal_segment_size", false),
    ("with_arbitrator", false),
];

fn is_option(name: &str, alter: bool) -> bool {
    NUMBER_OPTIONS.iter().any(|&(option, .., alterable)| option == name && (alterable || !alter))
        || OTHER_OPTIONS.iter().any(|&(option, alterable)| option == name && (alterable || !alter))
}

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Parse<Statement> {
        self.advance();
        if self.take_word("database") {
            let if_not_exists = self.take_if(&["if", "not", "exists"])?;
            let name = self.database_name()?;
            if name.contains('.') {
                return Err(TdError::new(0x2617, "The database name cannot contain '.'"));
            }
            let options = self.database_options(|name| is_option(name, false))?;
            return Ok(Statement::CreateDatabase { name, if_not_exists, options });
        }
        if self.take_word("user") {
            let name = self.name(MAX_DATABASE_NAME).map(text)?;
            self.expect_word("pass")?;
            let password = self.string()?;
            while self.is_word("sysinfo") || self.is_word("createdb") || self.is_word("enable") {
                self.advance();
                self.option_value()?;
            }
            return Ok(Statement::CreateUser { name, password });
        }
        let stable = self.is_word("stable");
        if stable || self.is_word("table") {
            self.advance();
            return self.create_table(stable);
        }
        for what in
            ["view", "or", "topic", "stream", "function", "aggregate", "index", "sma", "tsma", "dnode", "vtable"]
        {
            if self.is_word(what) {
                return Err(TdError::unsupported(format!("CREATE {}", what.to_uppercase())));
            }
        }
        Err(self.unexpected())
    }

    fn create_table(&mut self, stable: bool) -> Parse<Statement> {
        let if_not_exists = self.take_if(&["if", "not", "exists"])?;
        let table = self.new_table_name()?;
        if !stable && self.is_word("using") {
            return self.create_children(table, if_not_exists);
        }
        self.expect(b'(')?;
        let columns = self.column_defs()?;
        let mut tags = None;
        if self.take_word("tags") {
            self.expect(b'(')?;
            tags = Some(self.column_defs()?);
        } else if stable {
            return Err(self.unexpected());
        }
        let options = self.table_options()?;
        Ok(Statement::CreateTable(CreateTable { table, if_not_exists, columns, tags, options }))
    }

    fn new_table_name(&mut self) -> Parse<crate::tdengine::engine::sql::ast::ObjectName> {
        let table = self.object_name()?;
        if table.name.contains(&b'.') {
            return Err(TdError::new(0x2617, "The table name cannot contain '.'"));
        }
        Ok(table)
    }

    /// `using stable [(tags)] tags(..) [options]`, and further tables after it.
    fn create_children(
        &mut self,
        first: crate::tdengine::engine::sql::ast::ObjectName,
        if_not_exists: bool,
    ) -> Parse<Statement> {
        let (mut table, mut if_not_exists) = (first, if_not_exists);
        let mut children = Vec::new();
        loop {
            self.expect_word("using")?;
            let stable = self.object_name()?;
            let mut tag_names = None;
            if self.take(b'(') {
                let mut names = vec![self.column_name()?];
                while self.take(b',') {
                    names.push(self.column_name()?);
                }
                self.expect(b')')?;
                tag_names = Some(names);
            }
            self.expect_word("tags")?;
            if !self.token.is(b'(') {
                return Err(self.unexpected());
            }
            let values_at = self.token.end;
            self.skip_parentheses()?;
            let options = self.table_options()?;
            children.push(CreateChild { table, if_not_exists, stable, tag_names, values_at, options });
            if matches!(self.token.kind, Kind::End | Kind::Punct(b';', 0)) {
                return Ok(Statement::CreateChildren(children));
            }
            if_not_exists = self.take_if(&["if", "not", "exists"])?;
            table = self.new_table_name()?;
        }
    }

    /// Passes over `( .. )`.
    fn skip_parentheses(&mut self) -> Parse<()> {
        let mut depth = 0;
        loop {
            match self.token.kind {
                Kind::Punct(b'(', 0) => depth += 1,
                Kind::Punct(b')', 0) => depth -= 1,
                Kind::End | Kind::Illegal => return Err(self.unexpected()),
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// Definitions up to the closing parenthesis.
    fn column_defs(&mut self) -> Parse<Vec<ColumnDef>> {
        let mut columns = Vec::new();
        loop {
            columns.push(self.column_def()?);
            if self.take(b')') {
                return Ok(columns);
            }
            self.expect(b',')?;
        }
    }

    fn column_def(&mut self) -> Parse<ColumnDef> {
        let name = self.column_name()?;
        let mut column = ColumnDef::new(name, self.data_type()?);
        loop {
            if self.take_words(&["primary", "key"]) || self.take_words(&["composite", "key"]) {
                column.key = true;
            } else if self.take_word("comment") {
                self.string()?;
            } else if !self.compression(&mut column.compression)? {
                if self.word().is_some_and(|word| !keywords::is_keyword(word)) {
                    // An option is a name and a string; this name is none's.
                    self.advance();
                    return Err(self.unexpected());
                }
                return Ok(column);
            }
        }
    }

    /// One of `encode`, `compress` and `level` with its value.
    fn compression(&mut self, compression: &mut [Option<String>; 3]) -> Parse<bool> {
        const KNOWN: [(&str, &[&str]); 3] = [
            ("encode", &["simple8b", "delta-i", "delta-d", "bit-packing", "bss", "disabled"]),
            ("compress", &["lz4", "zlib", "zstd", "tsz", "xz", "disabled"]),
            ("level", &["high", "h", "medium", "m", "low", "l"]),
        ];
        for (i, (word, known)) in KNOWN.into_iter().enumerate() {
            if self.take_word(word) {
                let value = text(self.string()?).to_ascii_lowercase();
                if !known.contains(&value.as_str()) {
                    return Err(TdError::new(0x0231, format!("Invalid {word} param")));
                }
                compression[i] = Some(value);
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn data_type(&mut self) -> Parse<DataType> {
        let Some(word) = self.word() else { return Err(self.unexpected()) };
        let integer = |unsigned, signed| (Some(unsigned), signed);
        let (unsigned, plain) = match word {
            b"bool" => (None, DataType::Bool),
            b"tinyint" => integer(DataType::UTinyInt, DataType::TinyInt),
            b"smallint" => integer(DataType::USmallInt, DataType::SmallInt),
            b"int" => integer(DataType::UInt, DataType::Int),
            b"bigint" => integer(DataType::UBigInt, DataType::BigInt),
            b"integer" => (None, DataType::Int),
            b"float" => (None, DataType::Float),
            b"double" => (None, DataType::Double),
            b"timestamp" => (None, DataType::Timestamp),
            b"json" => (None, DataType::Json),
            b"blob" | b"mediumblob" => (None, DataType::Blob),
            b"binary" | b"varchar" | b"nchar" | b"varbinary" | b"geometry" => {
                let sized = match word {
                    b"nchar" => DataType::NChar,
                    b"varbinary" => DataType::VarBinary,
                    b"geometry" => DataType::Geometry,
                    _ => DataType::VarChar,
                };
                self.advance();
                self.expect(b'(')?;
                let length = self.unsigned()?;
                self.expect(b')')?;
                return Ok(sized(u32::try_from(length).unwrap_or(u32::MAX)));
            }
            b"decimal" => {
                self.advance();
                self.expect(b'(')?;
                let precision = self.unsigned()?;
                let scale = if self.take(b',') { self.unsigned()? } else { 0 };
                self.expect(b')')?;
                if precision == 0 || precision > 38 || scale > precision {
                    let problem =
                        format!("Invalid column type DECIMAL({precision},{scale}) , invalid precision or scale");
                    return Err(TdError::new(0x2602, problem));
                }
                return Ok(DataType::Decimal { precision: precision as u8, scale: scale as u8 });
            }
            _ => return Err(self.unexpected()),
        };
        self.advance();
        Ok(match unsigned {
            Some(unsigned) if self.take_word("unsigned") => unsigned,
            _ => plain,
        })
    }

    fn table_options(&mut self) -> Parse<TableOptions> {
        let mut options = TableOptions::default();
        loop {
            if self.take_word("comment") {
                options.comment = Some(text(self.string()?));
            } else if self.take_word("ttl") {
                options.ttl_days = Some(self.unsigned()? as i64);
            } else if self.take_word("rollup") {
                options.rollup = true;
                self.skip_parentheses()?;
            } else if self.take_word("sma") {
                self.skip_parentheses()?;
            } else if self.is_word("watermark") || self.is_word("max_delay") || self.is_word("keep") {
                self.advance();
                self.option_value()?;
                while self.take(b',') {
                    self.option_value()?;
                }
            } else {
                return Ok(options);
            }
        }
    }

    pub(super) fn drop(&mut self) -> Parse<Statement> {
        self.advance();
        if self.take_word("database") {
            let if_exists = self.take_if(&["if", "exists"])?;
            let name = self.database_name()?;
            let _ = self.take_word("force");
            return Ok(Statement::DropDatabase { name, if_exists });
        }
        if self.take_word("user") {
            return self.name(MAX_DATABASE_NAME).map(text).map(Statement::DropUser);
        }
        let stable = self.is_word("stable");
        if stable || self.is_word("table") {
            self.advance();
            let mut tables = Vec::new();
            loop {
                let if_exists = self.take_if(&["if", "exists"])?;
                tables.push((self.object_name()?, if_exists));
                if stable || !self.take(b',') {
                    return Ok(Statement::DropTables { tables, stable });
                }
            }
        }
        for what in ["view", "topic", "stream", "function", "index", "consumer", "dnode", "tsma"] {
            if self.is_word(what) {
                return Err(TdError::unsupported(format!("DROP {}", what.to_uppercase())));
            }
        }
        Err(self.unexpected())
    }

    pub(super) fn alter(&mut self) -> Parse<Statement> {
        self.advance();
        if self.take_word("database") {
            let name = self.database_name()?;
            let options = self.database_options(|name| is_option(name, true))?;
            if options.is_empty() {
                return Err(self.unexpected());
            }
            return Ok(Statement::AlterDatabase { name, options });
        }
        if self.take_word("user") {
            let name = self.name(MAX_DATABASE_NAME).map(text)?;
            self.expect_word("pass")?;
            return Ok(Statement::AlterUser { name, password: self.string()? });
        }
        if self.is_word("stable") || self.is_word("table") {
            self.advance();
            let table = self.object_name()?;
            return Ok(Statement::AlterTable { table, action: self.alter_table()? });
        }
        for what in ["local", "dnode", "all", "cluster", "vnode"] {
            if self.is_word(what) {
                return Err(TdError::unsupported(format!("ALTER {}", what.to_uppercase())));
            }
        }
        Err(self.unexpected())
    }

    fn alter_table(&mut self) -> Parse<AlterTable> {
        let Some(verb) = self.word().map(<[u8]>::to_vec) else { return Err(self.unexpected()) };
        if matches!(&verb[..], b"comment" | b"ttl" | b"keep") {
            return self.table_options().map(AlterTable::Options);
        }
        if !matches!(&verb[..], b"add" | b"drop" | b"modify" | b"rename" | b"set") {
            return Err(self.unexpected());
        }
        self.advance();
        let tag = self.is_word("tag");
        if !tag && (!self.is_word("column") || verb == b"set") {
            return Err(self.unexpected());
        }
        self.advance();
        Ok(match (&verb[..], tag) {
            (b"add", false) => AlterTable::AddColumn(self.column_def()?),
            (b"add", true) => AlterTable::AddTag(self.column_def()?),
            (b"drop", false) => AlterTable::DropColumn(self.column_name()?),
            (b"drop", true) => AlterTable::DropTag(self.column_name()?),
            (b"rename", false) => AlterTable::RenameColumn(self.column_name()?, self.column_name()?),
            (b"rename", true) => AlterTable::RenameTag(self.column_name()?, self.column_name()?),
            (b"modify", tag) => {
                let name = self.column_name()?;
                let mut compression = [None, None, None];
                let mut any = false;
                while self.compression(&mut compression)? {
                    any = true;
                }
                match (any, tag) {
                    (true, _) => AlterTable::CompressColumn(name, compression),
                    (false, false) => AlterTable::ModifyColumn(name, self.data_type()?),
                    (false, true) => AlterTable::ModifyTag(name, self.data_type()?),
                }
            }
            _ => return self.set_tags(),
        })
    }

    /// `name = value, ..`
    fn set_tags(&mut self) -> Parse<AlterTable> {
        let mut tags = Vec::new();
        loop {
            let name = text(self.name(MAX_COLUMN_NAME)?);
            if !self.token.is(b'=') {
                return Err(self.unexpected());
            }
            tags.push((name, self.token.end));
            self.advance();
            let _ = self.take(b'-') || self.take(b'+');
            if !matches!(self.token.kind, Kind::Str | Kind::Int | Kind::Float | Kind::Radix | Kind::Word) {
                return Err(self.unexpected());
            }
            self.advance();
            if !self.take(b',') {
                return Ok(AlterTable::SetTags(tags));
            }
        }
    }
}
