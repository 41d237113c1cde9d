//! A calendar as a picture: a row for each day, a column for each hour.

use packhorse_domain::{
    address::{Calendar, Hour},
    link::Open,
};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const HEADER: &str = "     0     6     12    18";
const LEGEND: &str = ". closed  H high  M high and medium  A all";

/// The week, what its letters mean, and the rules that make it, with their rates. Rules can be given to
/// `packhorse address set` again.
pub(crate) fn picture(calendar: &Calendar) -> Vec<String> {
    let mut lines = vec![HEADER.to_owned()];
    for (weekday, name) in (0..).zip(DAYS) {
        let hours: String = calendar.day(weekday).iter().map(letter).collect();
        lines.push(format!("{name}  {hours}"));
    }
    let stands_back = |hour: &Hour| !hour.backup && hour.open != Open::Nothing;
    lines.push(match calendar.hours().iter().any(stands_back) {
        true => format!("{LEGEND}; in small letters: not as a backup"),
        false => LEGEND.to_owned(),
    });
    lines.extend(calendar.rules());
    lines
}

fn letter(hour: &Hour) -> char {
    let letter = match hour.open {
        Open::Nothing => '.',
        Open::High => 'H',
        Open::HighAndMedium => 'M',
        Open::All => 'A',
    };
    if hour.backup { letter } else { letter.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rules: &[&str]) -> Vec<String> {
        picture(&Calendar::of(rules.iter().copied()).expect("good rules"))
    }

    #[test]
    fn a_week_is_drawn_with_its_legend_and_its_rules() {
        let rules = ["mon-fri 08:00-18:00 high 64kbit/s", "sun closed", "sat 12-13 high+medium"];
        let workday = "AAAAAAAAHHHHHHHHHHAAAAAA";

        let lines = drawn(&rules);

        assert_eq!(
            lines,
            [
                "     0     6     12    18",
                &format!("mon  {workday}"),
                &format!("tue  {workday}"),
                &format!("wed  {workday}"),
                &format!("thu  {workday}"),
                &format!("fri  {workday}"),
                "sat  AAAAAAAAAAAAMAAAAAAAAAAA",
                "sun  ........................",
                ". closed  H high  M high and medium  A all",
                "mon-fri 08:00-18:00 high 64kbit/s",
                "sat 12:00-13:00 high+medium",
                "sun closed",
            ]
        );
        let columns = [(0, "0"), (6, "6"), (12, "12"), (18, "18")];
        assert!(columns.iter().all(|(hour, text)| lines[0][5 + hour..].starts_with(text)));
    }

    #[test]
    fn hours_that_are_no_backup_are_small() {
        let lines = drawn(&["mon 0-2 no-backup", "mon 1-3 closed"]);

        assert!(lines[1].starts_with("mon  a..A"), "{}", lines[1]);
        assert!(lines[8].ends_with("not as a backup"), "{}", lines[8]);
    }
}
