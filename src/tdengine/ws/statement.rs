//! A prepared insert with binary binds (stmt2).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::PreparedField;
use super::link::Link;
use crate::encode::stmt2;
use crate::tdengine::error::TdengineError;
use crate::tdengine::schema::{Field, SuperTable};

/// How the server takes the tables of a bind. Which is faster depends on the rows a table: `Many` with many, `Once`
/// with few. They also differ in what a failed exec does to a statement, which [`Statement`] hides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindMode {
    /// `single_table_bind_once` false.
    #[default]
    Many,
    /// `single_table_bind_once` true.
    Once,
}

/// A prepared insert. One message at a time is in flight, which `&mut self` sees to; two statements of one connection
/// run side by side.
///
/// After any error the server's statement is closed and prepared anew before its next use, since an error sticks to it:
/// a batch of several binds that failed must be bound again from its first. Dropping a future of [`Self::bind`] or
/// [`Self::exec`], or its running out of time, closes the connection, since another message must not overtake what the
/// server is still at.
#[derive(Debug)]
pub struct Statement {
    link: Arc<Link>,
    sql: String,
    mode: BindMode,
    fields: Vec<PreparedField>,
    /// The server's number for it; `None` after an error.
    id: Option<u64>,
    /// Whether rows are bound and not executed.
    bound: bool,
    /// Whether a message is sent and not answered.
    in_flight: bool,
}

impl Statement {
    pub(super) async fn prepare(link: Arc<Link>, sql: String, mode: BindMode) -> Result<Self, TdengineError> {
        let mut statement = Self { link, sql, mode, fields: Vec::new(), id: None, bound: false, in_flight: false };
        statement.ready().await?;
        Ok(statement)
    }

    /// What the server wants for each `?`, in order.
    pub fn fields(&self) -> &[PreparedField] {
        &self.fields
    }

    /// Adds the rows of a frame (see [`stmt2::bind_frame`]) to those that the next [`Self::exec`] writes. The frame's
    /// statement and request numbers are set on the way; it can be sent again as it is.
    ///
    /// # Errors
    /// The server's refusal: nothing bound since the last exec will be written. [`TdengineError::Refused`] for a frame
    /// that could crash a server: without tables, or with another number of tags or columns than prepared.
    pub async fn bind(&mut self, frame: Bytes) -> Result<(), TdengineError> {
        let id = self.ready().await?;
        self.check_frame(&frame)?;
        self.in_flight = true;
        let answer = self.link.bind(id, frame).await;
        self.answered(answer).await?;
        self.bound = true;
        Ok(())
    }

    /// Writes all that was bound. Returns the server's count of keys, which may be below that of the rows and proves
    /// nothing; that there is no error does.
    ///
    /// # Errors
    /// The server's refusal: part of the rows may be written, so that the batch must be bound and executed again. After a
    /// timeout or a lost connection that is open too.
    pub async fn exec(&mut self) -> Result<u64, TdengineError> {
        let Some(id) = self.id.filter(|_| self.bound) else {
            return Err(TdengineError::Refused("an exec without a bind; bind the whole batch first".to_owned()));
        };
        self.bound = false;
        self.in_flight = true;
        let answer = self.link.call("stmt2_exec", json!({ "stmt_id": id })).await;
        Ok(self.answered(answer).await?.affected)
    }

    /// [`Self::bind`], then [`Self::exec`].
    ///
    /// # Errors
    /// As they have.
    pub async fn insert(&mut self, frame: Bytes) -> Result<u64, TdengineError> {
        self.bind(frame).await?;
        self.exec().await
    }

    /// Closes it and waits for the server to say so.
    ///
    /// # Errors
    /// The way there is closed.
    pub async fn close(mut self) -> Result<(), TdengineError> {
        match self.id.take() {
            Some(id) => self.link.call("stmt2_close", json!({ "stmt_id": id })).await.map(drop),
            None => Ok(()),
        }
    }

    /// The server's number of a usable statement, made anew after an error.
    async fn ready(&mut self) -> Result<u64, TdengineError> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        let once = self.mode == BindMode::Once;
        let args = json!({ "single_stb_insert": true, "single_table_bind_once": once });
        self.in_flight = true;
        let answer = self.link.call("stmt2_init", args).await;
        let id = self.answered(answer).await?.stmt_id;
        let protocol =
            |action: &str, reason: &str| TdengineError::Protocol { action: action.into(), reason: reason.into() };
        let id = id.ok_or_else(|| protocol("stmt2_init", "it has no stmt_id"))?;
        self.id = Some(id);
        self.in_flight = true;
        let args = json!({ "stmt_id": id, "sql": self.sql, "get_fields": true });
        let answer = self.link.call("stmt2_prepare", args).await;
        let prepared = self.answered(answer).await?;
        if !prepared.is_insert {
            return Err(TdengineError::Refused(format!("only inserts are prepared, not {:?}", self.sql)));
        }
        let fields = prepared.fields.ok_or_else(|| protocol("stmt2_prepare", "it has no fields"))?;
        self.fields = fields;
        Ok(id)
    }

    /// Takes an answer in. After an error the server's statement is given up; without an answer, the connection.
    async fn answered<T>(&mut self, answer: Result<T, TdengineError>) -> Result<T, TdengineError> {
        if let Err(error) = &answer {
            if matches!(error, TdengineError::Timeout { .. }) {
                self.link.close(&error.to_string());
            }
            self.bound = false;
            if let Some(id) = self.id.take() {
                // Whatever it answers: the statement is not used again.
                let _ = self.link.call("stmt2_close", json!({ "stmt_id": id })).await;
            }
        }
        self.in_flight = false;
        answer
    }

    fn check_frame(&self, frame: &[u8]) -> Result<(), TdengineError> {
        let shape =
            stmt2::Shape::of(frame).ok_or_else(|| TdengineError::Refused("a frame that is no bind".to_owned()))?;
        let wanted = |bind_type| self.fields.iter().filter(|field| field.bind_type == bind_type).count();
        if shape.tables == 0 || shape.columns == 0 {
            return Err(TdengineError::Refused("a bind without rows".to_owned()));
        }
        if (shape.tags, shape.columns) != (wanted(2), wanted(1)) {
            return Err(TdengineError::Refused(format!(
                "a bind of {} tags and {} columns where {} and {} are prepared",
                shape.tags,
                shape.columns,
                wanted(2),
                wanted(1)
            )));
        }
        Ok(())
    }

    /// Whether the server's fields are those of `stable`, so that its rows can be bound.
    pub(super) fn check(&self, stable: &SuperTable, with_tags: bool) -> Result<(), TdengineError> {
        let tags = stable.tags.iter().filter(|_| with_tags);
        let known: Vec<_> = stable.columns.iter().chain(tags).collect();
        let wanted = self.fields.iter().filter(|field| field.bind_type != 4);
        let same = |(known, wanted): (&&Field, &PreparedField)| {
            known.name == wanted.name && known.data_type.is_bound_as(wanted.kind, wanted.bytes)
        };
        if wanted.clone().count() == known.len() && known.iter().zip(wanted).all(same) {
            return Ok(());
        }
        let reason = "its definition on the server differs from what was read: read it again".to_owned();
        Err(TdengineError::Schema { name: stable.qualified_name(), reason })
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        if self.in_flight {
            self.link.close("a request was given up before its answer");
        } else if let Some(id) = self.id {
            self.link.tell("stmt2_close", json!({ "stmt_id": id }));
        }
    }
}
