//! How much each component logs, and changing that for a while without a restart.
//!
//! A change ends by itself, since whoever made it has forgotten it by then: a log full of details hides what matters,
//! and fills the disk.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use packhorse_domain::{Timestamp, log::LogLevel};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;
use tracing::Level;
use tracing_subscriber::{
    EnvFilter,
    filter::{ParseError, Targets},
};

use crate::{clock::Clock, error::error_chain};

/// Stands for all components of a process at once.
pub const ALL: &str = "all";
/// How long SIGUSR1 and an unlimited wish hold.
pub const CHANGE_LASTS: Duration = Duration::from_secs(15 * 60);
/// Longer than a day is for the settings.
pub const CHANGE_LASTS_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is not ours stays as it was when everything is turned up: its details drown ours.
const FOREIGN: [&str; 10] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "quinn",
    "quinn_proto",
    "rustls",
    "sqlx",
    "tonic",
    "tower",
];

/// How much one component logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentLevel {
    pub component: String,
    pub level: LogLevel,
    /// What the settings say.
    pub configured: LogLevel,
    /// When the settings hold again; `None`: they hold now.
    pub until: Option<Timestamp>,
}

/// The levels of a process. Clones are the same.
#[derive(Clone)]
pub struct LogLevels(Arc<Inner>);

type Apply = Box<dyn Fn(EnvFilter) + Send + Sync>;

struct Inner {
    /// As the settings have it.
    filter: String,
    /// `None` where nothing is logged, as in tests.
    apply: Option<Apply>,
    changes: Mutex<BTreeMap<String, (LogLevel, Timestamp)>>,
    changed: Notify,
}

static OF_PROCESS: OnceLock<LogLevels> = OnceLock::new();

impl LogLevels {
    pub(super) fn new(filter: &str, apply: Option<Apply>) -> Self {
        let (changes, changed) = (Mutex::default(), Notify::new());
        LogLevels(Arc::new(Inner { filter: filter.to_owned(), apply, changes, changed }))
    }

    /// Of a process that logs nothing: they are kept, and have no effect.
    pub fn detached(filter: &str) -> Self {
        Self::new(filter, None)
    }

    /// Those of this process; of one that logs nothing, ones that have no effect.
    pub fn of_process() -> Self {
        OF_PROCESS.get_or_init(|| LogLevels::detached("info")).clone()
    }

    /// They are those of the process from now on.
    pub(super) fn install(&self) {
        let _ = OF_PROCESS.set(self.clone());
    }

    /// Has a component, or [`ALL`], log so much until then, whatever the settings say.
    pub fn set(&self, component: &str, level: LogLevel, until: Timestamp) {
        self.change(|changes| {
            changes.insert(component.to_owned(), (level, until));
        });
    }

    /// The settings hold again: for one component, or for all if it is [`ALL`].
    pub fn reset(&self, component: &str) {
        self.change(|changes| match component {
            ALL => changes.clear(),
            _ => {
                changes.remove(component);
            }
        });
    }

    /// How much each of these components logs now.
    pub fn list(&self, components: &[&str]) -> Vec<ComponentLevel> {
        let changes = self.changes();
        let level = |component: &&str| {
            let configured = configured(&self.0.filter, component);
            let change = changes.get(*component).or_else(|| changes.get(ALL));
            let (level, until) = change.map_or((configured, None), |&(level, until)| (level, Some(until)));
            ComponentLevel { component: (*component).to_owned(), level, configured, until }
        };
        components.iter().map(level).collect()
    }

    /// Ends changes when their time is over, and turns details on and off at SIGUSR1.
    pub async fn look_after(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut asked = match signal(SignalKind::user_defined1()) {
            Ok(signal) => Some(signal),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "SIGUSR1 does not change what is logged");
                None
            }
        };
        loop {
            let ends = self.changes().values().map(|(_, until)| *until).min();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.changed.notified() => {}
                () = came(&mut asked) => self.toggle(clock.now()),
                () = sleep_until(ends, clock.now()) => self.expire(clock.now()),
            }
        }
    }

    fn toggle(&self, now: Timestamp) {
        if self.changes().contains_key(ALL) {
            self.reset(ALL);
            tracing::info!("SIGUSR1: the log is as the settings say");
        } else {
            self.set(ALL, LogLevel::Debug, now.plus(CHANGE_LASTS));
            let minutes = CHANGE_LASTS.as_secs() / 60;
            tracing::info!(minutes, "SIGUSR1: details are logged for a while; once more ends that");
        }
    }

    fn expire(&self, now: Timestamp) {
        if self.changes().values().any(|(_, until)| *until <= now) {
            self.change(|changes| changes.retain(|_, (_, until)| *until > now));
            tracing::info!("a change of what is logged is over: the settings hold again");
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, (LogLevel, Timestamp)>)) {
        let mut changes = self.changes();
        change(&mut changes);
        let directives = directives(&self.0.filter, &changes);
        drop(changes);
        // The settings were understood at the start, and what is added is plain.
        if let (Some(apply), Ok(filter)) = (&self.0.apply, filter(&directives)) {
            apply(filter);
        }
        self.0.changed.notify_one();
    }

    fn changes(&self) -> MutexGuard<'_, BTreeMap<String, (LogLevel, Timestamp)>> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevels").field("filter", &self.0.filter).finish_non_exhaustive()
    }
}

pub(super) fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(directives)
}

/// The settings, and after them what was changed: of two for one target the later one counts.
fn directives(settings: &str, changes: &BTreeMap<String, (LogLevel, Timestamp)>) -> String {
    let mut directives = Vec::new();
    if changes.contains_key(ALL) {
        let quiet = |target| format!("{target}={}", configured(settings, target));
        directives.extend(FOREIGN.into_iter().map(quiet));
    }
    directives.push(settings.to_owned());
    directives.extend(changes.get(ALL).map(|(level, _)| level.to_string()));
    for (component, (level, _)) in changes.iter().filter(|(component, _)| *component != ALL) {
        // Under its own name, and what others log while they work for it.
        directives.push(format!("{component}={level}"));
        directives.push(format!("[step{{component={component}}}]={level}"));
    }
    directives.join(",")
}

/// How much of a target the settings have logged, but for what they say of spans.
fn configured(settings: &str, target: &str) -> LogLevel {
    let plain: Vec<&str> = settings.split(',').filter(|part| !part.contains(['[', '{', '}', ']'])).collect();
    let Ok(targets) = plain.join(",").parse::<Targets>() else { return LogLevel::Info };
    [
        (LogLevel::Trace, Level::TRACE),
        (LogLevel::Debug, Level::DEBUG),
        (LogLevel::Info, Level::INFO),
        (LogLevel::Warn, Level::WARN),
        (LogLevel::Error, Level::ERROR),
    ]
    .into_iter()
    .find(|(_, level)| targets.would_enable(target, level))
    .map_or(LogLevel::Off, |(level, _)| level)
}

async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Timestamp>, now: Timestamp) {
    match at {
        Some(at) => tokio::time::sleep(at.since(now)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _, reload};

    use super::*;

    /// Counts what gets through.
    #[derive(Clone, Default)]
    struct Counter(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn levels(settings: &str) -> (LogLevels, Counter, impl tracing::Subscriber + Send + Sync) {
        let counter = Counter::default();
        let (reloaded, handle) = reload::Layer::new(filter(settings).expect("a filter"));
        let apply: Apply = Box::new(move |filter| drop(handle.reload(filter)));
        let subscriber = Registry::default().with(counter.clone().with_filter(reloaded));
        (LogLevels::new(settings, Some(apply)), counter, subscriber)
    }

    fn seen(counter: &Counter, log: impl FnOnce()) -> usize {
        counter.0.store(0, Ordering::SeqCst);
        log();
        counter.0.load(Ordering::SeqCst)
    }

    #[test]
    fn a_component_is_turned_up_with_what_works_for_it_and_nothing_else() {
        let (levels, counter, subscriber) = levels("info");
        tracing::subscriber::with_default(subscriber, || {
            let own = || tracing::debug!(target: "sender", "a detail");
            let other = || tracing::debug!(target: "despooler", "a detail");
            let within = || {
                let span = tracing::info_span!(
                    target: crate::telemetry::COMPONENT, "step", component = "sender"
                );
                span.in_scope(|| tracing::debug!(target: "packhorse_content", "a detail"));
            };
            assert_eq!([seen(&counter, own), seen(&counter, other), seen(&counter, within)], [0, 0, 0]);

            levels.set("sender", LogLevel::Debug, Timestamp(1));
            assert_eq!([seen(&counter, own), seen(&counter, other), seen(&counter, within)], [1, 0, 1]);

            levels.reset("sender");
            assert_eq!([seen(&counter, own), seen(&counter, other), seen(&counter, within)], [0, 0, 0]);
        });
    }

    #[test]
    fn all_is_ours_and_not_what_we_use() {
        let (levels, counter, subscriber) = levels("info,offer-manager=warn");
        tracing::subscriber::with_default(subscriber, || {
            levels.set(ALL, LogLevel::Debug, Timestamp(1));

            assert_eq!(seen(&counter, || tracing::debug!(target: "sender", "a detail")), 1);
            assert_eq!(seen(&counter, || tracing::debug!(target: "h2::codec", "a detail")), 0);
            // What the settings say of a component by its name is meant.
            assert_eq!(seen(&counter, || tracing::info!(target: "offer-manager", "a step")), 0);
        });
    }

    #[test]
    fn the_list_says_what_holds_what_is_configured_and_until_when() {
        let levels = LogLevels::new("warn,sender=debug,[step{x=1}]=trace", None);
        levels.set("receiver", LogLevel::Trace, Timestamp(7));

        let of = |component: &str, level, configured, until| ComponentLevel {
            component: component.to_owned(),
            level,
            configured,
            until,
        };
        assert_eq!(
            levels.list(&["receiver", "sender", "monitor"]),
            [
                of("receiver", LogLevel::Trace, LogLevel::Warn, Some(Timestamp(7))),
                of("sender", LogLevel::Debug, LogLevel::Debug, None),
                of("monitor", LogLevel::Warn, LogLevel::Warn, None),
            ]
        );
        levels.expire(Timestamp(7));
        assert!(levels.list(&["receiver"]).iter().all(|one| one.until.is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_ends_by_itself() {
        let levels = LogLevels::new("info", None);
        let clock = crate::ManualClock::new(Timestamp(0));
        let stop = CancellationToken::new();
        levels.set("sender", LogLevel::Debug, Timestamp(0).plus(Duration::from_secs(60)));
        let looking = levels.clone().look_after(Arc::new(clock.clone()), stop.clone());
        tokio::pin!(looking);
        assert!(futures::poll!(&mut looking).is_pending());

        clock.advance(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(futures::poll!(&mut looking).is_pending());

        assert_eq!(levels.list(&["sender"])[0].level, LogLevel::Info);
        stop.cancel();
        looking.await;
    }
}
