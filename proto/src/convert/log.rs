//! How much components log.

use packhorse_domain::log::LogLevel;

use super::ConvertError;
use crate::provider::v1 as wire;

impl From<LogLevel> for wire::LogLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => wire::LogLevel::Off,
            LogLevel::Error => wire::LogLevel::Error,
            LogLevel::Warn => wire::LogLevel::Warn,
            LogLevel::Info => wire::LogLevel::Info,
            LogLevel::Debug => wire::LogLevel::Debug,
            LogLevel::Trace => wire::LogLevel::Trace,
        }
    }
}

impl TryFrom<wire::LogLevel> for LogLevel {
    type Error = ConvertError;

    fn try_from(level: wire::LogLevel) -> Result<Self, ConvertError> {
        let known = LogLevel::ALL.into_iter().find(|known| wire::LogLevel::from(*known) == level);
        known.ok_or(ConvertError::Unknown { field: "level", value: level.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_comes_back_and_its_name_is_its_text() {
        for level in LogLevel::ALL {
            let sent = wire::LogLevel::from(level);

            assert_eq!(LogLevel::try_from(sent).expect("known"), level);
            let name = sent.as_str_name().trim_start_matches("LOG_LEVEL_").to_lowercase();
            assert_eq!(name, level.as_str());
        }
        assert!(LogLevel::try_from(wire::LogLevel::Unspecified).is_err());
    }
}
