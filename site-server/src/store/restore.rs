//! For tests: what an operator does to a database with other tools.

use std::path::Path;

use sqlx::{AssertSqlSafe, Executor as _};

use super::{Store, StoreError, Tx, failed};

impl Tx {
    /// Rows that this connection has written since it was opened.
    pub(crate) async fn rows_changed(&mut self) -> Result<u64, StoreError> {
        let rows: i64 = sqlx::query_scalar("SELECT total_changes()")
            .fetch_one(self.connection())
            .await
            .map_err(failed("count what was written"))?;
        Ok(u64::try_from(rows).unwrap_or_default())
    }
}

impl Store {
    /// Makes a backup.
    pub(crate) async fn back_up(&self, path: &Path) {
        let path = path.to_str().expect("UTF-8").to_owned();
        sqlx::query("VACUUM INTO $1").bind(path).execute(&self.writer).await.expect("backed up");
    }

    /// Puts every row as it was in a backup. The change log goes on, so that everybody sees the change.
    pub(crate) async fn restore(&self, path: &Path) {
        let mut connection = self.writer.acquire().await.expect("a connection");
        let path = path.to_str().expect("UTF-8").to_owned();
        sqlx::query("ATTACH DATABASE $1 AS backup")
            .bind(path)
            .execute(&mut *connection)
            .await
            .expect("attached");
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM backup.sqlite_master WHERE type = 'table' AND name NOT IN ('change_log', '_sqlx_migrations')",
        )
        .fetch_all(&mut *connection)
        .await
        .expect("read");
        let rows = tables.iter().map(|table| {
            format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM backup.{table};")
        });
        let statements = format!("BEGIN IMMEDIATE; {} COMMIT;", rows.collect::<String>());
        connection.execute(AssertSqlSafe(statements)).await.expect("restored");
        connection.execute("DETACH DATABASE backup").await.expect("detached");
    }

    /// Changes rows by hand.
    pub(crate) async fn by_hand(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&self.writer).await.expect("changed");
    }
}
