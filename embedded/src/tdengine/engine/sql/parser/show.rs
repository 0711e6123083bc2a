//! SHOW.

use super::{Parse, Parser};
use crate::tdengine::engine::sql::ast::{ObjectName, Show, Statement};

impl Parser<'_> {
    pub(super) fn show(&mut self) -> Parse<Statement> {
        self.advance();
        let show = if self.take_words(&["create", "database"]) {
            Show::CreateDatabase(self.database_name()?)
        } else if self.take_words(&["create", "table"]) {
            Show::CreateTable { table: self.object_name()?, stable: false }
        } else if self.take_words(&["create", "stable"]) {
            Show::CreateTable { table: self.object_name()?, stable: true }
        } else if self.take_words(&["table", "distributed"]) {
            Show::TableDistributed(self.object_name()?)
        } else if self.take_words(&["table", "tags"]) {
            if !self.is_word("from") {
                self.skip_tag_list()?;
            }
            Show::TableTags { table: self.of_table()? }
        } else if self.take_word("tags") {
            Show::Tags { table: self.of_table()? }
        } else if self.take_words(&["cluster", "alive"]) {
            Show::Alive
        } else if self.take_word("local") {
            self.expect_word("variables")?;
            self.like()?;
            Show::Variables
        } else if self.take_words(&["cluster", "variables"]) || self.take_word("variables") {
            self.like()?;
            Show::Variables
        } else {
            self.show_list()?
        };
        Ok(Statement::Show(show))
    }

    /// A list of the server, or of a database written before a dot.
    fn show_list(&mut self) -> Parse<Show> {
        const LISTS: &[&str] = &[
            "dnodes",
            "mnodes",
            "qnodes",
            "snodes",
            "bnodes",
            "anodes",
            "streams",
            "topics",
            "consumers",
            "subscriptions",
            "connections",
            "queries",
            "licences",
            "apps",
            "transactions",
            "cluster",
            "accounts",
            "vgroups",
            "vnodes",
            "views",
            "compacts",
            "arbgroups",
            "scores",
            "tsmas",
            "indexes",
            "encryptions",
            "privileges",
        ];
        let kind = if self.is_word("normal") || self.is_word("child") {
            self.advance();
            true
        } else {
            false
        };
        if let Some(word) = self.word() {
            let word = String::from_utf8_lossy(word).into_owned();
            let plain = match word.as_str() {
                "databases" => Some(Show::Databases),
                "users" => Some(Show::Users),
                "functions" => Some(Show::Functions),
                "grants" => Some(Show::Grants),
                _ if LISTS.contains(&word.as_str()) => Some(Show::Other(word.clone())),
                _ => None,
            };
            if let Some(show) = plain.filter(|_| !kind) {
                self.advance();
                while self.token.kind == crate::tdengine::engine::sql::lexer::Kind::Word
                    && matches!(show, Show::Other(_))
                {
                    self.advance();
                }
                let _ = self.take_word("full");
                return Ok(show);
            }
        }
        let database = if self.is_word("tables") || self.is_word("stables") {
            None
        } else {
            let database = self.database_name()?;
            self.expect(b'.')?;
            Some(database)
        };
        let what = self.word().map(<[u8]>::to_vec);
        match what.as_deref() {
            Some(b"tables") => {
                self.advance();
                let database = self.of_database(database)?;
                Ok(Show::Tables { database, like: self.like()? })
            }
            Some(b"stables") if !kind => {
                self.advance();
                let database = self.of_database(database)?;
                Ok(Show::Stables { database, like: self.like()? })
            }
            Some(b"alive") if !kind => {
                self.advance();
                Ok(Show::Alive)
            }
            Some(b"vgroups") if !kind => {
                self.advance();
                Ok(Show::Other("vgroups".to_owned()))
            }
            _ => Err(self.unexpected()),
        }
    }

    fn of_database(&mut self, database: Option<String>) -> Parse<Option<String>> {
        if database.is_none() && self.take_word("from") { self.database_name().map(Some) } else { Ok(database) }
    }

    fn like(&mut self) -> Parse<Option<Vec<u8>>> {
        if self.take_word("like") { self.string().map(Some) } else { Ok(None) }
    }

    /// `from table [from database]`
    fn of_table(&mut self) -> Parse<ObjectName> {
        self.expect_word("from")?;
        let mut table = self.object_name()?;
        if self.take_word("from") {
            table.database = Some(self.database_name()?);
        }
        Ok(table)
    }

    fn skip_tag_list(&mut self) -> Parse<()> {
        while !self.is_word("from") {
            if self.token.kind == crate::tdengine::engine::sql::lexer::Kind::End {
                return Err(self.unexpected());
            }
            self.advance();
        }
        Ok(())
    }
}
