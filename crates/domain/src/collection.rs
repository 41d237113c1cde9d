//! Collections, and who is in them.

use crate::{
    client::{ClientFact, LABELS_MAX},
    id::{ClientId, CollectionId},
    package::{PackageError, check_name},
    window::Windows,
};

/// A set of clients, by rule, by hand, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    pub id: CollectionId,
    pub name: String,
    /// All must hold; none: the rule has no members.
    pub rule: Vec<Condition>,
    pub clients: Vec<ClientId>,
    /// In which its members begin required programs, of whatever collection; none: it says nothing of that.
    pub windows: Windows,
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub fact: String,
    pub pattern: String,
    pub negated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectionError {
    #[error(transparent)]
    Name(#[from] PackageError),
    #[error("`{0}` is not a fact: site, hostname, os, arch, id or label.NAME is expected")]
    Fact(String),
    #[error("a pattern has at most {PATTERN_LENGTH_MAX} bytes and 16 `*`")]
    Pattern,
    #[error("a rule has at most {CONDITIONS_MAX} conditions")]
    TooManyConditions,
    #[error("a collection lists at most {CLIENTS_MAX} clients by hand; use a rule")]
    TooManyClients,
    #[error("a collection needs a rule or clients: without either it never has a member")]
    Empty,
}

pub const CONDITIONS_MAX: usize = 64;
pub const CLIENTS_MAX: usize = 20_000;
pub const PATTERN_LENGTH_MAX: usize = 256;

impl Collection {
    pub fn contains(&self, client: &ClientFact) -> bool {
        let by_rule = !self.rule.is_empty() && self.rule.iter().all(|condition| condition.holds(client));
        by_rule || self.clients.contains(&client.id)
    }

    pub fn check(&self) -> Result<(), CollectionError> {
        check_name(&self.name)?;
        if self.rule.is_empty() && self.clients.is_empty() {
            return Err(CollectionError::Empty);
        }
        if self.rule.len() > CONDITIONS_MAX {
            return Err(CollectionError::TooManyConditions);
        }
        if self.clients.len() > CLIENTS_MAX {
            return Err(CollectionError::TooManyClients);
        }
        self.rule.iter().try_for_each(Condition::check)
    }
}

impl Condition {
    /// A fact that the client does not have matches no pattern.
    fn holds(&self, client: &ClientFact) -> bool {
        let matches = client.fact(&self.fact).is_some_and(|value| glob(&self.pattern, value));
        matches != self.negated
    }

    fn check(&self) -> Result<(), CollectionError> {
        let label =
            self.fact.strip_prefix("label.").is_some_and(|name| !name.is_empty() && name.len() <= LABELS_MAX);
        if !label && !matches!(self.fact.as_str(), "site" | "hostname" | "os" | "arch" | "id") {
            return Err(CollectionError::Fact(self.fact.chars().take(80).collect()));
        }
        if self.pattern.len() > PATTERN_LENGTH_MAX || self.pattern.matches('*').count() > 16 {
            return Err(CollectionError::Pattern);
        }
        Ok(())
    }
}

/// `*` matches any run of characters, `?` any one. Linear in memory, and at most quadratic in time.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and how far the text was when it was met.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientFact {
        ClientFact {
            id: "0b5c1f5e-0000-4000-8000-000000000001".parse().expect("an id"),
            site: "LYO".parse().expect("a code"),
            hostname: "till-07".into(),
            os: "linux".into(),
            arch: "x86_64".into(),
            labels: [("role".to_owned(), "till".to_owned())].into(),
            software: "0.1.0".into(),
        }
    }

    fn rule(conditions: &[(&str, &str, bool)]) -> Collection {
        Collection {
            id: "CEN00001".parse().expect("an id"),
            name: "tills".into(),
            rule: conditions
                .iter()
                .map(|(fact, pattern, negated)| Condition {
                    fact: (*fact).into(),
                    pattern: (*pattern).into(),
                    negated: *negated,
                })
                .collect(),
            clients: vec![],
            windows: Windows::default(),
        }
    }

    #[test]
    fn every_condition_must_hold() {
        assert!(rule(&[("label.role", "till", false), ("site", "L*", false)]).contains(&client()));
        assert!(!rule(&[("label.role", "till", false), ("site", "PAR", false)]).contains(&client()));
        assert!(rule(&[("hostname", "till-??", false), ("os", "windows", true)]).contains(&client()));
    }

    #[test]
    fn an_absent_fact_matches_nothing_and_its_negation_everything() {
        assert!(!rule(&[("label.floor", "*", false)]).contains(&client()));
        assert!(rule(&[("label.floor", "2", true)]).contains(&client()));
    }

    #[test]
    fn no_rule_is_no_members_but_those_by_hand() {
        let mut by_hand = rule(&[]);
        assert!(!by_hand.contains(&client()));
        by_hand.clients.push(client().id);
        assert!(by_hand.contains(&client()));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("*a*b*", "xxaxxbxx", true),
            ("?", "", false),
            ("?cole", "École", true),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_in_time() {
        let pattern = "*a".repeat(16);
        assert!(!glob(&pattern, &"a".repeat(15)));
        assert!(glob(&pattern, &"a".repeat(250)));
    }

    #[test]
    fn what_can_never_match_is_refused() {
        assert_eq!(rule(&[]).check(), Err(CollectionError::Empty));
        assert_eq!(rule(&[("colour", "x", false)]).check(), Err(CollectionError::Fact("colour".into())));
    }
}
