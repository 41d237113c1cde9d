//! Which address of a neighbour is dialled now.

use super::{Address, LocalHour, Spent, allowance};
use crate::{id::AddressName, link::Open};

/// An address with the hour that it is there and what its budget has lost.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub address: &'a Address,
    pub local: LocalHour,
    pub spent: Spent,
}

/// The addresses to dial, one after the other. None: all are closed, and the link waits for an hour that is open.
///
/// `failed` are those that could not be reached lately. The first address by order is the regular one; each after it
/// is a backup, which counts only in hours that say so, and only once all before it have failed or are closed. Those
/// that failed come last: if nothing else is left, they are tried again.
pub fn choose<'a>(candidates: &[Candidate<'a>], failed: &[AddressName]) -> Vec<&'a Address> {
    let mut ordered = candidates.to_vec();
    ordered.sort_by_key(|one| (one.address.order, &one.address.name));
    let usable = ordered.iter().enumerate().filter(|(at, one)| {
        let regular = *at == 0 || one.address.calendar.hour(one.local).backup;
        regular && allowance(one.address, one.local, one.spent).open != Open::Nothing
    });
    let (mut fresh, mut again) = (None, Vec::new());
    for (_, one) in usable {
        match failed.contains(&one.address.name) {
            true => again.push(one.address),
            false => {
                fresh = Some(one.address);
                break;
            }
        }
    }
    fresh.into_iter().chain(again).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{
        Budget, WhenSpent,
        tests::{address, calendar},
    };

    fn of(name: &str, order: u32, rules: &[&str]) -> Address {
        Address { order, calendar: calendar(rules), ..address(name) }
    }

    fn chosen(addresses: &[Address], failed: &[&str]) -> Vec<String> {
        let local = LocalHour::new(1, 12).expect("an hour");
        let candidates: Vec<_> = addresses
            .iter()
            .map(|address| Candidate { address, local, spent: Spent { day_bytes: 100, month_bytes: 100 } })
            .collect();
        let failed: Vec<AddressName> = failed.iter().map(|name| name.parse().expect("a name")).collect();
        choose(&candidates, &failed).iter().map(|address| address.name.to_string()).collect()
    }

    #[test]
    fn backups_wait_until_all_before_them_failed() {
        let lines = [of("modem", 3, &[]), of("main", 1, &[]), of("radio", 2, &[])];

        assert_eq!(chosen(&lines, &[]), ["main"]);
        assert_eq!(chosen(&lines, &["main"]), ["radio", "main"]);
        assert_eq!(chosen(&lines, &["main", "radio"]), ["modem", "main", "radio"]);
        assert_eq!(chosen(&lines, &["main", "radio", "modem"]), ["main", "radio", "modem"]);
        assert_eq!(chosen(&lines, &["radio"]), ["main"]);
        assert_eq!(chosen(&lines, &["gone"]), ["main"]);
    }

    #[test]
    fn a_closed_hour_hands_over_to_a_backup_that_may_stand_in() {
        let closed = of("main", 1, &["tue closed"]);
        let spent = Budget { per_day_bytes: Some(100), per_month_bytes: None, when_spent: WhenSpent::Closed };

        assert_eq!(chosen(&[closed.clone(), of("radio", 2, &[])], &[]), ["radio"]);
        assert_eq!(chosen(&[closed.clone(), of("radio", 2, &["no-backup"])], &[]), [""; 0]);
        assert_eq!(
            chosen(&[closed.clone(), of("radio", 2, &["no-backup"]), of("modem", 3, &[])], &[]),
            ["modem"]
        );
        assert_eq!(chosen(&[closed, of("radio", 2, &["closed"])], &[]), [""; 0]);
        let main = Address { budget: Some(spent), ..of("main", 1, &[]) };
        assert_eq!(chosen(&[main, of("radio", 2, &[])], &[]), ["radio"]);
    }

    #[test]
    fn the_first_needs_no_leave_to_be_a_backup_and_equal_orders_go_by_name() {
        assert_eq!(chosen(&[of("main", 1, &["no-backup"])], &["main"]), ["main"]);
        assert_eq!(chosen(&[of("b", 1, &[]), of("a", 1, &[])], &[]), ["a"]);
        assert_eq!(chosen(&[], &[]), [""; 0]);
    }
}
