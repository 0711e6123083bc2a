//! `[tdengine]` and its flags.

use std::path::PathBuf;

use kafka_taos::config::Secret;
use kafka_taos::config::file;
use kafka_taos::row::Precision;
use kafka_taos::tdengine::WriteMode;
use kafka_taos::tdengine::dsn::Dsn;
use kafka_taos::tdengine::schema::{Create, Evolve, SchemaPolicy, TagDrift};

use super::Failure;
use super::layers::{Layers, env, read_secret};

impl Layers<'_> {
    /// How to reach TDengine, how rows are written, the demo record's super table.
    pub(super) fn tdengine(&mut self, file: file::Tdengine) -> Result<(Dsn, WriteMode, Option<String>), Failure> {
        let url_in_file = self.parsed("tdengine.url", file.url)?;
        let dsn_default =
            "ws://root:taosdata@localhost:6041/test".parse::<Dsn>().map_err(|e| Failure::failed(e.to_string()))?;
        if std::env::args().any(|argument| argument == "--taosuri" || argument.starts_with("--taosuri=")) {
            tracing::warn!("--taosuri is an old name: write --tdengine ws://USER@HOST:6041/DB");
        }
        let mut tdengine = self.pick("tdengine", "tdengine", url_in_file, dsn_default);
        if let Some(user) = env("TDENGINE_USER").or(file.user) {
            tdengine = tdengine.with_user(Some(&user));
        }
        if let Some(password) = self.tdengine_password(file.password_file)? {
            tdengine = tdengine.with_password(Some(password.expose()));
        }
        let write_in_file = self.parsed("tdengine.write", file.write)?;
        let write = self.pick("write", "write", write_in_file, WriteMode::Stmt2);
        // What nobody chose is checked by the commands that write.
        if self.shown.last().is_some_and(|write| write.from != "default") {
            write.check(&tdengine).map_err(Failure::usage)?;
        }
        let stable = self.pick_optional("stable", "stable", file.stable);
        Ok((tdengine, write, stable))
    }

    /// What may be made and changed there.
    pub(super) fn schema(&mut self, file: file::Tdengine) -> Result<SchemaPolicy, Failure> {
        let in_file = self.parsed("tdengine.create", file.create)?;
        let create = self.pick("create", "create", in_file, Create::default());
        let in_file = self.parsed("tdengine.evolve", file.evolve)?;
        let evolve = self.pick("evolve", "evolve", in_file, Evolve::default());
        let in_file = self.parsed("tdengine.tag_drift", file.tag_drift)?;
        let tag_drift = self.pick("tag-drift", "tag_drift", in_file, TagDrift::default());
        let in_file = self.parsed("tdengine.precision", file.precision)?;
        let precision = self.pick("precision", "precision", in_file, Precision::default());
        let database_options = self.pick("database-options", "database_options", file.database_options, String::new());
        Ok(SchemaPolicy { create, evolve, precision, database_options, tag_drift })
    }

    fn tdengine_password(&self, file: Option<PathBuf>) -> Result<Option<Secret>, Failure> {
        if let Some(password) = env("TDENGINE_PASSWORD") {
            return Ok(Some(Secret::new(password)));
        }
        env("TDENGINE_PASSWORD_FILE").map(PathBuf::from).or(file).map(|path| read_secret(&path)).transpose()
    }
}
