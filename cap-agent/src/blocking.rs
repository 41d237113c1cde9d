//! Work that waits for the disk, away from the threads that serve clients.

/// Runs `work` on a thread that may wait, and takes over its panic.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a process that is ending cancels such work: nobody waits for the answer any more.
        Err(_) => std::future::pending().await,
    }
}
